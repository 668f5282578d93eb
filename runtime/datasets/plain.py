"""Folders as `reid-infer` takes them: a sub-folder is a tracklet, a loose image is a tracklet of one frame."""

from __future__ import annotations

import os
from pathlib import Path

from reid.runtime.datasets.names import parse_name
from reid.runtime.errors import DataError
from reid.runtime.imaging import is_image
from reid.runtime.tracklet import Tracklet

__all__ = ["read_plain_folder"]


def read_plain_folder(root: Path) -> list[Tracklet]:
    """List the tracklets of a folder, in the order of their names; ids are paths relative to it.

    Vehicle and camera are known where all file names of a tracklet agree on them (VeRi-style or Market-style), or where
    the tracklet's folder is `vehicle/camera_track`.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder" if root.exists() else f"{root}: no such folder")
    tracklets = []
    for folder, sub_folders, files in os.walk(root):
        sub_folders[:] = sorted(name for name in sub_folders if not name.startswith("."))
        images = sorted(Path(folder, name) for name in files if is_image(Path(name)))
        if Path(folder) == root:
            tracklets += [_tracklet(image.name, (image,)) for image in images]
        elif images:
            tracklets.append(_tracklet(Path(folder).relative_to(root).as_posix(), tuple(images)))
    if not tracklets:
        raise DataError(f"{root} holds no images (.jpg, .png, .bmp, .webp), neither loose nor in sub-folders")
    return tracklets


def _tracklet(identity: str, frames: tuple[Path, ...]) -> Tracklet:
    labels = {(name.vehicle, name.camera) if name else None for name in (parse_name(path.name) for path in frames)}
    known = labels.pop() if len(labels) == 1 else None
    parent, _, track = identity.rpartition("/")
    if known is None and parent and "/" not in parent and "_" in track:
        known = parent, track.partition("_")[0]
    vehicle, camera = known or (None, None)
    return Tracklet(identity, frames, camera, vehicle)
