"""Folders of crops, as `reid-infer` takes them: a sub-folder is a tracklet, a loose image a tracklet of one frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.file_names import JUNK, parse_name
from reid.runtime.imaging import is_image
from reid.runtime.tracklet import Tracklet

__all__ = ["read_folder"]


def read_folder(folder: str | os.PathLike[str]) -> list[Tracklet]:
    """List the tracklets of a folder, in the order of their names; their ids are paths relative to the folder.

    Links to folders are followed, except where one leads back to a folder that contains it.

    Vehicle and camera are known if all file names of a tracklet agree on them (VeRi-style or Market-style), or if the
    tracklet's folder is `vehicle/camera_track`.

    Raises:
        DataError: the folder does not exist or holds no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder" if root.exists() else f"{root}: no such folder")
    tracklets = []
    for inner, images in _images_by_folder(root, frozenset()):
        if inner == root:
            tracklets += [_tracklet(image.name, (image,)) for image in images]
        elif images:
            tracklets.append(_tracklet(inner.relative_to(root).as_posix(), images))
    if not tracklets:
        raise DataError(f"{root} holds no images (.jpg, .png, .bmp, .webp), neither loose nor in sub-folders")
    return tracklets


def _images_by_folder(folder: Path, ancestors: frozenset[Path]) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    real = folder.resolve()
    if real in ancestors:
        return
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    yield folder, tuple(path for path in entries if is_image(path) and not path.is_dir())
    for path in entries:
        if path.is_dir():
            yield from _images_by_folder(path, ancestors | {real})


def _tracklet(identity: str, frames: tuple[Path, ...]) -> Tracklet:
    names = (parse_name(path.name) for path in frames)
    labels = {(name.vehicle, name.camera) if name and name.vehicle != JUNK else None for name in names}
    known = labels.pop() if len(labels) == 1 else None
    parent, _, track = identity.rpartition("/")
    if known is None and parent and "/" not in parent and "_" in track:
        known = parent, track.partition("_")[0]
    vehicle, camera = known or (None, None)
    return Tracklet(identity, frames, camera, vehicle)
