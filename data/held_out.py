"""Training vehicles as queries and gallery: those that a model's own training held out."""

from __future__ import annotations

import logging
from dataclasses import replace

from reid.data.dataset import Dataset, Split
from reid.data.fingerprint import data_fingerprint
from reid.data.splitting import hold_out_vehicles
from reid.runtime.errors import DataError
from reid.runtime.model_card import ModelCard
from reid.runtime.training_facts import TrainingFacts

__all__ = ["held_out_data", "is_held_out", "warn_if_trained_on"]

logger = logging.getLogger(__name__)

_SHARE, _SEED = 0.1, 0
"""Share of the vehicles, and seed of their choice, if the card does not give those of the model's training."""


def held_out_data(data: Dataset, card: ModelCard) -> Dataset | None:
    """Return vehicles of a training split as query and gallery: those that the model's training held out.

    If the model was trained on other data, any vehicles will do. If its training held out none, or the card does not
    say which, it may have been trained on them; see warn_if_trained_on.

    Args:
        data: a data set with labeled training images.
        card: the model's card.

    Returns:
        The data set without its training split; `is_held_out` recognizes it. None if there are too few vehicles.
    """
    facts = card.training
    share = _SHARE if facts.held_out_share is None or _held_out_none(facts) else facts.held_out_share
    seed = _SEED if facts.seed is None else facts.seed
    try:
        split = hold_out_vehicles(data.train, share=share, seed=seed)
    except DataError:
        return None
    return replace(data, train=Split(), query=split.query, gallery=split.gallery, split_facts=split.facts)


def warn_if_trained_on(held_out: Dataset, data: Dataset, card: ModelCard) -> None:
    """Log a warning if the model was, or may have been, trained on the vehicles that it is judged on.

    Args:
        held_out: the vehicles that held_out_data returned.
        data: the data set that they are from.
        card: the model's card.
    """
    facts = card.training
    is_known = facts.held_out_share is not None and facts.seed is not None
    if is_known and not _held_out_none(facts):
        return
    trained_on = facts.data.fingerprint if facts.data else None
    if trained_on is None or trained_on == data_fingerprint(data):
        said, learned = "does not say which vehicles its training held out", "may have been trained on"
        if _held_out_none(facts):
            said, learned = "says that its training held out no vehicles", "was trained on"
        logger.warning(
            f"the model's card {said}: the model {learned} the "
            f"{len({image.vehicle for image in held_out.gallery.images})} vehicles of {data.root} that judge it"
        )


def _held_out_none(facts: TrainingFacts) -> bool:
    """Return whether the training held out nothing; reid 0.1 held out two vehicles where the share was 0."""
    return facts.held_out_share == 0 and facts.data is not None and not facts.data.held_out_vehicles


def is_held_out(data: Dataset) -> bool:
    """Return whether queries and gallery are held-out training vehicles, as held_out_data makes them."""
    return not data.train.images and bool(data.split_facts)
