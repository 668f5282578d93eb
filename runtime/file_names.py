"""File names that encode labels: VeRi's `0002_c003_00084255_0.jpg` and Market's `0002_c1s1_000451_03.jpg`."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["JUNK", "ImageName", "parse_name"]

JUNK = "-1"
"""The vehicle of Market's junk boxes, which show no vehicle in particular."""

_PATTERN = re.compile(
    r"(?P<vehicle>-?\d+)_(?P<camera>c\d+)(?:s(?P<sequence>\d+))?_(?P<time>\d{1,255})(?:_[^.]*)?(?:\.\w+)+", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ImageName:
    """The labels that an image's name encodes.

    Attributes:
        vehicle: the vehicle's number as written; it may be JUNK.
        camera: the camera's name, such as "c003".
        sequence: the recording within the camera in Market's names, "" in VeRi's.
        time: the frame's number or timestamp, comparable within one camera and sequence.
    """

    vehicle: str
    camera: str
    sequence: str
    time: int


def parse_name(name: str) -> ImageName | None:
    """Parse a VeRi-style or Market-style file name; return None if it is neither."""
    match = _PATTERN.fullmatch(name)
    if match is None:
        return None
    return ImageName(match["vehicle"], match["camera"], match["sequence"] or "", int(match["time"]))
