"""The steps of an epoch."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from reid.runtime.errors import ReidError
from reid.train.data.images import TrainingBatch
from reid.train.epoch_metrics import EpochMetrics
from reid.train.failures import too_little_memory
from reid.train.learner import Learner
from reid.train.out_of_memory import is_out_of_memory
from reid.train.recipe import Recipe, learning_rate
from reid.train.step_metrics import StepMetrics

__all__ = ["Epoch", "NotFiniteError"]

_ENDED = re.compile(r"DataLoader worker \(pid.*\) (is killed|exited)")


class NotFiniteError(ReidError):
    """A step whose values are not all finite.

    Attributes:
        step: the step within the epoch, counted from 1.
        values: the step's values by name.
    """

    def __init__(self, step: int, values: dict[str, float]) -> None:
        super().__init__(f"not finite at step {step}")
        self.step = step
        self.values = values


class Epoch:
    """The remaining steps of an epoch.

    A GPU computes while the next step is prepared, so a step's values are read after the next step was launched: the
    metrics are a step behind until they are settled.

    Args:
        number: the epoch, counted from 1.
        steps: number of steps in the whole epoch.
        learner: the learner that takes the steps.
        recipe: all settings.
        metrics: the sums over the finished steps, to be continued.

    Attributes:
        metrics: the sums over the finished steps.
    """

    def __init__(self, number: int, steps: int, learner: Learner, recipe: Recipe, metrics: EpochMetrics) -> None:
        self.metrics = metrics
        self._number = number
        self._steps = steps
        self._learner = learner
        self._recipe = recipe
        self._unread: StepMetrics | None = None

    def take(self, batches: Iterable[TrainingBatch]) -> Iterator[int]:
        """Learn from the batches of the remaining steps; yield the number of finished steps after each.

        Raises:
            NotFiniteError: a value of this step or of the one before is not finite.
            ReidError: the memory does not suffice.
        """
        mark = time.perf_counter()
        for step, batch in enumerate(_timed(batches, self.metrics), self.metrics.steps):
            values = self._step(step, batch)
            self.settle()
            self._unread = values
            self.metrics.unreadable += batch.unreadable
            self.metrics.decoding_seconds += batch.decoding_seconds
            now = time.perf_counter()
            self.metrics.seconds, mark = self.metrics.seconds + now - mark, now
            yield step + 1
        self.settle()
        self.metrics.seconds += time.perf_counter() - mark

    def settle(self) -> None:
        """Read the values of the last step, so that the metrics are complete.

        Raises:
            NotFiniteError: one of the values is not finite.
        """
        if self._unread is None:
            return
        values, self._unread = self._unread.read(), None
        if not all(map(math.isfinite, values.values())):
            raise NotFiniteError(self.metrics.steps + 1, values)
        self.metrics.add(values, of=self._steps)

    def _step(self, step: int, batch: TrainingBatch) -> StepMetrics:
        rate = learning_rate(self._recipe, self._number - 1 + step / self._steps)
        seed = self._seed(step)
        try:
            return self._learner.step(batch, rate, seed=seed)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, because the error keeps the tensors of the failed step alive.
        frames = self._learner.micro_batch or len(batch.frames)
        alone = self._learner.processes.count == 1  # other processes would not take part in an attempt

        def attempt(micro_batch: int) -> None:
            for _ in range(2):  # the optimizer allocates its memory in the first step
                self._learner.step(batch, rate, seed=seed, micro_batch=micro_batch)

        raise too_little_memory(min(frames, len(batch.frames)), attempt if alone else None)

    def _seed(self, step: int) -> int:
        """Return a seed that depends on run, epoch, step and process, so that a resumed run repeats the step."""
        entropy = [self._recipe.seed, self._number, step, self._learner.processes.rank]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _timed(batches: Iterable[Any], metrics: EpochMetrics) -> Iterator[Any]:
    """Yield the batches, and count the seconds spent waiting for them."""
    iterator = iter(batches)
    while True:
        started = time.perf_counter()
        batch = _next(iterator)
        metrics.waiting_seconds += time.perf_counter() - started
        if batch is None:
            return
        yield batch


def _next(iterator: Iterator[Any]) -> Any:  # noqa: ANN401 - whatever the loader gives
    try:
        return next(iterator, None)
    except ReidError as error:  # PyTorch puts a worker's traceback before it
        _, _, sentence = str(error).splitlines()[-1].partition(f"{type(error).__name__}: ")
        raise type(error)(sentence.strip() or str(error)) from None
    except RuntimeError as error:
        if not (is_out_of_memory(error) or _ENDED.match(str(error))):
            raise
        raise ReidError(
            "a decoding process ended, as it does where the memory is too small; take a smaller --batch or --image-size"
        ) from None
