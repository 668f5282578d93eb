"""What becomes of operating points, against loops, and on changes whose size is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scored_vehicles import vehicle_pairs

from reid import DataError
from reid.evaluation.operating_points import changes
from reid.evaluation.operating_points.changes import measure_operating_points
from reid.evaluation.operating_points.pair_scores import Pairs, PairScores
from reid.evaluation.operating_points.resampling import Draw
from reid.evaluation.verification.measurements import Measurement
from reid.evaluation.verification.records import Tolerance

VEHICLES = 30


def measured(reference: PairScores, candidate: PairScores) -> dict[str, Measurement]:
    found = measure_operating_points(reference, candidate, Tolerance(match=1, false_match=2))
    return {one.measure: one for one in found}


def shifted(pairs: PairScores, steps: int) -> PairScores:
    """Add the same number to every score."""
    moved = (Pairs(kind.steps + steps, kind.query, kind.gallery) for kind in (pairs.genuine, pairs.impostor))
    genuine, impostor = moved
    return replace(pairs, genuine=genuine, impostor=impostor)


def test_the_same_model_changes_nothing() -> None:
    pairs = vehicle_pairs(seed=0, vehicles=VEHICLES)
    found = measured(pairs, pairs)
    assert [*found] == ["TMR@1e-2", "FMR@1e-2"]
    for one in found.values():
        assert (one.candidate, one.p_value) == (one.reference, 1)
        pairs_of = len(pairs.genuine) if one.measure.startswith("T") else pairs.impostor_pairs
        # No pair of n changed: Tango's interval, and the rule of three with 3.84, the square of 1.96, for 3.
        assert one.interval == pytest.approx((-384 / pairs_of, 384 / pairs_of), rel=0.05)
        assert one.queries == VEHICLES
    assert found["TMR@1e-2"].allowed == 1
    assert found["FMR@1e-2"].allowed == found["FMR@1e-2"].reference == pytest.approx(1, abs=0.05)


def test_a_scale_that_shifts_keeps_true_matches_and_lets_others_in() -> None:
    """This is what mAP does not see."""
    pairs = vehicle_pairs(seed=0, vehicles=VEHICLES)
    found = measured(pairs, shifted(pairs, 100_000))
    matches, false_matches = found["TMR@1e-2"], found["FMR@1e-2"]
    assert matches.candidate == matches.reference
    assert matches.interval == pytest.approx((-384 / 150, 384 / 150), rel=0.05)
    threshold = Draw(pairs).threshold(1e-2)
    let_in = 100 * np.mean(pairs.impostor.steps >= threshold - 100_000)
    assert false_matches.candidate == pytest.approx(let_in)
    assert false_matches.lower_is_better
    low, high = false_matches.interval
    assert 0 < low < let_in - false_matches.reference < high
    assert false_matches.p_value < 0.001


def test_embeddings_that_fall_apart_lose_true_matches() -> None:
    found = measured(vehicle_pairs(seed=0, vehicles=VEHICLES), vehicle_pairs(seed=0, vehicles=VEHICLES, noise=0.15))
    matches = found["TMR@1e-2"]
    assert matches.candidate < matches.reference - 10
    assert matches.interval[1] < 0
    assert matches.p_value < 0.001


def test_pseudo_values_are_those_of_leaving_each_vehicle_out() -> None:
    reference = vehicle_pairs(seed=4, vehicles=12, images=4)
    candidate = vehicle_pairs(seed=4, vehicles=12, images=4, noise=0.1)
    threshold = Draw(reference).threshold(0.05)

    def rise(without: int | None) -> float:
        rates = []
        for pairs in (reference, candidate):
            kept = (pairs.impostor.query != without) & (pairs.impostor.gallery != without)
            rates.append(100 * np.mean(pairs.impostor.steps[kept] >= threshold))
        return float(rates[1] - rates[0])

    expected = [12 * rise(None) - 11 * rise(vehicle) for vehicle in range(12)]
    found = changes._change_of_false_matches(reference, candidate, threshold)
    assert -found.for_the_better == pytest.approx(expected)
    assert 100 * (found.gained - found.lost) / found.pairs == pytest.approx(rise(None))


def test_other_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="different queries or galleries"):
        measured(vehicle_pairs(seed=0, vehicles=30), vehicle_pairs(seed=0, vehicles=31))


def test_too_few_pairs_measure_nothing() -> None:
    pairs = vehicle_pairs(seed=0, vehicles=4)
    assert measured(pairs, pairs) == {}


def test_a_threshold_that_moves_by_chance_is_chance() -> None:
    """A few impostor pairs move the threshold, and the matches of all vehicles change to the same side."""
    pairs = vehicle_pairs(seed=0, vehicles=VEHICLES)
    highest = np.sort(pairs.impostor.steps)[::-1]
    moved = pairs.impostor.steps + np.where(pairs.impostor.steps >= highest[60], 30_000, 0)
    order = np.argsort(-moved, kind="stable")
    impostor = Pairs(moved[order].astype(np.int32), pairs.impostor.query[order], pairs.impostor.gallery[order])
    found = measured(pairs, replace(pairs, impostor=impostor))["TMR@1e-2"]
    lost = round(found.worse_by * len(pairs.genuine) / 100)
    assert lost == 5  # none gained: by McNemar's test alone, p = 1 / 32
    assert found.p_value > 0.05
