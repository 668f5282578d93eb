"""File names that carry labels: VeRi's `0002_c003_00084255_0.jpg` and Market's `0002_c1s1_000451_03.jpg`."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["JUNK", "ImageName", "parse_name"]

JUNK = "-1"
"""The vehicle of Market's junk boxes, which are no vehicle in particular."""

_PATTERN = re.compile(
    r"(?P<vehicle>-?\d+)_(?P<camera>c\d+)(?:s(?P<sequence>\d+))?_(?P<time>\d+)(?:_[^.]*)?(?:\.\w+)+", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ImageName:
    """What an image's name says.

    Attributes:
        vehicle: as written; it may be JUNK.
        camera: "c003".
        sequence: Market's recording within the camera, "" in VeRi's names.
        time: the frame's number or time stamp, comparable within one camera and sequence.
    """

    vehicle: str
    camera: str
    sequence: str
    time: int


def parse_name(name: str) -> ImageName | None:
    """Read a VeRi-style or Market-style file name; None where it is neither."""
    match = _PATTERN.fullmatch(name)
    if match is None:
        return None
    return ImageName(match["vehicle"], match["camera"], match["sequence"] or "", int(match["time"]))
