"""The .zip format: its directory, and the content of a member. Damage is a ValueError.

The directory alone says what is in the archive. It is read again for each member, so that a list of a million members
stays small; Python's `zipfile` holds all of it, several times over.

Source: PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import stat
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from reid.runtime.files.catalog import MOST_ENTRIES, Catalog, read_blocks, read_exactly
from reid.runtime.files.regular import MEBIBYTE

__all__ = ["blocks", "scan"]

_END = struct.Struct("<4s4H2LH")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_LONGEST_COMMENT = 0xFFFF
_ELSEWHERE = 0xFFFFFFFF
"""The value of a field that is in the extra field of zip64."""

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x2041, 0x800
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_UNIX_LIKE = (3, 19)


class _Entry(NamedTuple):
    """An entry of the directory: sizes in bytes, the mode 0 where it is not known, the name as it is stored."""

    length: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int
    name: bytes
    extra: bytes


def scan(file: BinaryIO, length: int) -> Catalog:
    """List the members of an archive of so many bytes."""
    start, end = _directory(file, length)
    catalog, starts, ends = Catalog(), array("Q"), array("Q")
    file.seek(start)
    place = start
    for _ in range(MOST_ENTRIES):
        if place >= end:
            break
        entry = _read_entry(file)
        name = _name(entry)
        if not name.endswith("/") and not stat.S_ISDIR(entry.mode):
            flaw = _flaw(entry)
            catalog.add(name, entry.size, place, flaw=flaw)
            if not flaw:
                starts.append(entry.offset)
                ends.append(entry.offset + _LOCAL.size + len(entry.name) + entry.packed)
        place += entry.length
    if place < end:
        raise ValueError(f"more than {MOST_ENTRIES:,} members")
    if place != end:
        raise ValueError("its directory is cut short")
    _check_apart(starts, ends, start)
    return catalog


def blocks(file: BinaryIO, place: int, size: int) -> Iterator[bytes]:
    """Yield the content of a member, and check it. Whatever it holds, no more than `size` bytes and one are made."""
    file.seek(place)
    entry = _read_entry(file)
    file.seek(entry.offset)
    local = _LOCAL.unpack(read_exactly(file, _LOCAL.size))
    if local[0] != b"PK\3\4" or read_exactly(file, local[9]) != entry.name:
        raise ValueError("the directory of the archive leads to something else")
    file.seek(local[10], 1)
    packed = read_blocks(file, entry.packed)
    made = crc = 0
    for block in _inflated(packed, size) if entry.method == _DEFLATED else packed:
        made += len(block)
        if made > size:
            raise ValueError(f"more than the {size:,} bytes that the archive says")
        crc = zlib.crc32(block, crc)
        yield block
    if made < size:
        raise ValueError(f"{made:,} bytes, not the {size:,} that the archive says")
    if crc != entry.crc:
        raise ValueError("its checksum is wrong")


def _inflated(packed: Iterable[bytes], size: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left = size + 1
    try:
        for chunk in packed:
            while chunk and left and not inflater.eof:
                block = inflater.decompress(chunk, min(left, MEBIBYTE))
                left -= len(block)
                yield block
                chunk = inflater.unconsumed_tail
        if left:
            yield inflater.decompress(b"", left)  # what was still in its window
    except zlib.error:
        raise ValueError("its compressed data is damaged") from None


def _directory(file: BinaryIO, length: int) -> tuple[int, int]:
    """Return where the directory begins and ends."""
    first = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(first)
    tail = read_exactly(file, length - first)
    found = tail.rfind(b"PK\5\6")
    if found < 0 or found + _END.size > len(tail):
        raise ValueError("it has no directory at its end")
    _, disk, first_disk, _, _, count, offset, _ = _END.unpack_from(tail, found)
    end = first + found
    if wide := _wide_end(file, end):
        end -= _LOCATOR_64.size + _END_64.size
        _, _, _, _, disk, first_disk, _, _, count, offset = wide
    if disk or first_disk:
        raise ValueError("it is one of several parts")
    if offset + count != end:
        raise ValueError("its directory is not where its end says")
    return offset, end


def _wide_end(file: BinaryIO, end: int) -> tuple[int, ...] | None:
    """Return the end of a zip64 archive, which lies before the end that every archive has."""
    start = end - _LOCATOR_64.size - _END_64.size
    if start < 0:
        return None
    file.seek(start)
    found = _END_64.unpack(read_exactly(file, _END_64.size))
    signatures = found[0], read_exactly(file, 4)
    return found if signatures == (b"PK\6\6", b"PK\6\7") else None


def _read_entry(file: BinaryIO) -> _Entry:
    signature, made_by, _, flags, method, _, _, crc, *numbers = _ENTRY.unpack(read_exactly(file, _ENTRY.size))
    packed, size, name_length, extra_length, comment_length, _, _, external, offset = numbers
    if signature != b"PK\1\2":
        raise ValueError("its directory is damaged")
    length = name_length + extra_length + comment_length
    rest = read_exactly(file, length)
    name, extra = rest[:name_length], rest[name_length : name_length + extra_length]
    if _ELSEWHERE in (packed, size, offset):
        size, packed, offset = _widened((size, packed, offset), _field(extra, _ZIP64))
    mode = external >> 16 if made_by >> 8 in _UNIX_LIKE else 0
    return _Entry(_ENTRY.size + length, flags, method, crc, packed, size, offset, mode, name, extra)


def _widened(values: tuple[int, ...], field: bytes) -> Iterator[int]:
    wide = struct.iter_unpack("<Q", field[: len(field) // 8 * 8])
    for value in values:
        found = next(wide, None) if value == _ELSEWHERE else (value,)
        if found is None:
            raise ValueError("its directory is damaged")
        yield found[0]


def _field(extra: bytes, wanted: int) -> bytes:
    """Return the content of an extra field; nothing if it is absent."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        place += 4
        if kind == wanted:
            return extra[place : place + length]
        place += length
    return b""


def _name(entry: _Entry) -> str:
    if entry.name.isascii():
        return entry.name.decode("ascii")
    path = _field(entry.extra, _UNICODE_PATH)
    if path[:5] == b"\1" + zlib.crc32(entry.name).to_bytes(4, "little"):
        return path[5:].decode("utf-8", "surrogateescape")
    try:
        return entry.name.decode("utf-8")  # macOS and Linux write UTF-8 without saying so
    except UnicodeDecodeError:
        return entry.name.decode("utf-8" if entry.flags & _UTF8 else "cp437", "surrogateescape")


def _flaw(entry: _Entry) -> str:
    """Return why a member cannot be used."""
    if entry.flags & _ENCRYPTED:
        return "encrypted"
    if stat.S_ISLNK(entry.mode):
        return "a link"
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG):
        return "neither a file nor a folder"
    if entry.method not in (_STORED, _DEFLATED):
        return f"compressed by method {entry.method}; only stored and deflated members are read"
    return ""


def _check_apart(starts: array[int], ends: array[int], directory: int) -> None:
    """Refuse members that share bytes: of these, a small archive can hold any amount."""
    first, last = np.asarray(starts, np.uint64), np.asarray(ends, np.uint64)
    order = np.argsort(first, kind="stable")
    following = np.append(first[order[1:]], np.uint64(directory))
    if len(order) and (last[order] > following).any():
        raise ValueError("its members overlap")
