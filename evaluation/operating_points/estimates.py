"""The operating points of a model on a data set: thresholds at stated false-match rates, with intervals by vehicle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.operating_points.pair_scores import PairScores, pair_scores
from reid.evaluation.operating_points.resampling import Draw, percentile_interval, resampled_draws
from reid.evaluation.protocols import EmbeddedData, Protocol
from reid.runtime.operating_point import FALSE_MATCH_RATES, FEWEST_CONFUSED, STEPS, Estimate, OperatingPoint

__all__ = ["confused_at", "operating_points", "operating_points_of"]


def operating_points_of(
    data: EmbeddedData, protocol: Protocol, *, expand_queries: int = 0
) -> tuple[OperatingPoint, ...]:
    """Return the operating points of embedded data by a protocol; see pair_scores and operating_points."""
    return operating_points(pair_scores(data, protocol, expand_queries=expand_queries))


def operating_points(pairs: PairScores) -> tuple[OperatingPoint, ...]:
    """Return one operating point for each of FALSE_MATCH_RATES.

    The threshold is the lowest that keeps the rate. It is not given where the false matches above it show fewer than
    FEWEST_CONFUSED pairs of vehicles. Intervals are percentiles over draws of vehicles, each with a threshold of its
    own.
    """
    confused = confused_at(pairs, FALSE_MATCH_RATES)
    rates = [rate for rate, number in zip(FALSE_MATCH_RATES, confused, strict=True) if number >= FEWEST_CONFUSED]
    estimates = dict(zip(rates, _estimates(pairs, rates), strict=False))
    return tuple(
        OperatingPoint(
            false_match_rate=rate,
            threshold=threshold,
            true_match_rate=matches,
            measured_rate=measured,
            impostor_pairs=pairs.impostor_pairs,
            genuine_pairs=len(pairs.genuine),
            vehicles=pairs.vehicles,
            confused=number,
        )
        for rate, number in zip(FALSE_MATCH_RATES, confused, strict=True)
        for threshold, matches, measured in [estimates.get(rate, (None, None, None))]
    )


def confused_at(pairs: PairScores, rates: Sequence[float]) -> list[int]:
    """Return, for each rate, how many pairs of vehicles the false matches at its threshold show."""
    if not len(pairs.impostor):
        return [0] * len(rates)
    draw, impostor = Draw(pairs), pairs.impostor
    first, second = np.minimum(impostor.query, impostor.gallery), np.maximum(impostor.query, impostor.gallery)
    _, firsts = np.unique(first * np.int64(pairs.vehicles) + second, return_index=True)
    false_matches = [impostor.reaching(draw.threshold(rate)) for rate in rates]
    return [int(number) for number in np.searchsorted(np.sort(firsts), false_matches)]


def _estimates(pairs: PairScores, rates: Sequence[float]) -> list[tuple[Estimate, ...]]:
    """Return the threshold, the true-match rate and the measured rate of each rate."""
    if not rates or not len(pairs.genuine):
        return []
    as_they_are = Draw(pairs)
    kept = [as_they_are.threshold(rate) for rate in rates]
    values = _measured(as_they_are, rates, kept)
    bounds = percentile_interval(np.array([_measured(draw, rates, kept) for (draw,) in resampled_draws(pairs)]))
    return [
        tuple(Estimate(value=value, interval=(low, high)) for value, (low, high) in zip(row, intervals, strict=True))
        for row, intervals in zip(values.tolist(), bounds.tolist(), strict=True)
    ]


def _measured(draw: Draw, rates: Sequence[float], kept: Sequence[int]) -> NDArray[np.float64]:
    """Return a row for each rate: its threshold, the true-match rate there, the false-match rate at the one kept."""
    rows = []
    for rate, fixed in zip(rates, kept, strict=True):
        own = draw.threshold(rate)
        rows.append([own / STEPS, draw.true_match_rate(own), draw.false_match_rate(fixed) / 100])
    return np.array(rows)
