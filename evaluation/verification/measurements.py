"""What is measured of two models' rankings of the same queries, before any verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid.evaluation.metrics import METRICS
from reid.evaluation.verification.bootstrap import paired_interval
from reid.evaluation.verification.records import Tolerance
from reid.evaluation.verification.retrieval import Ranked
from reid.evaluation.verification.significance import mcnemar_p_value, proportion_interval, sign_flip_p_value
from reid.runtime.errors import DataError

__all__ = ["Flips", "MeasuredProtocol", "Measurement", "compare_rankings"]


@dataclass(frozen=True, slots=True)
class Flips:
    """The queries that one model answers and the other does not: lost by the candidate, and gained."""

    lost: int
    gained: int

    def interval(self, queries: int) -> tuple[float, float]:
        """Return the 95 % interval of (gained - lost) / queries, in points."""
        low, high = proportion_interval(self.lost, self.gained, queries)
        return 100 * low, 100 * high


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measure of two models on the same queries, not judged yet.

    Attributes:
        measure: the name of the measure; see Change.
        reference: the reference's value, in percent.
        candidate: the candidate's value, in percent.
        interval: the 95 % paired interval of candidate - reference, in points.
        p_value: how often chance alone makes a change for the worse as large as this one.
        allowed: the largest permitted change for the worse, in points.
        queries: the number of queries.
        flips: the queries behind it, where the measure counts queries.
        lower_is_better: whether a rise is the change for the worse.
    """

    measure: str
    reference: float
    candidate: float
    interval: tuple[float, float]
    p_value: float
    allowed: float
    queries: int
    flips: Flips | None = None
    lower_is_better: bool = False

    @property
    def worse_by(self) -> float:
        """The change for the worse, in points; negative where the candidate is better."""
        change = self.candidate - self.reference
        return change if self.lower_is_better else -change

    @property
    def worst(self) -> float:
        """The end of the interval that is worse, as a change for the worse in points."""
        return self.interval[1] if self.lower_is_better else -self.interval[0]


@dataclass(frozen=True, slots=True)
class MeasuredProtocol:
    """What was measured of one protocol.

    Attributes:
        protocol: the protocol's name.
        post_processing: the name of what was done to the rankings of both.
        measurements: mAP first.
        first_match_changed: the share of queries whose first match differs, in percent.
        queries: the number of queries that count.
    """

    protocol: str
    post_processing: str
    measurements: tuple[Measurement, ...]
    first_match_changed: float
    queries: int


def compare_rankings(reference: Ranked, candidate: Ranked, tolerance: Tolerance) -> MeasuredProtocol:
    """Measure how two models' rankings of the same queries in the same gallery differ.

    mAP is tested and bounded over queries; Rank-k by the queries that flipped, with an exact test.

    Raises:
        DataError: the queries or the galleries differ, so they cannot be paired.
    """
    if (reference.queries, reference.gallery) != (candidate.queries, candidate.gallery):
        raise DataError(
            f"{reference.protocol}: the models were given different queries or galleries "
            f"({len(reference.queries)} and {len(candidate.queries)} queries are counted, of {len(reference.gallery)} "
            f"and {len(candidate.gallery)} gallery entries); give both the same data"
        )
    return MeasuredProtocol(
        reference.protocol,
        reference.post_processing.name,
        _measured(reference, candidate, tolerance),
        first_match_changed=100 * float(np.mean(reference.matches[:, 0] != candidate.matches[:, 0])),
        queries=len(reference.queries),
    )


def _measured(reference: Ranked, candidate: Ranked, tolerance: Tolerance) -> tuple[Measurement, ...]:
    before, after = reference.summary(), candidate.summary()
    differences = candidate.points() - reference.points()
    queries = len(differences)
    found = []
    for column, name in zip(differences.T, METRICS, strict=True):
        flips = None if name == "mAP" else Flips(int(np.count_nonzero(column < 0)), int(np.count_nonzero(column > 0)))
        found.append(
            Measurement(
                measure=name,
                reference=before[name],
                candidate=after[name],
                interval=flips.interval(queries) if flips else paired_interval(column),
                p_value=mcnemar_p_value(flips.lost, flips.gained) if flips else sign_flip_p_value(column),
                allowed=tolerance.room(name),
                queries=queries,
                flips=flips,
            )
        )
    return tuple(found)
