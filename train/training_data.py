"""What a run learns from, and what it is evaluated on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reid.data.dataset import Dataset, Split
from reid.data.splitting import hold_out_vehicles
from reid.train.builders import build_augmentation, build_sampler
from reid.train.data.images import Images, without_dead_vehicles
from reid.train.data.sampler import PKSampler
from reid.train.recipe import Recipe

__all__ = ["TrainingData", "prepare_data"]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run learns from, and what it is evaluated on.

    Attributes:
        images: of the vehicles that are learned.
        sampler: of their batches.
        query: of the held-out vehicles.
        gallery: of the held-out vehicles.
        held_out: the facts of that split.
    """

    images: Images
    sampler: PKSampler
    query: Split
    gallery: Split
    held_out: dict[str, Any]

    def images_of_step(self, step: int) -> list[str]:
        """Name the images of a batch, counted from 0, of the sampler's epoch."""
        return self.images.names(next(itertools.islice(self.sampler, step, None)))


def prepare_data(dataset: Dataset, recipe: Recipe, *, note: Callable[[str], None]) -> TrainingData:
    """Split a data set's training part and plan its batches.

    Args:
        dataset: whose training split is used.
        recipe: says how.
        note: is told which vehicles are left out.

    Raises:
        DataError: too few vehicles for the held-out part or for a batch.
        ReidError: a switch of the recipe has a value that there is not.
    """
    split = hold_out_vehicles(dataset.train, share=recipe.held_out, seed=recipe.seed)
    readable, dead_vehicles = without_dead_vehicles(split.train.images)
    if dead_vehicles:
        note(f"note: no image of these vehicles can be read, left out: {', '.join(dead_vehicles)}")
    images = Images(readable, recipe.image_size, build_augmentation(recipe))
    sampler = build_sampler(recipe, images.vehicles, [image.camera for image in readable])
    return TrainingData(images, sampler, split.query, split.gallery, split.facts)
