"""The steps of an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from reid.runtime.errors import ReidError
from reid.train.data.images import TrainingBatch
from reid.train.failures import too_little_memory
from reid.train.learner import Learner
from reid.train.out_of_memory import is_out_of_memory
from reid.train.recipe import Recipe, learning_rate
from reid.train.step_values import StepValues
from reid.train.tally import Tally

__all__ = ["Epoch", "NotFiniteError"]


class NotFiniteError(ReidError):
    """A step, counted from 1, whose values are not all finite."""

    def __init__(self, step: int, values: dict[str, float]) -> None:
        super().__init__(f"not finite at step {step}")
        self.step = step
        self.values = values


class Epoch:
    """Takes the steps of an epoch that are left.

    A GPU computes while the next step is prepared, so a step's values are read after the next one was launched: the
    tally lags behind by a step until it is settled.

    Args:
        number: from 1.
        steps: of the whole epoch.
        learner: takes them.
        recipe: gives the learning rate.
        tally: of the steps that are done; it is continued.
    """

    def __init__(self, number: int, steps: int, learner: Learner, recipe: Recipe, tally: Tally) -> None:
        self.tally = tally
        self._number = number
        self._steps = steps
        self._learner = learner
        self._recipe = recipe
        self._unread: StepValues | None = None

    def take(self, batches: Iterable[TrainingBatch]) -> Iterator[int]:
        """Learn from batches, the first of which is that of the first step that is left; yields the steps done.

        Raises:
            NotFiniteError: a value of this step or of the one before is not finite.
            ReidError: the memory does not suffice.
        """
        mark = time.perf_counter()
        for step, batch in enumerate(_timed(batches, self.tally), self.tally.steps):
            values = self._step(step, batch)
            self.settle()
            self._unread = values
            self.tally.unreadable += batch.unreadable
            self.tally.decoding_seconds += batch.decoding_seconds
            now = time.perf_counter()
            self.tally.seconds, mark = self.tally.seconds + now - mark, now
            yield step + 1
        self.settle()
        self.tally.seconds += time.perf_counter() - mark

    def settle(self) -> None:
        """Read the values of the last step, so that the tally is complete.

        Raises:
            NotFiniteError: one of them is not finite.
        """
        if self._unread is None:
            return
        values, self._unread = self._unread.read(), None
        if not all(map(math.isfinite, values.values())):
            raise NotFiniteError(self.tally.steps + 1, values)
        self.tally.add(values, of=self._steps)

    def _step(self, step: int, batch: TrainingBatch) -> StepValues:
        rate = learning_rate(self._recipe, self._number - 1 + step / self._steps)
        seed = self._seed(step)
        try:
            return self._learner.step(batch, rate, seed=seed)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Not within the handler: the error holds on to the tensors of the step that failed.
        frames = self._learner.micro_batch or len(batch.frames)
        alone = self._learner.processes.count == 1  # the others would not take part in an attempt

        def attempt(micro_batch: int) -> None:
            for _ in range(2):  # the optimizer's memory is there from the first step on
                self._learner.step(batch, rate, seed=seed, micro_batch=micro_batch)

        raise too_little_memory(min(frames, len(batch.frames)), attempt if alone else None)

    def _seed(self, step: int) -> int:
        """Draw a number from run, epoch, step and process, so that a step repeats on resume."""
        entropy = [self._recipe.seed, self._number, step, self._learner.processes.rank]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _timed(batches: Iterable[Any], tally: Tally) -> Iterator[Any]:
    """Count the seconds that are spent waiting for the next batch."""
    iterator = iter(batches)
    while True:
        started = time.perf_counter()
        batch = next(iterator, None)
        tally.waiting_seconds += time.perf_counter() - started
        if batch is None:
            return
        yield batch
