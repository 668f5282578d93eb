"""The kernels that rank, on the driver that refuses what CUDA refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from strict_cuda import Access, Driver

from reid.runtime.cuda import Cuda, DeviceArray, DeviceBuffer, Stream
from reid.runtime.galleries.ranking import product_error

__all__ = ["Ranking"]


class Ranking:
    """The kernels that rank, done by the CPU when their stream comes to them.

    A score is as wrong as the kernel's may be at worst, and equal embeddings get scores that differ.

    Attributes:
        scored: the entries that each launch has scored.
    """

    def __init__(self, driver: Driver, cuda: Cuda) -> None:
        self.driver, self.cuda = driver, cuda
        self.scored: list[int] = []
        self._random = np.random.default_rng(0)

    def launch(self, name: str, grid: tuple[int, int], threads: int, arguments: Sequence[Any], stream: Stream) -> None:
        if name == "select_best":
            self._select(grid, list(arguments), stream)
        else:
            assert name.startswith("score_")
            self._score(list(arguments), stream)

    def _score(self, arguments: list[Any], stream: Stream) -> None:
        read = [Access(one.address, one.nbytes, False) for one in arguments[:-1] if isinstance(one, DeviceArray)]
        query, _, gallery, rows, dimensions, start, count, pitch, camera, time, windows, cameras, scores = map(
            _plain, arguments
        )
        self.scored.append(count)
        assert gallery.shape == (rows, dimensions)
        assert not windows or windows.shape[1] == cameras
        part = slice(start, start + count)

        def act() -> None:
            exact = self._at(query).astype(np.float64) @ self._at(gallery)[part].astype(np.float64).T
            exact += self._random.uniform(-1, 1, exact.shape) * (product_error(dimensions) - 2.0**-21)
            if windows:
                own = self._at(windows)[:, self._at(camera)[part]]
                at = self._at(time)[part][:, None]
                seen = ((own[..., 0] <= at) & (at <= own[..., 1])).any(axis=-1) & (self._at(camera)[part] >= 0)
                exact[~seen] = -np.inf
            self.driver.at(scores, (len(exact), pitch), np.float32)[:, :count] = exact

        writes = Access(scores, 4 * query.shape[0] * pitch, True)
        self.driver.put(stream.handle, act, [*read, writes])

    def _select(self, grid: tuple[int, int], arguments: list[Any], stream: Stream) -> None:
        source, source_entries, start, count, pitch, k, more, scores, entries = map(_plain, arguments)
        (stripes, queries), shape = grid, (grid[1], grid[0], k)
        share = math.ceil(math.ceil(count / 4) / stripes) * 4

        def act() -> None:
            values = self.driver.at(source, (queries, pitch), np.float32)[:, :count]
            numbers = np.broadcast_to(np.arange(start, start + count), values.shape)
            if source_entries:
                numbers = self.driver.at(source_entries, (queries, pitch), np.int32)[:, :count]
            best, whose = self.driver.at(scores, shape, np.float32), self.driver.at(entries, shape, np.int32)
            for query, stripe in np.ndindex(queries, stripes):
                own = slice(stripe * share, (stripe + 1) * share)
                value, number = values[query, own], numbers[query, own]
                if more:
                    value = np.concatenate([best[query, stripe], value])
                    number = np.concatenate([whose[query, stripe], number])
                order = np.lexsort((number, -value))[:k]
                order = order[np.isfinite(value[order])]
                best[query, stripe], whose[query, stripe] = -np.inf, -1
                best[query, stripe, : len(order)], whose[query, stripe, : len(order)] = value[order], number[order]

        reads = [Access(address, 4 * queries * pitch, False) for address in (source, source_entries) if address]
        writes = [Access(address, 4 * math.prod(shape), True) for address in (scores, entries)]
        self.driver.put(stream.handle, act, [*reads, *writes])

    def _at(self, array: _Array) -> NDArray[Any]:
        return self.driver.at(array.address, array.shape, array.dtype)


class _Array(NamedTuple):
    """A device array, without its memory: the stream's work must not keep that."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _plain(argument: Any) -> Any:  # noqa: ANN401
    if isinstance(argument, DeviceArray):
        return _Array(argument.address, argument.shape, argument.dtype)
    return argument.address if isinstance(argument, DeviceBuffer) else int(argument)
