"""The .tar format: its headers, in the dialects ustar, GNU and pax. Damage is a ValueError.

Python's `tarfile` takes twice the time and several times the memory, allocates what a header asks for, ends without a
word at a damaged header and, in older versions of Python, does not end at all.

Source: POSIX.1-2017, pax, "ustar Interchange Format"; the manual of GNU tar, "Basic Tar Format".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from reid.runtime.files.catalog import MOST_ENTRIES, Catalog, read_exactly
from reid.runtime.files.regular import MEBIBYTE

__all__ = ["scan"]

_BLOCK = 512
_END = bytes(_BLOCK)

_FILES = (b"0", b"\0", b"7")
_WITHOUT_DATA = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"5": "", b"6": "a named pipe"}
_FOLDERS_AND_LABELS = (b"5", b"D", b"V")
_SPARSE = b"S"
_PAX, _PAX_FOR_ALL = (b"x", b"X"), b"g"
_LONG_NAME, _LONG_LINK = b"L", b"K"


def scan(file: BinaryIO, length: int) -> Catalog:
    """List the members of an archive of so many bytes; the place of a member is where its content begins."""
    catalog = Catalog()
    for_all: dict[bytes, bytes] = {}
    for_next: dict[bytes, bytes] = {}
    place = 0
    for _ in range(MOST_ENTRIES):
        header = _read_header(file, place)
        if header == _END:
            return catalog
        place += _BLOCK
        kind, size = header[156:157], _number(header[124:136])
        if kind == _PAX_FOR_ALL:
            for_all |= _records(_extension(file, size))
        elif kind in _PAX:
            for_next |= _records(_extension(file, size))
        elif kind in (_LONG_NAME, _LONG_LINK):
            content = _extension(file, size)
            for_next |= {b"path": _text(content)} if kind == _LONG_NAME else {}
        else:
            facts, for_next = for_all | for_next, {}
            size = _size(kind, size, facts)
            if kind == _SPARSE:
                place = _after_sparse_map(file, header, place)
            _add(catalog, header, facts, size, place)
        place += -(-size // _BLOCK) * _BLOCK
        if place > length:
            break
    else:
        raise ValueError(f"more than {MOST_ENTRIES:,} headers")
    raise ValueError("cut short")


def _add(catalog: Catalog, header: bytes, facts: Mapping[bytes, bytes], size: int, place: int) -> None:
    kind = header[156:157]
    stored = facts.get(b"GNU.sparse.name") or facts.get(b"path") or _name(header)
    name = stored.decode("utf-8", "surrogateescape")
    if kind in _FOLDERS_AND_LABELS or (kind == b"\0" and name.endswith("/")):
        return
    if kind in _WITHOUT_DATA:
        flaw = _WITHOUT_DATA[kind]
    elif kind == _SPARSE or any(key.startswith(b"GNU.sparse.") for key in facts):
        flaw = "sparse"
    else:
        flaw = "" if kind in _FILES else "neither a file nor a folder"
    catalog.add(name, size, place, flaw=flaw)


def _read_header(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    header = read_exactly(file, _BLOCK)
    if header != _END and not _is_sound(header):
        raise ValueError(f"no header at byte {place:,}" if place else "it does not begin as a .tar does")
    return header


def _is_sound(header: bytes) -> bool:
    """Return whether the checksum is right: a sum of bytes, which some programs take for signed."""
    rest = header[:148] + b" " * 8 + header[156:]
    total = sum(rest)
    try:
        difference = total - _number(header[148:156])
    except ValueError:
        return False
    return difference == 0 or (difference > 0 and difference == 256 * sum(byte > 127 for byte in rest))


def _name(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Return a number: octal, or binary behind a byte 128."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    return _natural(_text(field).strip() or b"0", 8)


def _natural(text: bytes, base: int) -> int:
    try:
        if text.isdigit() and len(text) <= 20:  # int() takes signs, too, and any length of time
            return int(text, base)
    except ValueError:
        pass
    raise ValueError("a damaged number in a header")


def _size(kind: bytes, size: int, facts: Mapping[bytes, bytes]) -> int:
    """Return how many bytes of data a member has."""
    if kind in _WITHOUT_DATA:
        return 0
    return _natural(facts[b"size"], 10) if b"size" in facts else size


def _extension(file: BinaryIO, size: int) -> bytes:
    """Read the content of a header that is about the following ones."""
    if size > MEBIBYTE:
        raise ValueError(f"a header of {size:,} bytes")
    return read_exactly(file, size)


def _records(content: bytes) -> dict[bytes, bytes]:
    """Return the records of a pax header that matter here. A line such as "16 path=a/b.jpg" is one."""
    found = {}
    position = 0
    while position < len(content) and content[position]:
        digits, space, _ = content[position : position + 21].partition(b" ")
        end = position + _natural(digits, 10)
        key, equals, value = content[position + len(digits) + 1 : end - 1].partition(b"=")
        if not space or not equals or content[end - 1 : end] != b"\n":
            raise ValueError("a damaged pax header")
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse."):
            found[key] = value
        position = end
    return found


def _after_sparse_map(file: BinaryIO, header: bytes, place: int) -> int:
    """Return where the data of a sparse file begins: behind a map that goes on in more blocks."""
    goes_on = header[482]
    for _ in range(MOST_ENTRIES):
        if not goes_on:
            break
        goes_on = read_exactly(file, _BLOCK)[504]
        place += _BLOCK
    return place
