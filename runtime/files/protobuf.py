"""The framing of protobuf messages: their fields, read and written without a schema."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TypeAlias

__all__ = ["BYTES", "VARINT", "Field", "bytes_field", "bytes_of", "fields", "text_of", "texts_of", "varint_field"]

VARINT, BYTES = 0, 2
"""The wire types that ONNX's messages hold what matters in."""

_FIXED_64, _FIXED_32 = 1, 5

Field: TypeAlias = tuple[int, int, int, int]
"""(number, wire type, start and end of a value of bytes; of a varint, its value and 0)"""


def fields(content: mmap.mmap | bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of one message. Raises ValueError where it is not well-formed, or has groups, unused in ONNX."""
    while start < end:
        tag, start = _varint(content, start, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"field {number} in it")
        first, second = start, 0
        if wire == VARINT:
            first, start = _varint(content, start, end)
        elif wire == BYTES:
            length, first = _varint(content, start, end)
            start = second = first + length
        elif wire in (_FIXED_32, _FIXED_64):
            start += 4 if wire == _FIXED_32 else 8
        else:
            raise ValueError(f"wire type {wire} in it")
        if start > end:
            raise ValueError("cut short")
        yield number, wire, first, second


def bytes_of(content: bytes, message: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each field of a message, given by its own, that has a number and holds bytes."""
    for number, wire, start, end in fields(content, *message):
        if (number, wire) == (wanted, BYTES):
            yield start, end


def texts_of(content: bytes, message: tuple[int, int], number: int) -> list[str]:
    """Return the texts of a message's field that may be there several times."""
    return [content[start:end].decode(errors="replace") for start, end in bytes_of(content, message, number)]


def text_of(content: bytes, message: tuple[int, int], number: int) -> str:
    """Return the text of a message's field; of one that is there twice, the last counts."""
    return next(reversed(texts_of(content, message, number)), "")


def bytes_field(number: int, value: bytes) -> bytes:
    """Return a field that holds bytes: a text, or a message in another."""
    return _as_varint(number << 3 | BYTES) + _as_varint(len(value)) + value


def varint_field(number: int, value: int) -> bytes:
    """Return a field that holds a number that is not negative."""
    return _as_varint(number << 3 | VARINT) + _as_varint(value)


def _varint(content: mmap.mmap | bytes, start: int, end: int) -> tuple[int, int]:
    """Return the number at a position, without sign and in 64 bits, and the position after it."""
    value = 0
    for position in range(start, min(end, start + 10)):
        byte = content[position]
        value |= (byte & 0x7F) << 7 * (position - start)
        if byte < 0x80:
            return value & (1 << 64) - 1, position + 1
    raise ValueError("cut short" if start + 10 > end else "a number of more than 64 bits in it")


def _as_varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])
