"""Reading files that others made, on disk or within an archive. Errors are those of `regular` and `archives`.

A virtual path leads through an archive as if it were a folder: `VeRi.zip/image_train/0001_c001_1.jpg`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from reid.runtime.files.archives import member_blocks, read_member, size_of_member, split_virtual
from reid.runtime.files.regular import MEBIBYTE, check_regular, open_regular

__all__ = ["MEBIBYTE", "check_regular", "open_regular", "read_file", "sha256_of", "size_of"]


def read_file(path: Path, *, at_most: int) -> bytes:
    """Return the content of a file of at most so many bytes. Raises OSError if it cannot be read."""
    try:
        with open_regular(path, at_most=at_most) as file:
            return file.read(os.fstat(file.fileno()).st_size)
    except NotADirectoryError:
        if not (virtual := split_virtual(path)):
            raise
    return read_member(*virtual, at_most=at_most)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Return the size of a file, in bytes. Raises OSError if there is none."""
    try:
        return check_regular(path)
    except NotADirectoryError:
        if not (virtual := split_virtual(path)):
            raise
    return size_of_member(*virtual)


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with open_regular(path) as file:
            while block := file.read(MEBIBYTE):
                yield block
            return
    except NotADirectoryError:
        if not (virtual := split_virtual(path)):
            raise
    yield from member_blocks(*virtual)
