"""Images whose names tell their labels: in one folder a split, or in a folder a vehicle."""

from __future__ import annotations

from itertools import count

from reid.data.conversion.content import Content
from reid.data.conversion.labels import Labels, folder_labels, numbered
from reid.data.conversion.targets.label_names import label_names
from reid.data.conversion.targets.target import Names

__all__ = ["labels_in_folders", "names", "names_in_folders"]


def names(content: Content, labels: Labels) -> Names:
    """Return the names of images in a folder for each split, or in the root."""
    found = label_names(content, labels, with_tracks=True)
    return {shot: _below(shot.part, name) for shot, name in found.items()}


def labels_in_folders(content: Content) -> Labels:
    """Return the labels for folders of vehicles: numbers where the images' names have to tell cameras."""
    labels = numbered(content)
    return labels if labels.cameras != {None: None} else folder_labels(content)


def names_in_folders(content: Content, labels: Labels) -> Names:
    """Return the names of images in a folder for each vehicle; they tell the camera, if there is any."""
    if any(camera is not None for camera in labels.cameras.values()):
        found = label_names(content, labels, with_tracks=True)
        return {shot: _below(shot.part, f"{labels.vehicles[shot.vehicle]}/{name}") for shot, name in found.items()}
    numbers = count(1)
    return {
        shot: _below(shot.part, f"{labels.vehicles[shot.vehicle]}/{next(numbers):06d}{shot.source.suffix}")
        for shot in content.of("labeled", "train", "query", "gallery")
    }


def _below(part: str, name: str) -> str:
    return name if part == "labeled" else f"{part}/{name}"
