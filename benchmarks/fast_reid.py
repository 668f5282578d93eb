"""Train fast-reid's own baseline on a data set in VeRi-776's layout, and measure it as `reid-eval` measures a model.

It is the named peer of the recipe `strong`, with the same backbone, image size, epochs, batch, starting weights and
evaluation. All of the training code is fast-reid's, from a clone of https://github.com/JDAI-CV/fast-reid that stays
outside this repository::

    git clone https://github.com/JDAI-CV/fast-reid
    pip install yacs termcolor tabulate faiss-cpu scikit-learn
    python benchmarks/fast_reid.py VeRi --fast-reid fast-reid --weights resnet50.pth --output runs/fast-reid
    python benchmarks/fast_reid.py data --fast-reid fast-reid --backbone resnet18 --weights none --image-size 64 \
        --epochs 8 --batch 8x4 --output runs/fast-reid --json benchmarks/results/fast_reid.json

`--config bagtricks` selects fast-reid's `configs/Base-bagtricks.yml`, and `--config sbs` its
`configs/VeRi/sbs_R50-ibn.yml`. In both, the script sets image size (square), batch and number of classes, and scales
the schedule to the budget: epochs in proportion to epochs, and iterations in proportion to iterations. Losses and
augmentation, including the padding by 10 pixels, stay as published. So does the learning rate, unless
`--learning-rate` overrides it: a rate that suits 120 epochs of Market-1501 may be slow for a short run, which `strong`
was tuned for. `sbs` is made for pretrained weights, which have to come from a network with instance-batch
normalization. Non-local blocks always start from new weights, and fast-reid's ResNet18 has none.

`settings` and `import_fast_reid` hold everything that differs from how fast-reid's authors run it. Its ResNets have
timm's names and shapes, but pool after the stem without padding. It trains on all training vehicles, and its last
weights are measured: L2-normalized features after the BNNeck, without flipped images and without re-ranking. Images
are resized bilinearly, as for every session of `reid`, while fast-reid's own test transform is bicubic. OUTPUT keeps
its configuration, log and weights.
"""

from __future__ import annotations

import argparse
import collections
import functools
import logging
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from result_files import environment, script_parser, write_result
from score_tables import score_table, summary
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from trials import data_digest

from reid.data.layout import open_dataset
from reid.evaluation.protocols import PROTOCOLS, embed_data, evaluate_protocol
from reid.runtime.errors import DataError, ReidError
from reid.runtime.model_card import FORMAT_VERSION, Level, ModelCard, Preprocessing
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.session import SessionInfo

NEEDED = "yacs termcolor tabulate faiss-cpu scikit-learn"

# Our name of a backbone -> fast-reid's name, and the size of its features.
BACKBONES = {"resnet18": ("18x", 512), "resnet50": ("50x", 2048)}


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file of fast-reid, and the number of training images of the data set it was published for."""

    file: str
    images: int


CONFIGS = {"bagtricks": Config("Base-bagtricks.yml", 12_936), "sbs": Config("VeRi/sbs_R50-ibn.yml", 37_778)}


def main() -> None:
    """Train, measure, print the table and write the result."""
    options = parse()
    try:
        result = run(options)
        if options.json:
            write_result(options.json, result)
    except ReidError as error:
        sys.exit(f"error: {error}")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of a data set in VeRi-776's layout")
    parser.add_argument("--fast-reid", type=Path, metavar="CLONE", required=True, help="clone of fast-reid")
    parser.add_argument("--config", choices=CONFIGS, default="bagtricks", help="[default: bagtricks]")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50", help="[default: resnet50]")
    parser.add_argument(
        "--weights", default="none", help="none, or a file with timm's or torchvision's names [default: none]"
    )
    parser.add_argument("--image-size", type=at_least(32), default=256, help="[default: 256]")
    parser.add_argument("--epochs", type=at_least(2), default=60, help="[default: 60]")
    parser.add_argument("--batch", type=vehicles_by_images, default=(16, 4), help="[default: 16x4]")
    parser.add_argument("--learning-rate", type=float, metavar="RATE", help="[default: as published]")
    parser.add_argument("--seed", type=at_least(0), default=0, help="[default: 0]")
    parser.add_argument("--output", type=Path, required=True, help="folder for the files that fast-reid writes")
    return parser.parse_args(words)


def at_least(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers that are not below a limit."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return read


def vehicles_by_images(text: str) -> tuple[int, int]:
    """Read the size of a batch, such as 16x4, as (vehicles, images of each)."""
    vehicles, _, images = text.partition("x")
    if not (vehicles.isdecimal() and images.isdecimal() and int(vehicles) > 1 and int(images) > 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not vehicles x images, at least two of each, such as 16x4")
    return int(vehicles), int(images)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure; return the scores and what they depend on, in the format of benchmarks/comparison.py."""
    dataset = open_dataset(options.data, "veri", needs="query")
    engine = import_fast_reid(options.fast_reid)
    prepare_output(options.output)
    trainer = build_trainer(engine, options)
    print(f"training {trainer.max_iter} iterations: {options.output / 'log.txt'}", file=sys.stderr)
    start = time.perf_counter()
    engine.TrainerBase.train(trainer, 0, trainer.max_epoch, trainer.iters_per_epoch)
    seconds = time.perf_counter() - start
    session = fast_reid_session(
        trainer.model.eval(), import_module("fastreid").__version__, options.backbone, options.image_size
    )
    embedded = embed_data(session, dataset.query, dataset.gallery)
    trial = {
        "training_seconds": round(seconds, 1),
        "session": str(session.info),
        "protocols": {name: evaluate_protocol(embedded, protocol).summary() for name, protocol in PROTOCOLS.items()},
    }
    trials = {options.seed: trial}
    name = f"fast-reid {options.config}"
    print(score_table({name: trials}), end="")
    return {
        "command": command(options),
        "data": data_digest(options.data),
        "environment": environment(),
        "versions": {"pillow": version("pillow"), "fast-reid": import_module("fastreid").__version__},
        "methods": {name: {"summary": summary(trials), "trials": trials}},
    }


