"""Operating points, against a loop over all thresholds, closed forms, and vehicles that were never seen."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scored_vehicles import drawn_pairs, vehicle_pairs

from reid.evaluation.operating_points import resampling
from reid.evaluation.operating_points.estimates import operating_points
from reid.evaluation.operating_points.pair_scores import HELD, Pairs, PairScores
from reid.evaluation.operating_points.resampling import Draw
from reid.runtime.operating_point import FALSE_MATCH_RATES, OperatingPoint, unsupported_sentence


def loop(pairs: PairScores, rate: float) -> tuple[int, float]:
    """Try all thresholds, from the lowest, until one keeps the rate; all pairs must be held."""
    genuine, impostor = pairs.genuine.steps, pairs.impostor.steps
    for threshold in sorted({score + 1 for score in impostor.tolist()}):
        if np.count_nonzero(impostor >= threshold) <= rate * len(impostor):
            return threshold, 100 * np.count_nonzero(genuine >= threshold) / len(genuine)
    raise AssertionError("the highest threshold lets nothing in")


def test_thresholds_and_rates_are_those_of_a_loop() -> None:
    pairs = vehicle_pairs(seed=0, vehicles=24, images=4)
    assert len(pairs.impostor) == pairs.impostor_pairs == 24 * 23 * 3
    for rate in (0.5, 0.1, 1e-2, 1e-3):
        threshold = Draw(pairs).threshold(rate)
        assert (threshold, Draw(pairs).true_match_rate(threshold)) == loop(pairs, rate)
    assert Draw(pairs).false_match_rate(Draw(pairs).threshold(0.1)) == pytest.approx(10, abs=0.1)


def test_a_draw_is_what_copies_of_the_vehicles_give() -> None:
    pairs = vehicle_pairs(seed=1, vehicles=8, images=4)
    times = [0, 3, 1, 1, 0, 2, 1, 0]
    draw, copies = Draw(pairs, np.array(times)), drawn_pairs(pairs, times)
    assert draw.impostor_pairs == copies.impostor_pairs
    for rate in (0.3, 0.1):
        threshold, true_match_rate = loop(copies, rate)
        assert draw.threshold(rate) == threshold
        assert draw.true_match_rate(threshold) == true_match_rate
        assert draw.false_match_rate(threshold) <= 100 * rate


def gaussian_pairs(genuine: NormalDist, impostor: NormalDist, count: int) -> PairScores:
    random = np.random.default_rng(0)
    vehicles = 500

    def drawn(scores: NormalDist, number: int, held: int) -> Pairs:
        steps = np.rint(1e6 * random.normal(scores.mean, scores.stdev, size=number)).astype(np.int32)
        query = random.integers(vehicles, size=number, dtype=np.int32)
        return Pairs(steps, query, (query + 1) % vehicles).best(held)

    none, counts = np.zeros(0, np.int64), np.full(vehicles, round(np.sqrt(count / vehicles / (vehicles - 1))))
    total = int(counts.sum() ** 2 - counts @ counts)
    held = int(HELD * total)
    return PairScores(drawn(genuine, 50_000, 50_000), drawn(impostor, total, held), total, counts, counts, none, none)


def test_gaussian_scores_have_the_points_of_the_formula() -> None:
    genuine, impostor = NormalDist(0.6, 0.12), NormalDist(0.1, 0.1)
    pairs = gaussian_pairs(genuine, impostor, 2_000_000)
    for point in operating_points(pairs):
        threshold = impostor.inv_cdf(1 - point.false_match_rate)
        assert point.threshold is not None
        assert point.true_match_rate is not None
        # Four standard errors of a quantile and of a share of independent pairs.
        rate = point.false_match_rate
        error = 4 * (rate / pairs.impostor_pairs) ** 0.5
        assert point.threshold.value == pytest.approx(threshold, abs=error / impostor.pdf(threshold))
        assert point.true_match_rate.value == pytest.approx(100 * (1 - genuine.cdf(threshold)), abs=1.5)
        low, high = point.threshold.interval
        assert low <= threshold <= high


def found(pairs: PairScores, rate: float) -> OperatingPoint:
    return next(point for point in operating_points(pairs) if point.false_match_rate == rate)


def test_intervals_hold_the_thresholds_and_rates_of_vehicles_without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 40 vehicles of six images, whose pairs are far from independent."""
    monkeypatch.setattr(resampling, "RESAMPLES", 100)
    everyone = found(vehicle_pairs(seed=1000, vehicles=1000), 1e-2)
    assert everyone.threshold is not None
    assert everyone.true_match_rate is not None
    draws, threshold, true_matches, narrow = 40, 0, 0, 0
    for seed in range(draws):
        point = found(vehicle_pairs(seed, vehicles=40), 1e-2)
        assert point.threshold is not None
        assert point.true_match_rate is not None
        low, high = point.threshold.interval
        threshold += low <= everyone.threshold.value <= high
        low, high = point.true_match_rate.interval
        true_matches += low <= everyone.true_match_rate.value <= high
        share = point.true_match_rate.value / 100
        by_pair = 100 * (share * (1 - share) / point.genuine_pairs) ** 0.5
        narrow += abs(point.true_match_rate.value - everyone.true_match_rate.value) <= 1.96 * by_pair
    # 95 % of 40 are 38; a binomial has fewer than 34 in 1 % of cases.
    assert threshold >= 34
    assert true_matches >= 34
    assert narrow < 34  # what an interval by pair would hold


