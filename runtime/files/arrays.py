"""Reading NumPy's files strictly: what a header claims is compared with what is there before anything is allocated."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from reid.runtime.files.reading import open_regular

__all__ = ["Archive", "open_arrays", "parse_array"]


_LAST = 0x10FFFF
"""The last character of Unicode. NumPy stores a text as numbers of 32 bits, whatever they are."""


def parse_array(content: bytes) -> NDArray[Any]:
    """Return the array that an .npy file holds; it cannot be written to. Raises ValueError if it is damaged."""
    file = io.BytesIO(content)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        shape, by_column, dtype = readers[npy.read_magic(file)](file)
    except Exception:  # NumPy evaluates a Python literal there, which fails in a dozen ways
        raise ValueError("not a header of NumPy's format") from None
    if not all(type(side) is int for side in shape):  # to NumPy, True is a number, too
        raise ValueError("not a header of NumPy's format")
    found, claimed = len(content) - file.tell(), math.prod(shape) * dtype.itemsize
    if dtype.hasobject or by_column or found != claimed:
        raise ValueError(f"an array {dtype} {shape} in {found} bytes")
    if not claimed:
        return np.empty(shape, dtype)
    array = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)
    if dtype.kind == "U" and (array.reshape(-1).view(np.dtype(np.uint32).newbyteorder(dtype.byteorder)) > _LAST).any():
        raise ValueError("a text of what is no character")
    return array


class Archive:
    """The arrays of an .npz file, each of which is read when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}

    @property
    def names(self) -> Set[str]:
        """The names of the arrays."""
        return self._members.keys()

    def read(self, name: str) -> NDArray[Any]:
        """Return an array. Raises ValueError if it is absent or damaged."""
        if name not in self._members:
            raise ValueError(f"{name} is missing")
        return parse_array(self._archive.read(self._members[name]))


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[Archive]:
    """Open an .npz file as `numpy.savez` writes it: not compressed, so that it holds no more than its size says.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or something else; also while it is open.
    """
    with open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        try:
            with zipfile.ZipFile(file) as archive:
                _check_members(archive.infolist(), size)
                yield Archive(archive)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise ValueError(str(error)) from None


def _check_members(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise ValueError("an array that is there twice")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("compressed arrays")
    if sum(member.file_size for member in members) > size:
        raise ValueError("arrays that overlap")
