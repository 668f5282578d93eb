"""What the formats of archives have in common: the list of members that a scan makes, and plain blocks of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from reid.runtime.files.names import check_relative_name, is_name
from reid.runtime.files.regular import MEBIBYTE

__all__ = ["MOST_ENTRIES", "Catalog", "read_blocks", "read_exactly"]

MOST_ENTRIES = 4_000_000
"""The most entries that are listed of an archive, so that a hostile one is refused in seconds."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The members of an archive, by name, in the archive's order.

    Attributes:
        sizes: name -> size of the file, in bytes.
        places: name -> where the format finds the member, as a position in the archive.
        left_out: name -> why the member, or a former one of that name, is not used.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)

    def add(self, name: str, size: int, place: int, *, flaw: str = "") -> None:
        """Add a member that is no folder; `flaw` says why it cannot be used. The last of several with a name counts."""
        name = name.removeprefix("./")  # as in an archive that `tar -c .` makes
        flaw = flaw or self._flaw_of_name(name)
        if name in self.sizes:
            del self.sizes[name], self.places[name]
            self.left_out[name] = "there is a later one of the same name"
        if flaw:
            self.left_out[name] = flaw
        else:
            self.sizes[name], self.places[name] = size, place

    def _flaw_of_name(self, name: str) -> str:
        folder, slash, last = name.rpartition("/")
        if is_name(last) and (not slash or folder in self._folders):
            return ""
        try:
            check_relative_name(name)
        except ValueError:
            hidden = any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))
            return "hidden" if hidden else "its name is not that of a file within a folder"
        self._folders.add(folder)
        return ""


def read_blocks(file: BinaryIO, count: int) -> Iterator[bytes]:
    """Read so many bytes, in blocks of at most 1 MiB. Raises ValueError if there are fewer."""
    while count:
        block = file.read(min(count, MEBIBYTE))
        if not block:
            raise ValueError("cut short")
        count -= len(block)
        yield block


def read_exactly(file: BinaryIO, count: int) -> bytes:
    """Read a few bytes. Raises ValueError if there are fewer."""
    found = file.read(count)
    if len(found) < count:
        raise ValueError("cut short")
    return found
