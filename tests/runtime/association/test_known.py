"""From a gallery to identities and back, and the decision that a vehicle is new, at a model's own threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from projection import ProjectionSession

from reid import DataError, ModelError
from reid.runtime.association.associate import Associator, associate, threshold_of
from reid.runtime.association.known import identities_in, tracks_in
from reid.runtime.association.tracks import SeenTrack
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import Gallery
from reid.runtime.operating_point import Estimate, OperatingPoint
from reid.runtime.sessions.session import SessionInfo


@dataclass
class Batches:
    """A gallery that is nothing but its entries, given out in batches of two."""

    rows: Sequence[tuple[Entry, float]]

    def batches(self) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
        for start in range(0, len(self.rows), 2):
            entries, degrees = zip(*self.rows[start : start + 2], strict=True)
            yield list(entries), np.stack([direction(one) for one in degrees])


def gallery(*rows: tuple[Entry, float]) -> Gallery:
    return cast("Gallery", Batches(rows))


def direction(degrees: float) -> NDArray[np.float32]:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)


def info_with(threshold: float) -> SessionInfo:
    estimate = Estimate(value=threshold, interval=(0, 1))
    facts = dict.fromkeys(("impostor_pairs", "genuine_pairs", "vehicles", "confused"), 1)
    rates = {"true_match_rate": estimate, "measured_rate": estimate}
    point = OperatingPoint(false_match_rate=0.001, threshold=estimate, **rates, **facts)  # type: ignore[arg-type]
    info = ProjectionSession().info
    return replace(info, card=info.card.model_copy(update={"operating_points": {"fp32": {"t2t": (point,)}}}))


def test_a_vehicle_is_new_below_the_threshold_of_the_model() -> None:
    entries = [(Entry("x", "a", time_s=0), 0.0), (Entry("y", "b", time_s=5), 60.0)]  # cos 60° is written 0.500000
    for threshold, identities in ((0.5, {"x": 0, "y": 0}), (0.500001, {"x": 0, "y": 1})):
        at = threshold_of(info_with(threshold), 1e-3)
        assert associate(tracks_in(gallery(*entries)), at) == identities
    with pytest.raises(ModelError, match=r"no threshold for a false-match rate of 1e-2"):
        threshold_of(info_with(0.5))
    with pytest.raises(ModelError, match="has no operating point in fp32"):
        threshold_of(ProjectionSession().info)


def test_a_gallery_tells_what_it_knows_of_tracks() -> None:
    rows = [(Entry(str(n), "ab"[n % 2], time_s=float(n)), 10.0 * n) for n in range(5)]
    found = list(tracks_in(gallery(*rows)))
    assert [(one.id, one.camera, one.first_s, one.last_s) for one in found] == [
        (str(n), "ab"[n % 2], n, n) for n in range(5)
    ]
    np.testing.assert_array_equal([one.embedding for one in found], [direction(10 * n) for n in range(5)])


def test_identities_outlive_a_restart_in_a_gallery() -> None:
    whole, rows = Associator(0.9), []
    for number, degrees in enumerate([0, 90, 10, 100, 5, 45]):
        seen = SeenTrack(str(number), "ab"[number % 2], 10 * number, 10 * number, direction(degrees))
        (identity,) = whole.add([seen]).values()
        rows.append((Entry(seen.id, seen.camera, str(identity), seen.time_s), float(degrees)))
    assert [entry.vehicle for entry, _ in rows] == ["0", "1", "0", "1", "0", "2"]
    restarted = Associator(0.9)
    restarted.remember(identities_in(gallery(*rows, (Entry("unknown"), 0.0))))
    assert restarted.next_number == whole.next_number == 3
    for number, degrees in ((10, 1), (11, 99), (12, 70)):
        seen = SeenTrack(str(number), "a", 10 * number, 10 * number, direction(degrees))
        assert restarted.add([seen]) == whole.add([seen])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("x", None, "1", 3.0), "'x' has no camera or no time"),
        (Entry("x", "a", "1"), "'x' has no camera or no time"),
        (Entry("x", "a", "red car", 3.0), "'x' is of vehicle 'red car', expected the number of an identity"),
        (Entry("x", "a", "-1", 3.0), "expected the number"),
    ],
)
def test_an_entry_that_is_no_track_of_an_identity_is_named(entry: Entry, message: str) -> None:
    with pytest.raises(DataError, match=message):
        identities_in(gallery((entry, 0.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": math.nan}, "threshold nan"),
        ({"threshold": math.inf}, "threshold inf"),
        ({"threshold": 0.5, "forget_s": math.nan}, "forget_s nan"),
        ({"threshold": 0.5, "forget_s": -1.0}, "forget_s -1.0"),
    ],
)
def test_numbers_that_are_none_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Associator(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step_s is nan"):
        associate([], 0.5, step_s=math.nan)
