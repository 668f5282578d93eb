"""The last step of a run: what each level counts in the embedding, by what held-out vehicles say of the best epoch."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from reid.evaluation.aggregation import choose_level_weights
from reid.evaluation.protocols import embed_data
from reid.train.model.checkpoint import load_checkpoint, save_checkpoint
from reid.train.session import torch_session
from reid.train.training_data import TrainingData

__all__ = ["weigh_levels"]

logger = logging.getLogger(__name__)


def weigh_levels(run: Path, data: TrainingData, device: torch.device) -> None:
    """Replace a run's checkpoint by one whose levels have the weights that suit the held-out vehicles.

    A checkpoint whose levels have weights already stays as it is, so that a run can be resumed after this step.

    Args:
        run: the run's folder, with its checkpoint.
        data: the data, whose held-out vehicles are used.
        device: the device to run on.
    """
    checkpoint = load_checkpoint(run)
    card, model = checkpoint.card, checkpoint.model
    if len(card.levels) == 1 or not data.query.images or any(level.weight != 1 for level in card.levels):
        return
    seen = embed_data(torch_session(model, card, device), data.query, data.gallery, view=data.own_view)
    weights = choose_level_weights(seen, card.levels)
    levels = tuple(
        level.model_copy(update={"weight": weight}) for level, weight in zip(card.levels, weights, strict=True)
    )
    model.weights = list(weights)
    save_checkpoint(run, model, card.model_copy(update={"levels": levels}), checkpoint.reference)
    logger.info("weights of the levels: %s", ", ".join(f"{level.name} {level.weight:g}" for level in levels))
