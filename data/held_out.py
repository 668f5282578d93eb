"""Training vehicles as queries and gallery: those that a model's own training held out."""

from __future__ import annotations

import logging
from dataclasses import replace

from reid.data.dataset import Dataset, Split
from reid.data.fingerprint import data_fingerprint
from reid.data.splitting import hold_out_vehicles
from reid.runtime.errors import DataError
from reid.runtime.model_card import ModelCard

__all__ = ["held_out_data", "is_held_out", "warn_if_trained_on"]

logger = logging.getLogger(__name__)

_SHARE, _SEED = 0.1, 0
"""Share of the vehicles, and seed of their choice, if the card does not give those of the model's training."""


def held_out_data(data: Dataset, card: ModelCard) -> Dataset | None:
    """Return vehicles of a training split as query and gallery: those that the model's training held out.

    If the model was trained on other data, any vehicles will do. If the card does not say which vehicles were held out,
    and does not say that the model was trained on other data, it may have been trained on them; see warn_if_trained_on.

    Args:
        data: a data set with labeled training images.
        card: the model's card.

    Returns:
        The data set without its training split; `is_held_out` recognizes it. None if there are too few vehicles.
    """
    facts = card.training
    share = _SHARE if facts.held_out_share is None else facts.held_out_share
    seed = _SEED if facts.seed is None else facts.seed
    try:
        split = hold_out_vehicles(data.train, share=share, seed=seed)
    except DataError:
        return None
    return replace(data, train=Split(), query=split.query, gallery=split.gallery, split_facts=split.facts)


def warn_if_trained_on(held_out: Dataset, data: Dataset, card: ModelCard) -> None:
    """Log a warning if the model may have been trained on the vehicles that it is judged on.

    Args:
        held_out: the vehicles that held_out_data returned.
        data: the data set that they are from.
        card: the model's card.
    """
    facts = card.training
    is_known = facts.held_out_share is not None and facts.seed is not None
    trained_on = facts.data.fingerprint if facts.data else None
    if not is_known and (trained_on is None or trained_on == data_fingerprint(data)):
        logger.warning(
            "the model's card does not say which vehicles its training held out: the model may have been trained on "
            f"the {len({image.vehicle for image in held_out.gallery.images})} vehicles of {data.root} that judge it"
        )


def is_held_out(data: Dataset) -> bool:
    """Return whether queries and gallery are held-out training vehicles, as held_out_data makes them."""
    return not data.train.images and bool(data.split_facts)
