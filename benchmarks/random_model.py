"""Write a model with random weights, as a run and as a bundle in every precision: to measure speed without training.

Speed does not depend on the values of the weights. Batch normalization is fitted to rendered vehicles, so that
activations are as large as a trained model's. The INT8 graph is made as by `reid-export --int8`, with FP16 around it,
but with every layer in INT8 and without a search::

    python benchmarks/random_model.py random
    reid-bench random/bundle random/run

What the model embeds is noise: it has no mAP, and a subject's least similarity tells only whether it computes the
model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from reid.calibration.graph_file import load_graph
from reid.calibration.layers import find_layers
from reid.calibration.scales import measure_scales
from reid.calibration.selection import CalibrationSet, select_frames
from reid.data.layout import open_dataset
from reid.data.synthesis.veri import synthesize
from reid.export.bundle import ExportRequest, write_bundle
from reid.export.int8.graph import Int8Graph
from reid.runtime.bundle import CARD_FILE, graph_file
from reid.runtime.files.reading import sha256_of
from reid.runtime.model_card import ModelCard
from reid.train.builders import build_model
from reid.train.model.checkpoint import load_checkpoint, save_checkpoint
from reid.train.recipe import Recipe
from reid.train.run.provenance import reference_crops

CALIBRATION_FRAMES = 32


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="FOLDER", help="new folder, for run and bundle")
    parser.add_argument("--backbone", default="resnet50", help="[default: resnet50]")
    parser.add_argument("--image-size", type=int, default=256, help="[default: 256]")
    options = parser.parse_args()
    recipe = Recipe(backbone=options.backbone, weights="none", levels=(2, 3, 4), image_size=options.image_size)
    with TemporaryDirectory() as folder:
        synthesize(Path(folder) / "data", vehicles=20, cameras=4)
        frames = select_frames(open_dataset(Path(folder) / "data", needs="train"), CALIBRATION_FRAMES, seed=0)
        options.output.mkdir(parents=True)
        write_run(options.output / "run", recipe, frames)
        write_precisions(options.output / "bundle", options.output / "run", frames)


def write_run(run: Path, recipe: Recipe, frames: CalibrationSet) -> None:
    """Write a checkpoint with seeded random weights, and batch normalization that is fitted to frames."""
    torch.manual_seed(0)
    model, card, _ = build_model(recipe)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_parameters()  # timm starts the last one of each block at 0, which would bypass the block
            module.momentum = None  # the plain mean over all batches
    with torch.no_grad():
        for batch in frames.batches(card.preprocessing, batch_size=8):
            model.train()(torch.from_numpy(np.ascontiguousarray(batch)))
    run.mkdir()
    save_checkpoint(run, model.eval(), card, reference_crops(frames.images))


def write_precisions(bundle: Path, run: Path, frames: CalibrationSet) -> None:
    """Write the bundle as `reid-export --fp16` does, and add the INT8 graph to it."""
    card = write_bundle(load_checkpoint(run), bundle, ExportRequest(fp16=True)).card
    name = graph_file("int8")
    write_int8_graph(bundle, bundle / name, card, frames)
    files = card.files | {name: sha256_of(bundle / name)}
    (bundle / CARD_FILE).write_text(card.model_copy(update={"files": files}).model_dump_json(indent=2) + "\n")


def write_int8_graph(bundle: Path, output: Path, card: ModelCard, frames: CalibrationSet) -> None:
    """Write a graph with every layer in INT8."""
    fp32 = bundle / graph_file("fp32")
    layers = find_layers(load_graph(fp32))
    scales = measure_scales(fp32, card, frames, set(layers.inputs))
    amax = {tensor: found.by_method["mse"].value for tensor, found in scales.tensors.items()}
    Int8Graph(load_graph(bundle / graph_file("fp16")), layers, amax).write(output, in_fp16=())


if __name__ == "__main__":
    main()
