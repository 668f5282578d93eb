"""Small galleries in folders, and what they have to be: a dictionary, searched by a loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import Found
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space

__all__ = ["DIMENSIONS", "SPACE", "Model", "contents", "files_of", "make_entries", "naive_search", "unit"]

DIMENSIONS = 6
SPACE = Space("f" * 64, "fp32", DIMENSIONS)

Model: TypeAlias = dict[str, tuple[Entry, tuple[float, ...]]]
"""id -> entry and embedding, in the order in which they were added."""


def unit(rows: int, size: int = DIMENSIONS, seed: int = 0) -> NDArray[np.float32]:
    """Return seeded embeddings, float32 [rows, size]; of four, two are the same, and one differs from them by a bit."""
    vectors = np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for row in range(rows):
        if row % 4 > 1:
            vectors[row] = vectors[row - 1]
        if row % 4 == 3:
            vectors[row, 0] = np.nextafter(vectors[row, 0], np.float32(2))
    return vectors


def make_entries(ids: Iterable[str], seed: int = 0) -> list[Entry]:
    """Return seeded entries with these ids; of some, something is not known."""
    random = Random(seed)
    return [
        Entry(
            identity,
            random.choice([None, "c1", "c2", "c3"]),
            random.choice([None, "7", "bus \N{BLACK HEART SUIT}"]),
            random.choice([None, float(random.randrange(10))]),
            random.choice(["", f"/crops/{identity}.jpg", "/not \udcff utf-8.jpg"]),
            random.randrange(3),
        )
        for identity in ids
    ]


def contents(store: Store) -> Model:
    """Return what a store has, in its order."""
    return dict(_pairs(store))


def _pairs(store: Store) -> Iterator[tuple[str, tuple[Entry, tuple[float, ...]]]]:
    for entries, embeddings in store.batches():
        for entry, embedding in zip(entries, embeddings.tolist(), strict=True):
            yield entry.id, (entry, tuple(embedding))


def naive_search(
    model: Model, queries: NDArray[np.float32], k: int, conditions: Sequence[Condition]
) -> list[tuple[Found, ...]]:
    """Rank by a loop, with the dot products of embeddings on a grid of 2^-26, which are not rounded any further."""
    found = []
    for query, condition in zip(queries.tolist(), conditions, strict=True):
        scored = [(entry, _product(query, other)) for entry, other in model.values() if _allows(condition, entry)]
        scored.sort(key=lambda pair: -pair[1])
        found.append(tuple(Found(entry, float(np.float32(float(score)))) for entry, score in scored[:k]))
    return found


def _product(one: Sequence[float], other: Sequence[float]) -> Fraction:
    return sum((_on_grid(a) * _on_grid(b) for a, b in zip(one, other, strict=True)), Fraction(0))


@cache
def _on_grid(number: float) -> Fraction:
    return Fraction(round(Fraction(number) * 2**26), 2**26)


def _allows(condition: Condition, entry: Entry) -> bool:
    """Return what `condition.allows` has to say."""
    allowed = _allows_case_by_case(condition, entry)
    assert condition.allows(entry) == allowed
    return allowed


def _allows_case_by_case(condition: Condition, entry: Entry) -> bool:
    if condition.cameras is not None and entry.camera not in condition.cameras:
        return False
    if entry.camera in condition.not_cameras:
        return False
    if condition.time_s is not None:
        if entry.time_s is None:
            return False
        if entry.time_s < condition.time_s[0] or entry.time_s > condition.time_s[1]:
            return False
    if condition.travel is not None:
        if entry.time_s is None or entry.camera is None:
            return False
        seen, limits = condition.travel.seen, condition.travel.times.limits
        ways = []
        if entry.time_s >= seen.time_s:
            ways.append((limits.get((seen.camera, entry.camera)), entry.time_s - seen.time_s))
        if entry.time_s <= seen.time_s:
            ways.append((limits.get((entry.camera, seen.camera)), seen.time_s - entry.time_s))
        return any(limit is None or limit[0] <= taken <= limit[1] for limit, taken in ways)
    return True


def files_of(folder: Path) -> set[str]:
    """Return the names in a gallery's folder."""
    return {path.name for path in folder.iterdir()}
