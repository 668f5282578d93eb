"""Folders of crops, as `reid-infer` takes them: a sub-folder is a tracklet, a loose image a tracklet of one frame."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.file_names import JUNK, parse_name
from reid.runtime.imaging import is_image
from reid.runtime.tracklet import Tracklet

__all__ = ["Contents", "check_folder", "list_folder", "read_folder", "why_unreadable"]

_MOST_WAYS = 16
"""How often links may lead to one folder: where each folder links to the next twice, the ways double with every one."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds, in the order of names. Hidden entries are left out.

    Attributes:
        images: everything that has an image's name, even if it is no file.
        folders: folders, and links to folders.
    """

    images: tuple[Path, ...]
    folders: tuple[Path, ...]


def read_folder(folder: str | os.PathLike[str]) -> list[Tracklet]:
    """List the tracklets of a folder, in the order of their names; their ids are paths relative to the folder.

    Links to folders are followed, except where one leads back to a folder that contains it.

    Vehicle and camera are known if all file names of a tracklet agree on them (VeRi-style or Market-style), or if the
    tracklet's folder is `vehicle/camera_track`.

    Raises:
        DataError: the folder does not exist or holds no image, or a folder in it cannot be read.
    """
    root = Path(folder)
    tracklets = []
    for inner, images in _images_by_folder(root):
        if inner == root:
            tracklets += [_tracklet(image.name, (image,)) for image in images]
        elif images:
            tracklets.append(_tracklet(inner.relative_to(root).as_posix(), images))
    if not tracklets:
        raise DataError(f"{root} holds no images (.jpg, .png, .bmp, .webp), neither loose nor in sub-folders")
    return tracklets


def list_folder(folder: Path) -> Contents:
    """List a folder. Raises DataError if it cannot be read."""
    check_folder(folder)
    images, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image(entry):
                images.append(folder / entry.name)
            if not entry.name.startswith(".") and _is_folder(entry):
                folders.append(folder / entry.name)
    return Contents(tuple(sorted(images)), tuple(sorted(folders)))


def check_folder(folder: Path) -> None:
    """Raise DataError if a path is not that of a folder that can be read."""
    try:
        os.scandir(folder).close()
        os.stat(os.path.join(folder, os.curdir))  # what can be listed may still be out of reach
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is not a folder") from None
    except OSError as error:
        raise DataError(f"{folder}: {why_unreadable(error)}") from None


def why_unreadable(error: OSError) -> str:
    """Return why a file or folder of the user's data cannot be read."""
    if isinstance(error, PermissionError):
        return "permission denied; make it readable (chmod u+rX) or ask its owner to"
    return error.strerror or str(error)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:
        return not is_image(entry)  # reading it will say what is wrong, as a folder or as a frame
    except OSError:  # a link that leads to itself
        return False


def _images_by_folder(root: Path) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    ways = Counter[tuple[int, int]]()
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while waiting:
        folder, ancestors = waiting.pop()
        contents = list_folder(folder)
        status = os.stat(folder)
        identity = status.st_dev, status.st_ino
        if identity in ancestors:
            continue
        ways[identity] += 1
        if ways[identity] > _MOST_WAYS:
            raise DataError(f"{folder}: links lead to this folder in more than {_MOST_WAYS} ways; remove some of them")
        folders = frozenset(contents.folders)
        yield folder, tuple(image for image in contents.images if image not in folders)
        waiting += [(path, ancestors | {identity}) for path in reversed(contents.folders)]


def _tracklet(identity: str, frames: tuple[Path, ...]) -> Tracklet:
    names = (parse_name(path.name) for path in frames)
    labels = {(name.vehicle, name.camera) if name and name.vehicle != JUNK else None for name in names}
    known = labels.pop() if len(labels) == 1 else None
    parent, _, track = identity.rpartition("/")
    if known is None and parent and "/" not in parent and "_" in track:
        known = parent, track.partition("_")[0]
    vehicle, camera = known or (None, None)
    return Tracklet(identity, frames, camera, vehicle)
