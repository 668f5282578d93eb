"""Which layers go back to FP16, so that retrieval is within tolerance and as much work as possible stays in INT8.

Quantization errors of different layers are nearly independent, so their effects on the embeddings add up. To leave out
a given error at the smallest loss of speed is then a fractional knapsack: layers are given back in the order of error
per work. Along that order retrieval recovers steadily, so the number of layers to give back is found by going on to
where half the error that is left is gone, and at least twice as far as before, and then by bisection, and not one by
one. For n layers that is at most about 2 log2(n) evaluations, and two or three where a few layers make most of the
error.

A knapsack's things are whole, which a heavy layer at the end feels. If little was lacking, lighter ones from further
down the order do in its place; if it makes nearly all of the error, the cheap ones before it are needless, and are put
back together as far as the sums allow. At last every layer that matters for speed is tried by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from reid.calibration.layers import Layer

__all__ = ["Evaluation", "Found", "order_of_return", "search"]

OVERHEAD = 0.01
"""Share of all work that a layer in FP16 costs beside its own: what is around it has to change types."""

WORTH_TRYING = 0.01
"""Share of all work that is worth an evaluation to see whether it can stay in INT8 after all."""


class Evaluation(BaseModel):
    """What a mix of precisions does to retrieval.

    Attributes:
        kept: names of the layers in FP16, sorted.
        failures: what is outside tolerance, a sentence each.
        changes: "i2i mAP" -> candidate minus reference, in points.
        similarity: smallest cosine similarity of an embedding to the reference's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kept: tuple[str, ...]
    failures: tuple[str, ...]
    changes: dict[str, float]
    similarity: float

    @property
    def passed(self) -> bool:
        """Whether everything is within tolerance."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class Found:
    """The mix that a search ends with.

    Attributes:
        kept: names of the layers in FP16; None where not even all of them are enough.
        evaluations: every one that it took, in order.
    """

    kept: frozenset[str] | None
    evaluations: tuple[Evaluation, ...]


def order_of_return(layers: Sequence[Layer], errors: Mapping[str, float], macs: int) -> list[str]:
    """Give the layers' names, those first that take most error with them for the work that they slow down.

    Args:
        layers: that are in INT8.
        errors: layer -> what quantizing only it does to the embeddings.
        macs: of the whole graph.
    """
    worth = {layer.name: errors[layer.name] / (layer.macs / macs + OVERHEAD) for layer in layers}
    return sorted(worth, key=lambda name: -worth[name])


def search(
    order: Sequence[str],
    errors: Mapping[str, float],
    work: Mapping[str, float],
    evaluate: Callable[[frozenset[str]], Evaluation],
) -> Found:
    """Find a smallest set of layers to keep in FP16.

    It is a smallest one in this sense: the part of the order that is one shorter failed, and so did every mix in which
    one more of the layers that matter for speed is in INT8.

    Args:
        order: all layers in INT8, of order_of_return.
        errors: layer -> what quantizing only it does to the embeddings.
        work: layer -> its share of all multiply-accumulates.
        evaluate: measures a mix; called once a mix, with the layers to keep.
    """
    evaluations: dict[frozenset[str], Evaluation] = {}

    def passes(kept: frozenset[str]) -> bool:
        if kept not in evaluations:
            evaluations[kept] = evaluate(kept)
        return evaluations[kept].passed

    count = _shortest_prefix(lambda length: passes(frozenset(order[:length])), [errors[name] for name in order])
    if not count:
        return Found(frozenset() if count == 0 else None, tuple(evaluations.values()))
    chosen = _with_lighter_ones(order, count, errors, work, passes)
    kept = _without_what_sums_allow(chosen, errors, passes)
    kept = _without_needless([name for name in chosen if name in kept], work, passes)
    return Found(kept, tuple(evaluations.values()))


def _shortest_prefix(passes: Callable[[int], bool], errors: Sequence[float]) -> int | None:
    """Give a length that passes where one less does not; None where not even all do.

    Each step halves the error that is left and doubles the length, until it passes; then bisection.
    """
    left = np.append(np.cumsum(errors[::-1])[::-1], 0.0)  # with the first 0, 1, 2, ... layers given back
    failed, length = -1, 0
    while not passes(length):
        if length == len(errors):
            return None
        failed = length
        halved = length + 1 + int(np.argmax(left[length + 1 :] <= left[length] / 2))
        length = min(max(halved, 2 * length), len(errors))
    return _bisect(passes, failed, length)


def _bisect(passes: Callable[[int], bool], failed: int, passed: int) -> int:
    """Give a number between two of which one failed and one passed, that passes where one less does not."""
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
    """Take for the last of a shortest prefix some that follow it and together cost less, if there is hope in that."""
    before, last = list(order[: count - 1]), order[count - 1]
    lighter: list[str] = []
    cost = 0.0
    for name in order[count:]:
        if cost + work[name] + OVERHEAD < work[last]:
            lighter.append(name)
            cost += work[name] + OVERHEAD
    hope = sum(errors[name] for name in lighter) / errors[last] if errors[last] else 0.0  # if any lack is as likely
    if hope * work[last] < WORTH_TRYING or not passes(frozenset([*before, *lighter])):
        return [*before, last]
    enough = _bisect(lambda length: passes(frozenset([*before, *lighter[:length]])), 0, len(lighter))
    return [*before, *lighter[:enough]]


def _without_what_sums_allow(
    chosen: Sequence[str], errors: Mapping[str, float], passes: Callable[[frozenset[str]], bool]
) -> frozenset[str]:
    """Put back as many as have, by the sum of errors, less to answer for than the last.

    Without the last it failed, so that more than its error is too much.
    """
    kept, last = frozenset(chosen), errors[chosen[-1]]
    light = [name for name in reversed(chosen[:-1]) if errors[name] < last]
    count = int(np.searchsorted(np.cumsum([errors[name] for name in light]), last))
    while count:
        if passes(kept - set(light[:count])):
            return kept - set(light[:count])
        count //= 2
    return kept


def _without_needless(
    prefix: Sequence[str], work: Mapping[str, float], passes: Callable[[frozenset[str]], bool]
) -> frozenset[str]:
    """Put back to INT8 what need not be in FP16, most work first.

    Whether a handful of queries find the same is partly chance, so that errors alone do not tell.
    """
    kept = frozenset(prefix)
    candidates = [name for name in prefix if work[name] >= WORTH_TRYING]
    for name in sorted(candidates, key=lambda one: -work[one]):
        if passes(kept - {name}):
            kept -= {name}
    return kept
