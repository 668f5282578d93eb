"""The training loop: epochs of P x K batches, each followed by an evaluation on held-out vehicles, if there are any."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from reid.data.dataset import Dataset
from reid.evaluation.aggregation import choose_level_weights
from reid.runtime.errors import ReidError
from reid.runtime.model_card import ModelCard
from reid.runtime.progress import SILENT, Progress
from reid.train.aggregation import weigh_levels
from reid.train.data.images import OwnSamples, TrainingBatch, check_temporary_folder, loader_workers, training_batches
from reid.train.epoch import Epoch, NotFiniteError
from reid.train.epoch_metrics import EpochMetrics
from reid.train.failures import full_disk_explained, not_finite, out_of_memory_explained
from reid.train.learner import Learner, build_learner
from reid.train.model.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from reid.train.parallel.processes import Processes
from reid.train.recipe import Recipe, learning_rate
from reid.train.report.board import show_histograms
from reid.train.report.observation import Observation, observe
from reid.train.report.write import try_to_write_report
from reid.train.run.board import Board
from reid.train.run.folder import RunFolder, recipe_facts
from reid.train.run.origin import keep_origin, this_run
from reid.train.run.provenance import reference_crops
from reid.train.run.state import Position, RunState
from reid.train.training_data import TrainingData, prepare_data

__all__ = ["Outcome", "train"]

logger = logging.getLogger(__name__)

_NAMED = 3  # unreadable images in a note


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: the card of its checkpoint, and how far it has come."""

    card: ModelCard
    position: Position


def train(
    dataset: Dataset,
    recipe: Recipe,
    run: RunFolder,
    *,
    resume: bool,
    progress: Progress = SILENT,
    processes: Processes | None = None,
) -> Outcome:
    """Train a model and leave the checkpoint of its best epoch in the run's folder, or that of its last one.

    On a CPU the result depends only on the recipe, its seed, the data and the number of threads: not on the number of
    loader workers, nor on where the run was stopped and resumed.

    Args:
        dataset: the data set whose training split is used; a share of its vehicles is held out to choose the best
            epoch. If the share is 0, the last epoch is the result.
        recipe: all settings.
        run: the run's folder, which has been checked.
        resume: whether to go on from the run's last state, or from the beginning if it has none yet.
        progress: follows the steps.
        processes: the processes that train together; only this one if left out.

    Raises:
        DataError: there are too few vehicles for the held-out part or for a batch.
        ReidError: the loss is not finite, memory or disk do not suffice, the path of the temporary folder is too long,
            or the run to resume is another one.
    """
    check_temporary_folder()
    processes = processes or Processes()
    processes.check_batch(recipe.vehicles_per_batch * recipe.images_per_vehicle)
    resume = resume and run.has_state
    data = prepare_data(dataset, recipe)
    with out_of_memory_explained():
        learner, card = build_learner(recipe, data.images.identities, processes, resume=resume)
    facts = recipe_facts(recipe, data.facts.fingerprint)
    position = run.load_state(learner, facts) if resume else Position()
    origin = this_run(dataset, recipe, data, processes)
    with full_disk_explained(run.path):
        if processes.leads:
            run.create()
            run.forget_after(position.epochs_done)
            origin = keep_origin(run.path, origin, processes, resume=resume)
        card = card.model_copy(update={"training": origin.facts()})
        position = _Loop(learner, card, data, recipe, run, facts, progress).run_from(position)
    if processes.leads:
        if recipe.aggregation == "held_out" and not recipe.qat:  # an INT8 graph has its weights already
            with full_disk_explained(run.path):
                weigh_levels(run.path, data, processes.device)
        try_to_write_report(run.path, recipe, data, processes.device)
    return Outcome(processes.from_first(lambda: load_checkpoint(run.path).card), position)


