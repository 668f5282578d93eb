"""Tracks pushed from many threads against a naive mean, and what comes of silence, of too much, and of errors."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from busy_threads import WAIT_S, in_threads, results, until
from numbered_frames import RememberingSession, numbered_frame
from numpy.typing import NDArray
from projection import ProjectionSession, crop

from reid.runtime.live.growing import Growing
from reid.runtime.live.stream import StreamEndedError, TrackletStream
from reid.runtime.live.tracks import LiveTrack
from reid.runtime.pipeline.events import FrameEvent
from reid.runtime.pipeline.tracks import Track
from reid.runtime.sessions.session import BatchLimits, Embeddings

CAMERAS = 8


@pytest.fixture(autouse=True)
def _every_thread_ends() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert until(lambda: set(threading.enumerate()) <= before)


def push_until_refused(stream: TrackletStream, camera: int) -> str:
    """Push frames for as long as the stream takes them; return why it takes no more."""
    try:
        for number in itertools.count():
            stream.add(number // 3, crop(number % 5), camera=str(camera))
            time.sleep(0.0005)
    except StreamEndedError as error:
        return str(error)
    raise AssertionError


def run_camera(stream: TrackletStream, camera: int, seed: int, frames: int) -> None:
    """Push frames of five tracks at a time; now and then one ends, a frame comes twice, late, or cannot be read."""
    random = Random(f"{seed} {camera}")
    newest, going = 4, list(range(5))
    for number in range(frames):
        place = random.randrange(5)
        track, kind = going[place], random.random()
        frame = numbered_frame(camera, track, number) if kind > 0.1 else np.zeros((0, 4, 3), np.uint8)
        for _ in range(2 if 0.1 < kind < 0.2 else 1):
            stream.add(track, frame, camera=str(camera), time_s=float(number if kind < 0.9 else number - 0.5))
        if random.random() < 0.1:
            assert stream.finish(track, str(camera))
            newest += 1
            going[place] = newest


@pytest.mark.parametrize(("seed", "room"), [(0, 20), (1, 3), (2, 100_000)])
def test_eight_cameras_at_once_get_the_means_of_the_frames_that_were_not_dropped(seed: int, room: int) -> None:
    session, found, frames = RememberingSession(), list[LiveTrack](), 200
    with TrackletStream(session, room=room, expire_s=1000, max_wait_s=0.001) as stream:
        cameras = in_threads(lambda camera: run_camera(stream, camera, seed, frames))
        in_threads(lambda _: (results(cameras), stream.end()), 1)
        found.extend(stream)
        results(cameras)
        counts = stream.counts()
    tracks = {(int(one.camera or ""), int(str(one.id))): one for one in found}
    assert len(tracks) == len(found)
    for (camera, name), track in tracks.items():
        numbers = session.embedded.get((camera, name), [])
        assert track.frames == len(numbers)
        assert numbers == sorted(numbers)
        if numbers:
            assert track.embedding is not None
            np.testing.assert_allclose(track.embedding, session.expected(camera, name), atol=3e-6)
        else:
            assert track.embedding is None
    assert session.embedded.keys() <= tracks.keys()
    assert sum(len(numbers) for numbers in session.embedded.values()) == sum(track.frames for track in found)
    assert [*sorted(counts, key=str)] == [str(camera) for camera in range(CAMERAS)]
    for camera, one in counts.items():
        own = [track for track in found if track.camera == camera]
        assert one.embedding == sum(track.frames + track.unreadable for track in own)
        assert one.pushed == one.embedding + one.dropped + one.repeated
        assert one.dropped >= sum(track.dropped for track in own)
        assert one.pushed >= frames
        assert room < 1000 or (one.dropped == one.lost_tracks == 0 and one.repeated > 0)


def test_a_track_is_known_while_it_grows_and_not_after_its_end() -> None:
    session = ProjectionSession(BatchLimits(4, 4))
    with TrackletStream(session, max_wait_s=0) as stream:
        assert stream.embedding("car", "c1") is None
        embeddings: list[NDArray[np.float64]] = []
        for number in range(3):
            stream.add("car", crop(number), camera="c1")
            embeddings.append(session.embed_frame(crop(number)))
            mean = np.sum(embeddings, axis=0)
            mean /= np.linalg.norm(mean)
            assert until(lambda mean=mean: is_close(stream.embedding("car", "c1"), mean))  # type: ignore[misc]
        assert stream.embedding("car", "c2") is stream.embedding("car") is None
        stream.finish("car", "c1")
        assert stream.embedding("car", "c1") is None
        (track,) = taken(stream, 1)
        assert track.frames == 3
        assert is_close(track.embedding, mean)


def test_eight_cameras_know_their_tracks_soon_and_abandon_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has room for 64 frames, and 8 come at most before a camera waits: `max_wait_s` sends it on its way."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("reid.runtime.live.stream.time", SimpleNamespace(monotonic=lambda: clock.now))
    session = ProjectionSession(BatchLimits(64, 64))

    def watch(camera: int) -> NDArray[np.float64]:
        total = np.zeros_like(session.embed_frame(crop(0)))
        for number in range(4):
            stream.add("car", crop(10 * camera + number), camera=str(camera))
            total += session.embed_frame(crop(10 * camera + number))
            mean = total / np.linalg.norm(total)
            assert until(lambda mean=mean: is_close(stream.embedding("car", str(camera)), mean))  # type: ignore[misc]
        return np.asarray(mean)

    with TrackletStream(session, max_wait_s=0.01, expire_s=5) as stream:
        means = results(in_threads(watch))
        clock.now = 6.0
        stream.add("bus", crop(0), camera="0")
        tracks = {int(track.camera or ""): track for track in taken(stream, 8)}
        assert stream.embedding("car", "0") is None
    assert max(session.batch_sizes) <= 8
    assert sorted(tracks) == list(range(8))
    assert all((track.id, track.frames, track.expired) == ("car", 4, True) for track in tracks.values())
    assert all(is_close(tracks[camera].embedding, mean) for camera, mean in enumerate(means))


def is_close(found: NDArray[np.float32] | None, expected: NDArray[np.float64]) -> bool:
    return found is not None and bool(np.allclose(found, expected, atol=2e-6))


def taken(stream: TrackletStream, count: int) -> list[LiveTrack]:
    return list(itertools.islice(stream, count))


@pytest.mark.parametrize("across", [False, True])
def test_a_name_on_two_cameras_is_two_tracks_unless_said_otherwise(across: bool) -> None:
    session = ProjectionSession()
    with TrackletStream(session, across_cameras=across) as stream:
        stream.add("car", crop(0), camera="c1", time_s=5)
        stream.add("car", crop(1), camera="c2", time_s=5)
        stream.add("car", crop(2), camera="c1", time_s=3)
        stream.end()
        tracks = {track.camera: track for track in stream}
    means = {"c1": [0, 1, 2]} if across else {"c1": [0, 2], "c2": [1]}
    assert tracks.keys() == means.keys()
    for camera, numbers in means.items():
        mean = np.sum([session.embed_frame(crop(number)) for number in numbers], axis=0)
        assert is_close(tracks[camera].embedding, mean / np.linalg.norm(mean))
    assert (tracks["c1"].first_s, tracks["c1"].last_s) == (3, 5)


def test_weights_count_and_boxes_are_copied_at_once() -> None:
    session = RememberingSession()
    session.goes_on.clear()
    picture = np.zeros((10, 12, 3), np.uint8)
    with TrackletStream(session, weigh=lambda pixels: 1 + (pixels[0, 0, 0] > 1)) as stream:
        for number in range(3):
            picture[2:5, 4:9] = numbered_frame(number, 0, number)
            stream.add("car", picture, (4, 2, 5, 3), weight=0.25 if number == 1 else 1)
            picture[:] = 255  # the camera fills it again
        session.goes_on.set()
        stream.end()
        (track,) = stream
    weights, frames = [1, 0.25, 2], [session.embed_frame(numbered_frame(number, 0, number)) for number in range(3)]
    mean = weights @ np.stack(frames)
    assert is_close(track.embedding, mean / np.linalg.norm(mean))


def test_what_cannot_be_read_is_counted_and_the_last_reason_told() -> None:
    with TrackletStream(ProjectionSession(BatchLimits(2, 2)), max_wait_s=0) as stream:
        for picture in [crop(0), Path("/nowhere/1.jpg"), crop(0)[..., 0], Path("/nowhere/2.jpg")] * 5:
            stream.add("car", picture, camera="c1")
        stream.add("dark", crop(0), (90, 0, 3, 3), camera="c1")
        stream.end()
        car, dark = sorted(stream, key=lambda track: str(track.id))
    assert (car.frames, car.unreadable) == (5, 15)
    assert car.reason == "/nowhere/2.jpg: No such file or directory"
    assert (dark.frames, dark.unreadable, dark.embedding) == (0, 1, None)
    assert dark.reason.startswith("frame 0 of track dark of camera c1 is uint8 [3, 0, 3]")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"picture": "a.jpg", "box": (0, 0, 2, 2)}, "a.jpg with a box: read the picture first"),
        ({"picture": crop(0), "weight": -1.0}, "a frame's weight is -1.0"),
        ({"picture": crop(0), "time_s": float("nan")}, "a frame's time is nan s"),
        ({"picture": crop(0), "time_s": float("-inf")}, "a frame's time is -inf s"),
        ({"picture": crop(0), "camera": ""}, "a camera's name is empty"),
    ],
)
def test_a_frame_that_is_none_is_refused_where_it_is_pushed(options: dict[str, object], message: str) -> None:
    with TrackletStream(ProjectionSession()) as stream:
        with pytest.raises(ValueError, match=message):
            stream.add("car", **options)  # type: ignore[arg-type]
        assert stream.counts() == {}
    with pytest.raises(ValueError, match="room for 0 frames"):
        TrackletStream(ProjectionSession(), room=0)
    for seconds in ({"expire_s": 0.0}, {"expire_s": float("nan")}, {"max_wait_s": -1.0}, {"max_wait_s": float("nan")}):
        with pytest.raises(ValueError, match="give seconds"):
            TrackletStream(ProjectionSession(), **seconds)  # type: ignore[arg-type]


def test_a_track_expires_by_the_clock_though_nothing_else_comes() -> None:
    with TrackletStream(ProjectionSession(), expire_s=0.01, max_wait_s=0) as stream:
        stream.add("car", crop(0))
        (track,) = taken(stream, 1)
        assert (track.id, track.frames, track.expired) == ("car", 1, True)
        stream.add("car", crop(0))
        stream.finish("car")
        (track,) = taken(stream, 1)
        assert not track.expired


def test_a_track_expires_though_the_session_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("reid.runtime.live.stream.time", SimpleNamespace(monotonic=lambda: clock.now))
    session = RememberingSession(BatchLimits(1, 1))
    session.goes_on.clear()
    with TrackletStream(session, room=1, expire_s=5) as stream:
        for clock.now in range(100):
            stream.add(clock.now, numbered_frame(0, int(clock.now), 0))
        growing = [number for number in range(100) if stream._inbox.growing((None, number))]
        assert growing == [*range(95, 100)]
        session.goes_on.set()
        stream.end()
        found = [track.id for track in stream]
        (counts,) = stream.counts().values()
    assert counts.lost_tracks == counts.dropped == 100 - len(found)
    assert [(0, track) for track in found] == [*session.embedded]


def test_a_failing_session_is_told_to_whoever_takes_and_to_all_that_push() -> None:
    class Failing(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            if len(self.batch_sizes) == 3:
                raise MemoryError("out of memory")
            return super().compute(frames, pooling)

    with TrackletStream(Failing(BatchLimits(4, 4)), expire_s=0.001, max_wait_s=0) as stream:
        cameras = in_threads(lambda camera: push_until_refused(stream, camera))
        with pytest.raises(MemoryError, match="out of memory"):
            list(stream)
        assert results(cameras) == ["the stream of tracks takes no more frames: out of memory; open another"] * CAMERAS
        for _ in range(2):
            with pytest.raises(StreamEndedError, match="has failed: out of memory; open another"):
                list(stream)
    with pytest.raises(StreamEndedError, match="has failed"):
        list(stream)
    for one in stream.counts().values():
        assert one.pushed == one.embedding + one.dropped + one.repeated + one.forgotten


def test_a_failing_session_is_told_to_every_taker() -> None:
    class Failing(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            raise MemoryError("out of memory")

    with TrackletStream(Failing(), max_wait_s=0) as stream:
        takers = in_threads(lambda _: list(stream), 3)
        stream.add("car", crop(0))
        errors = [type(taker.exception(WAIT_S)) for taker in takers]
    assert sorted(error.__name__ for error in errors) == ["MemoryError", "StreamEndedError", "StreamEndedError"]


def test_frames_that_wait_when_the_stream_is_closed_are_counted() -> None:
    session = RememberingSession(BatchLimits(1, 1))
    session.goes_on.clear()
    with TrackletStream(session, max_wait_s=0) as stream:
        for number in range(20):
            stream.add("car", numbered_frame(0, 0, number), camera="c1")
        in_threads(lambda _: stream.close(), 1)
        assert until(lambda: stream.counts()["c1"].forgotten > 0)
        session.goes_on.set()
    (counts,) = stream.counts().values()
    assert counts.pushed == 20 == counts.embedding + counts.forgotten


def test_a_frame_that_cannot_be_weighed_ends_no_track() -> None:
    def weigh(pixels: NDArray[np.uint8]) -> float:
        return 1 / int(not np.array_equal(pixels, crop(0)))

    with TrackletStream(ProjectionSession(), max_wait_s=0, weigh=weigh) as stream:
        for number in range(2):
            stream.add(number, crop(number))
        stream.end()
        tracks = {track.id: (track.frames, track.unreadable, track.reason) for track in stream}
    assert tracks == {0: (0, 1, "cannot be weighed, ZeroDivisionError: division by zero"), 1: (1, 0, "")}


@pytest.mark.parametrize("is_taken", [True, False])
def test_closing_ends_whoever_pushes_or_takes(is_taken: bool) -> None:
    stream = TrackletStream(ProjectionSession(BatchLimits(4, 4)), expire_s=0.001, max_wait_s=0)
    cameras = in_threads(lambda camera: push_until_refused(stream, camera))
    takers = in_threads(lambda _: list(stream), 1) if is_taken else []
    assert is_taken or until(lambda: len(stream._finished) == 64)  # no more may wait
    stream.close()
    stream.close()
    assert results(cameras) == ["the stream of tracks takes no more frames: it was closed; open another"] * CAMERAS
    assert len(results(takers)) == is_taken
    assert list(stream) == []


def test_control_c_where_tracks_are_taken_ends_all() -> None:
    cameras: list[Future[str]] = []

    def take() -> None:
        with TrackletStream(ProjectionSession(), expire_s=0.001) as stream:
            cameras.extend(in_threads(lambda camera: push_until_refused(stream, camera)))
            for _ in stream:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take()
    assert len(results(cameras)) == CAMERAS


def test_nothing_comes_of_a_stream_without_frames() -> None:
    with TrackletStream(ProjectionSession()) as stream:
        assert not stream.finish("car")
        stream.end()
        stream.end()
        assert list(stream) == []
        with pytest.raises(StreamEndedError, match="it was ended"):
            stream.add("car", crop(0))
        with pytest.raises(StreamEndedError, match="it was ended"):
            stream.finish("car")


def test_several_takers_share_the_tracks() -> None:
    with TrackletStream(ProjectionSession(BatchLimits(4, 4)), max_wait_s=0) as stream:
        takers = in_threads(lambda _: [track.id for track in stream], 3)
        for number in range(50):
            stream.add(number, crop(0))
        stream.end()
        assert sorted(itertools.chain(*results(takers)), key=str) == sorted(range(50), key=str)


def alive() -> int:
    """How many objects there are of those that a frame or a track needs."""
    return sum(type(one) in (FrameEvent, Growing, Track, LiveTrack) for one in gc.get_objects())


@pytest.mark.parametrize("stands_still", ["session", "taker", "nothing"])
def test_what_is_alive_does_not_grow_with_what_is_pushed(stands_still: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen frames come every hundredth of a second, each of a track of its own that is never finished."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("reid.runtime.live.stream.time", SimpleNamespace(monotonic=lambda: clock.now))
    session, before = RememberingSession(BatchLimits(4, 4)), alive()
    if stands_still == "session":
        session.goes_on.clear()
    most: list[int] = []
    with TrackletStream(session, room=20, expire_s=0.05, max_wait_s=0) as stream:
        if stands_still != "taker":
            in_threads(lambda _: deque(stream, 0), 1)
        for number in range(1600):
            clock.now = number / 1600
            stream.add(number, numbered_frame(number % 8, number, 0), camera=str(number % 8))
            if number % 400 == 399:
                most.append(alive() - before)
        session.goes_on.set()
    # 80 tracks have not expired; 20 frames wait; 3 batches of 4, results of 2 more, and 64 tracks that have ended.
    assert max(most) < 80 * 2 + 2 * 20 + 12 * 3 + 64 * 2 + 50
