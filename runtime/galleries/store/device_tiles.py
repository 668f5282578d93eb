"""A store's rows in a GPU's memory: what there is room for stays there, the rest is uploaded for each search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, DeviceArray, DeviceBuffer, DeviceMemoryError, Stream
from reid.runtime.galleries.store.segment import Segment

__all__ = ["DeviceTile", "DeviceTiles"]

_TILE_BYTES = 1 << 28
"""Of the embeddings that are searched together."""

_NO_CAMERA = -1
"""Of a removed row: nobody's match."""

_Key: TypeAlias = tuple[str, str, int, str, str]
"""A kind of array, and of which rows: the file, its digest, the first row, and what is removed of it."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceTile:
    """Rows on the device.

    Attributes:
        before: how many rows of the gallery come before it.
        embeddings: [n, D], as they are stored.
        camera: int32 [n]: places in `DeviceTiles.cameras`, -1 of a row that is removed; None unless asked for.
        time: float64 [n], minus infinity where it is not known; None unless asked for.
    """

    before: int
    embeddings: DeviceArray
    camera: DeviceArray | None
    time: DeviceArray | None


class DeviceTiles:
    """The tiles of a gallery, of which one exists at a time. For one thread, and one stream.

    Attributes:
        cameras: the names of the cameras seen so far; None, the first one, is a camera that is not known.
    """

    def __init__(self, cuda: Cuda, stream: Stream, room: int) -> None:
        """Begin with none.

        Args:
            cuda: the GPU.
            stream: what searches the tiles.
            room: the most bytes that stay there from one time to the next.
        """
        self.cameras: dict[str | None, int] = {None: 0}
        self._cuda, self._stream, self._room = cuda, stream, room
        self._held: dict[_Key, DeviceArray] = {}
        self._passing: dict[str, DeviceBuffer] = {}

    def of(self, segments: Sequence[Segment], *, with_seen: bool) -> Iterator[DeviceTile]:
        """Yield all rows; each tile is there until the next one.

        Args:
            segments: the gallery.
            with_seen: whether cameras and times are wanted.

        Raises:
            DataError: the gallery is damaged.
            SessionError: the GPU fails, or has no memory for a single tile.
        """
        for segment in segments:
            for name in segment.cameras if with_seen else ():
                self.cameras.setdefault(name, len(self.cameras))
        self._forget({(segment.record.file, segment.record.digest) for segment in segments})
        before = 0
        for segment in segments:
            for start, stop in _tiles(segment):
                yield self._tile(segment, start, stop, before, with_seen)
            before += segment.record.rows

    def clear(self) -> None:
        """Give all memory back."""
        self._held.clear()
        self._passing.clear()

    def _tile(self, segment: Segment, start: int, stop: int, before: int, with_seen: bool) -> DeviceTile:
        record = segment.record
        removed = record.removed.digest if record.removed else ""

        def held(kind: str, read: Callable[[], NDArray[Any]], removed: str = "") -> DeviceArray:
            return self._array((kind, record.file, start, record.digest, removed), read)

        camera = time = None
        embeddings = held("embeddings", lambda: segment.embeddings(start, stop))
        if with_seen:
            camera = held("camera", lambda: self._camera(segment, start, stop), removed)
            time = held("time", lambda: np.nan_to_num(segment.time_s(start, stop), nan=-np.inf))
        return DeviceTile(before + start, embeddings, camera, time)

    def _camera(self, segment: Segment, start: int, stop: int) -> NDArray[np.int32]:
        places = np.array([self.cameras[name] for name in (*segment.cameras, None)], np.int32)  # -1 is the last
        camera = places[segment.camera(start, stop)]
        return camera if segment.live is None else np.where(segment.live[start:stop], camera, np.int32(_NO_CAMERA))

    def _array(self, key: _Key, read: Callable[[], NDArray[Any]]) -> DeviceArray:
        if (there := self._held.get(key)) is not None:
            return there
        array = read()
        stays = self._allocated(array.nbytes)
        buffer = stays or self._passing_buffer(key[0], array.nbytes)
        self._cuda.upload(buffer, array, self._stream)
        view = buffer.view(array.shape, array.dtype)
        if stays:
            self._held[key] = view
        return view

    def _allocated(self, size: int) -> DeviceBuffer | None:
        """Return memory that stays, if there is room."""
        if sum(array.nbytes for array in self._held.values()) + size > self._room:
            return None
        try:
            return self._cuda.allocate(size)
        except DeviceMemoryError:
            return None

    def _passing_buffer(self, kind: str, size: int) -> DeviceBuffer:
        """Return memory of one tile, which the stream is done with when the next one is uploaded to it."""
        buffer = self._passing.get(kind)
        if buffer is None or buffer.size < size:
            buffer = self._passing[kind] = self._cuda.allocate(size)
        return buffer

    def _forget(self, files: set[tuple[str, str]]) -> None:
        """Give back what is of other files."""
        self._held = {key: array for key, array in self._held.items() if (key[1], key[3]) in files}


def _tiles(segment: Segment) -> Iterator[tuple[int, int]]:
    rows, none = segment.record.rows, segment.embeddings(0, 0)
    most = max(1, _TILE_BYTES // (none.shape[1] * none.itemsize))
    for start in range(0, rows, most):
        yield start, min(start + most, rows)
