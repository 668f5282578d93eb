"""Distances and their AUC, against loops over all pairs."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.data.dataset import Split
from reid.evaluation.pairs import ALL_LEVELS, BINS_PER_UNIT, PairDistances, pair_distances
from reid.evaluation.protocols import EmbeddedData
from reid.runtime.model_card import Level
from reid.runtime.tracklet import Tracklet

LEVELS = (Level(name="level3", size=3), Level(name="level4", size=5))


def embedded(queries: int, gallery: int, vehicles: int) -> EmbeddedData:
    """Images of few vehicles and three cameras, with embeddings of all levels, each level of the same length."""
    random = np.random.default_rng(0)
    embeddings: dict[tuple[Path, ...], NDArray[np.float32]] = {}

    def image(name: str) -> Tracklet:
        vehicle, camera = random.integers(vehicles), random.integers(3)
        center = np.random.default_rng(vehicle).normal(size=8)
        parts = np.split(center + 0.5 * random.normal(size=8), [LEVELS[0].size])
        own = np.concatenate([part / np.linalg.norm(part) for part in parts]) / np.sqrt(2)
        embeddings[Path(name),] = own.astype(np.float32)
        return Tracklet(name, (Path(name),), str(camera), str(vehicle))

    query, found = (tuple(image(f"{kind}{i}") for i in range(n)) for kind, n in (("q", queries), ("g", gallery)))
    return EmbeddedData(Split(query, query), Split(found, found), embeddings, ())


def naive(data: EmbeddedData, columns: slice) -> tuple[list[float], list[float]]:
    positive, negative = [], []
    for query, other in itertools.product(data.query.images, data.gallery.images):
        a, b = (data.embeddings[image.frames][columns].astype(np.float64) for image in (query, other))
        distance = float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)))
        if query.vehicle != other.vehicle:
            negative.append(distance)
        elif query.camera != other.camera:
            positive.append(distance)
    return positive, negative


def test_every_pair_is_counted_at_its_distance() -> None:
    data = embedded(300, 12, 4)  # more queries than one block holds
    found = pair_distances(data, LEVELS)
    assert [pairs.level for pairs in found] == ["level3", "level4", ALL_LEVELS]
    for pairs, columns in zip(found, (slice(0, 3), slice(3, 8), slice(None)), strict=True):
        for counts, expected in zip((pairs.positive, pairs.negative), naive(data, columns), strict=True):
            assert counts.sum() == len(expected)
            places = np.repeat(np.arange(len(counts)) + 0.5, counts) / BINS_PER_UNIT
            np.testing.assert_allclose(places, np.sort(expected), atol=0.6 / BINS_PER_UNIT)


def test_auc_is_the_share_of_couples_in_order() -> None:
    data = embedded(40, 30, 5)
    for pairs, columns in zip(pair_distances(data, LEVELS), (slice(0, 3), slice(3, 8), slice(None)), strict=True):
        positive, negative = map(np.array, naive(data, columns))
        expected = (positive[:, None] < negative).mean()
        assert 0.5 < expected < 1
        assert pairs.auc == pytest.approx(expected, abs=1e-3)


def test_a_single_level_is_not_shown_twice() -> None:
    data = embedded(4, 4, 2)
    (pairs,) = pair_distances(data, [Level(name="level4", size=8)])
    assert pairs.level == "level4"


def counts(*bins: int) -> NDArray[np.int64]:
    return np.bincount(np.array(bins, np.int64), minlength=2 * BINS_PER_UNIT)


@pytest.mark.parametrize(
    ("positive", "negative", "auc"),
    [((1, 2), (3, 4), 1.0), ((3, 4), (1, 2), 0.0), ((5, 5), (5,), 0.5), ((1, 5), (3, 9), 0.75), ((1,), (), 1.0)],
)
def test_auc_of_known_counts(positive: tuple[int, ...], negative: tuple[int, ...], auc: float) -> None:
    assert PairDistances("level4", counts(*positive), counts(*negative)).auc == auc


def test_an_unlabeled_image_is_in_no_pair() -> None:
    data = embedded(12, 9, 3)
    vehicles = [image.vehicle for image in (*data.query.images, *data.gallery.images)]

    def without(images: tuple[Tracklet, ...]) -> tuple[Tracklet, ...]:
        return tuple(
            Tracklet(i.id, i.frames, i.camera, None if i.id in ("q3", "g5", "g6") else i.vehicle) for i in images
        )

    query, gallery = without(data.query.images), without(data.gallery.images)
    unlabeled = EmbeddedData(Split(query, query), Split(gallery, gallery), data.embeddings, ())
    labeled = [
        EmbeddedData(
            Split(tuple(i for i in query if i.vehicle), ()),
            Split(tuple(i for i in gallery if i.vehicle), ()),
            data.embeddings,
            (),
        )
    ]
    assert None not in vehicles
    for found, expected in zip(pair_distances(unlabeled, LEVELS), pair_distances(labeled[0], LEVELS), strict=True):
        np.testing.assert_array_equal(found.positive, expected.positive)
        np.testing.assert_array_equal(found.negative, expected.negative)


def test_a_level_that_is_zero_does_not_stop_a_run() -> None:
    data = embedded(4, 4, 2)
    for embedding in data.embeddings.values():
        embedding[:3] = 0
    dead, *_ = pair_distances(data, LEVELS)
    assert dead.auc == 0.5
