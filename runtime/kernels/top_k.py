"""The best matches of queries in a gallery that is in device memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reid.runtime.cuda import DeviceArray, DeviceBuffer, Stream
from reid.runtime.cuda_driver.kernels import Argument
from reid.runtime.kernels.library import MOST_ROWS, Kernels, check_dimensions, checked

__all__ = ["MOST_MATCHES", "Conditions", "Matches", "TopK"]

MOST_MATCHES = 1024
"""The largest k: kMostMatches in selection.h."""

_FEW, _MANY, _SCORE_THREADS = (16, 512), (128, 128), 256  # similarity.h: queries and entries of a tile
_SELECT_THREADS, _EXACT_THREADS, _EXACT_MATCHES = 512, 256, 8  # selection.h

_PART = 512
"""A part of a gallery is a multiple of it: of both kinds of tiles."""

_BLOCKS = 256
"""How many blocks should select at a time, so that no GPU is idle while a few queries are asked."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which gallery entries each query may match: of each camera, those that were seen within two windows of time.

    All on the device.

    Attributes:
        camera: int32 [G]: each entry's camera, from 0 on; an entry with another number is nobody's match.
        time: float64 [G]: the time of each entry.
        windows: float64 [Q, C, 2, 2]: the first and the last time of each window.
    """

    camera: DeviceArray
    time: DeviceArray
    windows: DeviceArray

    def arguments(self, queries: int, entries: int) -> list[Argument]:
        """Return what the kernel takes. Raises ValueError where an array has another type or shape."""
        checked("camera", self.camera, np.int32, (entries,))
        checked("time", self.time, np.float64, (entries,))
        cameras = checked("windows", self.windows, np.float64, (queries, None, 2, 2)).shape[1]
        return [self.camera, self.time, self.windows, np.int32(cameras)]


_ALL: list[Argument] = [np.uint64(0), np.uint64(0), np.uint64(0), np.int32(0)]
"""What the kernel takes where each query may match all entries."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The best matches of each query, best first, ties in the gallery's order; on the device.

    Attributes:
        entries: int32 [Q, k]: rows of the gallery, -1 where a query has fewer matches.
        scores: float32 [Q, k]: cosine similarities, minus infinity there.
    """

    entries: DeviceArray
    scores: DeviceArray


class TopK:
    """Finds the best k matches. Its memory is allocated once and used by each call, so it belongs to one stream.

    Scores are sums of float32 in one order, so equal embeddings get equal scores wherever they are in the gallery.
    NaN is no match.
    """

    def __init__(self, kernels: Kernels, queries: int, k: int, scratch: int = 1 << 26) -> None:
        """Allocate memory.

        Args:
            kernels: the kernels.
            queries: the most queries of a call.
            k: matches per query.
            scratch: the bytes for scores; a part of the gallery that fills it is scored at a time.

        Raises:
            ValueError: k or the number of queries is not possible.
            DeviceMemoryError: the memory is not there.
        """
        if not 1 <= k <= MOST_MATCHES:
            raise ValueError(f"k is {k}, expected 1 to {MOST_MATCHES}")
        if not 1 <= queries <= MOST_ROWS:
            raise ValueError(f"queries is {queries}, expected 1 to {MOST_ROWS}")
        self.queries, self.k = queries, k
        self._kernels = kernels
        allocate = kernels.cuda.allocate
        self._scores = allocate(max(scratch, 4 * queries * _PART))
        self._found = _Lists(allocate(4 * queries * k), allocate(4 * queries * k), k)
        stripes = 4 * k * max(queries * _stripes(queries), _BLOCKS)
        self._partial = _Lists(allocate(stripes), allocate(stripes), k)
        self._distances = allocate(8 * queries * k)

    def find(
        self, queries: DeviceArray, gallery: DeviceArray, stream: Stream, conditions: Conditions | None = None
    ) -> Matches:
        """Find each query's best matches.

        Args:
            queries: float32 [Q, D], L2-normalized, D a multiple of 8.
            gallery: float32 or float16 [G, D].
            stream: the stream.
            conditions: which entries a query may match; all if left out.

        Returns:
            The matches, in memory that the next call writes to.

        Raises:
            ValueError: an array has another type or shape.
        """
        asked, entries, _ = self._sizes(queries, gallery)
        masks = conditions.arguments(asked, entries) if conditions else _ALL
        stripes = _stripes(asked)
        lists = self._partial if stripes > 1 else self._found
        for part in _parts(entries, self._scores.size // (4 * asked)):
            if part.count:
                self._score(queries, gallery, part, masks, stream)
            self._select(
                [self._scores, np.uint64(0), *part.arguments()], (stripes, asked), part.start > 0, lists, stream
            )
        if stripes > 1:
            found = _Part(0, stripes * self.k, stripes * self.k)
            self._select([lists.scores, lists.entries, *found.arguments()], (1, asked), False, self._found, stream)
        return self._found.matches(asked)

    def exact_distances(
        self, queries: DeviceArray, gallery: DeviceArray, matches: Matches, stream: Stream
    ) -> DeviceArray:
        """Return the matches' distances, float64 [Q, k], bit for bit as `ranking.exact_distances`; infinity where none.

        Args:
            queries: as for `find`.
            gallery: as for `find`.
            matches: what `find` returned for them.
            stream: the stream.
        """
        asked, _, dimensions = self._sizes(queries, gallery)
        checked("entries", matches.entries, np.int32, (asked, self.k))
        arguments: list[Argument] = [
            queries,
            gallery,
            np.int32(dimensions),
            matches.entries,
            np.int32(self.k),
            self._distances,
        ]
        grid = (-(-self.k // _EXACT_MATCHES), asked)
        self._kernels.launch(f"exact_distances_{gallery.dtype}", grid, _EXACT_THREADS, arguments, stream)
        return self._distances.view((asked, self.k), np.float64)

    def _sizes(self, queries: DeviceArray, gallery: DeviceArray) -> tuple[int, int, int]:
        asked, dimensions = checked("queries", queries, np.float32, (None, None)).shape
        dtype = np.float16 if gallery.dtype == np.float16 else np.float32
        entries = checked("gallery", gallery, dtype, (None, dimensions)).shape[0]
        if not 1 <= asked <= self.queries:
            raise ValueError(f"there are {asked} queries, expected 1 to {self.queries}")
        check_dimensions(dimensions)
        if entries >= 1 << 31:
            raise ValueError(f"the gallery has {entries} entries, more than 2^31 - 1")
        return asked, entries, dimensions

    def _score(
        self, queries: DeviceArray, gallery: DeviceArray, part: _Part, masks: Sequence[Argument], stream: Stream
    ) -> None:
        (asked, dimensions), (entries, _) = queries.shape, gallery.shape
        name, tile = ("score_few", _FEW) if asked <= 2 * _FEW[0] else ("score_many", _MANY)
        grid = (-(-asked // tile[0]), -(-part.count // tile[1]))
        start, *sizes = part.arguments()
        arguments: list[Argument] = [queries, np.int32(asked), gallery, np.int64(entries), np.int32(dimensions)]
        arguments += [np.int64(start), *sizes, *masks, self._scores]
        self._kernels.launch(f"{name}_{gallery.dtype}", grid, _SCORE_THREADS, arguments, stream)

    def _select(
        self, source: Sequence[Argument], grid: tuple[int, int], more: bool, lists: _Lists, stream: Stream
    ) -> None:
        arguments: list[Argument] = [*source, np.int32(self.k), np.int32(more), lists.scores, lists.entries]
        self._kernels.launch("select_best", grid, _SELECT_THREADS, arguments, stream)


@dataclass(frozen=True, slots=True)
class _Part:
    """Entries start to start + count - 1 of a gallery, whose scores are in rows of `pitch`."""

    start: int
    count: int
    pitch: int

    def arguments(self) -> list[np.int32]:
        return [np.int32(self.start), np.int32(self.count), np.int32(self.pitch)]


def _parts(entries: int, room: int) -> Iterator[_Part]:
    """Yield parts as large as there is room for; one of nothing where there are no entries."""
    most = MOST_ROWS * _MANY[1] // _PART
    pitch = min(room // _PART, max(1, -(-entries // _PART)), most) * _PART
    for start in range(0, max(entries, 1), pitch):
        yield _Part(start, min(pitch, entries - start), pitch)


@dataclass(frozen=True, slots=True)
class _Lists:
    scores: DeviceBuffer
    entries: DeviceBuffer
    k: int

    def matches(self, queries: int) -> Matches:
        shape = (queries, self.k)
        return Matches(self.entries.view(shape, np.int32), self.scores.view(shape, np.float32))


def _stripes(queries: int) -> int:
    """Return into how many stripes the scores of a query are cut: 1, or a power of two from 4 to 32."""
    stripes = 32
    while stripes > 1 and stripes * queries > _BLOCKS:
        stripes //= 2
    return stripes if stripes >= 4 else 1
