"""A seeded split of labeled vehicles into training and evaluation, for data sets that come without one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from reid.data.dataset import Problem, Split
from reid.data.tracks import own_tracklets
from reid.runtime.errors import DataError
from reid.runtime.tracklet import Tracklet

__all__ = ["HeldOut", "HeldOutBy", "hold_out_for_evaluation", "hold_out_vehicles"]

EVALUATION_SHARE = 0.25

HeldOutBy: TypeAlias = Literal["cameras", "tracks", "images"]
"""What a held-out vehicle has at least two of, so that a query of one has a right answer in the other."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Labeled images split by vehicle, some of the vehicles being held out for evaluation.

    Attributes:
        train: the vehicles that are not held out.
        query: one image per camera of every held-out vehicle; or one per track, or one in all, if held out by these.
        gallery: all images and tracklets of the held-out vehicles; held out by images, all other images alone.
        facts: what the vehicles were held out by (HeldOutBy), the seed, the share, and the names of the vehicles and
            queries, for JSON; empty if nothing is held out.
    """

    train: Split
    query: Split
    gallery: Split
    facts: dict[str, Any]


def hold_out_for_evaluation(labeled: Split, where: str, problems: list[Problem]) -> HeldOut:
    """Split a data set that has no queries of its own.

    If it cannot be split, everything is for training, and a problem at `where` is added to `problems`.
    """
    try:
        return hold_out_vehicles(labeled, share=EVALUATION_SHARE, seed=0)
    except DataError as error:
        problems.append(Problem("empty split", where, str(error)))
        return HeldOut(labeled, Split(), Split(), {})


def hold_out_vehicles(labeled: Split, *, share: float, seed: int) -> HeldOut:
    """Hold out vehicles for evaluation, at least two.

    Vehicles seen by at least two cameras are drawn until they make up `share` of all vehicles. Of each drawn vehicle,
    one image per camera is a query, and all images and tracklets are in the gallery. Where there are no two such
    vehicles, they are vehicles with at least two tracks, and one image per track is a query; or else vehicles with at
    least two images, and one image is a query, which is not in the gallery.

    Raises:
        DataError: fewer than two vehicles can be held out while two remain.
    """
    vehicles = {image.vehicle for image in labeled.images}
    by, eligible = _eligible(labeled)
    wanted = min(max(2, round(share * len(vehicles))), len(eligible), len(vehicles) - 2)
    if wanted < 2:
        raise _too_few(len(vehicles), len(eligible), by)
    random = np.random.default_rng(seed)
    held_out = frozenset(random.permutation(eligible)[:wanted].tolist())
    train = _select(labeled, held_out, inside=False)
    gallery = _select(labeled, held_out, inside=True)
    queries = _one_per_view(gallery.images, _views(gallery, by), random)
    if by == "images":
        asked = frozenset(queries)
        gallery = Split(tuple(image for image in gallery.images if image not in asked))
    facts = {
        "by": by,
        "seed": seed,
        "share": share,
        "vehicles": sorted(held_out),
        "queries": [query.id for query in queries],
    }
    return HeldOut(train, Split(queries, own_tracklets(queries, gallery.tracklets)), gallery, facts)


def _eligible(labeled: Split) -> tuple[HeldOutBy, list[str]]:
    """Return what vehicles can be held out by, and the names of those that can, in order."""
    views: dict[HeldOutBy, Iterable[tuple[str | None, Hashable]]] = {
        "cameras": ((image.vehicle, image.camera) for image in labeled.images),
        "tracks": ((tracklet.vehicle, tracklet.frames) for tracklet in labeled.tracklets),
        "images": ((image.vehicle, image.frames) for image in labeled.images),
    }
    eligible: list[str] = []
    for by, seen in views.items():
        of_vehicle: dict[str | None, set[Hashable]] = defaultdict(set)
        for vehicle, view in seen:
            of_vehicle[vehicle].add(view)
        eligible = sorted(str(vehicle) for vehicle, found in of_vehicle.items() if len(found) > 1)
        if len(eligible) >= 2:
            return by, eligible
    return "images", eligible


def _too_few(vehicles: int, eligible: int, by: HeldOutBy) -> DataError:
    missing = max(2 - eligible, 4 - vehicles)
    return DataError(
        f"{eligible} of {vehicles} vehicles {'has' if eligible == 1 else 'have'} at least two {by}; an evaluation "
        f"split needs 2 such vehicles, and 2 others must remain for training: add {missing} "
        f"vehicle{'s' if missing > 1 else ''} with at least two {by}"
    )


def _select(split: Split, vehicles: frozenset[str], *, inside: bool) -> Split:
    images, tracklets = (
        tuple(entry for entry in entries if (entry.vehicle in vehicles) == inside)
        for entries in (split.images, split.tracklets)
    )
    return Split(images, tracklets)


def _views(gallery: Split, by: HeldOutBy) -> Callable[[Tracklet], str | None]:
    """Return the function that tells which view of its vehicle an image belongs to; None is no view to ask for."""
    if by == "cameras":
        return lambda image: str(image.camera)
    if by == "images":
        return lambda image: ""
    track_of = {frame: tracklet.id for tracklet in gallery.tracklets for frame in tracklet.frames}
    return lambda image: track_of.get(image.frames[0])


def _one_per_view(
    images: tuple[Tracklet, ...], view_of: Callable[[Tracklet], str | None], random: np.random.Generator
) -> tuple[Tracklet, ...]:
    by_view: dict[tuple[str, str], list[Tracklet]] = defaultdict(list)
    for image in images:
        if (view := view_of(image)) is not None:
            by_view[str(image.vehicle), view].append(image)
    views = (sorted(by_view[view], key=lambda image: image.id) for view in sorted(by_view))
    return tuple(view[random.integers(len(view))] for view in views)
