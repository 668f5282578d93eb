from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.evaluation.metrics import METRICS, Labels, Metrics, evaluate
from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import DistanceBlock, distance_rows, exact_distances


@dataclass
class Case:
    distances: NDArray[np.floating]
    query: Labels
    gallery: Labels

    def blocks(self, size: int) -> Iterator[DistanceBlock]:
        for start in range(0, len(self.distances), size):
            yield DistanceBlock(self.distances[start : start + size])

    def evaluate(self, block: int = 4) -> Metrics:
        return evaluate(self.blocks(block), self.query, self.gallery)

    def of_queries(self, positions: list[int]) -> Case:
        labels = Labels(
            [self.query.vehicles[position] for position in positions],
            [self.query.cameras[position] for position in positions],
        )
        return Case(self.distances[positions], labels, self.gallery)


def naive(case: Case) -> list[tuple[float, int] | None]:
    """Average precision and first hit of each query, from the definition; None where nothing is right."""
    results: list[tuple[float, int] | None] = []
    for row, vehicle, camera in zip(case.distances.tolist(), case.query.vehicles, case.query.cameras, strict=True):
        right_so_far, precisions, first, rank = 0, [], -1, 0
        for _, entry in sorted((distance, entry) for entry, distance in enumerate(row)):
            same = case.gallery.vehicles[entry] == vehicle
            if same and case.gallery.cameras[entry] == camera:
                continue
            rank += 1
            if same:
                right_so_far += 1
                precisions.append(right_so_far / rank)
                first = rank - 1 if first < 0 else first
        results.append((sum(precisions) / len(precisions), first) if precisions else None)
    return results


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few vehicles, cameras and distances, so that junk, ties and unanswerable queries are the rule."""

    def labels(count: int) -> Labels:
        return Labels(
            draw(st.lists(st.sampled_from("abcd"), min_size=count, max_size=count)),
            draw(st.lists(st.sampled_from("xyz"), min_size=count, max_size=count)),
        )

    queries, gallery = draw(st.integers(1, 8)), draw(st.integers(1, 30))
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    distances = rng.integers(0, levels, (queries, gallery)) / levels - 0.1
    return Case(distances.astype(np.float32), labels(queries), labels(gallery))


@given(case=cases(), block=st.integers(1, 9))
def test_agrees_with_the_definition(case: Case, block: int) -> None:
    results = naive(case)
    counted = {query: result for query, result in enumerate(results) if result is not None}
    assume(counted)
    metrics = case.evaluate(block)
    assert metrics.counted.tolist() == list(counted)
    assert metrics.unanswerable.tolist() == [query for query, result in enumerate(results) if result is None]
    assert metrics.first_hit.tolist() == [first for _, first in counted.values()]
    np.testing.assert_allclose(
        metrics.average_precision, [precision for precision, _ in counted.values()], rtol=0, atol=1e-9
    )
    summary = metrics.summary()
    assert summary["mAP"] == pytest.approx(
        100 * sum(precision for precision, _ in counted.values()) / len(counted), abs=1e-9
    )
    for k in (1, 5, 10):
        hits = sum(first < k for _, first in counted.values())
        assert summary[f"R-{k}"] == 100 * (hits / len(counted))


@given(case=cases(), data=st.data())
def test_the_order_of_the_queries_does_not_matter(case: Case, data: st.DataObject) -> None:
    assume(any(naive(case)))
    order = data.draw(st.permutations(range(len(case.query))))
    there, here = case.evaluate(), case.of_queries(order).evaluate()
    assert sorted(order[position] for position in here.counted) == there.counted.tolist()
    precision = dict(zip(there.counted, there.average_precision, strict=True))
    assert [precision[order[position]] for position in here.counted] == here.average_precision.tolist()


@given(case=cases())
def test_distances_are_left_as_they_were(case: Case) -> None:
    assume(any(naive(case)))
    before = case.distances.copy()
    case.evaluate()
    np.testing.assert_array_equal(case.distances, before)


def test_a_worked_example() -> None:
    """Junk, wrong, right, wrong, right: AP is (1/2 + 2/4) / 2, and the first hit is in the second place."""
    gallery = Labels(["car", "van", "car", "van", "car"], ["c1", "c1", "c2", "c1", "c3"])
    distances = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]], np.float32)
    metrics = evaluate([DistanceBlock(distances)], Labels(["car", "van"], ["c1", "c1"]), gallery)
    assert metrics.summary() == {
        "mAP": 50.0,
        "R-1": 0.0,
        "R-5": 100.0,
        "R-10": 100.0,
        "queries": 1,
        "gallery": 5,
        "unanswerable": 1,
    }
    assert (metrics.counted.tolist(), metrics.unanswerable.tolist()) == ([0], [1])


def test_ties_are_not_right_by_luck() -> None:
    """A collapsed model, to which all images are equal, ranks in gallery order."""
    gallery = Labels(["van", "van", "van", "car"], ["c2"] * 4)
    metrics = evaluate([DistanceBlock(np.zeros((1, 4), np.float32))], Labels(["car"], ["c1"]), gallery)
    assert (metrics.first_hit.tolist(), metrics.average_precision.tolist()) == ([3], [0.25])


@given(
    seed=st.integers(0, 2**32),
    gallery=st.integers(2, 30),
    size=st.sampled_from([2, 7, 64]),
    chunk=st.integers(1, 5),
)
def test_near_and_equal_embeddings_rank_by_their_exact_distances(
    seed: int, gallery: int, size: int, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((3, size)).astype(np.float32)
    few /= np.linalg.norm(few, axis=1, keepdims=True)
    vectors = few[rng.integers(0, 3, gallery + 4)]
    off = rng.random(len(vectors)) < 0.5
    vectors[off, 0] = np.nextafter(vectors[off, 0], np.float32(2))
    query, others = vectors[:4], vectors[4:]

    def labels(count: int) -> Labels:
        return Labels(rng.choice([*"ab"], count).tolist(), rng.choice([*"xy"], count).tolist())

    asked, found = labels(4), labels(gallery)
    results = naive(Case(exact_distances(query, others), asked, found))
    assume(any(results))
    metrics = evaluate(distance_rows(query, others, chunk=chunk), asked, found)
    assert metrics.counted.tolist() == [query for query, result in enumerate(results) if result]
    counted = [result for result in results if result]
    assert metrics.first_hit.tolist() == [first for _, first in counted]
    np.testing.assert_allclose(metrics.average_precision, [precision for precision, _ in counted], rtol=1e-12)


def test_a_large_gallery_of_equal_embeddings_ranks_in_its_order() -> None:
    """Everything is tied with everything: the worst that can be asked."""
    embedding = np.full((1, 64), 0.125, np.float32)
    count = 11_579
    gallery = Labels([str(entry % 200) for entry in range(count)], ["g"] * count)
    query = Labels([str(entry) for entry in range(200)], ["q"] * 200)
    start = time.process_time()
    metrics = evaluate(
        distance_rows(np.repeat(embedding, 200, axis=0), np.repeat(embedding, count, axis=0)), query, gallery
    )
    assert time.process_time() - start < 10
    assert metrics.first_hit.tolist() == list(range(200))


def test_an_entry_without_a_vehicle_is_nobodys_right_answer_and_in_nobodys_way_to_be_one() -> None:
    """It stays in the ranking as a wrong answer; a query without a vehicle is not counted."""
    query = Labels(["car", None, "car"], ["c1", "c1", None])
    gallery = Labels([None, "car", None], ["c2", "c2", "c1"])
    metrics = evaluate([DistanceBlock(np.tile(np.array([[0.1, 0.2, 0.3]], np.float32), (3, 1)))], query, gallery)
    assert metrics.counted.tolist() == [0, 2]
    assert metrics.unanswerable.tolist() == [1]
    assert metrics.first_hit.tolist() == [1, 1]
    assert metrics.average_precision.tolist() == [0.5, 0.5]


def test_queries_of_which_none_has_a_vehicle_are_an_error() -> None:
    with pytest.raises(DataError, match=r"none of 1 queries"):
        evaluate(
            [DistanceBlock(np.zeros((1, 2), np.float32))], Labels([None], ["c1"]), Labels([None, None], ["c2", "c3"])
        )


def test_the_metrics_are_named_once() -> None:
    case = Case(np.array([[0.1, 0.2]], np.float32), Labels(["car"], ["c1"]), TWO)
    assert tuple(case.evaluate().summary())[: len(METRICS)] == METRICS == ("mAP", "R-1", "R-5", "R-10")


def test_memory_does_not_grow_with_the_queries() -> None:
    rng = np.random.default_rng(0)

    def embeddings(count: int) -> tuple[NDArray[np.float32], Labels]:
        vectors = rng.standard_normal((count, 8)).astype(np.float32)
        labels = Labels([str(n % 50) for n in range(count)], [str(n % 7) for n in range(count)])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels

    gallery, gallery_labels = embeddings(4000)

    def peak(queries: int) -> int:
        query, query_labels = embeddings(queries)
        tracemalloc.start()
        evaluate(distance_rows(query, gallery, chunk=16), query_labels, gallery_labels)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    matrix_growth = (640 - 32) * 4000 * 4
    assert peak(640) - peak(32) < matrix_growth / 50


ONE = Labels(["car"], ["c1"])
TWO = Labels(["car", "van"], ["c2", "c2"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([np.zeros((1, 3), np.float32)], r"\[1, 3\] after 0 queries does not fit 1 queries x 2 gallery"),
        ([np.zeros(2, np.float32)], r"\[2\] after 0 queries"),
        ([np.zeros((1, 2), np.float32)] * 2, r"\[1, 2\] after 1 queries does not fit"),
        ([], "distances for 0 of 1 queries"),
        ([np.array([[0.5, np.nan]], np.float32)], "query 0 to gallery entry 1 is nan"),
        ([np.array([[np.inf, 0.5]], np.float32)], "query 0 to gallery entry 0 is inf"),
    ],
)
def test_distances_that_do_not_fit_are_named(rows: list[NDArray[np.float32]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(map(DistanceBlock, rows), ONE, TWO)


def test_the_query_of_a_bad_distance_is_counted_over_blocks() -> None:
    distances = np.zeros((3, 2), np.float32)
    distances[2, 1] = np.nan
    case = Case(distances, Labels(["car"] * 3, ["c1"] * 3), TWO)
    with pytest.raises(DataError, match="query 2 to gallery entry 1 is nan"):
        case.evaluate(block=2)


def test_no_answerable_query_is_an_error() -> None:
    with pytest.raises(DataError, match=r"none of 1 queries .* among 2 gallery entries"):
        evaluate([DistanceBlock(np.zeros((1, 2), np.float32))], Labels(["car"], ["c2"]), TWO)


def test_labels_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match="2 vehicles but 1 cameras"):
        Labels(["car", "van"], ["c1"])
