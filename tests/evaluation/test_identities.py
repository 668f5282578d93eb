"""IDF1 and the assignment below it, against brute force, and against what trackeval says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid import DataError
from reid.evaluation.assignment import heaviest_assignment
from reid.evaluation.identities import evaluate_identities

Tracks = list[tuple[str | None, int | None, int]]

TRACKS = st.lists(
    st.tuples(st.none() | st.sampled_from("abcd"), st.none() | st.integers(0, 4), st.integers(0, 9)),
    max_size=12,
)

# (true, found, frames) -> IDTP, IDFP, IDFN of trackeval 1.3.0's Identity metric, which saw the tracks' frames one after
# another; a matching that takes the largest overlap first is wrong in the first five.
TRACKEVAL = [
    (("v0", "v3", "v2", "v3", "v3", None), (0, 1, 1, 2, 0, None), (5, 5, 4, 2, 4, 5), (11, 9, 9)),
    (
        ("v2", "v0", "v1", "v2", "v0", "v0", "v0", "v0", "v0"),
        (1, 0, 1, 1, 1, 0, 1, 0, 1),
        (5, 1, 2, 2, 5, 1, 3, 3, 1),
        (12, 11, 11),
    ),
    (
        ("v3", "v0", "v3", "v0", "v1", "v1", None, "v0", "v1"),
        (0, 1, 1, 0, None, 1, 2, 2, 0),
        (3, 1, 1, 4, 3, 4, 5, 4, 4),
        (11, 15, 13),
    ),
    (("v2", "v2", "v2", "v0"), (0, 1, 1, 1), (4, 3, 5, 5), (9, 8, 8)),
    (("v1", "v0", "v1", "v3"), (0, 0, 1, 3), (5, 5, 3, 1), (9, 5, 5)),
    (("v1", None, "v1", "v3", "v2", "v2", "v0"), (1, 2, 0, 1, None, 1, 0), (2, 5, 2, 1, 5, 4, 2), (6, 10, 10)),
    ((None, "v1", "v1", "v0", "v4", "v3"), (1, 0, None, 0, 1, 1), (5, 3, 1, 3, 4, 2), (7, 10, 6)),
]


def brute_force(tracks: Tracks) -> int:
    """Return the most frames that agree, over all one-to-one matchings."""
    true = sorted({one for one, _, _ in tracks if one is not None})
    found: list[int | None] = sorted({one for _, one, _ in tracks if one is not None})
    found += [None] * len(true)  # for those that are matched to none
    return max(
        sum(
            frames
            for vehicle, identity, frames in tracks
            if vehicle in true and matched[true.index(vehicle)] == identity and identity is not None
        )
        for matched in permutations(found, len(true))
    )


def columns(tracks: Tracks) -> tuple[list[str | None], list[int | None], list[int]]:
    return [one[0] for one in tracks], [one[1] for one in tracks], [one[2] for one in tracks]


@given(TRACKS)
def test_frames_that_agree_by_brute_force(tracks: Tracks) -> None:
    found = evaluate_identities(*columns(tracks))
    assert found.true_positives == brute_force(tracks)
    assert found.true_positives + found.false_negatives == sum(n for vehicle, _, n in tracks if vehicle is not None)
    assert found.true_positives + found.false_positives == sum(n for _, identity, n in tracks if identity is not None)


@pytest.mark.parametrize(("true", "found", "frames", "expected"), TRACKEVAL)
def test_as_trackeval(
    true: Sequence[str | None], found: Sequence[int | None], frames: Sequence[int], expected: tuple[int, int, int]
) -> None:
    metrics = evaluate_identities(true, found, frames)
    assert (metrics.true_positives, metrics.false_positives, metrics.false_negatives) == expected
    right, wrong, missed = expected
    summary = metrics.summary()
    assert summary["IDP"] == pytest.approx(100 * right / (right + wrong))
    assert summary["IDR"] == pytest.approx(100 * right / (right + missed))
    assert summary["IDF1"] == pytest.approx(100 * 2 * right / (2 * right + wrong + missed))


@settings(max_examples=40)
@given(TRACKS, st.randoms(use_true_random=False))
def test_neither_order_nor_names_nor_parts_of_tracks_matter(tracks: Tracks, shuffle: random.Random) -> None:
    names = shuffle.sample(range(100), 5)
    other = [(v and v * 2, None if i is None else names[i], n) for v, i, n in shuffle.sample(tracks, len(tracks))]
    halved = [(v, i, part) for v, i, n in other for part in (n // 2, n - n // 2)]
    assert evaluate_identities(*columns(halved)) == evaluate_identities(*columns(tracks))


def test_the_extremes() -> None:
    vehicles = ["a", "a", "b", "c"]
    assert evaluate_identities(vehicles, [7, 7, 3, 1]).f1 == 1
    assert evaluate_identities(vehicles, [0, 0, 0, 0]).f1 == 0.5  # all one vehicle: the two tracks of one are right
    assert evaluate_identities(vehicles, [0, 1, 2, 3]).f1 == 0.75  # all new
    nothing = evaluate_identities([], [])
    assert (nothing.f1, nothing.precision, nothing.recall) == (0, 0, 0)
    assert evaluate_identities(["a"], [None]).summary() == {
        "IDF1": 0, "IDP": 0, "IDR": 0, "vehicles": 1, "identities": 0, "frames": 1
    }  # fmt: skip


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="2 vehicles, 1 identities, 2 tracks"):
        evaluate_identities(["a", "b"], [1])
    with pytest.raises(DataError, match="-3 frames"):
        evaluate_identities(["a"], [1], [-3])


@given(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 1000]))
def test_the_assignment_by_brute_force(rows: int, more: int, seed: int, most: int) -> None:
    weights = np.random.default_rng(seed).integers(-most, most + 1, (rows, rows + more))
    assigned = heaviest_assignment(weights)
    assert len(set(assigned.tolist())) == rows
    heaviest = max(
        sum(int(weights[row, column]) for row, column in enumerate(one))
        for one in permutations(range(rows + more), rows)
    )
    assert int(weights[np.arange(rows), assigned].sum()) == heaviest


def test_the_one_assignment_that_has_the_most_in_every_row() -> None:
    hidden = np.random.default_rng(0).permutation(80)
    weights = np.random.default_rng(1).integers(0, 1000, (80, 80))
    weights[np.arange(80), hidden] = 1000  # no assignment can have more in any row
    assert weights[np.arange(80), heaviest_assignment(weights)].tolist() == [1000] * 80


def test_more_rows_than_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows for 2 columns"):
        heaviest_assignment(np.zeros((3, 2), np.int64))
