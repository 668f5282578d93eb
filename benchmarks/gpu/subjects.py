"""What the sections work on: rendered vehicles, a model and its graphs, and learners; small ones on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from proving import Proof, Skipped
from torch import Tensor

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.runtime.precision import Precision
    from reid.runtime.tracklet import Tracklet
    from reid.train.choices import RecipeName
    from reid.train.data.images import TrainingBatch
    from reid.train.learner import Learner
    from reid.train.model.checkpoint import Checkpoint
    from reid.train.recipe import Recipe

__all__ = [
    "batch_size",
    "batches_of",
    "checkpoint",
    "graph_of",
    "learner_of",
    "load_crops",
    "random_training_batch",
    "recipe_of",
    "rendered",
    "side_of",
]


def side_of(proof: Proof) -> int:
    """Return the side of a crop in pixels."""
    return 64 if proof.small else 256


def batch_size(proof: Proof) -> int:
    """Return the frames of a full batch."""
    return 8 if proof.small else 32


def recipe_of(proof: Proof, name: RecipeName = "poster", **changes: Any) -> Recipe:  # noqa: ANN401 - a recipe's settings
    """Return a recipe with random weights and without warm-up."""
    from reid.train.recipe import RECIPES

    sizes = {"backbone": "resnet10t", "levels": (3, 4), "vehicles_per_batch": 4, "images_per_vehicle": 2}
    own = {"weights": "none", "image_size": side_of(proof), "warmup_epochs": 0, **(sizes if proof.small else {})}
    return RECIPES[name].changed(**{**own, **changes})


def learner_of(recipe: Recipe, device: str, identities: int = 100) -> Learner:
    """Return a learner in training mode."""
    from reid.train.learner import build_learner
    from reid.train.parallel.processes import Processes

    learner, _ = build_learner(recipe, identities, Processes(device=torch.device(device)))
    learner.begin_epoch(frozen=False)
    return learner


def random_training_batch(recipe: Recipe, seed: int = 0) -> TrainingBatch:
    """Return a batch of random pixels, in pinned memory where there is a GPU."""
    from reid.train.data.images import TrainingBatch

    generator = torch.Generator().manual_seed(seed)
    p, k, side = recipe.vehicles_per_batch, recipe.images_per_vehicle, recipe.image_size
    frames = torch.randint(256, (p * k, 3, side, side), dtype=torch.uint8, generator=generator)
    batch = TrainingBatch(frames, torch.arange(p).repeat_interleave(k), ())
    return batch.pin_memory() if torch.cuda.is_available() else batch


def rendered(proof: Proof) -> Dataset:
    """Return the rendered vehicles, which section `model` has written."""
    from reid.data.layout import open_dataset

    return open_dataset(_made(proof, "veri"), needs="query")


def checkpoint(proof: Proof) -> Checkpoint:
    """Return the model that section `model` has trained."""
    from reid.train.model.checkpoint import load_checkpoint

    return load_checkpoint(_made(proof, "run"))


def graph_of(proof: Proof, precision: Precision) -> Path:
    """Return a graph that section `model` has exported."""
    return _made(proof, f"model.{precision}.onnx")


def load_crops(images: Sequence[Tracklet], side: int) -> tuple[Tensor, Tensor]:
    """Return frames, uint8 [N, 3, side, side], and the indices of their vehicles, int64 [N]."""
    from reid.runtime.imaging import read_frame, resize

    with ThreadPoolExecutor() as threads:
        crops = threads.map(lambda image: resize(read_frame(image.frames[0]), side, side), images)
        frames = torch.stack([torch.from_numpy(crop.transpose(2, 0, 1).copy()) for crop in crops])
    numbers = {vehicle: number for number, vehicle in enumerate(sorted({str(image.vehicle) for image in images}))}
    return frames, torch.tensor([numbers[str(image.vehicle)] for image in images])


def batches_of(frames: Tensor, vehicles: Tensor, recipe: Recipe, seed: int = 0) -> Iterator[TrainingBatch]:
    """Yield batches of P vehicles x K images without end, drawn at random."""
    from reid.train.data.images import TrainingBatch

    generator = torch.Generator().manual_seed(seed)
    of_vehicle = [torch.nonzero(vehicles == number)[:, 0] for number in range(int(vehicles.max()) + 1)]
    while True:
        drawn = torch.randperm(len(of_vehicle), generator=generator)[: recipe.vehicles_per_batch]
        rows = torch.cat([_drawn(of_vehicle[n], recipe.images_per_vehicle, generator) for n in drawn])
        yield TrainingBatch(frames[rows], vehicles[rows], ())


def _drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=generator)]


def _made(proof: Proof, name: str) -> Path:
    if not (proof.work / name).exists():
        raise Skipped(f"section model has left no {name}")
    return proof.work / name
