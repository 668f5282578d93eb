"""What a gallery knows of tracks and of their identities."""

from __future__ import annotations

from collections.abc import Iterator

from reid.runtime.association.tracks import SeenTrack
from reid.runtime.errors import DataError
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import Gallery

__all__ = ["identities_in", "tracks_in"]


def tracks_in(gallery: Gallery) -> Iterator[SeenTrack]:
    """Yield the tracks of a gallery, for `associate`. It knows the middle of a track, which is begin and end here.

    Raises:
        DataError: an entry has no camera or no time.
    """
    for _, track in _tracks(gallery):
        yield track


def identities_in(gallery: Gallery) -> dict[int, list[SeenTrack]]:
    """Return the tracks of a gallery by the numbers of their identities, which are its vehicles, for `remember`.

    Entries without a vehicle are left out.

    Raises:
        DataError: a vehicle is no number, or such an entry has no camera or no time.
    """
    found: dict[int, list[SeenTrack]] = {}
    for entry, track in _tracks(gallery, with_vehicle=True):
        found.setdefault(_number(entry), []).append(track)
    return found


def _tracks(gallery: Gallery, *, with_vehicle: bool = False) -> Iterator[tuple[Entry, SeenTrack]]:
    for entries, embeddings in gallery.batches():
        for entry, embedding in zip(entries, embeddings, strict=True):
            if with_vehicle and entry.vehicle is None:
                continue
            if entry.camera is None or entry.time_s is None:
                raise DataError(f"entry {entry.id!r} has no camera or no time: give it both, or leave it out")
            yield entry, SeenTrack(entry.id, entry.camera, entry.time_s, entry.time_s, embedding)


def _number(entry: Entry) -> int:
    vehicle = entry.vehicle or ""
    if not (vehicle.isascii() and vehicle.isdecimal()):
        raise DataError(f"entry {entry.id!r} is of vehicle {vehicle!r}, expected the number of an identity")
    return int(vehicle)
