"""The training loop: epochs of P x K batches, each followed by an evaluation on held-out vehicles."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from reid.data.dataset import Dataset
from reid.runtime.errors import ReidError
from reid.runtime.model_card import ModelCard
from reid.train.builders import check_switches
from reid.train.data.images import OwnDraws, TrainingBatch, loader_workers, training_batches
from reid.train.epoch import Epoch, NotFiniteError
from reid.train.failures import full_disk_explained, not_finite
from reid.train.learner import Learner, build_learner
from reid.train.model.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from reid.train.parallel.processes import Processes
from reid.train.recipe import Recipe, learning_rate
from reid.train.report.board import show_histograms
from reid.train.report.observation import observe
from reid.train.report.write import try_to_write_report
from reid.train.run.folder import RunFolder, recipe_facts
from reid.train.run.origin import keep_origin
from reid.train.run.provenance import data_fingerprint, reference_crops, run_facts
from reid.train.run.state import Progress, RunState
from reid.train.tally import Tally
from reid.train.training_data import TrainingData, prepare_data

__all__ = ["SAVE_EVERY", "Outcome", "Watcher", "train"]

SAVE_EVERY = 300.0
"""Seconds between two states of a run within an epoch."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told how a run goes.

    Attributes:
        on_step: called with (epoch from 1, steps done, steps in the epoch).
        on_epoch: called with the epoch's row of metrics.jsonl.
        on_note: called with a sentence for people: what weights were loaded, which vehicles were left out.
    """

    on_step: Callable[[int, int, int], None] = lambda epoch, done, total: None
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None
    on_note: Callable[[str], None] = lambda sentence: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: the card of its best checkpoint, and how it went."""

    card: ModelCard
    progress: Progress


def train(
    dataset: Dataset,
    recipe: Recipe,
    run: RunFolder,
    *,
    resume: bool,
    watcher: Watcher = Watcher(),
    save_every: float = SAVE_EVERY,
    processes: Processes | None = None,
) -> Outcome:
    """Train a model and leave its best checkpoint in the run's folder.

    On a CPU the result depends on the recipe, its seed, the data and the number of threads alone, not on the number of
    loader workers, nor on where the run was stopped and resumed.

    Args:
        dataset: whose training split is used; a share of its vehicles is held out to choose the best epoch.
        recipe: all settings.
        run: where to; already checked.
        resume: go on from the run's last state, or from the beginning if it has none yet.
        watcher: is told how it goes.
        save_every: seconds between two states within an epoch.
        processes: that train together; this one alone if left out.

    Raises:
        DataError: too few vehicles for the held-out part or for a batch.
        ReidError: a setting is outside its range, the loss is not finite, memory or disk do not suffice, or the run to
            resume is another one.
    """
    check_switches(recipe)
    processes = processes or Processes()
    processes.check_batch(recipe.vehicles_per_batch * recipe.images_per_vehicle)
    resume = resume and run.has_state
    data = prepare_data(dataset, recipe, note=watcher.on_note)
    weights = "none" if resume else recipe.weights
    learner, card = build_learner(recipe, data.images.identities, processes, weights=weights, note=watcher.on_note)
    fingerprint = data_fingerprint(dataset)
    facts = recipe_facts(recipe, fingerprint)
    progress = run.load_state(learner, facts) if resume else Progress()
    origin = run_facts(dataset, recipe, fingerprint, data.held_out)
    with full_disk_explained(run.path):
        if processes.leads:
            run.create()
            run.forget_after(progress.epochs_done)
            origin = keep_origin(run.path, origin, dataset.root, processes, resume=resume, note=watcher.on_note)
        card = card.model_copy(update={"training": origin})
        progress = _Loop(learner, card, data, recipe, run, facts, watcher, save_every).go_on(progress)
    if processes.leads:
        try_to_write_report(run.path, recipe, data, processes.device, note=watcher.on_note)
    return Outcome(processes.from_first(lambda: load_checkpoint(run.path).card), progress)


