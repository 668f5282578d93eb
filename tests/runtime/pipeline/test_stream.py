"""Streams of frames against a naive loop, and what they do where nothing comes, too much comes, or something fails."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from projection import HEIGHT, WIDTH, ProjectionSession, crop

from reid.runtime.errors import DataError, ReidError
from reid.runtime.pipeline.events import Crop, FrameEvent, events_of
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.pipeline.tracks import Track, Unreadable
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.tracklet import Frame, Tracklet

MISSING = Path("/nowhere/missing.jpg")
WAIT_S = 10.0
"""Longer than any stream here takes, on any machine."""


@st.composite
def interleaved(draw: st.DrawFn) -> list[FrameEvent]:
    """Frames of several tracks in any order; some cannot be read, some tracks end by an end alone, some never."""
    names = draw(st.lists(st.sampled_from("abcde"), max_size=30))
    count = {name: names.count(name) for name in set(names)}
    ending = {name: draw(st.sampled_from(["last", "alone", "never", "twice"])) for name in count}
    seen: dict[str, int] = defaultdict(int)
    events: list[FrameEvent] = []
    for number, name in enumerate(names):
        seen[name] += 1
        is_last = seen[name] == count[name] and ending[name] in ("last", "twice")
        is_last |= seen[name] == count[name] // 2 and ending[name] == "twice"  # its name comes back
        frame: Frame = MISSING if draw(st.integers(0, 4)) == 0 else crop(number)
        events.append(FrameEvent(name, frame, last=is_last))
    return [*events, *(FrameEvent(name, None, last=True) for name in sorted(count) if ending[name] == "alone")]


def naive(events: list[FrameEvent]) -> list[tuple[Hashable, list[Frame]]]:
    """The tracks and their frames, in the order in which they end."""
    going: dict[Hashable, list[Frame]] = {}
    ended: list[tuple[Hashable, list[Frame]]] = []
    for event in events:
        frames = going.setdefault(event.track, [])
        if event.crop is not None:
            assert not isinstance(event.crop, Crop)
            frames.append(event.crop)
        if event.last or event.crop is None:
            ended.append((event.track, going.pop(event.track)))
    return [*ended, *going.items()]


@settings(max_examples=80, deadline=None)
@given(interleaved(), st.integers(1, 7), st.integers(1, 7), st.sampled_from([None, 0.0, 0.001]))
def test_tracks_come_as_from_a_naive_loop_whatever_the_batches(
    events: list[FrameEvent], frames: int, rows: int, max_wait_s: float | None
) -> None:
    session = ProjectionSession(BatchLimits(frames, rows))
    tracks = list(embed_events(session, iter(events), max_wait_s=max_wait_s, keep_frames=True))
    expected = naive(events)
    assert [track.name for track in tracks] == [name for name, _ in expected]
    assert max(session.batch_sizes, default=0) <= frames
    assert max(session.row_counts, default=0) <= rows
    for track, (_, members) in zip(tracks, expected, strict=True):
        readable = {i: session.embed_frame(f) for i, f in enumerate(members) if isinstance(f, np.ndarray)}
        assert track.received == len(members)
        assert [failure.frame_index for failure in track.unreadable] == sorted(set(range(len(members))) - {*readable})
        assert sorted(track.frames) == sorted(readable)
        for index, embedding in readable.items():
            np.testing.assert_allclose(track.frames[index], embedding, atol=1e-6)
        if not readable:
            assert track.pooled is None
        else:
            assert track.pooled is not None
            np.testing.assert_allclose(track.pooled, np.sum([*readable.values()], axis=0), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(interleaved(), st.integers(1, 7), st.integers(1, 7))
def test_a_batch_ends_where_the_next_frame_would_exceed_a_limit_and_nowhere_else(
    events: list[FrameEvent], frames: int, rows: int
) -> None:
    readable = [event for event in events if isinstance(event.crop, np.ndarray)]
    session = ProjectionSession(BatchLimits(frames, rows))
    list(embed_events(session, iter(readable)))
    expected: list[tuple[int, int]] = []
    size, tracks, generation = 0, set[tuple[Hashable, int]](), defaultdict[Hashable, int](int)
    for event in readable:
        track = event.track, generation[event.track]
        if size == frames or len(tracks | {track}) > rows:
            expected.append((size, len(tracks)))
            size, tracks = 0, set()
        size, tracks = size + 1, tracks | {track}
        generation[event.track] += event.last
    assert list(zip(session.batch_sizes, session.row_counts, strict=True)) == [
        *expected,
        *([(size, len(tracks))] * (size > 0)),
    ]


def test_no_frames_give_no_tracks_and_run_nothing() -> None:
    session = ProjectionSession()
    assert list(embed_events(session, [])) == []
    assert [track.name for track in embed_events(session, [FrameEvent("a", None), FrameEvent("b", MISSING)])] == [
        "a",
        "b",
    ]
    assert session.batch_sizes == []


@pytest.mark.parametrize("batch", [1, 7, 32, 64])
def test_very_many_and_very_long_tracks(batch: int) -> None:
    session = ProjectionSession(BatchLimits(batch, batch))
    frames = [crop(number) for number in range(5)]
    embeddings = [session.embed_frame(frame) for frame in frames]
    many = (FrameEvent(number, frames[number % 5], last=True) for number in range(2000))
    stages = Stages()
    for number, track in enumerate(embed_events(session, many, stages=stages)):
        assert track.name == number
        assert track.pooled is not None
        np.testing.assert_allclose(track.pooled, embeddings[number % 5], atol=1e-6)
    assert number == 1999
    assert stages.frames == stages.positions == 2000
    assert stages.batches == -(-2000 // batch)
    (track,) = embed_events(session, (FrameEvent("long", frames[number % 5]) for number in range(2000)))
    assert track.pooled is not None
    np.testing.assert_allclose(track.pooled / 2000, np.mean(embeddings, axis=0), atol=1e-5)


class Camera:
    """Frames that come when the test says so, in the thread of the stream."""

    def __init__(self) -> None:
        self.shown = threading.Semaphore(0)
        self.taken = 0

    def __iter__(self) -> Iterator[FrameEvent]:
        for number in itertools.count():
            self.shown.acquire()
            self.taken += 1
            yield FrameEvent(number, crop(number), last=True)

    def show(self, frames: int) -> None:
        for _ in range(frames):
            self.shown.release()


def test_the_first_embeddings_come_after_one_batch_though_the_source_falls_silent() -> None:
    camera = Camera()
    stream = embed_events(ProjectionSession(BatchLimits(4, 4)), camera)
    camera.show(4)
    assert [next(stream).name for _ in range(4)] == [0, 1, 2, 3]
    assert camera.taken == 4
    camera.show(5)
    assert [next(stream).name for _ in range(4)] == [4, 5, 6, 7]
    stream.close()  # type: ignore[attr-defined]


def test_a_frame_waits_for_others_no_longer_than_it_may() -> None:
    camera, session = Camera(), ProjectionSession(BatchLimits(64, 64))
    stream = embed_events(session, camera, max_wait_s=0.02)
    for number in range(3):
        camera.show(1)
        assert next(stream).name == number
    assert session.batch_sizes == [1, 1, 1]
    stream.close()  # type: ignore[attr-defined]


def test_an_end_alone_does_not_wait_for_frames() -> None:
    silence = threading.Event()

    def source() -> Iterator[FrameEvent]:
        yield from (FrameEvent("a", crop(number)) for number in range(2))
        yield FrameEvent("a", None, last=True)
        silence.wait(WAIT_S)

    stream = embed_events(ProjectionSession(BatchLimits(2, 2)), source())
    start = time.monotonic()
    assert next(stream).received == 2
    assert time.monotonic() - start < WAIT_S
    silence.set()


def test_an_end_alone_does_not_wait_for_a_batch_without_the_track() -> None:
    silence = threading.Event()

    def source() -> Iterator[FrameEvent]:
        yield from (FrameEvent(name, crop(0)) for name in "abc")
        yield FrameEvent("a", None)
        silence.wait(WAIT_S)

    stream = embed_events(ProjectionSession(BatchLimits(2, 2)), source())
    start = time.monotonic()
    assert next(stream).name == "a"
    assert time.monotonic() - start < WAIT_S
    silence.set()
    assert [track.name for track in stream] == ["b", "c"]


def test_a_batch_whose_tracks_have_all_ended_does_not_wait_for_a_row() -> None:
    camera, session = Camera(), ProjectionSession(BatchLimits(64, 2))
    stream = embed_events(session, camera)
    for _ in range(2):
        camera.show(2)
        assert len([next(stream), next(stream)]) == 2
    assert camera.taken == 4
    assert session.batch_sizes == session.row_counts == [2, 2]
    stream.close()  # type: ignore[attr-defined]


def test_a_frame_may_wait_for_ever() -> None:
    tracks = embed_events(ProjectionSession(), [FrameEvent("a", crop(0))], max_wait_s=float("inf"))
    assert [track.name for track in tracks] == ["a"]


def test_ends_alone_are_drawn_no_further_ahead_either() -> None:
    drawn = 0

    def endless() -> Iterator[FrameEvent]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield FrameEvent(drawn, None)

    stream = embed_events(ProjectionSession(), endless())
    next(stream)
    time.sleep(0.05)
    assert drawn < 20
    stream.close()  # type: ignore[attr-defined]


def test_sums_of_very_many_frames_are_exact_and_hold_no_batch() -> None:
    track, batch = Track("parked"), np.full((3, 4), 1 << 24, np.float32)
    track.add(batch[1], 1.0, 1)
    for _ in range(7):
        track.add(np.ones(4, np.float32), 1.0, 1)
    assert track.pooled is not None
    assert track.pooled.tolist() == [(1 << 24) + 7] * 4
    (track,) = embed_events(ProjectionSession(), [FrameEvent("a", crop(0))], keep_frames=True)
    assert track.pooled is not None
    assert track.pooled.base is track.frames[0].base is None


def test_an_endless_source_is_drawn_no_further_ahead_than_there_is_room_for() -> None:
    drawn = 0

    def endless() -> Iterator[FrameEvent]:
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            yield FrameEvent(number, crop(number % 5), last=True)

    stream = embed_events(ProjectionSession(BatchLimits(5, 5)), endless())
    for _ in range(10):
        next(stream)
        time.sleep(0.01)  # the consumer is the slowest stage
    # Two batches of results wait, a third is handed on, and two slots are full.
    assert drawn <= 10 + 5 * 5 + 1
    stream.close()  # type: ignore[attr-defined]


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    pixels = crop(0)

    def peak(frames: int) -> int:
        events = (FrameEvent(number // 5, pixels, last=number % 5 == 4) for number in range(frames))
        tracemalloc.start()
        for _ in embed_events(ProjectionSession(BatchLimits(8, 8)), events):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    assert peak(3000) < peak(300) + 60_000


def threads_of_streams() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name.startswith(("feed", "run", "decode", "compute"))}


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_leaving_early_ends_every_thread() -> None:
    before = threads_of_streams()
    events = (FrameEvent(number, crop(number % 5), last=True) for number in itertools.count())
    stream = embed_events(ProjectionSession(BatchLimits(2, 2)), events)
    next(stream)
    assert threads_of_streams() > before
    del stream
    assert until(lambda: threads_of_streams() <= before)


def test_leaving_does_not_wait_for_a_source_that_says_nothing() -> None:
    camera, before = Camera(), threads_of_streams()
    stream = embed_events(ProjectionSession(BatchLimits(1, 1)), camera)
    camera.show(1)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    camera.show(1)  # its thread ends with the next frame
    assert until(lambda: threads_of_streams() <= before)


def test_an_error_of_the_source_reaches_the_caller_and_ends_every_thread() -> None:
    before = threads_of_streams()

    def broken() -> Iterator[FrameEvent]:
        yield FrameEvent("fine", crop(0))
        raise ConnectionError("the camera is gone")

    with pytest.raises(ConnectionError, match="the camera is gone"):
        list(embed_events(ProjectionSession(BatchLimits(1, 1)), broken()))
    assert until(lambda: threads_of_streams() <= before)


@pytest.mark.parametrize("error", [MemoryError("full"), KeyboardInterrupt()])
def test_an_error_of_the_session_reaches_the_caller_and_ends_every_thread(error: BaseException) -> None:
    class Broken(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            if len(self.batch_sizes) == 2:
                raise error
            return super().compute(frames, pooling)

    before = threads_of_streams()
    events = (FrameEvent(number, crop(number % 5), last=True) for number in itertools.count())
    with pytest.raises(type(error)):
        list(embed_events(Broken(BatchLimits(3, 3)), events))
    assert until(lambda: threads_of_streams() <= before)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((0, 6, 3), np.uint8),
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3), np.float32),
        Crop(np.zeros((4, 6, 3), np.uint8), (6, 0, 3, 3)),  # a detector's box outside the picture
    ],
    ids=["empty", "gray", "alpha", "float", "outside"],
)
def test_a_crop_of_another_shape_or_type_is_named_like_an_unreadable_file(frame: Frame) -> None:
    events = [FrameEvent("live", crop(1)), FrameEvent("live", frame), FrameEvent("live", crop(2), last=True)]
    (track,) = embed_events(ProjectionSession(), events, keep_frames=True)
    assert sorted(track.frames) == [0, 2]
    (failure,) = track.unreadable
    assert failure.frame_index == 1
    assert "frame 1 of live" in failure.reason


@settings(max_examples=40, deadline=None)
@given(st.integers(-9, 12), st.integers(-9, 12), st.integers(1, 20), st.integers(1, 20))
def test_a_box_is_what_lies_of_it_in_the_picture(left: int, top: int, width: int, height: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    inside = [
        (y, x) for y in range(top, top + height) for x in range(left, left + width) if 0 <= y < 10 and 0 <= x < 12
    ]
    (track,) = embed_events(
        session := ProjectionSession(), [FrameEvent("a", Crop(picture, (left, top, width, height)))]
    )
    if not inside:
        assert track.pooled is None
        return
    rows, columns = zip(*inside, strict=True)
    expected = np.ascontiguousarray(picture[min(rows) : max(rows) + 1, min(columns) : max(columns) + 1])
    assert track.pooled is not None
    np.testing.assert_allclose(
        track.pooled, session.embed_frame(np.asarray(cv2.resize(expected, (WIDTH, HEIGHT)))), atol=1e-6
    )


def test_a_frame_with_too_many_pixels_is_left_out_and_a_wrong_limit_ends_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1]))
    events = [FrameEvent("t", crop(1)), FrameEvent("t", path)]
    monkeypatch.setenv("REID_MAX_PIXELS", "599")
    (track,) = embed_events(ProjectionSession(), events)
    assert [failure.reason.partition(",")[0] for failure in track.unreadable] == [f"{path}: 30 x 20 pixels"]
    monkeypatch.setenv("REID_MAX_PIXELS", "many")
    with pytest.raises(ReidError, match=r"^REID_MAX_PIXELS is 'many': set it to an integer"):
        list(embed_events(ProjectionSession(), events))


def test_the_same_tracklet_twice_is_two_tracks() -> None:
    tracklet = Tracklet("again", (crop(1), MISSING))
    session = ProjectionSession()
    tracks = list(embed_events(session, events_of([tracklet, tracklet])))
    assert [str(track.name) for track in tracks] == ["again", "again"]
    assert session.row_counts == [2]
    assert all(track.unreadable == [Unreadable(1, f"{MISSING}: No such file or directory")] for track in tracks)


@pytest.mark.parametrize("stage", ["source", "decoding", "model", "results"])
def test_the_slowest_stage_is_the_one_that_is_waited_for(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pause = {name: 0.015 if name == stage else 0.0 for name in ("source", "decoding", "model", "results")}

    class Session(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            time.sleep(pause["model"] * len(frames))
            return super().compute(frames, pooling)

    def source() -> Iterator[FrameEvent]:
        for number in range(24):
            time.sleep(pause["source"])
            yield FrameEvent(number, crop(number), last=True)

    monkeypatch.setattr("reid.runtime.pipeline.stream._DECODING_THREADS", 1)
    monkeypatch.setattr("reid.runtime.pipeline.filling.read_crop", lambda c, _: (time.sleep(pause["decoding"]), c)[1])
    stages = Stages()
    for _ in embed_events(Session(BatchLimits(4, 4)), source(), stages=stages):
        time.sleep(pause["results"])
    assert stages.limiting == stage


class ThreadClock(threading.local):
    """A clock of each thread, which stands still but for what is done there."""

    now = 0.0

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def test_each_step_takes_what_its_frames_and_batches_take_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ThreadClock()
    monkeypatch.setattr("reid.runtime.sessions.clocks.time", SimpleNamespace(perf_counter=lambda: clock.now))

    def read(frame: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        clock.pass_by(frame[0, 0, 0] / 8)
        if frame[0, 0, 0] < 40:
            raise DataError(f"{name} is dark")
        return frame

    def resize(frame: NDArray[np.uint8], preprocessing: object, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        clock.pass_by(frame[0, 0, 1] / 16)
        out[:] = frame.transpose(2, 0, 1)
        return out

    class Session(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            clock.pass_by(len(frames) ** 2 / 4)
            return super().compute(frames, pooling)

    monkeypatch.setattr("reid.runtime.pipeline.filling.read_crop", read)
    monkeypatch.setattr("reid.runtime.sessions.slots.as_model_input", resize)
    crops = [crop(number) for number in range(90)] + [np.full((HEIGHT, WIDTH, 3), 7, np.uint8)] * 13
    session, stages = Session(BatchLimits(4, 4)), Stages()
    list(embed_events(session, (FrameEvent(number, pixels) for number, pixels in enumerate(crops)), stages=stages))
    colors = np.array([pixels[0, 0] for pixels in crops], float)
    assert stages.busy_s == {
        "decode": colors[:, 0].sum() / 8,
        "resize": colors[colors[:, 0] >= 40, 1].sum() / 16,
        "engine": sum(size**2 for size in session.batch_sizes) / 4,
    }
