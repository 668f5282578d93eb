"""The scores of all pairs, against loops over the pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.evaluation.metrics import Labels
from reid.evaluation.operating_points import pair_scores
from reid.evaluation.operating_points.pair_scores import BINS, Pairs, bin_edge, score_pairs
from reid.runtime.galleries.ranking import exact_distances
from reid.runtime.operating_point import written_score


def unit(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    rows = random.normal(size=(count, 6)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def labels(random: np.random.Generator, count: int) -> Labels:
    vehicles = [None if random.random() < 0.2 else f"v{random.integers(4)}" for _ in range(count)]
    return Labels(vehicles, random.integers(2, size=count).tolist())


def as_listed(pairs: Pairs) -> list[int]:
    return pairs.steps.tolist()


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 14), st.sampled_from([1, 5, 1 << 22]))
def test_it_finds_what_a_loop_over_pairs_finds(seed: int, queries: int, entries: int, at_once: int) -> None:
    random = np.random.default_rng(seed)
    query, gallery = unit(random, queries), unit(random, entries)
    asked, found = labels(random, queries), labels(random, entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_scores, "_PAIRS_AT_ONCE", at_once)
        pairs = score_pairs((query, gallery), asked, found, held=0, held_at_least=10)
    genuine, impostor = [], []
    for row, (vehicle, view) in enumerate(zip(asked.vehicles, asked.cameras, strict=True)):
        for column, (other, other_view) in enumerate(zip(found.vehicles, found.cameras, strict=True)):
            score = np.float32(1 - exact_distances(query[[row]], gallery[[column]])[0, 0])
            steps = round(written_score(score) * 1e6)
            if vehicle is None or other is None or (vehicle == other and view == other_view):
                continue
            (genuine if vehicle == other else impostor).append(steps)
    assert as_listed(pairs.genuine) == sorted(genuine, reverse=True)
    assert as_listed(pairs.impostor) == sorted(impostor, reverse=True)[:10]
    assert pairs.impostor_pairs == len(impostor)
    for counts, kind in ((pairs.genuine_bins, genuine), (pairs.impostor_bins, impostor)):
        edges = [round(bin_edge(number) * 1e6) for number in range(BINS + 1)]
        assert counts.tolist() == np.histogram(kind, edges)[0].tolist()


def test_pairs_know_their_vehicles() -> None:
    query, gallery = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[1, 2, 0]]
    pairs = score_pairs((query, gallery), Labels(["a", "b", "c"], [0, 0, 0]), Labels(["b", "c", "b"], [1, 1, 1]))
    assert pairs.vehicles == 3
    assert (pairs.queries.tolist(), pairs.gallery.tolist()) == ([1, 1, 1], [0, 2, 1])
    best = pairs.impostor
    assert (best.steps[0], best.query[0], best.gallery[0]) == (1_000_000, 0, 1)
    assert [pairs.genuine.query.tolist(), pairs.genuine.gallery.tolist()] == [[1, 2, 1], [1, 2, 1]]
    assert (pairs.impostor_pairs, len(pairs.genuine)) == (6, 3)


def test_reaching_counts_scores_at_the_threshold() -> None:
    steps = np.array([9, 7, 7, 3], np.int32)
    pairs = Pairs(steps, np.zeros(4, np.int32), np.zeros(4, np.int32))
    assert [pairs.reaching(threshold) for threshold in (10, 9, 8, 7, 3, 2)] == [0, 1, 1, 3, 4, 4]
