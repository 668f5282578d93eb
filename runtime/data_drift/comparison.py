"""Which cameras' crops differ from the reference by more than chance explains, and by enough to matter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal, TypeAlias

from reid.runtime.data_drift.quantities import LEAST_CHANGES, Quantity
from reid.runtime.data_drift.reference import CameraReference
from reid.runtime.data_drift.significance import holm, t_p_value
from reid.runtime.data_drift.sums import Measured

__all__ = ["FALSE_ALARM_RATE", "FEWEST_CAMERAS", "FEWEST_TRACKLETS", "CameraCheck", "Change", "Verdict", "compare"]

FALSE_ALARM_RATE = 0.01
"""How often, at most, a run in which nothing has changed reports that something has."""

FEWEST_TRACKLETS = 20
"""Tracklets of a camera below which nothing is said of it."""

FEWEST_CAMERAS = 4
"""Cameras of the reference below which it does not tell how different cameras are that nothing is known of."""

_LEAST_SHARE = 0.5
"""The least change that matters, as a share of the standard deviation of a camera's own tracklets."""

Verdict: TypeAlias = Literal["changed", "no change found", "too few crops", "no reference"]
Measurements: TypeAlias = Mapping[Quantity, Measured]


@dataclass(frozen=True, slots=True)
class Change:
    """A quantity of a camera beside the reference.

    Attributes:
        quantity: the quantity.
        value: the camera's mean.
        deviation: the standard deviation of the camera's tracklets.
        reference: the mean of the same camera in the reference, or of all its cameras where that is not there.
        lowest: the least mean among the cameras that it was compared with.
        highest: the largest.
        error: the standard error of value - reference.
        spread: the standard deviation of tracklets in the reference.
        p_value: how often chance alone makes such a difference in any of the quantities of any camera of this run.
    """

    quantity: Quantity
    value: float
    deviation: float
    reference: float
    lowest: float
    highest: float
    error: float
    spread: float
    p_value: float

    @property
    def difference(self) -> float:
        """The camera's mean less the reference's."""
        return self.value - self.reference

    @property
    def matters(self) -> bool:
        """Whether the difference is large enough to be reported."""
        return abs(self.difference) >= max(LEAST_CHANGES[self.quantity], _LEAST_SHARE * self.spread)

    @property
    def is_change(self) -> bool:
        """Whether the difference is reported."""
        return self.matters and self.p_value <= FALSE_ALARM_RATE


@dataclass(frozen=True, slots=True)
class CameraCheck:
    """What was found of a camera.

    Attributes:
        camera: its name; None for the tracklets whose camera is not known.
        tracklets: the number of tracklets.
        known: whether it was compared with itself, in the reference, and not with all cameras there.
        verdict: what came of it. "no change found" is no proof that there is none.
        compared: every quantity that was compared.
    """

    camera: str | None
    tracklets: int
    known: bool
    verdict: Verdict
    compared: tuple[Change, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """What has changed, the least likely by chance first."""
        return tuple(sorted((one for one in self.compared if one.is_change), key=lambda one: one.p_value))


def compare(
    reference: Sequence[CameraReference],
    counts: Mapping[str | None, int],
    measured: Mapping[str | None, Measurements],
    *,
    new_cameras: bool = False,
) -> tuple[CameraCheck, ...]:
    """Compare each camera with the reference.

    A camera of the reference is compared with itself, any other with all of them: it may be as different as these are
    from one another. All quantities of all cameras are tested together (Holm).

    Args:
        reference: the cameras that the model was verified on.
        counts: the number of tracklets of each camera.
        measured: what was measured of them.
        new_cameras: whether no camera is one of the reference, whatever its name.
    """
    by_name = {one.camera: one.quantities for one in reference if _is_known(one) and not new_cameras}
    own = {camera: by_name.get(camera) for camera in counts}
    everyone = [one.quantities for one in reference]
    found = {
        camera: [*_changes(measured.get(camera, {}), own[camera], everyone)]
        for camera, count in counts.items()
        if count >= FEWEST_TRACKLETS
    }
    corrected = iter(holm([one.p_value for changes in found.values() for one in changes]))
    checked = {
        camera: tuple(replace(one, p_value=next(corrected)) for one in changes) for camera, changes in found.items()
    }
    names = sorted(counts, key=lambda camera: (camera is None, camera or ""))
    return tuple(
        CameraCheck(one, counts[one], own[one] is not None, _verdict(checked.get(one)), checked.get(one, ()))
        for one in names
    )


def _is_known(one: CameraReference) -> bool:
    size = one.quantities.get("size")
    return one.camera is not None and size is not None and size.count >= FEWEST_TRACKLETS


def _verdict(compared: tuple[Change, ...] | None) -> Verdict:
    if compared is None:
        return "too few crops"
    if not compared:
        return "no reference"
    return "changed" if any(one.is_change for one in compared) else "no change found"


def _changes(measured: Measurements, own: Measurements | None, everyone: Sequence[Measurements]) -> Iterator[Change]:
    """Yield each quantity that can be compared, with the p-value of its own test."""
    for quantity, found in measured.items():
        if found.independent < 2:
            continue
        if own is not None:
            if quantity in own:
                yield _beside_itself(quantity, found, own[quantity])
            continue
        others = [one[quantity] for one in everyone if quantity in one and one[quantity].count >= FEWEST_TRACKLETS]
        if len(others) >= FEWEST_CAMERAS:
            yield _beside_all(quantity, found, others)


def _beside_itself(quantity: Quantity, found: Measured, own: Measured) -> Change:
    """Compare a camera with what it was: Welch's t-test."""
    parts = ((found.error**2, found.independent - 1), (own.error**2, own.independent - 1))
    return _tested(quantity, found, own.mean, (own.mean, own.mean), own.deviation, parts)


def _beside_all(quantity: Quantity, found: Measured, others: Sequence[Measured]) -> Change:
    """Compare a camera with what is known of cameras: it is one more of them, of which a few tracklets are known.

    The error has three parts: how cameras differ, for this one and for the mean of those that are known; that of this
    camera's mean; and that of a camera's mean in the reference, since all cameras there saw the same vehicles.
    """
    means = [one.mean for one in others]
    parts = (
        (stdev(means) ** 2 * (1 + 1 / len(means)), len(means) - 1.0),
        (found.error**2, found.independent - 1),
        (fmean(one.error**2 for one in others), fmean(one.independent for one in others) - 1),
    )
    spread = math.sqrt(fmean(one.deviation**2 for one in others))
    return _tested(quantity, found, fmean(means), (min(means), max(means)), spread, parts)


def _tested(
    quantity: Quantity,
    found: Measured,
    reference: float,
    ends: tuple[float, float],
    spread: float,
    parts: Sequence[tuple[float, float]],
) -> Change:
    """Test a difference; `parts` are the variances that its error consists of, each with its degrees of freedom."""
    variance = sum(part for part, _ in parts)
    difference = found.mean - reference
    p_value = 1.0
    if variance:
        # Satterthwaite, *An approximate distribution of estimates of variance components*, Biometrics 1946.
        freedom = 1 / sum((part / variance) ** 2 / max(freedom, 1.0) for part, freedom in parts)
        p_value = t_p_value(difference / math.sqrt(variance), max(freedom, 1.0))
    elif difference:
        p_value = 0.0
    return Change(
        quantity=quantity,
        value=found.mean,
        deviation=found.deviation,
        reference=reference,
        lowest=ends[0],
        highest=ends[1],
        error=math.sqrt(variance),
        spread=spread,
        p_value=p_value,
    )
