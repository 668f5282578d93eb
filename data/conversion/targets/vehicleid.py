"""VehicleID's layout: numbered images, and lists of numbers and vehicles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reid.data.conversion.content import Content, Shot, ShotSet, copies_in_gallery
from reid.data.conversion.labels import Labels
from reid.data.conversion.targets.target import Lists, Names

__all__ = ["lists", "names"]


def names(content: Content, labels: Labels) -> Names:
    """Return the names of the images; a query that is a copy of an image of the gallery is that image."""
    numbers: dict[object, str] = {}
    found = {}
    for shot, file in _files(content):
        found[shot] = numbers.setdefault(file, f"image/{len(numbers) + 1:07d}{shot.source.suffix}")
    return found


def _files(content: Content) -> Iterator[tuple[Shot, object]]:
    for shot in content.of("train"):
        yield shot, shot.source
    for one in content.test_sets():
        copies = copies_in_gallery(one.query, one.gallery)
        for shot in _members(one):
            if shot.vehicle is not None:
                yield shot, copies.get(shot, shot).source


def _members(one: ShotSet) -> tuple[Shot, ...]:
    return one.drawn_from or (*one.gallery, *one.query)


def lists(content: Content, labels: Labels, names: Names) -> Lists:
    """Return a list for training, and one a test set."""
    found = {"train_list.txt": content.of("train")}
    for one in content.test_sets():
        vehicles = {shot.vehicle for shot in _members(one)} - {None}
        size = one.name if one.name.isdecimal() and len(one.name) < 10 else str(len(vehicles))
        found[f"test_list_{size}.txt"] = _members(one)
    texts = {f"train_test_split/{name}": _text(shots, labels, names) for name, shots in found.items()}
    return {name: text for name, text in texts.items() if text}


def _text(shots: Iterable[Shot], labels: Labels, names: Names) -> str:
    lines = {names[shot][6:13]: labels.vehicles[shot.vehicle] for shot in shots if shot in names}
    return "".join(f"{number} {vehicle}\n" for number, vehicle in lines.items())
