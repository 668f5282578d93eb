"""File names that encode labels, in the styles that data sets use.

VeRi-776's `0002_c003_00084255_0.jpg`, Market-1501's `0002_c1s1_000451_03.jpg`, DukeMTMC's `0002_c1_f0044158.jpg` and
`0002_C1_F0044_X200413.jpg`; and names that tell no camera, `0002_00084255.jpg`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["JUNK", "ImageName", "parse_name", "parse_name_without_camera"]

JUNK = "-1"
"""The vehicle of Market's junk boxes, which show no vehicle in particular."""

_PATTERN = re.compile(
    r"(?P<vehicle>-?\d+)_(?P<camera>[cC]\d+)(?:s(?P<sequence>\d+))?_[fF]?(?P<time>\d{1,255})(?:_[^.]*)?(?:\.\w+)+",
    re.ASCII,
)
_WITHOUT_CAMERA = re.compile(r"(?P<vehicle>\d{1,7})_(?P<time>\d{1,255})(?:_[^.]*)?(?:\.\w+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImageName:
    """The labels that an image's name encodes.

    Attributes:
        vehicle: the vehicle's number as written; it may be JUNK.
        camera: the camera's name, such as "c003".
        sequence: the recording within the camera in Market's names, "" in others.
        time: the frame's number or timestamp, comparable within one camera and sequence.
    """

    vehicle: str
    camera: str
    sequence: str
    time: int


def parse_name(name: str) -> ImageName | None:
    """Parse a file name that tells vehicle and camera; return None if it does not."""
    match = _PATTERN.fullmatch(name)
    if match is None:
        return None
    return ImageName(match["vehicle"], match["camera"].lower(), match["sequence"] or "", int(match["time"]))


def parse_name_without_camera(name: str) -> str | None:
    """Return the vehicle that a file name tells before a number of its own; None if it does not.

    Many names that mean something else look like this, so only a folder full of them is read so.
    """
    match = _WITHOUT_CAMERA.fullmatch(name)
    return match["vehicle"] if match else None
