"""`report.html` in a run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from reid.runtime.storage import atomic_write
from reid.train.model.checkpoint import load_checkpoint
from reid.train.recipe import Recipe
from reid.train.report.observation import observe
from reid.train.report.page import Run, draw_page
from reid.train.training_data import TrainingData

__all__ = ["REPORT_FILE", "try_to_write_report", "write_report"]

REPORT_FILE = "report.html"


def write_report(run: Path, recipe: Recipe, data: TrainingData, device: torch.device) -> None:
    """Look at a finished run's checkpoint on the held-out vehicles, and write the page.

    Args:
        run: the folder, with its checkpoint and metrics.jsonl.
        recipe: all settings.
        data: gives the held-out vehicles.
        device: to run on.
    """
    checkpoint = load_checkpoint(run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seen = observe(checkpoint.model, checkpoint.card, data.query, data.gallery, device)
    page = draw_page(Run(run.resolve().name, recipe, checkpoint.card, rows, seen))
    # A file name that is no valid UTF-8 is shown with escapes, and does not fail the page.
    atomic_write(run / REPORT_FILE, page.encode(errors="backslashreplace"))


def try_to_write_report(
    run: Path, recipe: Recipe, data: TrainingData, device: torch.device, *, note: Callable[[str], None]
) -> None:
    """Write the page or, whatever prevents it, say so: the run is done and stays so."""
    try:
        write_report(run, recipe, data, device)
    except Exception as error:  # not the run's failure, whatever it is
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        note(f"note: no {REPORT_FILE} ({reason}); {run} is complete without it, and --resume tries again")
