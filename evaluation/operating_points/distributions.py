"""What a page draws of an operating point: how scores are distributed, and true matches over false ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from reid.evaluation.operating_points.estimates import confused_at, operating_points
from reid.evaluation.operating_points.pair_scores import BINS, PairScores
from reid.evaluation.operating_points.resampling import Draw
from reid.runtime.operating_point import FEWEST_CONFUSED, STEPS, OperatingPoint

__all__ = ["CurvePoint", "ScoreDistributions", "distributions_of", "score_distributions"]

_PER_DECADE = 8
_CURVE = 10.0 ** (np.arange(-5 * _PER_DECADE, -2 * _PER_DECADE + 3) / _PER_DECADE)
"""The false-match rates of the curve: from 1e-5 to just under the share of pairs that is held."""

_Counts: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=BINS, max_length=BINS)]


class CurvePoint(BaseModel):
    """A point of the curve: the true-match rate, in percent, at a false-match rate."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    false_match_rate: float = Field(gt=0, le=1)
    true_match_rate: float = Field(ge=0, le=100)
    threshold: float


class ScoreDistributions(BaseModel):
    """The scores of a protocol's pairs.

    Attributes:
        protocol: the name of the protocol.
        genuine: the counts of pairs of the same vehicle in each bin; see bin_edge.
        impostor: the counts of pairs of different vehicles.
        curve: points with ascending false-match rates.
        points: the operating points.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    protocol: str = Field(pattern="^[it]2[it]$")
    genuine: _Counts
    impostor: _Counts
    curve: tuple[CurvePoint, ...]
    points: tuple[OperatingPoint, ...]

    @model_validator(mode="after")
    def _refuse_disorder(self) -> ScoreDistributions:
        rates = [point.false_match_rate for point in self.curve]
        if rates != sorted(set(rates)):
            raise ValueError("the curve's false-match rates do not ascend")
        return self


def distributions_of(pairs: Mapping[str, PairScores]) -> tuple[ScoreDistributions, ...]:
    """Return the distributions of each protocol, whose name is the key."""
    return tuple(score_distributions(one, protocol) for protocol, one in pairs.items())


def score_distributions(pairs: PairScores, protocol: str) -> ScoreDistributions:
    """Return the distributions of a protocol's pairs, the curve as far as the data supports it, and the points."""
    return ScoreDistributions(
        protocol=protocol,
        genuine=tuple(pairs.genuine_bins.tolist()),
        impostor=tuple(pairs.impostor_bins.tolist()),
        curve=_curve(pairs),
        points=operating_points(pairs),
    )


def _curve(pairs: PairScores) -> tuple[CurvePoint, ...]:
    if not len(pairs.genuine) or not pairs.impostor_pairs:
        return ()
    draw = Draw(pairs)
    rates = _CURVE.tolist()
    known = zip(rates, map(draw.threshold, rates), confused_at(pairs, rates), strict=True)
    return tuple(
        CurvePoint(false_match_rate=rate, true_match_rate=draw.true_match_rate(threshold), threshold=threshold / STEPS)
        for rate, threshold, confused in known
        if confused >= FEWEST_CONFUSED
    )
