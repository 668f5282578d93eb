"""The operating point of a model: the score from which a match counts as the same vehicle, at a stated error rate.

A score is a cosine similarity, and it counts as it is written, with six decimals: so a reader of a written score and
a written threshold decides what the program decides, whatever computed the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from reid.runtime.errors import ModelError
from reid.runtime.precision import Precision

__all__ = [
    "FALSE_MATCH_RATES",
    "FEWEST_CONFUSED",
    "STEPS",
    "Estimate",
    "OperatingPoint",
    "OperatingPoints",
    "ProtocolName",
    "choose_operating_point",
    "protocol_of",
    "rate_name",
    "unsupported_sentence",
    "written_score",
    "written_steps",
]

ProtocolName: TypeAlias = Literal["i2i", "i2t", "t2t"]

FALSE_MATCH_RATES = (1e-2, 1e-3, 1e-4)
"""The false-match rates that operating points are given for."""

FEWEST_CONFUSED = 10
"""The fewest pairs of vehicles that the false matches above a threshold must show. Fewer are chance acquaintances: in
another set of vehicles the false-match rate there was up to 14 times the stated one."""

STEPS = 1_000_000
"""Steps of a written score per unit."""

_DECIMALS = 6
_MOST_POINTS = 16

_Kind: TypeAlias = Literal["images", "tracklets"]


class Estimate(BaseModel):
    """A value and its 95 % interval if other vehicles had been filmed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float
    interval: tuple[float, float]


class OperatingPoint(BaseModel):
    """The threshold for a false-match rate, and what it finds.

    Attributes:
        false_match_rate: the largest share of pairs of different vehicles that match: 0.001 for one in a thousand.
        threshold: the cosine similarity from which a pair matches, six decimals; None where the data is too small.
        true_match_rate: the share of pairs of the same vehicle that match, in percent; None where `threshold` is.
        measured_rate: the share of pairs of different vehicles that match at this very threshold; its interval says how
            far it is from `false_match_rate` among other vehicles. None where `threshold` is.
        impostor_pairs: the number of pairs of different vehicles that were compared.
        genuine_pairs: the number of pairs of the same vehicle, junk left out.
        vehicles: the number of vehicles that they show.
        confused: the number of pairs of vehicles among the false matches at this rate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    false_match_rate: float = Field(gt=0, lt=1)
    threshold: Estimate | None
    true_match_rate: Estimate | None
    measured_rate: Estimate | None
    impostor_pairs: int = Field(ge=0)
    genuine_pairs: int = Field(ge=0)
    vehicles: int = Field(ge=0)
    confused: int = Field(ge=0)


OperatingPoints: TypeAlias = dict[
    Precision, dict[ProtocolName, Annotated[tuple[OperatingPoint, ...], Field(max_length=_MOST_POINTS)]]
]
"""The operating points of a model by precision and protocol."""


def written_score(score: float) -> float:
    """Return a score as it is written, and as thresholds are compared with it."""
    return round(float(score), _DECIMALS)  # float() first: a NumPy scalar is no JSON number


def written_steps(similarities: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return similarities as `written_score` has them, in whole steps of a millionth.

    They are rounded to float32 before, as those of a ranking are. The product is exact: 24 bits times 20.
    """
    return np.rint(similarities.astype(np.float32).astype(np.float64) * STEPS).astype(np.int32)


def rate_name(false_match_rate: float) -> str:
    """Return a false-match rate as commands take it: "1e-3"."""
    mantissa, exponent = f"{false_match_rate:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def unsupported_sentence(point: OperatingPoint) -> str:
    """Return why a point has no threshold, in a few words."""
    if not point.genuine_pairs:
        return "no pair shows the same vehicle"
    if not point.confused:
        return f"{point.impostor_pairs:,} pairs of different vehicles are too few"
    pairs = "1 pair" if point.confused == 1 else f"{point.confused} pairs"
    return f"its false matches show {pairs} of vehicles, fewer than {FEWEST_CONFUSED}"


def protocol_of(queries: _Kind, gallery: _Kind) -> ProtocolName:
    """Return the protocol whose operating points fit a ranking: t2t for tracklets in any gallery."""
    if queries == "tracklets":
        return "t2t"
    return "i2t" if gallery == "tracklets" else "i2i"


def choose_operating_point(
    points: OperatingPoints, precision: Precision, protocol: ProtocolName, false_match_rate: float
) -> OperatingPoint:
    """Return the point of a rate that has a threshold.

    Args:
        points: the points of a model card.
        precision: the precision that the session runs.
        protocol: the protocol that fits what is ranked.
        false_match_rate: the rate that was asked for.

    Raises:
        ModelError: there is none.
    """
    known = points.get(precision, {})
    if not known:
        raise ModelError(
            f"the model has no operating point in {precision}: "
            "export it with `reid-export --verify DATA`, and use that bundle"
        )
    if protocol not in known:
        raise ModelError(
            f"the model has operating points in {precision} for {', '.join(known)}, and this is {protocol}: "
            "export it with --verify on data that has tracklets"
        )
    return _at_rate(known[protocol], f"{protocol} in {precision}", false_match_rate)


def _at_rate(points: Sequence[OperatingPoint], where: str, false_match_rate: float) -> OperatingPoint:
    by_name = {rate_name(point.false_match_rate): point for point in points}
    point = by_name.get(rate_name(false_match_rate))
    if point is not None and point.threshold is not None:
        return point
    usable = [name for name, one in by_name.items() if one.threshold is not None]
    choice = f"choose one of: {', '.join(usable)}" if usable else "export it with --verify on more vehicles"
    reason = f" ({unsupported_sentence(point)})" if point else ""
    raise ModelError(f"no threshold for a false-match rate of {rate_name(false_match_rate)}, {where}{reason}; {choice}")