@dataclass(frozen=True, slots=True)
class _Loop:
    """The epochs of a run; the first process evaluates and writes.

    Attributes:
        learner: all that learns.
        card: of its model, with the facts of the run.
        data: to learn from and to evaluate on.
        recipe: all settings.
        run: where to.
        facts: that are the same whenever the run is resumed.
        watcher: is told how it goes.
        save_every: seconds between two states within an epoch.
    """

    learner: Learner
    card: ModelCard
    data: TrainingData
    recipe: Recipe
    run: RunFolder
    facts: Mapping[str, Any]
    watcher: Watcher
    save_every: float

    @property
    def _processes(self) -> Processes:
        return self.learner.processes

    def go_on(self, progress: Progress) -> Progress:
        """Run what is left, from the step on that was reached; give the progress at the end."""
        draws = OwnDraws(self.data.sampler, self._processes)
        batches = training_batches(self.data.images, draws, pin_memory=self._processes.device.type == "cuda")
        reference = reference_crops(self.data.gallery.images)
        with self._board(progress.epochs_done + 1) as board:
            for epoch in range(progress.epochs_done + 1, self.recipe.epochs + 1):
                self.data.sampler.set_epoch(epoch)
                draws.first = progress.begun.steps
                row = self._row(epoch, self._learn(epoch, batches, progress))
                row |= self._processes.from_first(partial(self._evaluate, epoch, board))
                progress = _advance(progress, epoch, row["held_out"]["i2i"]["mAP"])
                if board:
                    self._store(row, progress, reference, board)
                self.watcher.on_epoch(row)
        return progress

    def _board(self, epoch: int) -> contextlib.AbstractContextManager[SummaryWriter | None]:
        if not self._processes.leads:
            return contextlib.nullcontext()
        return SummaryWriter(str(self.run.path / "tensorboard"), purge_step=epoch)

    def _learn(self, number: int, batches: Iterable[TrainingBatch], progress: Progress) -> Tally:
        """Take the steps of an epoch that are left, and now and then store a state between two of them."""
        steps = len(self.data.sampler)
        self.learner.begin_epoch(frozen=number <= self.recipe.frozen_epochs)
        epoch = Epoch(number, steps, self.learner, self.recipe, progress.begun)
        saved_at = time.monotonic()
        try:
            for done in epoch.take(batches):
                self.watcher.on_step(number, done, steps)
                if self._processes.leads and time.monotonic() - saved_at >= self.save_every:
                    epoch.settle()
                    self._save_state(replace(progress, begun=epoch.tally))
                    saved_at = time.monotonic()
        except NotFiniteError as error:
            raise self._not_finite(number, error, progress) from None
        return epoch.tally

    def _not_finite(self, epoch: int, error: NotFiniteError, progress: Progress) -> ReidError:
        checkpoint = self.run.path / CHECKPOINT_FILE if progress.best_epoch else None
        images = self.data.images_of_step(error.step - 1)
        return not_finite(self.run.path, epoch, error.step, error.values, images, checkpoint)

    def _row(self, epoch: int, tally: Tally) -> dict[str, Any]:
        """Make the epoch's row of metrics, without the evaluation."""
        sampler = self.data.sampler
        unreadable = set(itertools.chain.from_iterable(self._processes.collect(tally.unreadable)))
        speeds = tally.speeds(frames=len(sampler) * sampler.p * sampler.k, workers=loader_workers())
        return {
            "epoch": epoch,
            "lr": learning_rate(self.recipe, epoch - 1 / len(sampler)),
            "train": dict(tally.sums),
            **speeds,
            "unreadable": sorted(unreadable),
        }

    def _evaluate(self, epoch: int, board: SummaryWriter | None) -> dict[str, Any]:
        seen = observe(self.learner.kept, self.card, self.data.query, self.data.gallery, self._processes.device)
        if board:
            show_histograms(board, seen, epoch)
        return seen.summary()

    def _store(
        self, row: dict[str, Any], progress: Progress, reference: Mapping[str, bytes], board: SummaryWriter
    ) -> None:
        """Write an epoch's results; the state comes last, so that a stop before it repeats them."""
        if progress.best_epoch == row["epoch"]:
            facts = {**self.card.training, "best_epoch": row["epoch"], "held_out": row["held_out"]}
            save_checkpoint(
                self.run.path, self.learner.kept, self.card.model_copy(update={"training": facts}), reference
            )
        self.run.log(row, board)
        self._save_state(progress)

    def _save_state(self, progress: Progress) -> None:
        self.run.save_state(RunState.of(self.learner, progress, self.facts))


def _advance(progress: Progress, epoch: int, held_out_map: float) -> Progress:
    # Of equals the later one: it has learned more, and at a lower rate.
    if held_out_map >= progress.best_map:
        return Progress(epoch, epoch, held_out_map)
    return Progress(epoch, progress.best_epoch, progress.best_map)
