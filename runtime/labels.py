"""Vehicle and camera of an image or a tracklet: by the names of its files, else by the names of its folders.

What a data set's label file says goes before both.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from reid.runtime.file_names import JUNK, parse_name

__all__ = [
    "UNKNOWN",
    "Labels",
    "camera_of_track",
    "has_digit",
    "is_camera_name",
    "is_part_name",
    "is_track_name",
    "labels_of_tracklet",
    "plain_label",
    "same_label",
    "tells_no_vehicle",
]

_CAMERA_NAME = r"(?:c|cam|camera)[-_ ]?\d+"
_CAMERA = re.compile(_CAMERA_NAME, re.ASCII | re.IGNORECASE)
_CAMERA_WITHIN = re.compile(rf"(?<![^_-])({_CAMERA_NAME})(?![^_-])", re.ASCII | re.IGNORECASE)
_TRACK = re.compile(r"(?:t|trk|track|tracklet)[-_ ]?\d+|trk|tracks?|tracklets?", re.ASCII | re.IGNORECASE)
_PART = re.compile(r".*?(?:part|disk|disc|vol|volume|batch|archive)s?[-_. ]?\d+", re.ASCII | re.IGNORECASE)
_DATE = re.compile(r"(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?:[-_ T]?[\d.:_-]*)", re.ASCII)
_OCCASION = re.compile(
    r"(?:day|night|week|month|hour|time|video|clip|scene|session|shot|recording|seq|sequence|run|(?:data)?set)s?"
    r"[-_ ]?(?:\d+|[a-z])|images?|imgs?|pictures|photos|pics|crops?|frames?|masks?|labels?|annotations?|data(?:set)?"
    r"|train(?:ing|_all)?|val(?:id|idation)?|test(?:ing)?|quer(?:y|ies)|gallery",
    re.ASCII | re.IGNORECASE,
)
_COPY = re.compile(r"^copy of | - copy(?: \(\d+\))?$| \(\d+\)$")
_NUMBER = re.compile(r"0*(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Labels:
    """The vehicle and the camera; None for what is not known."""

    vehicle: str | None
    camera: str | None


UNKNOWN = Labels(None, None)


@lru_cache(maxsize=1 << 16)
def is_camera_name(name: str) -> bool:
    """Return whether a folder's name says that it is a camera's: c001, cam3, camera_12."""
    return _CAMERA.fullmatch(name) is not None


def has_digit(name: str) -> bool:
    """Return whether a name holds a digit, as those of vehicles do and those of places and types do not."""
    return any(map(str.isdigit, name))


def is_track_name(name: str) -> bool:
    """Return whether a folder's name says that it is a tracklet's: track_12, t3."""
    return _TRACK.fullmatch(name) is not None


def is_part_name(name: str) -> bool:
    """Return whether a folder's name says that it is one of the parts in which an archive comes: images.part03."""
    return _PART.fullmatch(name) is not None


def tells_no_vehicle(name: str) -> bool:
    """Return whether a folder's name says when or what it holds, but not which vehicle: 2024-05-01, day3, images."""
    return any(pattern.fullmatch(name) for pattern in (_DATE, _OCCASION, _PART))


@lru_cache(maxsize=1 << 16)
def camera_of_track(folder: str) -> str | None:
    """Return the camera that a tracklet's folder is named after.

    It is `c001` of `c001_17`, `c3` of `t0_c3`, `north` of `north_17`; None for `0017`, `track_17` and `2024_05_17`.
    """
    if match := _CAMERA_WITHIN.search(folder):
        return match[1]
    camera, underscore, _ = folder.partition("_")
    if not underscore or not camera or is_track_name(camera) or tells_no_vehicle(folder):
        return None
    return camera


def same_label(one: str, other: str) -> bool:
    """Return whether two names mean the same: numbers may differ in leading zeros, cameras in case and form."""
    return one == other or plain_label(one) == plain_label(other)


@lru_cache(maxsize=1 << 16)
def plain_label(name: str) -> str:
    """Return what a name has in common with all that mean the same."""
    name = _COPY.sub("", unicodedata.normalize("NFC", name).lower())
    if is_camera_name(name):
        name = "c" + name.lstrip("camer-_ ")
    number = name.removeprefix("c")
    match = _NUMBER.fullmatch(number)
    return name[: len(name) - len(number)] + match[1] if match else name


def labels_of_tracklet(folders: Sequence[str], files: Iterable[str]) -> Labels:
    """Return the labels of a tracklet in a folder of tracklets of which nothing else is known.

    Args:
        folders: the names of the folders that hold it, from the outside in.
        files: the names of its files. If all tell the same vehicle and camera, these are it.

    Returns:
        What the files' names tell, or else what the folders do: `vehicle/camera_track`, or `vehicle/camera/track`,
        `camera/vehicle` and `camera/vehicle/track` with cameras that are named so; UNKNOWN for everything else.
    """
    names = (parse_name(name) for name in files)
    told = {Labels(name.vehicle, name.camera) if name and name.vehicle != JUNK else UNKNOWN for name in names}
    if len(told) == 1 and UNKNOWN not in told:
        return told.pop()
    if len(folders) not in (2, 3) or tells_no_vehicle(folders[0]):
        return UNKNOWN
    first, second = folders[:2]
    if is_camera_name(first):
        camera = camera_of_track(second)
        is_vehicle = not (camera and is_camera_name(camera)) and not is_track_name(second)
        return Labels(second, first) if is_vehicle and not tells_no_vehicle(second) else UNKNOWN
    if len(folders) == 3:
        return Labels(first, second) if is_camera_name(second) and has_digit(first) else UNKNOWN
    camera = camera_of_track(second)
    is_vehicle = camera is not None and (is_camera_name(camera) or has_digit(first))
    return Labels(first, camera) if is_vehicle else UNKNOWN  # else north/car_7 would be a vehicle's
