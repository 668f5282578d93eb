"""Numbers in headers, and the reasons that several formats share."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["CUT_SHORT", "NOT_READABLE", "Order", "number", "unread"]

Order: TypeAlias = Literal["big", "little"]

NOT_READABLE = "not a readable image"
CUT_SHORT = "the image is cut short"


def number(content: bytes, start: int, size: int, order: Order = "little") -> int:
    """Return the integer of so many bytes, of which those behind the end of the file are missing."""
    return int.from_bytes(content[start : start + size], order)


def unread(kind: str) -> ValueError:
    """Return the refusal of a kind of image that OpenCV reads wrongly or not at all, or at a cost."""
    return ValueError(f"{kind}, which is not read; convert it, e.g. to PNG")
