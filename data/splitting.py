"""A seeded split of labeled vehicles into training and evaluation, for data sets that come without one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from reid.data.dataset import Problem, Split
from reid.data.tracks import own_tracklets
from reid.runtime.errors import DataError
from reid.runtime.tracklet import Tracklet

__all__ = ["HeldOut", "hold_out_for_evaluation", "hold_out_vehicles"]

EVALUATION_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Labeled images split by vehicle, some of the vehicles being held out for evaluation.

    Attributes:
        train: the vehicles that are not held out.
        query: one image per camera of every held-out vehicle.
        gallery: all images and tracklets of the held-out vehicles.
        facts: the seed, the share, and the names of the vehicles and queries, for JSON; empty if nothing is held out.
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
    """Hold out vehicles for evaluation.

    Vehicles seen by at least two cameras are drawn until they make up `share` of all vehicles. Of each drawn vehicle,
    one image per camera is a query, and all images and tracklets are in the gallery.

    Raises:
        DataError: fewer than two vehicles can be held out while two remain.
    """
    cameras: dict[str | None, set[str | None]] = defaultdict(set)
    for image in labeled.images:
        cameras[image.vehicle].add(image.camera)
    eligible = sorted(str(vehicle) for vehicle, seen_by in cameras.items() if len(seen_by) > 1)
    wanted = min(max(2, round(share * len(cameras))), len(eligible), len(cameras) - 2)
    if wanted < 2:
        raise DataError(
            f"{len(eligible)} of {len(cameras)} vehicles are seen by at least two cameras; an evaluation split needs "
            "2 of these, and 2 other vehicles must remain for training: add vehicles"
        )
    random = np.random.default_rng(seed)
    held_out = frozenset(random.permutation(eligible)[:wanted].tolist())
    train = _select(labeled, held_out, inside=False)
    gallery = _select(labeled, held_out, inside=True)
    queries = _one_per_camera(gallery.images, random)
    facts = {
        "seed": seed,
        "share": share,
        "vehicles": sorted(held_out),
        "queries": [query.id for query in queries],
    }
    return HeldOut(train, Split(queries, own_tracklets(queries, gallery.tracklets)), gallery, facts)


def _select(split: Split, vehicles: frozenset[str], *, inside: bool) -> Split:
    images, tracklets = (
        tuple(entry for entry in entries if (entry.vehicle in vehicles) == inside)
        for entries in (split.images, split.tracklets)
    )
    return Split(images, tracklets)


def _one_per_camera(images: tuple[Tracklet, ...], random: np.random.Generator) -> tuple[Tracklet, ...]:
    by_view: dict[tuple[str, str], list[Tracklet]] = defaultdict(list)
    for image in images:
        by_view[str(image.vehicle), str(image.camera)].append(image)
    views = (sorted(by_view[view], key=lambda image: image.id) for view in sorted(by_view))
    return tuple(view[random.integers(len(view))] for view in views)
