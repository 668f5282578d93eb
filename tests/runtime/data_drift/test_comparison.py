"""Which cameras are reported, on drawn measurements whose distribution is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reid.runtime.data_drift.comparison import FALSE_ALARM_RATE, CameraCheck, compare
from reid.runtime.data_drift.quantities import Quantity
from reid.runtime.data_drift.reference import CameraReference
from reid.runtime.data_drift.sums import Measured, Sums

DRAWN: tuple[Quantity, ...] = ("size", "shape", "brightness", "edges")
SPREAD = 0.2
"""Of the tracklets of a camera; cameras differ by as much."""


def measured(random: np.random.Generator, middles: Mapping[Quantity, float], count: int) -> dict[Quantity, Measured]:
    found = {}
    for quantity, middle in middles.items():
        sums = Sums()
        for value in random.normal(middle, SPREAD, count):
            sums.add(float(value))
        one = sums.measured()
        assert one is not None
        found[quantity] = one
    return found


def middles_of(random: np.random.Generator) -> dict[Quantity, float]:
    return {quantity: float(random.normal(0, SPREAD)) for quantity in DRAWN}


def reference_of(random: np.random.Generator, middles: list[dict[Quantity, float]]) -> list[CameraReference]:
    return [
        CameraReference(camera=f"c{number}", quantities=measured(random, one, 60)) for number, one in enumerate(middles)
    ]


def check(random: np.random.Generator, camera: str, middles: Mapping[Quantity, float], known: int = 8) -> CameraCheck:
    """Check one camera beside a reference whose camera c0 has the middles 0."""
    others = [dict.fromkeys(DRAWN, 0.0), *(middles_of(random) for _ in range(known - 1))]
    found = compare(reference_of(random, others), {camera: 60}, {camera: measured(random, middles, 60)})
    return found[0]


def test_unchanged_cameras_are_reported_no_more_often_than_stated() -> None:
    # Known ones as they were, and new ones that are as different as those of the reference. 200 runs of either; with
    # a rate of 1 %, more than 7 of 200 would come by chance in one of 1,000 cases.
    random = np.random.default_rng(0)
    same = [check(random, "c0", dict.fromkeys(DRAWN, 0.0)) for _ in range(200)]
    new = [check(random, "gate", middles_of(random)) for _ in range(200)]
    for checks in (same, new):
        assert sum(one.verdict == "changed" for one in checks) <= 7
    assert {one.known for one in same} == {True}
    assert {one.known for one in new} == {False}


def test_a_known_camera_is_reported_for_what_a_new_one_may_be() -> None:
    random = np.random.default_rng(1)
    middles = {**dict.fromkeys(DRAWN, 0.0), "shape": 1.5 * SPREAD}
    known, new = check(random, "c0", middles), check(random, "gate", middles)
    assert [one.quantity for one in known.changes] == ["shape"]
    assert known.changes[0].p_value <= FALSE_ALARM_RATE
    assert new.verdict == "no change found"


def test_a_new_camera_is_reported_that_is_unlike_all_others() -> None:
    middles = {**dict.fromkeys(DRAWN, 0.0), "shape": 20 * SPREAD}
    assert [one.quantity for one in check(np.random.default_rng(2), "gate", middles).changes] == ["shape"]


def test_trifles_are_not_reported_however_sure_they_are() -> None:
    sure = Measured(count=100_000, mean=0.3, deviation=0.2, independent=100_000)
    little = sure.model_copy(update={"mean": 0.35})
    found = compare([CameraReference(camera="a", quantities={"size": sure})], {"a": 100_000}, {"a": {"size": little}})
    assert found[0].compared[0].p_value < 1e-9
    assert found[0].verdict == "no change found"


def test_little_data_is_said_to_be_little() -> None:
    random = np.random.default_rng(3)
    reference = reference_of(random, [middles_of(random) for _ in range(3)])
    some, many = measured(random, middles_of(random), 19), measured(random, middles_of(random), 60)
    found = compare(reference, {"c0": 19, "gate": 60}, {"c0": some, "gate": many})
    assert [(one.camera, one.verdict) for one in found] == [("c0", "too few crops"), ("gate", "no reference")]


def test_names_may_be_said_to_mean_nothing() -> None:
    random = np.random.default_rng(4)
    reference = reference_of(random, [middles_of(random) for _ in range(8)])
    found = compare(reference, {"c0": 60}, {"c0": measured(random, middles_of(random), 60)}, new_cameras=True)
    assert not found[0].known
