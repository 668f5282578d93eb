"""Whether a candidate keeps a model's operating points: its true matches, and what a threshold of the model lets in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.operating_points.pair_scores import PairScores
from reid.evaluation.operating_points.resampling import Draw, percentile_interval, resampled_draws
from reid.evaluation.verification.measurements import Measurement
from reid.evaluation.verification.records import Tolerance
from reid.evaluation.verification.significance import (
    normal_p_value,
    proportion_interval,
    sign_flip_p_value,
)
from reid.runtime.errors import DataError
from reid.runtime.operating_point import FALSE_MATCH_RATES, rate_name

__all__ = ["measure_operating_points"]

_FEWEST_FALSE_MATCHES = 10


def measure_operating_points(
    reference: PairScores, candidate: PairScores, tolerance: Tolerance
) -> tuple[Measurement, ...]:
    """Measure what becomes of the true matches and the false matches at each rate that the data supports.

    `TMR@1e-3` is the true-match rate of each model at its own threshold for a false-match rate of 1e-3; `FMR@1e-3` is
    the false-match rate of both at the reference's threshold, as where a threshold is kept when the precision changes.
    Both are in percent, with paired intervals: every draw of vehicles is applied to both models. They are never
    narrower than if pairs were independent, which tells what few pairs can.

    Args:
        reference: the pairs of one model.
        candidate: the same pairs of the other. A rate above the share of them that PairScores holds is cut there.
        tolerance: `match`, in points, and `false_match`, a factor.

    Returns:
        For each rate with at least ten false matches its TMR, then its FMR. That is fewer than an operating point
        needs: both models are asked for the same pairs, so it matters less which vehicles these show.

    Raises:
        DataError: the pairs are not the same.
    """
    if not _are_paired(reference, candidate):
        raise DataError("the models were given different queries or galleries; give both the same data")
    rates = _measurable_rates(reference)
    if not rates:
        return ()
    both = Draw(reference), Draw(candidate)
    kept = [both[0].threshold(rate) for rate in rates]
    draws = resampled_draws(reference, candidate)
    changes = np.array([np.diff(_measured(drawn, rates, kept))[:, 0] for drawn in draws])
    values, intervals = _measured(both, rates, kept).tolist(), percentile_interval(changes).tolist()
    spreads = np.nanstd(changes, axis=0).tolist()
    found: list[Measurement] = []
    for rate, threshold in zip(rates, kept, strict=True):
        matches = _change_of_true_matches(reference, candidate, (threshold, both[1].threshold(rate)))
        false_matches = _change_of_false_matches(reference, candidate, threshold)
        for name, change in (("TMR", matches), ("FMR", false_matches)):
            (before, after), resampled, spread = values[len(found)], intervals[len(found)], spreads[len(found)]
            better = after - before if name == "TMR" else before - after
            # A threshold that moves by chance changes the matches of all vehicles to the same side: only draws show it.
            p_value = max(sign_flip_p_value(change.for_the_better), normal_p_value(better, spread))
            found.append(
                Measurement(
                    measure=f"{name}@{rate_name(rate)}",
                    reference=before,
                    candidate=after,
                    interval=_at_least_as_wide(resampled, change),
                    p_value=p_value,
                    allowed=tolerance.match if name == "TMR" else (tolerance.false_match - 1) * before,
                    queries=int(reference.queries.sum()),
                    lower_is_better=name == "FMR",
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """What becomes of the matches among some pairs.

    Attributes:
        for_the_better: what each vehicle contributes, in points, float64 [V]; the mean is the change for the better.
        lost: the number of pairs that no longer match, as far as they are not made up for by the same vehicle's others.
        gained: the number of pairs that match now, likewise.
        pairs: the number of pairs.
    """

    for_the_better: NDArray[np.float64]
    lost: float
    gained: float
    pairs: int


def _at_least_as_wide(interval: Sequence[float], change: _Change) -> tuple[float, float]:
    """Widen an interval to that of independent pairs: where no match changed, no draw of vehicles shows a change."""
    low, high = proportion_interval(change.lost, change.gained, change.pairs)
    return min(interval[0], 100 * low), max(interval[1], 100 * high)


def _measurable_rates(pairs: PairScores) -> tuple[float, ...]:
    measurable = (rate for rate in FALSE_MATCH_RATES if rate * pairs.impostor_pairs >= _FEWEST_FALSE_MATCHES)
    return tuple(measurable) if len(pairs.genuine) else ()


def _are_paired(reference: PairScores, candidate: PairScores) -> bool:
    same = (np.array_equal(getattr(reference, side), getattr(candidate, side)) for side in ("queries", "gallery"))
    return all(same) and len(reference.genuine) == len(candidate.genuine)


def _measured(draws: tuple[Draw, ...], rates: tuple[float, ...], kept: list[int]) -> NDArray[np.float64]:
    """Return TMR and FMR of each rate, row by row, of the reference and the candidate, float64 [2 * rates, 2]."""
    rows = []
    for rate, threshold in zip(rates, kept, strict=True):
        rows.append([draw.true_match_rate(draw.threshold(rate)) for draw in draws])
        rows.append([draw.false_match_rate(threshold) for draw in draws])
    return np.array(rows)


def _change_of_true_matches(reference: PairScores, candidate: PairScores, thresholds: tuple[int, int]) -> _Change:
    before, after = (
        np.bincount(pairs.genuine.query[: pairs.genuine.reaching(threshold)], minlength=pairs.vehicles)
        for pairs, threshold in zip((reference, candidate), thresholds, strict=True)
    )
    pairs, gained = len(reference.genuine), after - before
    contributions = gained.astype(np.float64) * (100 * reference.vehicles / pairs)
    return _Change(contributions, float(-gained[gained < 0].sum()), float(gained[gained > 0].sum()), pairs)


def _change_of_false_matches(reference: PairScores, candidate: PairScores, threshold: int) -> _Change:
    """Return the change, with jackknife pseudo-values as contributions.

    A pair of two vehicles cannot be halved between them: a vehicle that lets in more does so in all of its pairs, and
    half of that is not its effect. Pseudo-values, V times the rise less V - 1 times that without the vehicle, have
    the rise as their mean and its variance as theirs (Arvesen, *Jackknifing U-statistics*, 1969).
    """
    after, before = (_false_matches_of_vehicles(pairs, threshold) for pairs in (candidate, reference))
    queries, gallery = reference.queries, reference.gallery
    own_pairs = queries * (gallery.sum() - gallery) + gallery * (queries.sum() - queries)
    gained, total, vehicles = after - before, reference.impostor_pairs, reference.vehicles
    rise = gained.sum() / 2  # each pair is in two vehicles' counts
    without = (rise - gained) / np.maximum(total - own_pairs, 1)
    pseudo_values = 100 * (vehicles * rise / total - (vehicles - 1) * without)
    return _Change(-pseudo_values, float(-gained[gained < 0].sum() / 2), float(gained[gained > 0].sum() / 2), total)


def _false_matches_of_vehicles(pairs: PairScores, threshold: int) -> NDArray[np.int64]:
    """Return the number of false matches that each vehicle is in, on either side, int64 [V]."""
    first = pairs.impostor.reaching(threshold)
    sides = (pairs.impostor.query[:first], pairs.impostor.gallery[:first])
    return np.bincount(np.concatenate(sides), minlength=pairs.vehicles)
