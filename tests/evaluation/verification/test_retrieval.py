"""Comparisons of rankings against an evaluation made here, one query at a time, on random embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reid.data.dataset import Split
from reid.evaluation.metrics import METRICS
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
from reid.evaluation.verification.judgment import judge_protocols
from reid.evaluation.verification.measurements import compare_rankings
from reid.evaluation.verification.records import Tolerance
from reid.evaluation.verification.retrieval import Ranked, rank, worst_queries
from reid.runtime.errors import DataError
from reid.runtime.normalization import normalize
from reid.runtime.tracklet import Tracklet


def entries(kind: str, count: int, frames: int, seed: int) -> tuple[Tracklet, ...]:
    random = np.random.default_rng(seed)
    return tuple(
        Tracklet(
            id=f"{kind}{index}",
            frames=tuple(Path(f"{kind}{index}_{frame}.jpg") for frame in range(frames)),
            camera=f"c{random.integers(3)}",
            vehicle=f"v{random.integers(6)}",
        )
        for index in range(count)
    )


QUERY = Split(entries("q", 29, 1, seed=1), entries("qt", 29, 4, seed=2))
GALLERY = Split(entries("g", 70, 1, seed=3), entries("gt", 17, 3, seed=4))


def embedded(noise: float, query: Split = QUERY, gallery: Split = GALLERY) -> EmbeddedData:
    """Embed each entry near its vehicle; two models differ in their noise only."""
    base, extra = np.random.default_rng(0), np.random.default_rng(9)
    centers = {f"v{vehicle}": base.normal(size=12) for vehicle in range(6)}
    everything = (*query.images, *query.tracklets, *gallery.images, *gallery.tracklets)
    vectors = {
        entry.frames: centers[str(entry.vehicle)] + base.normal(size=12) + noise * extra.normal(size=12)
        for entry in everything
    }
    return EmbeddedData(
        query, gallery, {key: normalize(value.astype(np.float32)) for key, value in vectors.items()}, ()
    )


def ranked_by_hand(data: EmbeddedData, query: Tracklet, gallery: tuple[Tracklet, ...]) -> list[Tracklet]:
    kept = [entry for entry in gallery if (entry.vehicle, entry.camera) != (query.vehicle, query.camera)]
    vector = data.embeddings[query.frames].astype(np.float64)
    return sorted(kept, key=lambda entry: -float(vector @ data.embeddings[entry.frames]))


def average_precision(query: Tracklet, found: list[Tracklet]) -> float:
    hits = [rank for rank, entry in enumerate(found, start=1) if entry.vehicle == query.vehicle]
    return sum(number / rank for number, rank in enumerate(hits, start=1)) / len(hits)


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_metrics_first_matches_and_their_changes_equal_a_loop_over_queries(name: str) -> None:
    protocol = PROTOCOLS[name]
    models = (embedded(0), embedded(1.0))
    queries: tuple[Tracklet, ...] = getattr(QUERY, protocol.query)
    gallery: tuple[Tracklet, ...] = getattr(GALLERY, protocol.gallery)
    answerable = [
        query for query in queries if any(e.vehicle == query.vehicle and e.camera != query.camera for e in gallery)
    ]
    assert len(answerable) > 15
    metrics: list[dict[str, float]] = []
    lists = [[ranked_by_hand(data, query, gallery) for query in answerable] for data in models]
    for found in lists:
        firsts = [
            [entry.vehicle for entry in ranking].index(query.vehicle)
            for query, ranking in zip(answerable, found, strict=True)
        ]
        precisions = [average_precision(query, ranking) for query, ranking in zip(answerable, found, strict=True)]
        metrics.append(
            {"mAP": 100 * float(np.mean(precisions))}
            | {f"R-{k}": 100 * sum(first < k for first in firsts) / len(firsts) for k in (1, 5, 10)}
        )
    changed = sum(before[0] is not after[0] for before, after in zip(*lists, strict=True))
    assert changed > 0
    comparison = compare_rankings(*(rank(data, protocol) for data in models), Tolerance())
    assert [found.measure for found in comparison.measurements] == list(METRICS)
    for found in comparison.measurements:
        before, after = metrics[0][found.measure], metrics[1][found.measure]
        assert (found.reference, found.candidate) == pytest.approx((before, after))
        assert found.worse_by == pytest.approx(before - after)
        low, high = found.interval
        assert low <= after - before <= high
        assert (found.flips is None) == (found.measure == "mAP")
        if found.flips is not None:
            k = int(found.measure[2:])
            hits = [
                [
                    query.vehicle in [e.vehicle for e in ranking[:k]]
                    for query, ranking in zip(answerable, side, strict=True)
                ]
                for side in lists
            ]
            pairs = list(zip(*hits, strict=True))
            assert (found.flips.lost, found.flips.gained) == (pairs.count((True, False)), pairs.count((False, True)))
    assert comparison.first_match_changed == pytest.approx(100 * changed / len(answerable))
    assert comparison.queries == len(answerable)


def test_the_queries_that_lost_most_are_shown_as_both_models_ranked_them() -> None:
    protocol, models = PROTOCOLS["t2t"], (embedded(0), embedded(1.0))
    reference, candidate = (rank(data, protocol) for data in models)
    losses = {}
    for query in reference.queries:
        lists = [ranked_by_hand(data, query, GALLERY.tracklets) for data in models]
        precisions = [100 * average_precision(query, found) for found in lists]
        losses[str(query.frames[2])] = (precisions[1] - precisions[0], query, lists, precisions)
    lost = [name for name in sorted(losses, key=lambda name: losses[name][0]) if losses[name][0] < 0]
    assert len(lost) > 5
    worst = worst_queries(reference, candidate, 5)
    assert [entry.query for entry in worst] == lost[:5]
    for entry in worst:
        _, query, lists, precisions = losses[entry.query]
        assert entry.average_precision == pytest.approx(tuple(precisions))
        for shown, found in zip((entry.before, entry.after), lists, strict=True):
            assert shown == tuple((str(e.frames[1]), e.vehicle == query.vehicle) for e in found[:5])
    assert len(worst_queries(reference, candidate, 1000)) == len(lost)
    assert worst_queries(reference, reference, 5) == []


def test_fewer_matches_are_shown_where_the_gallery_has_no_more() -> None:
    gallery = Split(
        tuple(Tracklet(f"g{n}", (Path(f"g{n}"),), camera, "v1") for n, camera in enumerate(("c1", "c2", "c2"))), ()
    )
    query = Split((Tracklet("q", (Path("q"),), "c1", "v1"),), ())
    found = rank(embedded(0, query, gallery), PROTOCOLS["i2i"])
    assert sorted(found.matches[0].tolist()) == [-1, -1, -1, 1, 2]


def test_a_rise_is_no_failure_and_a_fall_by_the_tolerance_is_within_it() -> None:
    good, bad = (rank(embedded(noise), PROTOCOLS["i2i"]) for noise in (0, 1.0))
    before, after = good.summary(), bad.summary()
    falls = {name: max(0.0, before[name] - after[name]) for name in METRICS}
    exact = Tolerance(map=falls["mAP"], rank=max(falls[name] for name in METRICS[1:]))

    def outside(reference: Ranked, candidate: Ranked, tolerance: Tolerance) -> list[str]:
        (found,) = judge_protocols([compare_rankings(reference, candidate, tolerance)])
        return [change.measure for change in found.changes if change.verdict == "outside"]

    assert "mAP" in outside(good, bad, Tolerance(map=0, rank=0))
    assert outside(bad, good, Tolerance(map=0, rank=0)) == []
    assert outside(good, bad, exact) == []
    assert outside(good, bad, Tolerance(map=0.99 * falls["mAP"], rank=100)) == ["mAP"]


def test_rankings_of_different_queries_are_not_compared() -> None:
    def without(split: Split) -> Split:
        return Split(split.images[1:], split.tracklets[1:])

    reference = rank(embedded(0), PROTOCOLS["i2t"])
    others: list[Ranked] = [
        rank(embedded(0, query=without(QUERY)), PROTOCOLS["i2t"]),
        rank(embedded(0, gallery=without(GALLERY)), PROTOCOLS["i2t"]),
    ]
    for other in others:
        with pytest.raises(DataError, match="different queries or galleries"):
            compare_rankings(reference, other, Tolerance())
