"""A segment of a gallery: a file with embeddings and entries that never changes, and which of them were removed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.files.reading import read_file
from reid.runtime.galleries.store.blocks import Blocks
from reid.runtime.galleries.store.columns import Columns, Texts
from reid.runtime.galleries.store.layout import Layout
from reid.runtime.galleries.store.manifest import Manifest, SegmentRecord, damaged, unreadable
from reid.runtime.progress import SILENT, Progress

__all__ = ["PIECE", "Segment"]

PIECE = 4096
"""Rows that are held at a time where all are gone through."""


class Segment:
    """An open segment. It stays readable when a writer removes its file. Several threads may read it.

    Attributes:
        record: what the manifest says of it.
        live: bool [N]: which rows are not removed; None for all.
    """

    def __init__(self, folder: Path, record: SegmentRecord, manifest: Manifest, known: Segment | None = None) -> None:
        """Open a segment.

        Args:
            folder: the gallery's folder.
            record: what the manifest says of the segment.
            manifest: the manifest.
            known: the same segment, open already, of which other rows may be removed.

        Raises:
            FileNotFoundError: a file is not there.
            DataError: a file cannot be read, or is damaged, as far as can be told without reading all.
        """
        self.record, self.path = record, folder / record.file
        self._dimensions, self._dtype = manifest.dimensions, manifest.dtype
        layout = Layout(record.rows, self._dimensions, self._dtype, record.texts)
        self._sections = layout.sections
        self._blocks: Blocks = known._blocks if known else Blocks(self.path, layout.size, layout.facts, record.digest)
        self._cameras: tuple[str, ...] | None = known._cameras if known else None
        self.live = _live_rows(folder, record)

    def embeddings(self, start: int, stop: int) -> NDArray[Any]:
        """Return embeddings as they are stored, [n, D], as a view of the file."""
        return self._numbers("embeddings", start, stop, self._dimensions).reshape(-1, self._dimensions)

    def embeddings_of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the embeddings of some rows, ascending, as they are stored, [n, D]."""
        return self._blocks.rows(self._dtype, self._sections["embeddings"].start, self._dimensions, rows)

    def camera(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the cameras of rows, int32 [n], as positions in `cameras`; -1 where one is not known."""
        return self._numbers("camera", start, stop)

    def time_s(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the times of rows, float64 [n]; NaN where one is not known."""
        return self._numbers("time_s", start, stop)

    def frames(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the frames that the embeddings of rows were made of, int32 [n]; 0 where that is not known."""
        return self._numbers("frames", start, stop)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of its cameras."""
        if self._cameras is None:
            content = self._numbers("cameras", 0, self.record.texts.cameras).tobytes()
            self._cameras = tuple(json.loads(content))
        return self._cameras

    def columns(self, start: int, stop: int) -> Columns:
        """Return the entries of rows, with those that are removed."""
        return Columns(
            self._texts("ids", start, stop),
            self._texts("vehicles", start, stop),
            self._texts("pictures", start, stop),
            self.cameras,
            self.camera(start, stop),
            self.frames(start, stop),
            self.time_s(start, stop),
        )

    def columns_of(self, rows: NDArray[np.int64]) -> Columns:
        """Return the entries of some rows, ascending."""
        ids, vehicles, pictures = (self._texts_of(name, rows) for name in ("ids", "vehicles", "pictures"))
        camera, frames, time_s = (self._numbers_of(name, rows) for name in ("camera", "frames", "time_s"))
        return Columns(ids, vehicles, pictures, self.cameras, camera, frames, time_s)

    def pieces(self) -> Iterator[tuple[NDArray[Any], Columns]]:
        """Yield the rows that are not removed, piece by piece: embeddings as they are stored, and entries."""
        for start, stop, rows in self._parts():
            if rows is None:
                yield self.embeddings(start, stop), self.columns(start, stop)
            else:
                yield self.embeddings_of(rows), self.columns_of(rows)

    def entries(self) -> Iterator[Columns]:
        """Yield the entries of `pieces`, without reading embeddings."""
        for start, stop, rows in self._parts():
            yield self.columns(start, stop) if rows is None else self.columns_of(rows)

    def _parts(self) -> Iterator[tuple[int, int, NDArray[np.int64] | None]]:
        """Yield where pieces start and stop, and which rows of them are left; None for all."""
        for start in range(0, self.record.rows, PIECE):
            stop = min(start + PIECE, self.record.rows)
            if self.live is None or self.live[start:stop].all():
                yield start, stop, None
            elif len(rows := start + np.flatnonzero(self.live[start:stop])):
                yield start, stop, rows

    def find(self, ids: Texts, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of ids, int64 [n]; -1 for one that is not there, or was removed."""
        found = np.full(len(hashes), -1, np.int64)
        own = self._numbers("hashes", 0, self.record.rows)
        first, last = np.searchsorted(own, hashes, "left"), np.searchsorted(own, hashes, "right")
        if not (hits := np.flatnonzero(last > first)).size:
            return found
        hashed, wanted = self._numbers("hashed", 0, self.record.rows), list(ids.encoded())
        for hit in hits.tolist():
            for row in hashed[first[hit] : last[hit]].tolist():
                if (self.live is None or self.live[row]) and next(self._texts("ids", row, row + 1).encoded()) == wanted[
                    hit
                ]:
                    found[hit] = row
        return found

    def live_rows(self) -> NDArray[np.bool_]:
        """Return which rows are not removed, bool [N], as a copy."""
        return np.ones(self.record.rows, np.bool_) if self.live is None else self.live.copy()

    @property
    def blocks(self) -> int:
        """How many blocks there are to check."""
        return len(self._blocks)

    def check(self, progress: Progress = SILENT) -> None:
        """Check every block; the current stage counts them. Raises DataError if one is damaged."""
        self._blocks.check(progress=progress)

    def _numbers(self, name: str, start: int, stop: int, width: int = 1) -> NDArray[Any]:
        section = self._sections[name]
        first = section.start + start * width * section.dtype.itemsize
        return self._blocks.array(section.dtype, first, (stop - start) * width)

    def _texts(self, name: str, start: int, stop: int) -> Texts:
        before = int(self._numbers(f"{name}.ends", start - 1, start)[0]) if start else 0
        ends = self._numbers(f"{name}.ends", start, stop)
        return Texts(ends - before, self._numbers(name, before, int(ends[-1])))

    def _numbers_of(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        section = self._sections[name]
        return self._blocks.rows(section.dtype, section.start, 1, rows)[:, 0]

    def _texts_of(self, name: str, rows: NDArray[np.int64]) -> Texts:
        stops = self._numbers_of(f"{name}.ends", rows)
        starts = np.zeros_like(stops)
        starts[rows > 0] = self._numbers_of(f"{name}.ends", rows[rows > 0] - 1)
        content = self._blocks.spans(self._sections[name].start, starts, stops)
        return Texts(np.cumsum(stops - starts), content)


def _live_rows(folder: Path, record: SegmentRecord) -> NDArray[np.bool_] | None:
    if record.removed is None:
        return None
    path = folder / record.removed.file
    try:
        content = read_file(path, at_most=-(-record.rows // 8))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from None
    bits = np.frombuffer(content, np.uint8)
    if hashlib.sha256(content).hexdigest() != record.removed.digest or bits.size * 8 < record.rows:
        raise damaged(path, "its digest differs")
    live = ~np.unpackbits(bits, count=record.rows, bitorder="little").astype(np.bool_)
    if np.count_nonzero(live) != record.left:
        raise damaged(path, f"{np.count_nonzero(live)} rows are left, not {record.left}")
    return live
