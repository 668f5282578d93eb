"""What a run learns from, and what it is evaluated on."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from reid.data.dataset import Dataset, Split
from reid.data.fingerprint import data_fingerprint
from reid.data.splitting import HeldOut, hold_out_vehicles
from reid.evaluation.same_camera import OwnView, own_view
from reid.runtime.errors import DataError
from reid.runtime.imaging import read_frame
from reid.runtime.tracklet import Tracklet
from reid.runtime.training_facts import TrainingDataFacts
from reid.train.builders import build_augmentation, build_sampler
from reid.train.data.images import Images, without_dead_vehicles
from reid.train.data.sampler import PKSampler
from reid.train.recipe import Recipe

__all__ = ["TrainingData", "prepare_data"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The images that a run learns from, and those that it is evaluated on.

    Attributes:
        images: images of the vehicles that the model learns.
        sampler: plans the batches of these images.
        query: queries of the held-out vehicles; empty if none are held out.
        gallery: gallery of the held-out vehicles; empty if none are held out.
        own_view: what rankings of the held-out vehicles leave out.
        reference: images that the checkpoint's reference crops are taken from.
        facts: the facts about the data in the model card.
    """

    images: Images
    sampler: PKSampler
    query: Split
    gallery: Split
    own_view: OwnView
    reference: tuple[Tracklet, ...]
    facts: TrainingDataFacts

    def images_of_step(self, step: int) -> list[str]:
        """Return the names of the images of a step, counted from 0, of the sampler's epoch."""
        return self.images.names(next(itertools.islice(self.sampler, step, None)))


def prepare_data(dataset: Dataset, recipe: Recipe) -> TrainingData:
    """Split a data set's training part and plan its batches; note the vehicles that are left out.

    Args:
        dataset: the data set whose training split is used.
        recipe: all settings.

    Raises:
        DataError: no image can be read, or too few vehicles for the held-out part or for a batch.
    """
    split = _hold_out(dataset.train, recipe)
    readable, dead_vehicles = without_dead_vehicles(split.train.images)
    if not readable:
        raise _none_readable(split.train.images)
    if dead_vehicles:
        logger.warning("vehicles left out because none of their images can be read: %s", ", ".join(dead_vehicles))
    images = Images(readable, recipe.image_size, build_augmentation(recipe))
    sampler = build_sampler(recipe, images.vehicles, readable, split.train.tracklets)
    facts = TrainingDataFacts(
        layout=dataset.layout,
        fingerprint=data_fingerprint(dataset),
        images=len(dataset.train.images),
        held_out_vehicles=split.facts.get("vehicles", ()),
        held_out_by=split.facts.get("by"),
    )
    return TrainingData(
        images,
        sampler,
        split.query,
        split.gallery,
        own_view(split.query, split.gallery, by_cameras=split.facts.get("by") == "cameras"),
        split.gallery.images or readable,
        facts,
    )


def _hold_out(labeled: Split, recipe: Recipe) -> HeldOut:
    """Hold out the recipe's share of the vehicles, at least two; or none if the share is 0."""
    vehicles = len({image.vehicle for image in labeled.images})
    if not recipe.held_out:
        logger.warning(
            "held_out is 0: the model learns all %d vehicles, the last epoch is the result, and no scores are known",
            vehicles,
        )
        return HeldOut(labeled, Split(), Split(), {})
    try:
        split = hold_out_vehicles(labeled, share=recipe.held_out, seed=recipe.seed)
    except DataError as error:
        if vehicles < 2:
            raise
        fits = recipe.vehicles_per_batch <= vehicles
        batch = "" if fits else f" --batch {vehicles}x{recipe.images_per_vehicle}"
        raise DataError(f"{error}, or hold none out: --set held_out=0{batch}") from None
    if split.facts["by"] != "cameras":
        logger.warning("vehicles are held out by %s, since fewer than two are seen by two cameras", split.facts["by"])
    return split


def _none_readable(images: Sequence[Tracklet]) -> DataError:
    try:
        read_frame(images[0].frames[0])
    except DataError as error:
        return DataError(f"no training image can be read: {error}")
    return DataError("no training image could be read a moment ago; try again")
