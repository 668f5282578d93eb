"""Files in blocks with a checksum each, mapped into memory and checked where they are first used.

So a gallery of any size is open at once, and nothing that is read was damaged before, by a bad disk or a bad copy. A
block is read to be checked, so that what cannot be read is an error; to touch a mapping of it would end the process.
A checksum is a CRC-32, which finds every damage of up to 32 bits in a row and one in four billion others not; it is no
seal against forgery. The checksums of all blocks follow the last block; the manifest holds the SHA-256 of these and of
where everything is in the file.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import weakref
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from reid.runtime.files.reading import open_regular
from reid.runtime.galleries.store.manifest import damaged, unreadable
from reid.runtime.progress import SILENT, Progress

__all__ = ["BLOCK", "BlockWriter", "Blocks"]

BLOCK = 1 << 18
"""Bytes of a block: what has to be read to look at one row."""

_CHECKSUM = np.dtype("<u4")


class Blocks:
    """A file of blocks, mapped into memory. Several threads may read it."""

    def __init__(self, path: Path, size: int, facts: bytes, digest: str) -> None:
        """Map a file.

        Args:
            path: the file. It is open and stays readable if it is removed.
            size: the bytes that it should have, without the checksums.
            facts: what it has to be read by.
            digest: the SHA-256 that these and its checksums should have.

        Raises:
            FileNotFoundError: it is not there.
            DataError: it cannot be read, or is damaged, as far as can be told without reading the blocks.
        """
        self._path, self._size = path, size
        count = -(-size // BLOCK)
        expected = size + count * _CHECKSUM.itemsize
        try:
            self._file = open_regular(path)
            weakref.finalize(self, self._file.close)
            found = os.fstat(self._file.fileno()).st_size
            if found != expected:
                raise damaged(path, f"{found:,} bytes, not {expected:,}")
            content = mmap.mmap(self._file.fileno(), expected, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unreadable(path, error) from None
        checksums = self._read(size, expected)
        if _digest(facts, checksums) != digest:
            raise damaged(path, "its checksums are not those in the manifest")
        self._bytes = np.frombuffer(content, np.uint8)
        self._checksums = np.frombuffer(checksums, _CHECKSUM)
        self._sound = np.zeros(count, np.bool_)

    def array(self, dtype: np.dtype[Any], start: int, count: int) -> NDArray[Any]:
        """Return so many numbers from a byte on, as a view of the file. Raises DataError if they are damaged."""
        stop = start + count * dtype.itemsize
        first, last = start // BLOCK, -(-stop // BLOCK)
        if not self._sound[first:last].all():
            self.check(np.arange(first, last))
        return self._bytes[start:stop].view(dtype)

    def rows(self, dtype: np.dtype[Any], start: int, size: int, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows of a matrix, [n, size], as a copy. Raises DataError if they are damaged.

        Args:
            dtype: the type of its numbers.
            start: the byte where the matrix begins.
            size: the numbers of a row.
            rows: the rows, ascending.
        """
        if not len(rows):
            return np.empty((0, size), dtype)
        width = size * dtype.itemsize  # at most a block's, so that a row is in two at most
        first, last = (start + rows * width) // BLOCK, (start + (rows + 1) * width - 1) // BLOCK
        self.check(np.union1d(first, last))
        lowest, highest = int(rows[0]), int(rows[-1]) + 1
        matrix = self._bytes[start + lowest * width : start + highest * width].view(dtype).reshape(-1, size)
        return np.asarray(matrix[rows - lowest])

    def spans(self, start: int, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return runs of bytes, counted from a byte on, one after the other. Raises DataError if they are damaged."""
        first, last = (start + starts) // BLOCK, (start + stops - 1) // BLOCK
        long = [np.arange(first[run], last[run]) for run in np.flatnonzero(last > first + 1)]
        self.check(np.unique(np.concatenate([first, last, *long])))
        runs = zip((start + starts).tolist(), (start + stops).tolist(), strict=True)
        return np.concatenate([np.empty(0, np.uint8), *(self._bytes[one:other] for one, other in runs)])

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._sound)

    def check(self, blocks: NDArray[np.int64] | None = None, progress: Progress = SILENT) -> None:
        """Check blocks that were not found sound before; without an argument, all anew.

        Args:
            blocks: the blocks; None for all.
            progress: its current stage counts them.

        Raises:
            DataError: one is damaged, or cannot be read.
        """
        wanted = np.arange(len(self._sound)) if blocks is None else blocks[~self._sound[blocks]]
        for block in wanted.tolist():
            self._sound[block] = False
            content = self._read(block * BLOCK, min((block + 1) * BLOCK, self._size))
            if zlib.crc32(content) != self._checksums[block]:
                raise damaged(self._path, f"the checksum of bytes from {block * BLOCK:,} differs")
            self._sound[block] = True
            progress.advance()

    def _read(self, start: int, stop: int) -> bytes:
        try:
            content = os.pread(self._file.fileno(), stop - start, start)
        except OSError as error:
            raise unreadable(self._path, error) from None
        if len(content) < stop - start:
            raise damaged(self._path, f"it ends after {start + len(content):,} bytes")
        return content


class BlockWriter:
    """Writes a file of blocks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._checksums: list[int] = []
        self._checksum = 0
        self.size = 0

    def write(self, content: NDArray[Any] | bytes) -> None:
        """Write numbers or bytes."""
        array = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else np.ascontiguousarray(content)
        view = array.reshape(-1).view(np.uint8).data
        self._file.write(view)
        while view.nbytes:
            part = view[: BLOCK - self.size % BLOCK]
            self._checksum = zlib.crc32(part, self._checksum)
            self.size += part.nbytes
            view = view[part.nbytes :]
            if self.size % BLOCK == 0:
                self._close_block()

    def finish(self, facts: bytes) -> str:
        """Write the checksums and return the SHA-256 of what the file has to be read by and of them."""
        if self.size % BLOCK:
            self._close_block()
        checksums = np.array(self._checksums, _CHECKSUM).tobytes()
        self._file.write(checksums)
        return _digest(facts, checksums)

    def _close_block(self) -> None:
        self._checksums.append(self._checksum)
        self._checksum = 0


def _digest(facts: bytes, checksums: bytes) -> str:
    return hashlib.sha256(facts + checksums).hexdigest()
