"""Which layers return to FP16, so that retrieval is within tolerance and as much work as possible stays in INT8.

Quantization errors of different layers are nearly independent, so their effects on the embeddings add up. Removing a
given amount of error at the least cost in speed is then a fractional knapsack problem: layers return to FP16 in the
order of error per work. Along that order retrieval recovers steadily, so the number of layers to return is not found
one by one: the search leaps to where half of the remaining error is gone, and at least twice as far as before, and then
bisects. For n layers that takes at most about 2 log2(n) evaluations, and two or three if a few layers cause most of the
error.

Layers cannot be split, which matters if the last one of the order is heavy. If little was missing, lighter layers
further along the order do instead; if the heavy layer causes nearly all of the error, the cheap ones before it are
needless, and go back to INT8 together as far as the sums allow. Finally, every layer that matters for speed is tried
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

__all__ = ["Evaluation", "Found", "order_of_return", "search"]

OVERHEAD = 0.01
"""Fraction of all work that a layer in FP16 costs besides its own: the types around it have to be converted."""

WORTH_TRYING = 0.01
"""Fraction of all work that is worth an evaluation to see whether it can stay in INT8 after all."""


class Evaluation(BaseModel):
    """The effect of a mix of precisions on retrieval.

    Attributes:
        in_fp16: the names of the layers in FP16, sorted.
        failures: the measurements outside tolerance, a sentence each.
        changes: "i2i mAP" -> candidate minus reference, in points.
        similarity: the smallest cosine similarity of an embedding to the reference's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    in_fp16: tuple[str, ...] = Field(validation_alias=AliasChoices("in_fp16", "kept"))  # the latter before
    failures: tuple[str, ...]
    changes: dict[str, float]
    similarity: float

    @property
    def passed(self) -> bool:
        """Whether everything is within tolerance."""
        return not self.failures

    @property
    def largest_fall(self) -> tuple[str, float] | None:
        """Metric that fell the most, such as "i2i mAP", and its change in points; None if none was compared."""
        return min(self.changes.items(), key=lambda change: change[1], default=None)


@dataclass(frozen=True, slots=True)
class Found:
    """The mix that a search ends with.

    Attributes:
        in_fp16: the names of the layers in FP16; None if not even all layers in FP16 are within tolerance.
        evaluations: every evaluation that the search made, in order.
    """

    in_fp16: frozenset[str] | None
    evaluations: tuple[Evaluation, ...]


def order_of_return(errors: Mapping[str, float], work: Mapping[str, float]) -> list[str]:
    """Return the layers' names, those first that remove the most error for the work that they slow down.

    Args:
        errors: layer -> the error of quantizing it alone.
        work: layer -> its fraction of all multiply-accumulates, in the order of execution.
    """
    worth = {name: errors[name] / (fraction + OVERHEAD) for name, fraction in work.items()}
    return sorted(worth, key=lambda name: -worth[name])


def search(
    order: Sequence[str],
    errors: Mapping[str, float],
    work: Mapping[str, float],
    evaluate: Callable[[frozenset[str]], Evaluation],
) -> Found:
    """Find a smallest set of layers to run in FP16.

    It is smallest in this sense: the beginning of the order that is one layer shorter failed, and so did every mix with
    one more of the layers that matter for speed in INT8.

    Args:
        order: the names of all layers in INT8, as order_of_return sorts them.
        errors: layer -> the error of quantizing it alone.
        work: layer -> its fraction of all multiply-accumulates.
        evaluate: measures the mix with the given layers in FP16; called once for each mix.
    """
    evaluations: dict[frozenset[str], Evaluation] = {}

    def passes(in_fp16: frozenset[str]) -> bool:
        if in_fp16 not in evaluations:
            evaluations[in_fp16] = evaluate(in_fp16)
        return evaluations[in_fp16].passed

    count = _shortest_prefix(lambda length: passes(frozenset(order[:length])), [errors[name] for name in order])
    if not count:
        return Found(frozenset() if count == 0 else None, tuple(evaluations.values()))
    chosen = _with_lighter_ones(order, count, errors, work, passes)
    in_fp16 = _without_what_sums_allow(chosen, errors, passes)
    in_fp16 = _without_needless([name for name in chosen if name in in_fp16], work, passes)
    return Found(in_fp16, tuple(evaluations.values()))


def _shortest_prefix(passes: Callable[[int], bool], errors: Sequence[float]) -> int | None:
    """Return a length that passes while one less does not; None if not even all layers pass.

    Each step halves the remaining error and doubles the length, until it passes; then bisection.
    """
    left = np.append(np.cumsum(errors[::-1])[::-1], 0.0)  # with the first 0, 1, 2, ... layers returned to FP16
    failed, length = -1, 0
    while not passes(length):
        if length == len(errors):
            return None
        failed = length
        halved = length + 1 + int(np.argmax(left[length + 1 :] <= left[length] / 2))
        length = min(max(halved, 2 * length), len(errors))
    return _bisect(passes, failed, length)


def _bisect(passes: Callable[[int], bool], failed: int, passed: int) -> int:
    """Return a number, between one that failed and one that passed, that passes while one less does not."""
    while passed - failed > 1:
        middle = (failed + passed) // 2
        if passes(middle):
            passed = middle
        else:
            failed = middle
    return passed


def _with_lighter_ones(
    order: Sequence[str],
    count: int,
    errors: Mapping[str, float],
    work: Mapping[str, float],
    passes: Callable[[frozenset[str]], bool],
) -> list[str]:
    """Replace the last of the first `count` layers by later ones that cost less together, if that looks promising."""
    before, last = list(order[: count - 1]), order[count - 1]
    lighter: list[str] = []
    cost = 0.0
    for name in order[count:]:
        if cost + work[name] + OVERHEAD < work[last]:
            lighter.append(name)
            cost += work[name] + OVERHEAD
    # The chance that they are enough, if every amount that may be missing is equally likely.
    chance = sum(errors[name] for name in lighter) / errors[last] if errors[last] else 0.0
    if chance * work[last] < WORTH_TRYING or not passes(frozenset([*before, *lighter])):
        return [*before, last]
    enough = _bisect(lambda length: passes(frozenset([*before, *lighter[:length]])), 0, len(lighter))
    return [*before, *lighter[:enough]]


def _without_what_sums_allow(
    chosen: Sequence[str], errors: Mapping[str, float], passes: Callable[[frozenset[str]], bool]
) -> frozenset[str]:
    """Return as many layers to INT8 as together have a smaller error than the last one.

    Without the last layer in FP16 the mix failed, so an error as large as its own is too much.
    """
    in_fp16, last = frozenset(chosen), errors[chosen[-1]]
    light = [name for name in reversed(chosen[:-1]) if errors[name] < last]
    count = int(np.searchsorted(np.cumsum([errors[name] for name in light]), last))
    while count:
        if passes(in_fp16 - set(light[:count])):
            return in_fp16 - set(light[:count])
        count //= 2
    return in_fp16


def _without_needless(
    prefix: Sequence[str], work: Mapping[str, float], passes: Callable[[frozenset[str]], bool]
) -> frozenset[str]:
    """Return layers that need not be in FP16 to INT8, the one with the most work first.

    Whether a handful of queries find the same matches is partly chance, so errors alone cannot tell.
    """
    in_fp16 = frozenset(prefix)
    candidates = [name for name in prefix if work[name] >= WORTH_TRYING]
    for name in sorted(candidates, key=lambda one: -work[one]):
        if passes(in_fp16 - {name}):
            in_fp16 -= {name}
    return in_fp16