def test_every_seventh_pair_tells_almost_what_all_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = vehicle_pairs(seed=5, vehicles=60)
    everything = found(pairs, 1e-2)
    monkeypatch.setattr(resampling, "_MOST_DRAWN", len(pairs.impostor) // 7 + 1)
    assert pairs.thinned(len(pairs.impostor) // 7 + 1).each == 7
    thinned = found(pairs, 1e-2)
    for whole, part in (
        (everything.threshold, thinned.threshold),
        (everything.true_match_rate, thinned.true_match_rate),
        (everything.measured_rate, thinned.measured_rate),
    ):
        assert whole is not None
        assert part is not None
        assert part.value == whole.value
        width = whole.interval[1] - whole.interval[0]
        assert part.interval == pytest.approx(whole.interval, abs=0.15 * width)


def test_what_few_pairs_cannot_tell_is_not_told() -> None:
    pairs = vehicle_pairs(seed=3, vehicles=40)
    points = operating_points(pairs)
    assert [point.false_match_rate for point in points] == list(FALSE_MATCH_RATES)
    assert [point.threshold is None for point in points] == [False, True, True]
    for point in points:
        threshold = loop(pairs, point.false_match_rate)[0]
        columns = zip(pairs.impostor.steps, pairs.impostor.query, pairs.impostor.gallery, strict=True)
        confused = {frozenset((query, entry)) for score, query, entry in columns if score >= threshold}
        assert point.confused == len(confused)
    number = points[1].confused
    assert unsupported_sentence(points[1]) == f"its false matches show {number} pairs of vehicles, fewer than 10"
    assert unsupported_sentence(points[2]) == "7,800 pairs of different vehicles are too few"


def test_without_a_pair_of_the_same_vehicle_there_is_no_point() -> None:
    pairs = vehicle_pairs(seed=3, vehicles=60, images=4)
    none = np.zeros(0, np.int32)
    points = operating_points(
        PairScores(
            Pairs(none, none, none),
            pairs.impostor,
            pairs.impostor_pairs,
            pairs.queries,
            pairs.gallery,
            pairs.genuine_bins,
            pairs.impostor_bins,
        )
    )
    assert {point.threshold for point in points} == {None}
    assert unsupported_sentence(points[0]) == "no pair shows the same vehicle"


def test_equal_scores_do_not_let_a_rate_be_exceeded() -> None:
    same = np.full(5000, 700_000, np.int32)
    vehicles = np.arange(5000, dtype=np.int32) % 100
    counts = np.full(100, 1)
    impostor = Pairs(np.concatenate([same, same - 1]), np.tile(vehicles, 2), np.tile((vehicles + 1) % 100, 2))
    pairs = PairScores(Pairs(same, vehicles, vehicles), impostor, 9900, counts, counts, counts, counts)
    assert Draw(pairs).threshold(1e-2) == 700_001
    assert Draw(pairs).true_match_rate(700_001) == 0
