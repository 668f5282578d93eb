"""From a live track to an entry of a gallery, which other threads may search meanwhile."""

from __future__ import annotations

import os
import secrets
from itertools import chain, count
from pathlib import Path

import cv2
import numpy as np

from reid.runtime.association.tracks import SeenTrack
from reid.runtime.errors import DataError
from reid.runtime.files.storage import atomic_write
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import GrowingGallery
from reid.runtime.live.tracks import LiveTrack
from reid.runtime.tracklet import Frame

__all__ = ["as_seen", "keep", "name_in"]

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


def name_in(gallery: GrowingGallery, track: LiveTrack) -> str:
    """Return a name for a track that is free in a gallery: "north/17@12.480", with a number after it if that is taken.

    Trackers give a name again, after a restart at the latest. So what is known of camera and time is part of it.
    """
    place = "" if track.camera is None else f"{track.camera}/"
    name = f"{place}{track.id}" + ("" if track.first_s is None else f"@{track.first_s:.3f}")
    names = chain([name], (f"{name}#{number}" for number in count(2)))
    return next(one for one in names if not gallery.contains([one])[0])


def as_seen(track: LiveTrack, name: str) -> SeenTrack | None:
    """Return a track as it is given an identity; None if it has no embedding, or its camera or times are not known."""
    if track.embedding is None or track.camera is None or track.first_s is None or track.last_s is None:
        return None
    return SeenTrack(name, track.camera, track.first_s, track.last_s, track.embedding)


def keep(
    track: LiveTrack,
    name: str,
    gallery: GrowingGallery,
    *,
    vehicle: str | None = None,
    pictures: str | os.PathLike[str] | None = None,
) -> Entry | None:
    """Add a track to a gallery; a search that begins after that finds it.

    Args:
        track: the track.
        name: the id of its entry.
        gallery: a gallery of the session's space.
        vehicle: the vehicle that it shows, such as the number of its identity; None if unknown.
        pictures: the folder for its picture, where that is no file already; None for no picture.

    Returns:
        The entry; None if the track has no embedding: its `reason` says why.

    Raises:
        DataError: the gallery has an entry of that name, or another model embedded it.
    """
    if track.embedding is None:
        return None
    if gallery.contains([name])[0]:  # before a picture is written that no entry names
        raise DataError(f"there is an entry {name!r} already: remove it first, or let name_in choose a name")
    picture = _written(track.picture, Path(pictures) if pictures else None)
    entry = Entry(name, track.camera, vehicle, track.time_s, picture, track.frames)
    gallery.add([entry], track.embedding[None])
    return entry


def _written(picture: Frame | None, folder: Path | None) -> str:
    if isinstance(picture, np.ndarray) and folder:
        _, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _JPEG)
        file = folder / f"{secrets.token_hex(16)}.jpg"  # that of no other entry, whatever their names are
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(file, content.tobytes())
        return str(file.absolute())
    return str(picture.absolute()) if isinstance(picture, Path) else ""