def import_fast_reid(clone: Path) -> Any:  # noqa: ANN401 - fast-reid has no types
    """Return `fastreid.engine` of a clone, adapted to current PyTorch and Python, and to CPUs.

    Raises:
        ReidError: the folder is not a clone of fast-reid, or a package that fast-reid needs is not installed.
    """
    if not (clone / "fastreid" / "engine" / "defaults.py").is_file():
        raise ReidError(f"{clone} is not a clone of fast-reid: git clone https://github.com/JDAI-CV/fast-reid")
    sys.path.insert(0, str(clone.resolve()))
    try:
        # fast-reid imports Mapping from where it was before Python 3.10.
        with patch.object(collections, "Mapping", Mapping, create=True):
            engine = import_module("fastreid.engine")
    except ModuleNotFoundError as error:
        raise ReidError(f"fast-reid needs {error.name}, which is not installed: pip install {NEEDED}") from None
    defaults: Any = import_module("fastreid.engine.defaults")
    # With its flat buffers, PyTorch 2's zero_grad drops the gradients, and nothing would be learned.
    defaults.build_optimizer = functools.partial(defaults.build_optimizer, contiguous=False)
    if not torch.cuda.is_available():
        # fast-reid's own loader copies batches on a CUDA stream.
        loaders: Any = import_module("fastreid.data.build")
        loaders.DataLoaderX = plain_loader
    return engine


def plain_loader(local_rank: int, **settings: Any) -> DataLoader[Any]:  # noqa: ANN401 - any DataLoader's settings
    """Return a plain DataLoader in place of fast-reid's DataLoaderX."""
    return DataLoader(**settings | {"pin_memory": False})


