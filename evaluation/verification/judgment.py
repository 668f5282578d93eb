"""The verdict on measured changes: within tolerance, outside it, or not to be told from so few queries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import ceil, inf, sqrt

from reid.evaluation.verification.failures import Verdict
from reid.evaluation.verification.measurements import Flips, MeasuredProtocol, Measurement
from reid.evaluation.verification.records import Change, ProtocolComparison
from reid.evaluation.verification.significance import normal_quantile, proportion_interval

__all__ = ["ERROR_RATE", "judge", "judge_protocols"]

ERROR_RATE = 0.01
"""How often a model that has not changed may be called outside tolerance, over all measures together."""

_ROUNDING = 1e-9
"""Percentage points: a change of exactly the tolerance is within it, whatever float64 makes of the difference."""

_MOST_QUERIES = 10_000_000


def judge_protocols(
    measured: Sequence[MeasuredProtocol], error_rate: float = ERROR_RATE
) -> tuple[ProtocolComparison, ...]:
    """Judge everything that was measured of a candidate together; see judge."""
    changes = iter(judge([measurement for one in measured for measurement in one.measurements], error_rate))
    return tuple(
        ProtocolComparison(
            protocol=one.protocol,
            post_processing=one.post_processing,
            changes=tuple(islice(changes, len(one.measurements))),
            first_match_changed=one.first_match_changed,
            queries=one.queries,
        )
        for one in measured
    )


def judge(measurements: Sequence[Measurement], error_rate: float = ERROR_RATE) -> list[Change]:
    """Judge measurements together.

    *Outside*: the change for the worse is larger than allowed, and not chance. Chance is judged over all measurements
    together: whoever asks twelve questions must not be wrong twelve times as often (Holm, *A simple sequentially
    rejective multiple test procedure*, Scandinavian Journal of Statistics 1979). *Within*: the interval holds no
    change for the worse that is larger than allowed. *Undecided*: neither.

    Args:
        measurements: all that is known of one candidate.
        error_rate: the probability of calling any of them outside if the candidate only differs by chance.
    """
    adjusted = _holm([one.p_value for one in measurements])
    # The strictest of Holm's levels: with so many queries, the verdict does not depend on the other measures.
    level = error_rate / max(1, len(measurements))
    return [_judged(one, p < error_rate, level) for one, p in zip(measurements, adjusted, strict=True)]


def _holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that may be compared with the error rate of all tests together, by Holm's procedure."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _judged(one: Measurement, is_no_chance: bool, level: float) -> Change:
    verdict: Verdict = "undecided"
    if one.worse_by > one.allowed + _ROUNDING and is_no_chance:
        verdict = "outside"
    elif one.worst <= one.allowed + _ROUNDING:
        verdict = "within"
    return Change(
        measure=one.measure,
        reference=one.reference,
        candidate=one.candidate,
        interval=one.interval,
        p_value=one.p_value,
        allowed=one.allowed,
        verdict=verdict,
        settled_by=_settled_by(one, level) if verdict == "undecided" else None,
    )


def _settled_by(one: Measurement, level: float) -> int | None:
    """Return how many queries would settle it, if change and spread stay as they are; None for too many to say."""
    queries = _queries_for_outside(one, level) if one.worse_by > one.allowed else _queries_for_within(one)
    return ceil(queries) if queries <= _MOST_QUERIES else None


def _queries_for_within(one: Measurement) -> float:
    if one.flips is not None:
        return _queries_for_flips(one, one.flips)
    room, width = one.allowed - one.worse_by, one.worst - one.worse_by
    return one.queries * (width / room) ** 2 if room > 0 else inf


def _queries_for_flips(one: Measurement, flips: Flips) -> float:
    """Find by bisection how often these queries have to be asked until the interval is within what is allowed."""
    few, many = 1.0, _MOST_QUERIES / one.queries
    if many < few or not _flips_suffice(one, flips, many):
        return inf
    while many / few > 1.001:
        middle = sqrt(few * many)
        few, many = (few, middle) if _flips_suffice(one, flips, middle) else (middle, many)
    return many * one.queries


def _flips_suffice(one: Measurement, flips: Flips, times: float) -> bool:
    lower, _ = proportion_interval(times * flips.lost, times * flips.gained, times * one.queries)
    return -100 * lower <= one.allowed


def _queries_for_outside(one: Measurement, level: float) -> float:
    """Return with how many queries the change is not chance at a level: its standard errors grow with their root."""
    needed = normal_quantile(1 - level)
    if one.flips is not None:
        net, all_flips = one.flips.lost - one.flips.gained, one.flips.lost + one.flips.gained
        # Normal, with its correction for continuity: times * net - 1 = needed * sqrt(times * flips).
        root = (needed * sqrt(all_flips) + sqrt(needed**2 * all_flips + 4 * net)) / (2 * net)
        return one.queries * max(1.0, root**2)
    observed = normal_quantile(1 - one.p_value) if one.p_value < 0.5 else 0.0
    return one.queries * max(1.0, needed / observed) ** 2 if observed > 0 else inf
