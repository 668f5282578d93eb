"""Which layers return to FP16, so that retrieval is within tolerance and as much work as possible stays in INT8.

Quantization errors of different layers are nearly independent, so their effects on the embeddings add up. Removing a
given amount of error at the least cost in speed is then a knapsack problem, and its solutions for all amounts are a
frontier (`frontier.py`). How much error retrieval bears is not known: that is what is searched for, along the frontier.

How much of the tolerance a mix uses up, its strain, is measured smoothly and grows with the error. So the search does
not only halve: it leaps to where the strain would be below 1 if it were proportional to the error, and then
interpolates between the cheapest mix that passed and the costliest that failed.

Errors are measured on few images, and one that was overestimated puts a layer in FP16 that need not be. What is left of
the budget therefore goes to returning layers to INT8, those first that promise most: the cost that they would save,
times the chance that their error is still borne.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from reid.calibration.frontier import Frontier, cost_of, frontier

__all__ = ["BUDGET", "Evaluation", "Found", "search"]

BUDGET = 15
"""Largest number of evaluations of a search."""

_LEAPS = 5
"""Mixes that may fail before all layers are tried in FP16."""
_AIM = 0.8
"""Strain that a leap aims at."""
_INNER = (0.25, 0.75)
"""Part of what lies between two mixes in which an interpolation may end."""
_WORTH_TRYING = 0.002
"""Fraction of all work, times the chance to save it, that an evaluation has to be worth."""
_LEAST_ROOM = 0.01
"""Fraction of the whole error that may be borne for all that is known of single layers."""
_LIGHTEST = (1 / 2, 1 / 4, 1 / 8)
"""Fractions of the layers in INT8 that are timed in FP16, the lightest first."""
_FASTER = 0.99
"""Ratio of two measured times from which one is faster."""


class Evaluation(BaseModel):
    """The effect of a mix of precisions on retrieval.

    Attributes:
        in_fp16: the names of the layers in FP16, sorted.
        failures: the measurements outside tolerance, a sentence each.
        changes: "i2i mAP" -> candidate minus reference, in points.
        similarity: the smallest cosine similarity of an embedding to the reference's.
        strain: the largest fraction of a tolerance that is used up, of those that are smooth: mAP and similarity. None
            in earlier files, which did not measure it.
        session: the session that ran the mix, for people; empty in earlier files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    in_fp16: tuple[str, ...] = Field(validation_alias=AliasChoices("in_fp16", "kept"))  # the latter before
    failures: tuple[str, ...]
    changes: dict[str, float]
    similarity: float
    strain: float | None = None
    session: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything is within tolerance."""
        return not self.failures

    @property
    def largest_fall(self) -> tuple[str, float] | None:
        """The mAP that fell the most, such as "i2i mAP", and its change in points; None if none was compared."""
        of_map = (change for change in self.changes.items() if "mAP" in change[0])
        return min(of_map, key=lambda change: change[1], default=None)

    @property
    def pull(self) -> float:
        """Logarithm of the strain, in bounds, and on the side of the verdict: what is not smooth may have decided."""
        strain = math.log(min(max(self.strain or 0.0, 0.02), 1e6))
        return min(strain, -0.02) if self.passed else max(strain, 0.02)


@dataclass(frozen=True, slots=True)
class Found:
    """The mix that a search ends with.

    Attributes:
        in_fp16: the names of the layers in FP16; None if not even all layers in FP16 are within tolerance.
        evaluations: every evaluation that the search made, in order.
    """

    in_fp16: frozenset[str] | None
    evaluations: tuple[Evaluation, ...]


def search(
    errors: Mapping[str, float],
    work: Mapping[str, float],
    evaluate: Callable[[frozenset[str]], Evaluation],
    *,
    budget: int = BUDGET,
    time: Callable[[frozenset[str]], float] | None = None,
) -> Found:
    """Find the cheapest set of layers to run in FP16 that the budget can find.

    Args:
        errors: layer -> the error of quantizing it alone.
        work: layer -> its fraction of all multiply-accumulates.
        evaluate: measures the mix with the given layers in FP16; called once for each mix.
        budget: the largest number of evaluations, at least 2.
        time: measures how long the mix takes; the fastest that passed is then what is found, and not the one with the
            least work in FP16. Called once for each mix.
    """
    trials = _Trials(evaluate, budget)
    found = _along(frontier(errors, work), trials)
    if found is not None:
        _return_needless(found, errors, work, trials)
    passed = [frozenset(one.in_fp16) for one in trials.made if one.passed]
    if not passed:
        return Found(None, tuple(trials.made))
    if time is None:
        return Found(min(passed, key=lambda mix: cost_of(mix, work)), tuple(trials.made))
    return Found(_fastest(passed, work, trials, time), tuple(trials.made))


@dataclass(slots=True)
class _Trials:
    """The evaluations made so far; none is repeated."""

    evaluate: Callable[[frozenset[str]], Evaluation]
    budget: int
    made: list[Evaluation] = field(default_factory=list)
    _known: dict[frozenset[str], Evaluation] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.budget - len(self.made)

    def of(self, in_fp16: frozenset[str]) -> Evaluation:
        if in_fp16 not in self._known:
            self._known[in_fp16] = self.evaluate(in_fp16)
            self.made.append(self._known[in_fp16])
        return self._known[in_fp16]

    def knows(self, in_fp16: frozenset[str]) -> bool:
        """Whether a mix was evaluated, or one that failed has the same layers and more in FP16."""
        return in_fp16 in self._known or any(not one.passed and in_fp16 < mix for mix, one in self._known.items())


@dataclass(frozen=True, slots=True)
class _Passed:
    """A mix that passed, and the error that it would take, as far as known, to make it fail."""

    in_fp16: frozenset[str]
    room: float


def _along(mixes: Frontier, trials: _Trials) -> _Passed | None:
    """Return a mix of the frontier that passes, next to one that fails; None if none passes or the first one does."""
    failed, found = 0, trials.of(mixes.mix(0))
    if found.passed:
        return None
    before, passed = found, 0
    for leap in range(1, _LEAPS + 1):
        is_last = leap == _LEAPS or trials.left == 1
        passed = len(mixes) - 1 if is_last else _leap(mixes, failed, before, leap)
        found = trials.of(mixes.mix(passed))
        if found.passed:
            break
        if passed == len(mixes) - 1:
            return None
        failed, before = passed, found
    while trials.left and passed - failed > 1:
        middle = _between(mixes, (failed, before), (passed, found))
        if _gain(mixes, failed, middle, passed) < _WORTH_TRYING:
            break
        tried = trials.of(mixes.mix(middle))
        if tried.passed:
            passed, found = middle, tried
        else:
            failed, before = middle, tried
    room = mixes.errors[failed] - mixes.errors[passed]
    return _Passed(mixes.mix(passed), max(room, _LEAST_ROOM * mixes.errors[0]))


def _leap(mixes: Frontier, failed: int, found: Evaluation, leap: int) -> int:
    """Return the mix that would pass if strain were proportional to error; at most a half of the error may remain."""
    least = 2.0 ** -(2**leap)  # one measurement is not trusted with more
    aim = mixes.errors[failed] * min(0.5, max(_AIM * math.exp(-found.pull), least))
    return next(index for index in range(failed + 1, len(mixes)) if mixes.errors[index] <= aim)


def _between(mixes: Frontier, failed: tuple[int, Evaluation], passed: tuple[int, Evaluation]) -> int:
    """Return a mix between two, where the strain is 1 by interpolation: both scales are logarithmic."""
    (first, before), (last, after) = failed, passed
    share = min(max(before.pull / (before.pull - after.pull), _INNER[0]), _INNER[1])
    start, end = mixes.magnitude(first), mixes.magnitude(last)
    aim = start + share * (end - start)
    inner = range(first + 1, last)
    return next((index for index in inner if mixes.magnitude(index) <= aim), inner[-1])


def _gain(mixes: Frontier, failed: int, middle: int, passed: int) -> float:
    """Return the cost that a mix would save, times the chance that it passes: any order of error may be the limit."""
    start, aim, end = (mixes.magnitude(index) for index in (failed, middle, passed))
    chance = (start - aim) / (start - end) if start > end else 0.5
    return (mixes.costs[passed] - mixes.costs[middle]) * chance


def _return_needless(found: _Passed, errors: Mapping[str, float], work: Mapping[str, float], trials: _Trials) -> None:
    """Try groups of layers in INT8 again, until none is worth an evaluation."""
    in_fp16 = found.in_fp16
    while trials.left:
        groups = (group for group in _groups(in_fp16, errors, work) if not trials.knows(in_fp16 - group))
        promise, group = max(
            ((_promise(group, found.room, errors, work), group) for group in groups),
            key=lambda one: one[0],
            default=(0.0, frozenset()),
        )
        if promise < _WORTH_TRYING:
            return
        if trials.of(in_fp16 - group).passed:
            in_fp16 -= group


def _groups(
    in_fp16: frozenset[str], errors: Mapping[str, float], work: Mapping[str, float]
) -> Iterator[frozenset[str]]:
    """Yield every layer alone, and the two, three, ... with the least error for their cost."""
    order = sorted(sorted(in_fp16), key=lambda name: errors[name] / cost_of([name], work))
    yield from (frozenset([name]) for name in order)
    yield from (frozenset(order[:count]) for count in range(2, len(order)))


def _promise(group: frozenset[str], room: float, errors: Mapping[str, float], work: Mapping[str, float]) -> float:
    """Return the cost that a group would save, times the chance that its error is borne: 1/2 for one of the room."""
    error = sum(errors[name] for name in sorted(group))
    return cost_of(group, work) * (room / (room + error) if error > 0 else 1.0)


def _fastest(
    passed: list[frozenset[str]],
    work: Mapping[str, float],
    trials: _Trials,
    time: Callable[[frozenset[str]], float],
) -> frozenset[str]:
    """Return the fastest mix: of those that passed, and of some in which layers too light for INT8 are in FP16, too."""
    times = {mix: time(mix) for mix in passed}
    best = min(times, key=lambda mix: times[mix])
    in_int8 = sorted((name for name in work if name not in best), key=lambda name: work[name])
    for fraction in _LIGHTEST:
        mix = best | frozenset(in_int8[: int(fraction * len(in_int8))])
        if not trials.left or trials.knows(mix):
            continue
        if time(mix) < _FASTER * times[best] and trials.of(mix).passed:
            return mix
    return best