def prepare_output(folder: Path) -> None:
    """Make the folder, and send fast-reid's log there instead of to standard output.

    Raises:
        ReidError: the folder already holds a model, or is a file.
    """
    if folder.is_file() or (folder / "model_final.pth").exists():
        raise ReidError(f"{folder} holds a model or is a file; choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / "log.txt")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    log = logging.getLogger("fastreid")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)


def build_trainer(engine: Any, options: argparse.Namespace) -> Any:  # noqa: ANN401 - fast-reid has no types
    """Return fast-reid's trainer for the configuration, with the starting weights loaded.

    Raises:
        ReidError: the data or the weights do not fit.
    """
    iterations = count_iterations(options.data, options.batch)
    config = CONFIGS[options.config]
    cfg = import_module("fastreid.config").get_cfg()
    cfg.merge_from_file(str(options.fast_reid / "configs" / config.file))
    if options.learning_rate:
        cfg.SOLVER.BASE_LR = options.learning_rate
    changes = settings(options) | scaled_schedule(cfg.SOLVER, config.images, options.epochs, iterations)
    cfg.merge_from_list([word for change in changes.items() for word in change])
    import_module("fastreid.utils.env").seed_all_rng(options.seed)
    trainer = engine.DefaultTrainer(cfg)
    if options.weights != "none":
        load_backbone(trainer.model.backbone, Path(options.weights))
    return trainer


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Load weights with timm's or torchvision's names strictly, except non-local blocks, which none of them have.

    Raises:
        ModelError: the file cannot be read, or does not fit.
    """
    from reid.train.model.foreign_weights import load_weights

    parts = {name: part for name, part in backbone.named_children() if not name.startswith("NL_")}  # non-local blocks
    load_weights(nn.ModuleDict(parts), path, unused={"fc.weight", "fc.bias"})


def count_iterations(data: Path, batch: tuple[int, int]) -> int:
    """Read the data with fast-reid's reader of VeRi-776, and return the number of iterations in an epoch.

    Raises:
        DataError: the reader refuses the data, or there is less than one batch, for which its samplers wait forever.
    """
    reader = import_module("fastreid.data.datasets").DATASET_REGISTRY.get("VeRi")
    reader.dataset_dir = str(data.resolve())  # joining an absolute path to a folder gives that path
    try:
        train = reader().train
    except (AssertionError, AttributeError, RuntimeError):
        raise DataError(
            f"fast-reid's reader refuses {data}: it takes .jpg files named VEHICLE_cCAMERA, "
            "with vehicles up to 776 and cameras up to 20"
        ) from None
    vehicles, images = batch
    present = len({vehicle for _, vehicle, _ in train})
    if present < vehicles or len(train) < vehicles * images:
        raise DataError(
            f"{data} has {len(train)} training images of {present} vehicles, fewer than a batch of "
            f"{vehicles}x{images}; choose a smaller --batch"
        )
    return len(train) // (vehicles * images)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings other than the schedule: those of the budget, the data and the machine."""
    vehicles, images = options.batch
    depth, size = BACKBONES[options.backbone]
    has_gpu = torch.cuda.is_available()
    return {
        "MODEL.DEVICE": "cuda" if has_gpu else "cpu",
        "MODEL.BACKBONE.DEPTH": depth,
        "MODEL.BACKBONE.FEAT_DIM": size,
        "MODEL.BACKBONE.PRETRAIN": False,  # fast-reid would download weights; --weights gives them
        "INPUT.SIZE_TRAIN": [options.image_size] * 2,
        "INPUT.SIZE_TEST": [options.image_size] * 2,
        "DATASETS.NAMES": ("VeRi",),
        "DATALOADER.NUM_INSTANCE": images,
        "DATALOADER.NUM_WORKERS": min(8, os.cpu_count() or 1),
        "SOLVER.IMS_PER_BATCH": vehicles * images,
        "SOLVER.AMP.ENABLED": has_gpu,
        "SOLVER.CHECKPOINT_PERIOD": options.epochs,
        "TEST.EVAL_PERIOD": -1,  # never
        "OUTPUT_DIR": str(options.output),
    }


def scaled_schedule(solver: Any, images: int, epochs: int, iterations: int) -> dict[str, Any]:  # noqa: ANN401
    """Return a published schedule, scaled to a budget.

    Args:
        solver: the published settings, such as MAX_EPOCH.
        images: the number of training images of the data set that they were published for.
        epochs: the number of epochs of the budget.
        iterations: the number of iterations in one of these epochs.
    """
    share = epochs / solver.MAX_EPOCH
    ratio = share * iterations / (images // solver.IMS_PER_BATCH)
    return {
        "SOLVER.MAX_EPOCH": epochs,
        "SOLVER.STEPS": [max(1, round(share * step)) for step in solver.STEPS],
        "SOLVER.DELAY_EPOCHS": math.floor(share * solver.DELAY_EPOCHS),  # leaves the cosine one epoch of two
        "SOLVER.WARMUP_ITERS": round(ratio * solver.WARMUP_ITERS),
        "SOLVER.FREEZE_ITERS": round(ratio * solver.FREEZE_ITERS),
    }


def fast_reid_session(model: nn.Module, version: str, backbone: str, image_size: int) -> HostSession:
    """Make a session of fast-reid's model, so that it is measured like any model of `reid`."""
    device = next(model.parameters()).device
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="",
        backbone=backbone,
        levels=(Level(name="level4", size=BACKBONES[backbone][1]),),
        preprocessing=Preprocessing(height=image_size, width=image_size, mean=(0, 0, 0), std=(1, 1, 1)),
    )

    @torch.inference_mode()
    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        images = torch.from_numpy(frames).to(device, torch.float32)  # 0 to 255: the model normalizes
        frame_embedding: NDArray[np.float32] = functional.normalize(model(images)).cpu().numpy()
        return frame_embedding, pooling @ frame_embedding

    return HostSession(SessionInfo("fast-reid", version, device.type, "fp32", card), infer)


def command(options: argparse.Namespace) -> str:
    """Return the command that repeats this run anywhere."""
    words = {
        "config": options.config,
        "backbone": options.backbone,
        "weights": Path(options.weights).name,
        "image-size": options.image_size,
        "epochs": options.epochs,
        "batch": "x".join(map(str, options.batch)),
        "seed": options.seed,
    }
    if options.learning_rate:
        words["learning-rate"] = options.learning_rate
    given = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    data = options.data.resolve().name
    return shlex.join(["python", "benchmarks/fast_reid.py", data, "--fast-reid", "fast-reid", *given])


if __name__ == "__main__":
    main()
