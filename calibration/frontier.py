"""The mixes of precisions that nothing beats if errors add up: each has the least error of all that cost as little."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OVERHEAD", "Frontier", "cost_of", "frontier"]

OVERHEAD = 0.01
"""Fraction of all work that a layer in FP16 costs besides its own: the types around it have to be converted."""

_STEPS = 1000
"""Steps of cost for all of the work: costs are compared in whole steps."""

_FAINTEST = 1e-4
"""Fraction of the whole error below which no differences are made."""

_SMALLEST = 1e-12
"""Fraction of the whole error that is too little to make a mix of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """Mixes in ascending order of cost, from all layers in INT8 to all layers in FP16.

    Attributes:
        costs: the cost of each mix, as a fraction of all work.
        errors: the sum of the errors of its layers in INT8, descending.
    """

    costs: tuple[float, ...]
    errors: tuple[float, ...]
    _names: tuple[str, ...]
    _steps: tuple[int, ...]  # of cost, for each layer
    _taken: NDArray[np.bool_]  # [layer, steps]: whether the layer is in the best mix of the layers up to it
    _ends: tuple[int, ...]  # the steps of each mix but the last

    def __len__(self) -> int:
        """Return the number of mixes."""
        return len(self.costs)

    def magnitude(self, index: int) -> float:
        """Return the logarithm of a mix's error, relative to that of all layers in INT8, in bounds."""
        return math.log(max(self.errors[index] / self.errors[0], _FAINTEST)) if self.errors[0] else 0.0

    def mix(self, index: int) -> frozenset[str]:
        """Return the names of a mix's layers in FP16."""
        if index == len(self) - 1:
            return frozenset(self._names)
        step, chosen = self._ends[index], set()
        for layer in reversed(range(len(self._names))):
            if self._taken[layer, step]:
                chosen.add(self._names[layer])
                step -= self._steps[layer]
        return frozenset(chosen)


def cost_of(names: Sequence[str] | frozenset[str], work: Mapping[str, float]) -> float:
    """Return what the named layers cost in FP16, as a fraction of all work."""
    return sum(work[name] + OVERHEAD for name in sorted(names))


def frontier(errors: Mapping[str, float], work: Mapping[str, float]) -> Frontier:
    """Solve the knapsack problem for every cost at once, by dynamic programming: O(layers * steps of cost).

    Args:
        errors: layer -> the error of quantizing it alone.
        work: layer -> its fraction of all multiply-accumulates.
    """
    names = tuple(work)
    steps = tuple(max(1, round(_STEPS * (work[name] + OVERHEAD))) for name in names)
    removed = np.zeros(sum(steps) + 1)  # the most error that FP16 can remove at each cost
    taken = np.zeros((len(names), len(removed)), bool)
    for layer, (name, own) in enumerate(zip(names, steps, strict=True)):
        if errors[name] > 0:
            with_it = removed[:-own] + errors[name]
            taken[layer, own:] = with_it > removed[own:]
            removed[own:] = np.maximum(removed[own:], with_it)
    whole = float(removed[-1])
    ends = [0, *(np.flatnonzero(np.diff(removed) > _SMALLEST * whole) + 1).tolist()]
    ends = [end for end in ends if end < len(removed) - 1]
    costs = (*(end / _STEPS for end in ends), (len(removed) - 1) / _STEPS)
    left = (*(max(0.0, whole - float(removed[end])) for end in ends), 0.0)
    return Frontier(costs, left, names, steps, taken, tuple(ends))
