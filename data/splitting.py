"""A seeded split of labeled vehicles into training and evaluation, where the data set itself has none."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from reid.data.dataset import Problem, Split
from reid.data.tracks import own_tracklets
from reid.runtime.errors import DataError
from reid.runtime.tracklet import Tracklet

__all__ = ["hold_out_for_evaluation", "hold_out_vehicles"]

EVALUATION_SHARE = 0.25


def hold_out_for_evaluation(
    labeled: Split, where: str, problems: list[Problem]
) -> tuple[Split, Split, Split, dict[str, Any]]:
    """Split a data set that has no queries of its own: (train, query, gallery, facts).

    Where that is not possible, all of it is for training, and `problems` says so of `where`.
    """
    try:
        return hold_out_vehicles(labeled, share=EVALUATION_SHARE, seed=0)
    except DataError as error:
        problems.append(Problem("empty split", where, str(error)))
        return labeled, Split(), Split(), {}


def hold_out_vehicles(labeled: Split, *, share: float, seed: int) -> tuple[Split, Split, Split, dict[str, Any]]:
    """Split by vehicle: (train, query, gallery, facts).

    Vehicles seen by two cameras or more are drawn until they are `share` of all vehicles. Of each that was drawn, one
    image a camera is a query, and all images are the gallery; its tracklets are the gallery's tracklets.

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
            f"{len(eligible)} of {len(cameras)} vehicles are seen by two cameras; "
            "an evaluation split needs 2 of these and leaves 2 for training: add vehicles"
        )
    random = np.random.default_rng(seed)
    held_out = frozenset(random.permutation(eligible)[:wanted].tolist())
    train = _choose(labeled, held_out, inside=False)
    gallery = _choose(labeled, held_out, inside=True)
    queries = _one_a_camera(gallery.images, random)
    facts = {
        "seed": seed,
        "share": share,
        "vehicles": sorted(held_out),
        "queries": [query.id for query in queries],
    }
    return train, Split(queries, own_tracklets(queries, gallery.tracklets)), gallery, facts


def _choose(split: Split, vehicles: frozenset[str], *, inside: bool) -> Split:
    images, tracklets = (
        tuple(entry for entry in entries if (entry.vehicle in vehicles) == inside)
        for entries in (split.images, split.tracklets)
    )
    return Split(images, tracklets)


def _one_a_camera(images: tuple[Tracklet, ...], random: np.random.Generator) -> tuple[Tracklet, ...]:
    by_view: dict[tuple[str, str], list[Tracklet]] = defaultdict(list)
    for image in images:
        by_view[str(image.vehicle), str(image.camera)].append(image)
    views = (sorted(by_view[view], key=lambda image: image.id) for view in sorted(by_view))
    return tuple(view[random.integers(len(view))] for view in views)