@dataclass(frozen=True, slots=True)
class _Loop:
    """The epochs of a run; the first process evaluates and writes.

    Attributes:
        learner: everything that learns.
        card: the model's card, with the facts of the run.
        data: the data to learn from and to evaluate on.
        recipe: all settings.
        run: the run's folder.
        facts: facts that must not change when the run is resumed.
        progress: follows the steps.
    """

    learner: Learner
    card: ModelCard
    data: TrainingData
    recipe: Recipe
    run: RunFolder
    facts: Mapping[str, Any]
    progress: Progress

    @property
    def _processes(self) -> Processes:
        return self.learner.processes

    def run_from(self, position: Position) -> Position:
        """Run everything after a position; return the position at the end."""
        samples = OwnSamples(self.data.sampler, self._processes)
        batches = training_batches(self.data.images, samples, pin_memory=self._processes.device.type == "cuda")
        reference = reference_crops(self.data.reference)
        epochs = range(position.epochs_done + 1, self.recipe.epochs + 1)
        # Epochs differ by a few steps, and to plan them all only to count them takes too long.
        self.progress.begin("training", len(epochs) * len(self.data.sampler) - position.begun.steps, "steps")
        with self._board(position.epochs_done + 1) as board:
            for epoch in epochs:
                self.data.sampler.set_epoch(epoch)
                samples.first = position.begun.steps
                row = self._row(epoch, self._learn(epoch, batches, position))
                row |= self._processes.from_first(partial(self._evaluate, epoch, board))
                position = position.after(epoch, row["held_out"].get("i2i"), row.get("level_worth", {}).values())
                if board:
                    self._store(row, position, reference, board)
                _log(row)
        return position

    def _board(self, epoch: int) -> contextlib.AbstractContextManager[Board | None]:
        if not self._processes.leads:
            return contextlib.nullcontext()
        return Board(self.run.path / "tensorboard", epoch)

    def _learn(self, number: int, batches: Iterable[TrainingBatch], position: Position) -> EpochMetrics:
        """Take the remaining steps of an epoch, and now and then store a state between two of them."""
        self.learner.begin_epoch(frozen=number <= self.recipe.frozen_epochs, level_losses=position.level_losses)
        epoch = Epoch(number, len(self.data.sampler), self.learner, self.recipe, position.begun.model_copy(deep=True))
        saved_at = time.monotonic()
        try:
            with self.learner.precision.kernels():
                for _ in epoch.take(batches):
                    self.progress.advance()
                    if self._processes.leads and time.monotonic() - saved_at >= self.run.save_every:
                        epoch.settle()
                        self._save_state(position.model_copy(update={"begun": epoch.metrics}))
                        saved_at = time.monotonic()
        except NotFiniteError as error:
            raise self._not_finite(number, error, position) from None
        return epoch.metrics

    def _not_finite(self, epoch: int, error: NotFiniteError, position: Position) -> ReidError:
        # With an INT8 graph, training starts from the model that the graph was exported from, and from no other.
        checkpoint = self.run.path / CHECKPOINT_FILE if position.best_epoch and not self.recipe.qat else None
        images = self.data.images_of_step(error.step - 1)
        return not_finite(self.run.path, epoch, error.step, error.values, images, checkpoint)

    def _row(self, epoch: int, metrics: EpochMetrics) -> dict[str, Any]:
        """Return the epoch's row of metrics, without the evaluation."""
        sampler = self.data.sampler
        unreadable = set(itertools.chain.from_iterable(self._processes.collect(metrics.unreadable)))
        speeds = metrics.speeds(frames=len(sampler) * sampler.p * sampler.k, workers=loader_workers())
        return {
            "epoch": epoch,
            "lr": learning_rate(self.recipe, epoch - 1 / len(sampler)),
            "train": dict(metrics.sums),
            **speeds,
            "unreadable": sorted(unreadable),
        }

    def _evaluate(self, epoch: int, board: Board | None) -> dict[str, Any]:
        model, data = self.learner.evaluated_model, self.data
        if not data.query.images:
            return {"held_out": {}}
        seen = observe(model, self.card, data.query, data.gallery, self._processes.device, view=data.own_view)
        if board:
            show_histograms(board, seen, epoch)
        return seen.summary() | (self._worth(seen) if self.recipe.level_losses == "held_out" else {})

    def _worth(self, seen: Observation) -> dict[str, dict[str, float]]:
        """Return what each level should count in the embedding, by name, at most 1."""
        weights = choose_level_weights(seen.data, self.card.levels)
        return {"level_worth": {level.name: weight for level, weight in zip(self.card.levels, weights, strict=True)}}

    def _store(self, row: dict[str, Any], position: Position, reference: Mapping[str, bytes], board: Board) -> None:
        """Write an epoch's results; the state comes last, so that a stop before it repeats them."""
        if position.best_epoch == row["epoch"]:
            best = {"best_epoch": row["epoch"], "held_out": row["held_out"]}
            training = self.card.training.model_copy(update=best)
            card = self.card.model_copy(update={"training": training})
            save_checkpoint(self.run.path, self.learner.evaluated_model, card, reference)
        self.run.log(row, board)
        self._save_state(position)

    def _save_state(self, position: Position) -> None:
        self.run.save_state(RunState.of(self.learner, position, self.facts))


def _log(row: Mapping[str, Any]) -> None:
    """Log an epoch's row of metrics in a line."""
    scores = ""
    if row["held_out"]:
        found = row["held_out"]["i2i"]
        scores = f"held-out mAP {found['mAP']:.2f} R-1 {found['R-1']:.2f} loss {found['retrieval_loss']:.4f}, "
    loss, speed = row["train"]["loss"], row["images_per_second"]
    logger.info("epoch %d: loss %.3f, %s%.0f images/s", row["epoch"], loss, scores, speed)
    if unreadable := row["unreadable"]:
        logger.warning("%d images could not be read: %s", len(unreadable), "; ".join(unreadable[:_NAMED]))
