"""VERI-Wild's layout: a folder a vehicle, lists of images, and cameras in a table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reid.data.conversion.content import Content, Shot
from reid.data.conversion.labels import Labels
from reid.data.conversion.targets.target import Lists, Names

__all__ = ["lists", "names"]

_FOLDER = "train_test_split"


def names(content: Content, labels: Labels) -> Names:
    """Return the names images/VEHICLE/NUMBER; an image of several lists is one file."""
    numbers: dict[Path, int] = {}
    found = {}
    for shot in _shots(content):
        number = numbers.setdefault(shot.source, len(numbers) + 1)
        found[shot] = f"images/{labels.vehicles[shot.vehicle]}/{number:06d}{shot.source.suffix}"
    return found


def _shots(content: Content) -> tuple[Shot, ...]:
    sets = content.test_sets()
    return (*content.of("train"), *(shot for one in sets for shot in (*one.query, *one.gallery)))


def lists(content: Content, labels: Labels, names: Names) -> Lists:
    """Return the lists of images, and the table with their cameras."""
    entries = {shot: name.removeprefix("images/").rpartition(".")[0] for shot, name in names.items()}
    cameras = {entries[shot]: labels.cameras[shot.camera] for shot in _shots(content) if shot in entries}
    rows = (f"{entry};{camera};;;;\n" for entry, camera in cameras.items() if camera is not None)
    found = {"vehicle_info.txt": f"id/image;Camera ID;Time;Model;Type;Color\n{''.join(rows)}"}
    found["train_list.txt"] = _text(content.of("train"), entries)
    for one in content.test_sets():
        vehicles = {shot.vehicle for shot in (*one.query, *one.gallery)} - {None}
        size = one.name if one.name.isdecimal() and len(one.name) < 10 else str(len(vehicles))
        found |= {f"test_{size}_query.txt": _text(one.query, entries), f"test_{size}.txt": _text(one.gallery, entries)}
    return {f"{_FOLDER}/{name}": text for name, text in found.items() if text}


def _text(shots: Iterable[Shot], entries: dict[Shot, str]) -> str:
    return "".join(f"{entries[shot]}\n" for shot in shots if shot in entries)
