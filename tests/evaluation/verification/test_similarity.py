"""Similarity of embeddings against loops over rows in float64."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.evaluation.verification.failures import Defect
from reid.evaluation.verification.records import Similarity, Tolerance
from reid.evaluation.verification.sentences import failure_sentence
from reid.evaluation.verification.similarity import (
    EDGES,
    compare_embeddings,
    defect_of,
    first_level,
    furthest_level,
    judged_similarities,
    required_similarity,
)
from reid.evaluation.verification.tolerance_checks import check_similarity
from reid.runtime.errors import ModelError
from reid.runtime.galleries.ranking import cosine_distance
from reid.runtime.model_card import Level
from reid.runtime.normalization import normalize
from reid.runtime.precision import Precision

LEVELS = (Level(name="level2", size=3), Level(name="level3", size=8), Level(name="level4", size=5))


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    return normalize(np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32))


def noisy(embeddings: NDArray[np.float32], size: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(1).normal(size=embeddings.shape).astype(np.float32)
    return normalize(embeddings + np.float32(size) * noise)


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


@pytest.mark.parametrize("size", [1e-3, 0.1, 3.0])
def test_every_figure_equals_a_loop_over_rows(size: float) -> None:
    before = rows(41)
    after = noisy(before, size)
    found = compare_embeddings(before, after, LEVELS)
    parts = {"all": slice(0, 16), "level2": slice(0, 3), "level3": slice(3, 11), "level4": slice(11, 16)}
    assert [level.level for level in found.levels] == list(parts)
    for level in found.levels:
        part = parts[level.level]
        expected = [cosine(a[part], b[part]) for a, b in zip(before, after, strict=True)]
        figures = (level.minimum, level.first_percentile, level.median)
        assert figures == pytest.approx((min(expected), np.quantile(expected, 0.01), np.median(expected)), abs=1e-6)
    distances = [1 - cosine(a, b) for a, b in zip(before, after, strict=True)]
    edges = (-np.inf, *EDGES, np.inf)
    assert found.counts == tuple(np.histogram(distances, edges)[0])
    assert found.frames == sum(found.counts) == 41


def test_spread_is_the_mean_distance_of_different_frames() -> None:
    embeddings = rows(13)
    expected = np.mean([1 - cosine(a, b) for a, b in combinations(embeddings, 2)])
    assert compare_embeddings(embeddings, embeddings, LEVELS).spread == pytest.approx(expected, abs=1e-6)
    assert compare_embeddings(embeddings[:1], embeddings[:1], LEVELS).spread == 1


def test_distances_far_below_the_rounding_of_one_are_told_apart() -> None:
    a = np.array([[1, 0]] * 3, np.float32)
    b = np.array([[1, 0], [1, 1e-5], [1, 1e-6]], np.float32)
    np.testing.assert_allclose(cosine_distance(a, b), [0, 5e-11, 5e-13], rtol=1e-5)


def test_the_required_similarity_follows_how_far_apart_the_model_puts_frames() -> None:
    tolerance = 0.99
    orthogonal = np.eye(16, dtype=np.float32)
    alike = normalize(np.ones((16, 16), np.float32) + np.eye(16, dtype=np.float32))
    assert required_similarity(compare_embeddings(orthogonal, orthogonal, LEVELS), tolerance) == pytest.approx(0.99)
    spread = 1 - cosine(alike[0], alike[1])
    assert 0.01 < spread < 0.1
    found = compare_embeddings(alike, alike, LEVELS)
    assert required_similarity(found, tolerance) == pytest.approx(1 - 0.01 * spread, abs=1e-6)
    same = np.repeat(alike[:1], 4, axis=0)
    assert required_similarity(compare_embeddings(same, same, LEVELS), tolerance) == pytest.approx(1 - 1e-6)


def test_a_level_that_is_wrong_is_named() -> None:
    before = rows(20)
    after = before.copy()
    after[:, 3:11] = noisy(before[:, 3:11], 0.3)
    after[7, 11:] *= -1
    found = compare_embeddings(before, after, LEVELS)
    assert furthest_level(found).level == "level4"
    first = first_level(found, required_similarity(found, 0.99))
    assert first is not None
    assert first.level == "level3"
    assert first_level(compare_embeddings(before, before, LEVELS), 0.99) is None


def test_a_level_that_is_zero_in_both_is_the_same_in_both() -> None:
    embeddings = rows(4)
    embeddings[:, :3] = 0
    found = compare_embeddings(embeddings, embeddings, LEVELS)
    assert [level.minimum for level in found.levels] == pytest.approx([1, 1, 1, 1], abs=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_opposite_and_leaves_json_valid(value: float) -> None:
    before = rows(10)
    after = before.copy()
    after[4, 12] = value
    found = compare_embeddings(before, after, LEVELS)
    # Once infinity is divided by its own length, nothing is left of any level; NaN stays where it is.
    assert [level.minimum for level in found.levels] == pytest.approx([-1, 1, 1, -1])
    assert found.counts[-1] == 1
    assert Similarity.model_validate_json(found.model_dump_json()) == found
    assert defect_of(after) == Defect(frames=10, defective=1)


def test_lengths_that_distances_cannot_do_with_are_told() -> None:
    embeddings = rows(10)
    assert defect_of(embeddings) is None
    assert defect_of(embeddings.astype(np.float16).astype(np.float32)) is None
    embeddings[3] = 0
    embeddings[4] *= 1.5
    assert defect_of(embeddings) == Defect(frames=10, defective=2, length=0)


def test_embeddings_of_another_model_are_refused() -> None:
    with pytest.raises(ModelError, match="come from different models"):
        compare_embeddings(rows(3), rows(3)[:, :12], LEVELS)
    with pytest.raises(ModelError, match=r"levels \[3, 8\]"):
        compare_embeddings(rows(3), rows(3), LEVELS[:2])


def turned(embeddings: NDArray[np.float32], similarities: list[float]) -> NDArray[np.float32]:
    """Embeddings whose cosine similarity to the given ones is as stated, for the first ones; the rest is as it was."""
    result = embeddings.copy()
    for row, similarity in enumerate(similarities):
        aside = np.roll(embeddings[row], 1) - (np.roll(embeddings[row], 1) @ embeddings[row]) * embeddings[row]
        result[row] = similarity * embeddings[row] + np.sqrt(1 - similarity**2) * aside / np.linalg.norm(aside)
    return result


@pytest.mark.parametrize(
    ("frames", "similarities", "passing"),
    [
        (300, [0.85] * 2, {"int8"}),  # less than one of 100
        (300, [0.85] * 5, set()),
        (300, [0.75], set()),  # a single one, but beyond twice the room
        (300, [0.92] * 30, {"int8"}),
        (300, [0.995] * 300, {"int8", "fp16"}),
        (99, [0.85], set()),  # of so few, the least similar one decides
    ],
)
def test_of_int8_99_of_100_decide_and_of_fp16_the_least_similar_one(
    frames: int, similarities: list[float], passing: set[Precision]
) -> None:
    before = rows(frames)
    found = compare_embeddings(before, turned(before, similarities), LEVELS)
    assert found.spread == pytest.approx(1, abs=0.02)
    precisions: tuple[Precision, ...] = ("fp16", "int8")
    judged = {one: judged_similarities(one, found, Tolerance()) for one in precisions}
    assert {one for one, values in judged.items() if all(value.value >= value.required for value in values)} == passing


def test_the_verdict_on_int8_does_not_depend_on_how_many_frames_there_are() -> None:
    """A long tail: with 100 times as many frames, the least similar one is far less similar, and 99 of 100 are not."""
    tail = 1 - 0.01 * np.random.default_rng(5).pareto(3, size=20_000).clip(0, 18)
    few, many = (tail[:200], tail)
    assert many.min() < few.min() - 0.02
    verdicts = set()
    for similarities in (few, many):
        before = rows(len(similarities))
        found = compare_embeddings(before, turned(before, similarities.tolist()), LEVELS)
        verdicts.add(all(one.value >= one.required for one in judged_similarities("int8", found, Tolerance())))
    assert verdicts == {True}


def test_a_single_embedding_beyond_twice_the_room_is_said_to_be_so() -> None:
    before = rows(300)
    (failure,) = check_similarity("int8", compare_embeddings(before, turned(before, [0.75]), LEVELS), Tolerance())
    said = failure_sentence(failure)
    assert "the least similar of 300 embeddings has cosine similarity 0.75" in said
    assert "(tolerance 0.9 with twice its room, for a single one, in a model" in said
