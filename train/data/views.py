"""The views of training images: what sampling tells images of a vehicle apart by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reid.data.passages import passage_numbers
from reid.runtime.tracklet import Tracklet

__all__ = ["camera_views", "track_views"]

_CLOCK = 25.0
"""Ticks a second of the times in VeRi-776's names."""


def camera_views(images: Iterable[Tracklet]) -> list[tuple[str, ...]]:
    """Return the camera of each image, "" where it is not known."""
    return [(image.camera or "",) for image in images]


def track_views(images: Sequence[Tracklet], tracklets: Iterable[Tracklet]) -> list[tuple[str, ...]]:
    """Return the camera, the track and the passage of each image.

    Args:
        images: the images, each a tracklet of one frame.
        tracklets: the tracklets that they form, as far as these are known. VeRi-776 lists none for its training images,
            so theirs hold whatever a camera saw of a vehicle; the times in the names tell its passages apart.
    """
    track_of = {frame: str(number) for number, track in enumerate(tracklets) for frame in track.frames}
    passages = passage_numbers(images, _CLOCK)
    return [
        (image.camera or "", track_of.get(image.frames[0], ""), str(passage))
        for image, passage in zip(images, passages, strict=True)
    ]
