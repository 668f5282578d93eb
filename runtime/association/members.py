"""The tracks of identities, and the scores of new tracks with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reid.runtime.association.tracks import SeenTrack
from reid.runtime.galleries.ranking import exact_distances
from reid.runtime.operating_point import written_steps

__all__ = ["Members", "StepScores"]

_BLOCK = 1024
"""Rows that are moved at a time."""


class Members:
    """The tracks that have an identity, in the order in which they joined; their embeddings are one matrix."""

    def __init__(self) -> None:
        self.of: dict[int, list[SeenTrack]] = {}
        self.names: set[str] = set()
        self._last_s: dict[int, float] = {}
        self._numbers: list[int] = []
        self._room = np.empty((0, 0), np.float32)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The identity of each track, int64 [M]."""
        return np.array(self._numbers, np.int64)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """The embeddings, float32 [M, D]; D is 0 before the first."""
        return self._room[: len(self._numbers)]

    def add(self, track: SeenTrack, number: int) -> None:
        """Let a track join an identity, or begin it."""
        held = len(self._numbers)
        if held == len(self._room):
            grown = np.empty((max(64, 2 * held), len(track.embedding)), np.float32)
            grown[:held] = self._room if held else 0
            self._room = grown
        self._room[held] = track.embedding
        self._numbers.append(number)
        self.of.setdefault(number, []).append(track)
        self.names.add(track.id)
        self._last_s[number] = max(track.last_s, self._last_s.get(number, track.last_s))

    def forget(self, before_s: float) -> None:
        """Let go of the identities that were last seen before a time, and of their tracks."""
        numbers = [number for number, last_s in self._last_s.items() if last_s < before_s]
        if not numbers:
            return
        self._keep(np.flatnonzero(~np.isin(self.numbers, numbers)))
        for number in numbers:
            del self._last_s[number]
            self.names -= {track.id for track in self.of.pop(number)}

    def _keep(self, rows: NDArray[np.intp]) -> None:
        """Keep some rows, in ascending order, and the room: they move up in blocks, so that it is never there twice."""
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            self._room[start : start + len(block)] = self._room[block]
        self._numbers = self.numbers[rows].tolist()


class StepScores:
    """The scores of a step's tracks with all identities, kept up to date while they join.

    A score is the mean of pairs' scores in whole steps of a millionth, whose sum is exact in any order.
    """

    def __init__(self, step: Sequence[SeenTrack], members: Members) -> None:
        """Score the tracks of a step, at least one, with the members as they are."""
        asked = np.stack([track.embedding for track in step])
        self._open = np.ones(len(step), bool)
        self._among = _pair_steps(asked, asked)
        known, columns, counts = np.unique(members.numbers, return_inverse=True, return_counts=True)
        self._sums = np.zeros((len(step), len(known)), np.int64)
        if len(known):
            np.add.at(self._sums.T, columns, _pair_steps(asked, members.embeddings).T)
        self._numbers, self._counts = known.tolist(), np.asarray(counts, np.int64)

    def first_open(self) -> int | None:
        """Return the row of the first track that has not joined an identity; None if all have."""
        return int(self._open.argmax()) if self._open.any() else None

    def candidates(self, threshold: int) -> Iterator[tuple[int, int]]:
        """Yield the row and the identity of open tracks whose scores reach a threshold, in steps, the best first."""
        rows, columns = np.nonzero((self._sums >= threshold * self._counts) & self._open[:, None])
        means = self._sums[rows, columns] / self._counts[columns]
        for best in np.lexsort((rows, columns, -means)):
            yield int(rows[best]), self._numbers[columns[best]]

    def join(self, row: int, number: int) -> None:
        """Take note that the track of a row has joined an identity, or begun it."""
        if number not in self._numbers:
            self._numbers.append(number)
            self._sums = np.pad(self._sums, ((0, 0), (0, 1)))
            self._counts = np.pad(self._counts, (0, 1))
        column = self._numbers.index(number)
        self._sums[:, column] += self._among[:, row]
        self._counts[column] += 1
        self._open[row] = False


def _pair_steps(tracks: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the scores of all pairs, in steps, int64."""
    return written_steps(1 - exact_distances(tracks, others)).astype(np.int64)
