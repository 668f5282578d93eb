"""Folders of crops, as `reid-infer` takes them: a sub-folder is a tracklet, a loose image a tracklet of one frame."""

from __future__ import annotations

import os
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.imaging import IMAGE_SUFFIXES
from reid.runtime.labels import labels_of_tracklet
from reid.runtime.left_out import LeftOut, left_out
from reid.runtime.listing import Listing, list_tree
from reid.runtime.tracklet import Tracklet

__all__ = ["read_folder", "tracklets_in", "what_is_left_out"]


def read_folder(folder: str | os.PathLike[str]) -> list[Tracklet]:
    """List the tracklets of a folder or an archive, in the order of their names; their ids are paths relative to it.

    Links to folders are followed, except where one leads back to a folder that contains it.

    Vehicle and camera are known if all file names of a tracklet agree on them (in the styles of VeRi, Market-1501 and
    DukeMTMC), or else if the tracklet's folder is `vehicle/camera_track`, or if one among two or three folders is named
    like a camera, such as `c003`: `vehicle/camera/track`, `camera/vehicle`, `camera/vehicle/track`.

    Raises:
        DataError: the folder does not exist or holds no image, or a folder in it cannot be read.
    """
    return tracklets_in(list_tree(Path(folder)))


def tracklets_in(listing: Listing) -> list[Tracklet]:
    """Return the tracklets of a listing; see read_folder."""
    for name, reason in listing.unreadable.items():
        raise DataError(f"{listing.path(name)}: {reason}")
    tracklets = []
    for folder in listing.contents:
        images = listing.images(folder)
        if not folder:
            tracklets += [_tracklet(name, (path,)) for name, path in images.items()]
        elif images:
            tracklets.append(_tracklet(folder, tuple(images.values())))
    if not tracklets:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{listing.root} holds no images ({known}), neither loose nor in sub-folders")
    return tracklets


def what_is_left_out(listing: Listing) -> tuple[LeftOut, ...]:
    """List the files of which `tracklets_in` makes no tracklets, with reasons."""
    used = {str(path) for folder in listing.contents for path in listing.images(folder).values()}
    return left_out(listing, used, {})


def _tracklet(identity: str, frames: tuple[Path, ...]) -> Tracklet:
    *folders, last = identity.split("/")
    labels = labels_of_tracklet((*folders, last), (path.name for path in frames))
    return Tracklet(identity, frames, labels.camera, labels.vehicle)
