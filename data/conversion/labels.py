"""What a target calls vehicles and cameras: what it can hold stays as it is, the rest gets new names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from itertools import count

from reid.data.conversion.content import Content
from reid.data.readers.trees import SPLIT_FOLDERS
from reid.runtime.file_names import JUNK
from reid.runtime.files.names import is_name
from reid.runtime.imaging import is_image
from reid.runtime.labels import camera_of_track, is_camera_name, is_track_name, tells_no_vehicle

__all__ = ["NAMES_FILE", "Labels", "Renaming", "folder_labels", "names_file", "numbered", "table_labels", "wild_labels"]

NAMES_FILE = "names.csv"

_RESERVED = {name for names in SPLIT_FOLDERS.values() for name in names}


@dataclass(frozen=True, slots=True)
class Labels:
    """A data set's vehicles and cameras -> their names in the target; None is what has no name."""

    vehicles: Mapping[str | None, str | None]
    cameras: Mapping[str | None, str | None]

    @property
    def renamed(self) -> list[tuple[str, str, str]]:
        """What has another name: ("vehicle" or "camera", its name, its new name)."""
        kinds = (("vehicle", self.vehicles), ("camera", self.cameras))
        return [(kind, old, new) for kind, names in kinds for old, new in names.items() if old and new and old != new]


@dataclass(frozen=True, slots=True)
class Renaming:
    """How names are found.

    Attributes:
        fits: whether a name can stay as it is.
        fresh: makes a new name of a number.
        key: names with equal keys are taken for the same.
        unknown: the name of what has none; None to leave it without.
    """

    fits: Callable[[str], bool]
    fresh: Callable[[int], str]
    key: Callable[[str], Hashable] = str
    unknown: str | None = None

    def names(self, labels: Collection[str | None]) -> dict[str | None, str | None]:
        """Return the labels -> their names, all of them different."""
        known = sorted((label for label in labels if label is not None), key=lambda label: (len(label), label))
        names: dict[str | None, str | None] = {None: self.unknown}
        used = {self.key(self.unknown)} if self.unknown and None in labels else set()
        for label in known:
            if self.fits(label) and self.key(label) not in used:
                names[label] = label
                used.add(self.key(label))
        numbers = count(1)
        for label in known:
            if label not in names:
                names[label] = next(name for name in map(self.fresh, numbers) if self.key(name) not in used)
        return names


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda name: compiled.fullmatch(name) is not None


_NUMBERS = Renaming(_matches(r"\d{1,7}"), lambda n: f"{n:04d}", int, "0000")
_CAMERAS = Renaming(_matches(r"c\d{1,6}"), lambda n: f"c{n:03d}", lambda name: int(name[1:]), "c000")


def _made(content: Content, vehicles: Renaming, cameras: Renaming) -> Labels:
    shots = [*content.shots, *(shot for one in content.sets for shots in one[1:] for shot in shots)]
    return Labels(vehicles.names({shot.vehicle for shot in shots}), cameras.names({shot.camera for shot in shots}))


def _has_cameras(content: Content) -> bool:
    return any(shot.camera is not None for shot in content.shots)


def numbered(content: Content, *, needs_cameras: bool = False) -> Labels:
    """Return labels for file names such as 0002_c003_00084255_0.jpg; without any camera, the names tell none."""
    labels = _made(content, _NUMBERS, _CAMERAS)
    if needs_cameras or _has_cameras(content):
        return labels
    return Labels(labels.vehicles, {None: None})


def wild_labels(content: Content) -> Labels:
    """Return labels for VERI-Wild's lists."""

    def fits(camera: str) -> bool:
        return is_name(camera) and ";" not in camera and camera == camera.strip()

    return _made(content, _NUMBERS, Renaming(fits, lambda n: f"c{n:03d}"))


def folder_labels(content: Content) -> Labels:
    """Return labels for folders of vehicles and cameras that are recognized as such."""

    def is_vehicle(name: str) -> bool:
        is_other = is_camera_name(camera_of_track(name) or name) or is_track_name(name) or tells_no_vehicle(name)
        return is_name(name) and not is_other and not is_image(name) and name not in (*_RESERVED, JUNK)

    def is_camera(name: str) -> bool:
        return is_camera_name(name) and camera_of_track(f"{name}_1") == name

    def number(name: str) -> int:
        return int("".join(filter(str.isdecimal, name)))

    vehicles = Renaming(is_vehicle, lambda n: f"vehicle{n:04d}", str.lower, "0000")
    return _made(
        content, vehicles, Renaming(is_camera, lambda n: f"c{n:03d}", number, "c000" if _has_cameras(content) else None)
    )


def table_labels(content: Content) -> Labels:
    """Return labels for a table, which spreadsheets take for text."""

    def fits(label: str) -> bool:
        starts_as_text = label[:1].isalnum() or label[:1] == "_"
        return is_name(label) and starts_as_text and label == label.strip() and not label.endswith(".0")

    return _made(content, Renaming(fits, lambda n: f"vehicle{n:04d}"), Renaming(fits, lambda n: f"c{n:03d}"))


def names_file(labels: Labels) -> str:
    """Return the list of everything that was renamed, as CSV; "" if nothing was."""
    if not labels.renamed:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["what", "was", "is"])
    # What a spreadsheet could take for a formula stands behind an apostrophe.
    writer.writerows((kind, old if old[:1].isalnum() else f"'{old}", new) for kind, old, new in labels.renamed)
    return text.getvalue()
