"""An untrained model of the tests: its checkpoint and its bundles. As a program, it leaves them for an environment
without PyTorch: `python tests/helpers/untrained.py FOLDER`, then `pytest --untrained FOLDER`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from unittest.mock import patch

from reid.data.layout import open_dataset
from reid.data.synthesis.veri import synthesize
from reid.runtime.bundle import graph_file

__all__ = [
    "BUNDLE",
    "CHECKPOINT",
    "WHOLE_BUNDLE",
    "write_bundle",
    "write_checkpoint",
    "write_data",
    "write_whole_bundle",
]

CHECKPOINT, BUNDLE, WHOLE_BUNDLE = "untrained", "bundle", "whole"


def write_data(root: Path) -> None:
    """Write a synthetic data set in VeRi's layout: 12 vehicles, 3 cameras."""
    synthesize(root, vehicles=12, cameras=3, seed=7)


def write_checkpoint(run: Path, data: Path) -> None:
    """Write an untrained model of two levels, 16 dimensions each, at 64 x 64 pixels."""
    import torch
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    from reid.runtime.model_card import FORMAT_VERSION, ModelCard
    from reid.train.model.backbone import create_backbone
    from reid.train.model.checkpoint import describe, save_checkpoint
    from reid.train.model.multi_level import MultiLevelReID
    from reid.train.run.provenance import reference_crops

    torch.manual_seed(0)
    backbone = create_backbone("test_resnet", (3, 4), image_size=64, weights="none")
    levels, preprocessing = describe(backbone, 16, 64)
    # Its own are the same for every color, so that to mix them up would change nothing.
    preprocessing = preprocessing.model_copy(update={"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD})
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing).eval()
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="",
        backbone="test_resnet",
        levels=levels,
        preprocessing=preprocessing,
    )
    run.mkdir()
    save_checkpoint(run, model, card, reference_crops(open_dataset(data, needs="query").gallery.images))


def write_bundle(output: Path, run: Path) -> None:
    """Write a checkpoint's bundle, with the FP32 graph."""
    from reid.export.bundle import write_bundle
    from reid.train.model.checkpoint import load_checkpoint

    write_bundle(load_checkpoint(run), output)


def write_whole_bundle(output: Path, run: Path, bundle: Path, data: Path) -> None:
    """Write a checkpoint's bundle with a graph in every precision; the FP32 graph is that of its `bundle`."""
    from reid.evaluation.verification.records import Tolerance
    from reid.export.bundle import ExportRequest, write_bundle
    from reid.export.int8.plan import CalibrationRequest
    from reid.train.model.checkpoint import load_checkpoint

    calibration = CalibrationRequest(open_dataset(data, needs="train"), frames=8, methods=("max",))
    # Nobody is told apart by an untrained model: what it ranks is noise, and only its embeddings count.
    tolerance = Tolerance(map=100, rank=100)

    def copy(model: object, card: object, path: Path) -> None:
        shutil.copy(bundle / graph_file("fp32"), path)

    with patch("reid.export.bundle.export_graph", copy):  # which would make the same file again, in seconds
        write_bundle(load_checkpoint(run), output, ExportRequest(fp16=True, int8=calibration, tolerance=tolerance))


def _write_all(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_data(folder / "veri")
    write_checkpoint(folder / CHECKPOINT, folder / "veri")
    write_bundle(folder / BUNDLE, folder / CHECKPOINT)
    write_whole_bundle(folder / WHOLE_BUNDLE, folder / CHECKPOINT, folder / BUNDLE, folder / "veri")


if __name__ == "__main__":
    _write_all(Path(sys.argv[1]))
