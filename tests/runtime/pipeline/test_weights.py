"""Weighted frames against a naive mean, and tracks that are read while they grow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from projection import ProjectionSession, crop

from reid.runtime.errors import DataError
from reid.runtime.pipeline.events import FrameEvent
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.pipeline.tracks import Track
from reid.runtime.sessions.session import BatchLimits

WEIGHTS = st.sampled_from([0.0, 0.0, 1e-7, 1e-6, 0.03, 0.5, 1.0, 7.0, 1e6])


def weighted(session: ProjectionSession, frames: list[tuple[int, float]]) -> NDArray[np.float64]:
    """The normalized mean of numbered crops, each with its weight; the plain one where none weighs a millionth."""
    weights = np.array([weight if weight >= 1e-6 else 0.0 for _, weight in frames])
    embeddings = np.stack([session.embed_frame(crop(number)) for number, _ in frames])
    mean = (weights if weights.any() else np.ones(len(frames))) @ embeddings
    return np.asarray(mean / np.linalg.norm(mean))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), WEIGHTS, WEIGHTS), max_size=20),
    st.integers(1, 6),
    st.integers(1, 4),
    st.booleans(),
)
def test_an_embedding_is_the_weighted_mean_whatever_the_batches(
    given_frames: list[tuple[str, float, float]], frames: int, rows: int, is_weighed: bool
) -> None:
    factors = [min(factor, 1.0) if is_weighed else 1.0 for _, _, factor in given_frames]
    of_pixels = {crop(number).tobytes(): factor for number, factor in enumerate(factors)}
    events = [FrameEvent(name, crop(number), weight=one) for number, (name, one, _) in enumerate(given_frames)]
    session = ProjectionSession(BatchLimits(frames, rows))
    weigh = (lambda pixels: of_pixels[pixels.tobytes()]) if is_weighed else None
    tracks = {track.name: track for track in embed_events(session, events, weigh=weigh)}
    assert tracks.keys() == {name for name, _, _ in given_frames}
    for name, track in tracks.items():
        members = [
            (number, (one if one >= 1e-6 else 0.0) * factors[number])
            for number, (other, one, _) in enumerate(given_frames)
            if other == name
        ]
        assert track.embedded == track.received == len(members)
        assert track.embedding is not None
        np.testing.assert_allclose(track.embedding, weighted(session, members), atol=5e-6)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), 1.1e6])
def test_what_is_no_weight_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=r"a frame's weight is .*; give a number from 0 to 1000000$"):
        FrameEvent("a", crop(0), weight=weight)


def no_weight(value: float) -> float:
    return value


def at_night(value: float) -> float:
    raise DataError("it is night")


def broken(value: float) -> float:
    raise KeyError(value)


@pytest.mark.parametrize(
    ("weigh_one", "value", "reason"),
    [
        (at_night, 0.0, "it is night"),
        (broken, 3.0, "cannot be weighed, KeyError: 3.0"),
        (no_weight, -0.1, "cannot be weighed, ValueError: a frame's weight is -0.1; give a number from 0 to 1000000"),
        (
            no_weight,
            float("nan"),
            "cannot be weighed, ValueError: a frame's weight is nan; give a number from 0 to 1000000",
        ),
        (no_weight, None, "cannot be weighed, TypeError: unsupported operand type(s) for *: 'float' and 'NoneType'"),
    ],
)
def test_a_frame_that_cannot_be_weighed_is_left_out_and_named(
    weigh_one: Callable[[float], float], value: float, reason: str
) -> None:
    def weigh(pixels: NDArray[np.uint8]) -> float:
        return weigh_one(value) if np.array_equal(pixels, crop(1)) else 1.0

    events = [FrameEvent("a", crop(number)) for number in range(3)]
    session = ProjectionSession()
    (track,) = embed_events(session, events, weigh=weigh)
    assert [(one.frame_index, one.reason) for one in track.unreadable] == [(1, reason)]
    assert track.embedding is not None
    np.testing.assert_allclose(track.embedding, weighted(session, [(0, 1.0), (2, 1.0)]), atol=2e-6)


def test_files_are_weighed_by_their_pixels_and_no_device_decodes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Path] = []
    monkeypatch.setattr("reid.runtime.sessions.slots._HostSlot.keep", lambda _, file: bool(kept.append(file.path)))
    path = tmp_path / "a.png"
    path.write_bytes(bytes(cv2.imencode(".png", crop(5)[..., ::-1])[1]))
    seen: list[NDArray[np.uint8]] = []

    def weigh(pixels: NDArray[np.uint8]) -> float:
        seen.append(pixels)
        return 2.0

    list(embed_events(ProjectionSession(), [FrameEvent("a", path)]))
    assert kept == [path]
    (track,) = embed_events(ProjectionSession(), [FrameEvent("a", path)], weigh=weigh)
    assert kept == [path]
    assert track.weight == 2
    np.testing.assert_array_equal(seen, [crop(5)])


def test_a_track_is_told_of_after_every_batch_with_a_frame_of_it() -> None:
    """In batches of two: a a | a b | b missing | end."""
    told: list[tuple[object, int, int, NDArray[np.float32] | None]] = []
    frames = [("a", 0), ("a", 1), ("a", 2), ("b", 3), ("b", 4), ("b", None)]
    events = [FrameEvent(name, "/nowhere/b.jpg" if number is None else crop(number)) for name, number in frames]

    def grown(track: Track) -> None:
        told.append((track.name, track.embedded, len(track.unreadable), track.embedding))

    session = ProjectionSession(BatchLimits(2, 2))
    tracks = list(embed_events(session, events, grown=grown))
    assert [one[:3] for one in told] == [("a", 2, 0), ("a", 3, 0), ("b", 1, 0), ("b", 2, 1)]
    expected = [[0, 1], [0, 1, 2], [3], [3, 4]]
    for (*_, embedding), numbers in zip(told, expected, strict=True):
        assert embedding is not None
        np.testing.assert_allclose(embedding, weighted(session, [(number, 1.0) for number in numbers]), atol=2e-6)
    assert [track.embedded for track in tracks] == [3, 2]


def test_the_sum_of_a_track_is_replaced_and_never_changed() -> None:
    told: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def grown(track: Track) -> None:
        assert track.pooled is not None
        told.append((track.pooled, track.pooled.copy()))

    events = [FrameEvent("a", crop(number), weight=float(number > 0)) for number in range(4)]
    list(embed_events(ProjectionSession(BatchLimits(1, 1)), events, grown=grown))
    assert len(told) == 4
    for now, then in told:
        np.testing.assert_array_equal(now, then)


def test_an_error_where_a_track_is_told_of_ends_the_stream() -> None:
    def grown(track: Track) -> None:
        raise LookupError(track.name)

    with pytest.raises(LookupError, match="a"):
        list(embed_events(ProjectionSession(), [FrameEvent("a", crop(0))], grown=grown))
