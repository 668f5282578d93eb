"""VeRi-776's layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from reid.data.conversion.content import Content, Shot
from reid.data.conversion.labels import Labels
from reid.data.conversion.targets.label_names import label_names
from reid.data.conversion.targets.target import Lists, Names

__all__ = ["lists", "names"]

_FOLDERS = {"train": "train", "query": "query", "gallery": "test"}


def names(content: Content, labels: Labels) -> Names:
    """Return the names of the images."""
    found = label_names(content, labels, with_tracks=False)
    return {shot: f"image_{_FOLDERS[shot.part]}/{name}" for shot, name in found.items()}


def lists(content: Content, labels: Labels, names: Names) -> Lists:
    """Return name lists, label files and test tracks."""
    parts = {part: [shot for shot in content.of(part) if shot in names] for part in ("train", "query", "gallery")}
    files = {shot: name.rpartition("/")[2] for shot, name in names.items()}
    found = {
        f"name_{_FOLDERS[part]}.txt": "".join(f"{files[shot]}\n" for shot in shots) for part, shots in parts.items()
    }
    test = {files[shot]: shot for shot in (*parts["query"], *parts["gallery"])}  # a query may be a copy of the latter
    tracks = ("".join(f"{' '.join(files[shot] for shot in track)}\n" for track in _tracks(parts["gallery"])),)
    return {
        **{name: text for name, text in found.items() if text},
        "train_label.xml": _label_file("TrainingImages", {files[shot]: shot for shot in parts["train"]}, labels),
        "test_label.xml": _label_file("TestImages", test, labels),
        "test_track.txt": tracks[0],
    }


def _tracks(shots: Sequence[Shot]) -> Iterable[list[Shot]]:
    tracks: dict[object, list[Shot]] = defaultdict(list)
    for shot in shots:
        tracks[shot if shot.track is None else shot.track].append(shot)
    return [sorted(members, key=lambda shot: shot.place) for members in tracks.values()]


def _label_file(tag: str, shots: dict[str, Shot], labels: Labels) -> str:
    items = (
        f'    <Item imageName="{name}" vehicleID="{labels.vehicles[shot.vehicle]}" '
        f'cameraID="{labels.cameras[shot.camera]}" />\n'
        for name, shot in shots.items()
    )
    head = f'<?xml version="1.0" encoding="gb2312"?>\n<{tag} Version="1.0">\n  <Items number="{len(shots)}">\n'
    return f"{head}{''.join(items)}  </Items>\n</{tag}>\n"
