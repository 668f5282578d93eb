"""What the gate keeps out of live tracks, and what a policy does not find worth an embedding."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from busy_threads import in_threads, results, until
from numbered_frames import RememberingSession, numbered_frame
from numpy.typing import NDArray
from projection import ProjectionSession, crop

from reid.runtime.frame_policies import EveryFrame, OnChange, UntilSettled
from reid.runtime.live.stream import StreamEndedError, TrackletStream
from reid.runtime.live.tracks import CameraCounts, LiveTrack
from reid.runtime.quality import Quality, reason_to_refuse
from reid.runtime.sessions.session import BatchLimits


def sharp(height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def of_level(level: int) -> NDArray[np.uint8]:
    return np.full((4, 4, 3), level, np.uint8)


def one_track(stream: TrackletStream, pictures: Sequence[NDArray[np.uint8] | Path]) -> LiveTrack:
    for picture in pictures:
        stream.add("car", picture, camera="c1")
    stream.end()
    (track,) = stream
    return track


def naive_change(levels: Sequence[int], least: int) -> list[int]:
    chosen: list[int] = []
    for index, level in enumerate(levels):
        if not chosen or abs(level - levels[chosen[-1]]) >= least:
            chosen.append(index)
    return chosen


class OnFirstPixel:
    """Frames whose numbers, see numbered_frame, leave a rest that their track tells."""

    def wants(self, crop: NDArray[np.uint8]) -> bool:
        track, number = crop[0, 0, 2], crop[0, 1, 2]
        return bool(number % 3 == track % 3)

    def took(self, embedding: NDArray[np.float32], frames: int) -> None: ...


def by_pixels(quality: Quality) -> str | None:
    return "tall" if quality.pixels == 1 else None


def run_camera(stream: TrackletStream, camera: int, frames: int) -> None:
    """Push frames of three tracks at a time, in disorder and some of them twice; every fifth is refused."""
    for number in range(frames):
        frame = numbered_frame(camera, number % 3, number)
        times = 2 if number % 7 == 0 else 1
        for _ in range(times):
            shown = frame[:1] if number % 5 == 0 else frame
            stream.add(number % 3, shown, camera=str(camera), time_s=float(number ^ 1))


@pytest.mark.parametrize("room", [100_000, 3])
def test_eight_cameras_push_what_is_refused_and_skipped_and_every_frame_has_one_fate(room: int) -> None:
    session, frames = RememberingSession(), 90
    with TrackletStream(session, room=room, max_wait_s=0, gate=by_pixels, policy=OnFirstPixel) as stream:
        cameras = in_threads(lambda camera: run_camera(stream, camera, frames))
        in_threads(lambda _: (results(cameras), stream.end()), 1)
        found = list(stream)
        counts = stream.counts()
    wanted = {(track, number) for track in range(3) for number in range(track, frames, 3) if number % 5}
    wanted = {(track, number) for track, number in wanted if number % 3 == track}
    for camera in range(8):
        one, own = counts[str(camera)], [track for track in found if track.camera == str(camera)]
        embedded = {(track, number) for track in range(3) for number in session.embedded.get((camera, track), [])}
        assert embedded <= wanted
        assert one.pushed == frames + 13
        assert one.refused == 18 == sum(track.refused for track in own)
        assert one.embedding == len(embedded) == sum(track.frames for track in own)
        assert one.waiting == one.forgotten == 0
        if room > frames:
            assert embedded == wanted
            assert (one.skipped, one.repeated, one.dropped) == (0, 13, 0)
        for track in own:
            if track.embedding is not None:
                assert isinstance(track.id, int)
                np.testing.assert_allclose(track.embedding, session.expected(camera, track.id), atol=3e-6)


def test_every_kth_frame_is_embedded_and_the_others_are_counted() -> None:
    session = RememberingSession()
    with TrackletStream(session, max_wait_s=0, policy=partial(EveryFrame, 4)) as stream:
        track = one_track(stream, [numbered_frame(0, 0, number) for number in range(10)])
        assert stream.counts() == {"c1": CameraCounts(pushed=10, embedding=3, skipped=7)}
    assert session.embedded == {(0, 0): [0, 4, 8]}
    assert (track.frames, track.skipped) == (3, 7)


@pytest.mark.parametrize("as_files", [False, True])
def test_frames_that_change_are_embedded_also_those_in_files(as_files: bool, tmp_path: Path) -> None:
    levels = [100, 104, 110, 111, 90, 95, 120, 121]
    pictures: list[NDArray[np.uint8] | Path] = [of_level(level) for level in levels]
    if as_files:
        for number, level in enumerate(levels):
            pictures[number] = tmp_path / f"{number}.png"
            cv2.imwrite(str(pictures[number]), of_level(level))
    with TrackletStream(ProjectionSession(), policy=partial(OnChange, 10)) as stream:
        track = one_track(stream, pictures)
    assert track.frames == len(naive_change(levels, 10)) == 4
    assert track.skipped == 4


def test_no_frame_is_embedded_once_the_mean_has_settled() -> None:
    with TrackletStream(ProjectionSession(), max_wait_s=0, policy=partial(UntilSettled, 0.99)) as stream:
        for _ in range(10):
            before = stream.counts().get("c1", CameraCounts()).embedding
            stream.add("car", crop(0), camera="c1")
            assert until(lambda before=before: is_through(stream, before))  # type: ignore[misc]
        stream.end()
        (track,) = stream
    assert (track.frames, track.skipped) == (3, 7)


def is_through(stream: TrackletStream, before: int) -> bool:
    """Whether the frame that was pushed is skipped, or part of the embedding so far."""
    growing, counts = stream._inbox.growing(("c1", "car")), stream.counts()["c1"]
    assert growing
    return counts.waiting == 0 and (counts.embedding == before or bool(growing.pooled and growing.pooled[0] > before))


def test_a_policy_is_no_reason_not_to_name_what_cannot_be_read() -> None:
    with TrackletStream(ProjectionSession(), policy=partial(OnChange, 10)) as stream:
        track = one_track(stream, [Path("/nowhere/1.jpg"), of_level(0)[..., 0], of_level(0)])
    assert (track.frames, track.unreadable, track.skipped) == (1, 2, 0)


def test_a_policy_that_fails_ends_the_stream_and_is_told() -> None:
    class Failing(EveryFrame):
        def wants(self, crop: NDArray[np.uint8]) -> bool:
            raise ArithmeticError("no way")

    with TrackletStream(ProjectionSession(), policy=Failing) as stream:
        stream.add("car", crop(0), camera="c1")
        with pytest.raises(ArithmeticError, match="no way"):
            list(stream)
        with pytest.raises(StreamEndedError, match="no way; open another"):
            stream.add("car", crop(0))
        assert stream.counts() == {"c1": CameraCounts(pushed=1, forgotten=1)}


def test_a_frame_that_a_policy_looks_at_when_the_stream_is_closed_is_forgotten() -> None:
    looked, goes_on = in_two_steps()

    class Slow(EveryFrame):
        def wants(self, crop: NDArray[np.uint8]) -> bool:
            looked.set()
            return goes_on.wait(10)

    with TrackletStream(ProjectionSession(), policy=Slow) as stream:
        stream.add("car", crop(0), camera="c1")
        assert looked.wait(10)
        stream.add("car", crop(1), camera="c1")
        assert stream.counts()["c1"].waiting == 2
        closing = in_threads(lambda _: stream.close(), 1)
        assert until(lambda: stream.counts()["c1"].forgotten == 2)
        goes_on.set()
        results(closing)
    assert stream.counts() == {"c1": CameraCounts(pushed=2, forgotten=2)}


def in_two_steps() -> tuple[threading.Event, threading.Event]:
    return threading.Event(), threading.Event()


def test_a_track_of_which_all_was_refused_ends_with_the_reason() -> None:
    with TrackletStream(ProjectionSession(), gate=reason_to_refuse) as stream:
        stream.add("blurred", np.full((60, 80, 3), 90, np.uint8), camera="c1", time_s=3)
        stream.add("blurred", np.full((60, 80, 3), 90, np.uint8), camera="c1", time_s=5)
        stream.add("fine", sharp(), camera="c1")
        stream.finish("blurred", "c1")
        stream.end()
        blurred, fine = sorted(stream, key=lambda track: str(track.id))
        counts = stream.counts()["c1"]
    assert (blurred.embedding, blurred.frames, blurred.refused) == (None, 0, 2)
    assert blurred.reason == "sharpness 0.0, below 40"
    assert (blurred.first_s, blurred.last_s, blurred.time_s) == (3, 5, 4)
    assert (fine.frames, fine.refused, fine.reason) == (1, 0, "")
    assert counts == CameraCounts(pushed=3, embedding=1, refused=2)


def test_a_track_that_the_gate_refused_expires_with_the_reason() -> None:
    with TrackletStream(ProjectionSession(), expire_s=0.01, gate=lambda _: "no") as stream:
        stream.add("car", crop(0))
        track = next(iter(stream))
    assert (track.expired, track.refused, track.reason) == (True, 1, "no")


def test_a_policy_that_wants_nothing_leaves_tracks_without_an_embedding() -> None:
    class Nothing(EveryFrame):
        def wants(self, crop: NDArray[np.uint8]) -> bool:
            return False

    with TrackletStream(ProjectionSession(), policy=Nothing) as stream:
        track = one_track(stream, [crop(0), crop(1)])
    assert (track.embedding, track.frames, track.skipped, track.reason) == (None, 0, 2, "")


def test_the_gate_sees_the_box_and_files_and_lets_through_what_cannot_be_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), sharp(10, 60))
    with TrackletStream(ProjectionSession(), gate=reason_to_refuse) as stream:
        stream.add(1, sharp(), (0, 0, 40, 40))
        stream.add(2, sharp(), (20, 20, 30, 30))
        stream.add(3, tmp_path / "small.png")
        stream.add(4, tmp_path / "absent.png")
        stream.add(5, sharp(), (500, 0, 30, 30))
        stream.end()
        found = {track.id: (track.frames, track.refused, track.unreadable, track.reason) for track in stream}
    assert found[1] == (0, 1, 0, "cut off at 2 sides of the picture")
    assert found[2] == (1, 0, 0, "")
    assert found[3] == (0, 1, 0, "10 pixels on its shorter side, fewer than 24")
    assert found[4][:3] == found[5][:3] == (0, 0, 1)


def test_what_the_gate_raises_is_told_where_the_frame_is_pushed() -> None:
    def gate(quality: Quality) -> str | None:
        raise ArithmeticError("no way")

    with TrackletStream(ProjectionSession(), gate=gate) as stream:
        with pytest.raises(ArithmeticError, match="no way"):
            stream.add("car", crop(0))
        assert stream.counts() == {}


def filled(stream: TrackletStream) -> bool:
    """Add a frame; return whether as many wait as there is room for."""
    stream.add("fine", numbered_frame(0, 0, 0), camera="c1")
    return stream.counts()["c1"].waiting == 5


def test_refused_tracks_do_not_pile_up_while_the_session_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid.runtime.live.inbox._ENDS", 5)
    session = RememberingSession(BatchLimits(1, 1))
    session.goes_on.clear()
    with TrackletStream(session, room=5, max_wait_s=0, gate=lambda one: "no" if one.pixels < 3 else None) as stream:
        assert until(lambda: filled(stream))
        for number in range(100):
            stream.add(number, crop(0)[:1], camera="c2")
            stream.finish(number, "c2")
        assert len(stream._inbox._ends) <= 5
        session.goes_on.set()
        stream.end()
        found = sum(track.camera == "c2" for track in stream)
        counts = stream.counts()["c2"]
    assert counts.refused == 100 == found + counts.lost_tracks
    assert counts.lost_tracks


def test_the_largest_frame_is_the_picture_if_pictures_are_kept() -> None:
    pictures = [sharp(30, 40), sharp(60, 80), sharp(50, 80), np.zeros((100, 100), np.uint8), sharp(20, 90)]
    with TrackletStream(ProjectionSession(), keep_pictures=True) as stream:
        np.testing.assert_array_equal(one_track(stream, pictures).picture, sharp(60, 80))  # type: ignore[arg-type]
    with TrackletStream(ProjectionSession()) as stream:
        assert one_track(stream, pictures).picture is None
    with TrackletStream(ProjectionSession(), keep_pictures=True) as stream:
        assert one_track(stream, [Path("/nowhere/1.jpg"), Path("/nowhere/2.jpg")]).picture == Path("/nowhere/1.jpg")
