"""Which of the query's own views of a vehicle its ranking leaves out.

The field leaves out everything from the query's camera. Where cameras are unknown, or there is one only, that would be
every right answer; then, or where one wants to, everything is ranked but the query itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from reid.data.dataset import Dataset, Split, TestSet
from reid.evaluation.metrics import Labels
from reid.runtime.errors import DataError
from reid.runtime.imaging import read_image
from reid.runtime.tracklet import Frame, Tracklet

__all__ = [
    "OwnView",
    "SameCamera",
    "copies_of_queries",
    "elsewhere",
    "kept_labels",
    "own_view",
    "own_view_of",
    "same_camera_of",
    "same_camera_title",
]

SameCamera: TypeAlias = Literal["drop", "keep"]
"""What happens to gallery entries of the query's vehicle and camera."""

OwnView: TypeAlias = Literal["camera", "track", "image"]
"""What of the query's vehicle is left out of its ranking.

camera: everything from the query's camera.
track: the tracklet that holds the query, and its images; of a vehicle with no other tracklet, the same image alone.
image: the same image, or the tracklet that holds it.
"""


def own_view_of(dataset: Dataset, same_camera: SameCamera | None = None, test_set: TestSet | None = None) -> OwnView:
    """Return what rankings of a data set, or of one of its test sets, leave out; see own_view."""
    if test_set is not None and test_set.draws:
        same_camera = same_camera or "keep"
    part = test_set or dataset
    by_cameras = dataset.split_facts.get("by", "cameras") == "cameras"
    return own_view(part.query, part.gallery, same_camera, by_cameras=by_cameras)


def own_view(
    query: Split, gallery: Split, same_camera: SameCamera | None = None, *, by_cameras: bool = True
) -> OwnView:
    """Return what rankings leave out.

    Args:
        query: the queries.
        gallery: the gallery.
        same_camera: what is asked for; None for "drop" where cameras can tell a right answer, and "keep" elsewhere.
        by_cameras: whether the vehicles were not held out by something else.
    """
    cameras = {image.camera for image in (*query.images, *gallery.images)}
    can_tell = by_cameras and len(cameras) > 1 and any(image.camera is not None for image in query.images)
    if same_camera == "drop" or (can_tell and same_camera is None):
        return "camera"
    return "image" if can_tell or not gallery.tracklets else "track"


def same_camera_of(view: OwnView) -> SameCamera:
    """Return what happens to gallery entries of the query's vehicle and camera."""
    return "drop" if view == "camera" else "keep"


def same_camera_title(view: OwnView) -> str:
    """Return the rule in a few words, for the title of a table."""
    return {
        "camera": "same camera: dropped",
        "track": "same camera: kept, but for the query's own track or image",
        "image": "same camera: kept, but for the query itself",
    }[view]


def elsewhere(view: OwnView) -> str:
    """Return where a right answer shows the vehicle, such as "from another camera"."""
    return {"camera": "from another camera", "track": "in another track or image", "image": "in another image"}[view]


def copies_of_queries(query: Split, gallery: Split) -> dict[Frame, Frame]:
    """Return the files that show the same picture, each with the one file of the gallery that stands for all of them.

    A copy of a query has its vehicle, its file name and its bytes. The query set of VeRi-776 consists of such copies.
    """
    named: defaultdict[Hashable, dict[Frame, None]] = defaultdict(dict)
    for entry in (*gallery.images, *gallery.tracklets):
        for frame in entry.frames:
            named[entry.vehicle, _name(frame)][frame] = None
    same: dict[Frame, Frame] = {}
    for image in query.images:
        frame = image.frames[0]
        candidates = named.get((image.vehicle, _name(frame)), {})
        copies = [one for one in candidates if one != frame and _is_copy(one, frame)]
        first = frame if frame in candidates else next(iter(copies), frame)
        same |= {one: first for one in (frame, *copies) if one != first}
    return same


def _name(frame: Frame) -> Hashable:
    return frame.name if isinstance(frame, Path) else id(frame)


def _is_copy(one: Frame, other: Frame) -> bool:
    if not isinstance(one, Path) or not isinstance(other, Path):
        return False
    try:
        return read_image(one) == read_image(other)
    except DataError:  # it is left out, whatever it shows
        return False


def kept_labels(
    query: Split, gallery: Split, kinds: tuple[str, str], view: OwnView, copies: Mapping[Frame, Frame]
) -> tuple[Labels, Labels]:
    """Return labels of queries and gallery entries whose "cameras" are equal where an entry is the query's own view.

    Args:
        query: the queries and their own tracklets.
        gallery: the gallery's images and tracklets.
        kinds: what is asked and what is ranked: "images" or "tracklets".
        view: "track" or "image".
        copies: the result of copies_of_queries.
    """

    def picture(frame: Frame) -> Frame:
        return copies.get(frame, frame)

    tracks = _tracks(gallery.tracklets, copies)
    tracks_of: defaultdict[str | None, set[Tracklet]] = defaultdict(set)
    for tracklet in gallery.tracklets:
        tracks_of[tracklet.vehicle].add(tracks[picture(tracklet.frames[0])])
    by_track = kinds[1] == "tracklets"

    def place(frames: Iterable[Frame], vehicle: str | None) -> tuple[Frame, ...]:
        pictures = [picture(frame) for frame in frames]
        if by_track or (view == "track" and len(tracks_of[vehicle]) > 1):
            return next((tracks[one].frames for one in pictures if one in tracks), (pictures[0],))
        return (pictures[0],)

    def labels(entries: Sequence[Tracklet]) -> Labels:
        vehicles = [entry.vehicle for entry in entries]
        return Labels(vehicles, [place(entry.frames, entry.vehicle) for entry in entries])

    return labels(getattr(query, kinds[0])), labels(getattr(gallery, kinds[1]))


def _tracks(tracklets: Iterable[Tracklet], copies: Mapping[Frame, Frame]) -> dict[Frame, Tracklet]:
    """Return each picture's tracklet, of those that share a picture the first one."""
    tracks: dict[Frame, Tracklet] = {}
    for tracklet in tracklets:
        pictures = [copies.get(frame, frame) for frame in tracklet.frames]
        first = next((tracks[one] for one in pictures if one in tracks), tracklet)
        for one in pictures:
            tracks.setdefault(one, first)
    return tracks
