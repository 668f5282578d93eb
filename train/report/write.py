"""`report.html` in a run's folder."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from reid.pages.training.page import draw_page
from reid.pages.training.run import Setting, TrainedRun
from reid.runtime.files.storage import atomic_write
from reid.train.losses import METRIC_LOSSES, RankedListLoss, SSLLoss
from reid.train.model.checkpoint import load_checkpoint
from reid.train.recipe import RECIPES, Recipe
from reid.train.report.observation import Observation, observe
from reid.train.run.metrics import read_rows
from reid.train.training_data import TrainingData

__all__ = ["REPORT_FILE", "describe_run", "try_to_write_report", "write_report"]

logger = logging.getLogger(__name__)

REPORT_FILE = "report.html"


def write_report(run: Path, recipe: Recipe, data: TrainingData, device: torch.device) -> None:
    """Evaluate a finished run's checkpoint on the held-out vehicles, if there are any, and write the page.

    Args:
        run: the run's folder, with its checkpoint and metrics.jsonl.
        recipe: all settings.
        data: the data, whose held-out vehicles are used.
        device: the device to run on.
    """
    page = draw_page(describe_run(run, recipe, data, device))
    # A file name that is not valid UTF-8 is shown with escapes, so that it does not prevent the page.
    atomic_write(run / REPORT_FILE, page.encode(errors="backslashreplace"))


def describe_run(run: Path, recipe: Recipe, data: TrainingData, device: torch.device) -> TrainedRun:
    """Collect what the page shows; see `write_report`."""
    checkpoint = load_checkpoint(run)
    seen: Observation | None = None
    if data.query.images:
        seen = observe(checkpoint.model, checkpoint.card, data.query, data.gallery, device, view=data.own_view)
    return TrainedRun(
        name=run.resolve().name,
        card=checkpoint.card,
        settings=_differences(recipe),
        losses=(recipe.loss, recipe.identity_loss),
        boundaries=_boundaries(recipe),
        rows=read_rows(run),
        device=_device(seen.device, recipe) if seen else "",
        data=seen.data if seen else None,
        metrics=seen.metrics if seen else {},
        pairs=seen.pairs if seen else (),
        norms=seen.norms if seen else {},
    )


def _device(device: str, recipe: Recipe) -> str:
    return f"{device}, without rounding to INT8" if recipe.qat else device


def _differences(recipe: Recipe) -> tuple[Setting, ...]:
    """Return the settings that are not the poster's."""
    here, poster = dict(recipe), dict(RECIPES["poster"])
    return tuple(Setting(name, here[name], poster[name]) for name in here if here[name] != poster[name])


def _boundaries(recipe: Recipe) -> tuple[float, ...]:
    """Return the loss's boundaries if it sees the embeddings that are compared; with a neck it sees others."""
    loss = METRIC_LOSSES[recipe.loss]()
    if recipe.bnneck or not isinstance(loss, RankedListLoss | SSLLoss):
        return ()
    return loss.alpha - loss.margin, loss.alpha


def try_to_write_report(run: Path, recipe: Recipe, data: TrainingData, device: torch.device) -> None:
    """Write the page; if anything prevents it, note why. The run is complete either way."""
    try:
        write_report(run, recipe, data, device)
    except Exception as error:  # whatever it is, the run has not failed
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        logger.warning("no %s (%s); %s is complete without it, and --resume tries again", REPORT_FILE, reason, run)
