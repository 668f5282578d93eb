from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.runtime.batching import Batch, batches
from reid.runtime.errors import ReidError
from reid.runtime.model_card import Preprocessing
from reid.runtime.sessions.session import BatchLimits
from reid.runtime.tracklet import Frame, Tracklet

SIZE = Preprocessing(height=4, width=6, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
MISSING = Path("/nowhere/missing.jpg")


def crop(number: int) -> NDArray[np.uint8]:
    """A crop of the model's size, so that resizing leaves it alone, that tells its number."""
    return np.full((4, 6, 3), (number % 251, number // 251, 7), np.uint8)


def number_of(frame: NDArray[np.uint8]) -> int:
    return int(frame[0, 0, 0]) + 251 * int(frame[1, 0, 0])


def make(readable: list[list[bool]]) -> list[Tracklet]:
    numbers = itertools.count()
    return [
        Tracklet(f"t{index}", tuple(crop(next(numbers)) if good else MISSING for good in flags))
        for index, flags in enumerate(readable)
    ]


def run(tracklets: list[Tracklet], frames: int, rows: int | None = None, threads: int = 3) -> list[Batch]:
    return list(batches(tracklets, SIZE, BatchLimits(frames, rows or frames), threads=threads))


def decoding_threads() -> int:
    return sum(thread.name.startswith("decode") for thread in threading.enumerate())


flags = st.lists(st.lists(st.sampled_from([True, True, True, False]), min_size=1, max_size=9), max_size=8)


@settings(max_examples=40, deadline=None)
@given(flags, st.integers(1, 7), st.integers(1, 4))
def test_frames_leave_in_the_order_in_which_they_came_and_every_batch_but_the_last_is_full(
    readable: list[list[bool]], batch_size: int, threads: int
) -> None:
    tracklets = make(readable)
    result = run(tracklets, batch_size, threads=threads)
    assert [len(batch.frames) for batch in result[:-1]] == [batch_size] * (len(result) - 1)
    sent = [number_of(frame) for batch in result for frame in batch.frames]
    assert sent == list(range(sum(map(sum, readable))))
    assert [arrival.tracklet for batch in result for arrival in batch.complete] == tracklets


@settings(max_examples=60, deadline=None)
@given(flags, st.integers(1, 7), st.integers(1, 7))
def test_a_batch_ends_where_the_next_frame_would_exceed_a_limit_and_nowhere_else(
    readable: list[list[bool]], frames: int, rows: int
) -> None:
    """Against a naive loop over (tracklet, frame) pairs."""
    expected: list[list[tuple[int, int]]] = [[]]
    for tracklet, row in enumerate(readable):
        for frame, good in enumerate(row):
            if not good:
                continue
            tracklets = {earlier for earlier, _ in expected[-1]} | {tracklet}
            if len(expected[-1]) == frames or len(tracklets) > rows:
                expected.append([])
            expected[-1].append((tracklet, frame))
    sent = [
        [
            (int(batch.arrivals[row].tracklet.id[1:]), index)
            for row, index in zip(rows_of, batch.frame_indices, strict=True)
        ]
        for batch in run(make(readable), frames, rows)
        for rows_of in [batch.pooling.argmax(axis=0).tolist() if len(batch.frames) else []]
    ]
    assert [batch for batch in sent if batch] == [batch for batch in expected if batch]


@settings(max_examples=40, deadline=None)
@given(flags, st.integers(1, 7))
def test_each_column_of_pooling_has_a_single_one_in_the_row_of_its_tracklet(
    readable: list[list[bool]], batch_size: int
) -> None:
    for batch in run(make(readable), batch_size):
        assert batch.pooling.dtype == np.float32
        assert batch.pooling.shape == (len(batch.arrivals), len(batch.frames))
        assert np.array_equal(batch.pooling.sum(axis=0), np.ones(len(batch.frames)))
        for column, frame in enumerate(batch.frames):
            tracklet = batch.arrivals[int(batch.pooling[:, column].argmax())].tracklet
            original = tracklet.frames[batch.frame_indices[column]]
            assert isinstance(original, np.ndarray)
            assert np.array_equal(frame, original.transpose(2, 0, 1))


@settings(max_examples=40, deadline=None)
@given(flags, st.integers(1, 7))
def test_every_unreadable_frame_is_told_once_and_not_after_its_tracklet_is_complete(
    readable: list[list[bool]], batch_size: int
) -> None:
    tracklets = make(readable)
    told: list[tuple[str, int]] = []
    for batch in run(tracklets, batch_size):
        told += [(failure.arrival.tracklet.id, failure.frame_index) for failure in batch.unreadable]
        for arrival in batch.complete:
            lost = sum(not isinstance(frame, np.ndarray) for frame in arrival.tracklet.frames)
            assert sum(identity == arrival.tracklet.id for identity, _ in told) == lost
        assert all(str(MISSING) in failure.reason for failure in batch.unreadable)
    assert told == [(f"t{i}", j) for i, row in enumerate(readable) for j, good in enumerate(row) if not good]


def test_the_same_tracklet_twice_in_a_row_arrives_twice() -> None:
    tracklet = Tracklet("again", (crop(1), crop(2)))
    (batch,) = run([tracklet, tracklet], 8)
    assert batch.pooling.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert [arrival.tracklet for arrival in batch.arrivals] == [tracklet, tracklet]
    assert batch.arrivals[0] is not batch.arrivals[1]


def test_no_tracklets_make_no_batches() -> None:
    assert run([], 4) == []


def test_an_endless_source_is_drawn_at_most_two_batches_ahead() -> None:
    drawn = 0

    def endless() -> Iterator[Tracklet]:
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            yield Tracklet(str(number), (crop(number % 1000),))

    stream = batches(endless(), SIZE, limits=BatchLimits(5, 5), threads=2)
    for taken in range(1, 30):
        next(stream)
        assert drawn <= 5 * taken + 2 * 5 + 1
    stream.close()  # type: ignore[attr-defined]


def test_the_first_batch_of_an_endless_tracklet_comes_before_the_source_is_asked_for_more() -> None:
    def source() -> Iterator[Tracklet]:
        yield Tracklet("long", tuple(crop(0) for _ in range(100)))
        raise AssertionError("asked for a second tracklet although the first fills the batches that are decoded ahead")

    stream = batches(source(), SIZE, limits=BatchLimits(4, 4), threads=2)
    assert len(next(stream).frames) == 4
    stream.close()  # type: ignore[attr-defined]


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    size = Preprocessing(height=64, width=64, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = np.zeros((64, 64, 3), np.uint8)

    def peak(tracklets: int) -> int:
        source = (Tracklet(str(index), (pixels,) * 5) for index in range(tracklets))
        tracemalloc.start()
        for _ in batches(source, size, limits=BatchLimits(8, 8), threads=2):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    few, many = peak(20), peak(400)  # 1.2 MB and 24.6 MB of pixels
    assert many < few + 400_000


def test_leaving_early_stops_the_decoding_threads() -> None:
    before = decoding_threads()
    stream = batches(
        (Tracklet(str(i), (crop(i),)) for i in itertools.count()), SIZE, limits=BatchLimits(2, 2), threads=3
    )
    next(stream)
    assert decoding_threads() > before
    del stream
    deadline = time.monotonic() + 5
    while decoding_threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert decoding_threads() == before


def test_an_error_of_the_source_reaches_the_caller_and_stops_the_threads() -> None:
    before = decoding_threads()

    def broken() -> Iterator[Tracklet]:
        yield Tracklet("fine", (crop(0),))
        raise ConnectionError("the camera is gone")

    with pytest.raises(ConnectionError, match="the camera is gone"):
        list(batches(broken(), SIZE, limits=BatchLimits(1, 1), threads=2))
    assert decoding_threads() == before


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((0, 6, 3), np.uint8),  # a detector's box outside the picture
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3), np.float32),
    ],
    ids=["empty", "gray", "alpha", "float"],
)
def test_a_crop_of_another_shape_or_type_is_named_like_an_unreadable_file(frame: Frame) -> None:
    (batch,) = run([Tracklet("live", (crop(1), frame, crop(2)))], 8)
    assert batch.frame_indices == (0, 2)
    (failure,) = batch.unreadable
    assert failure.frame_index == 1
    assert "frame 1 of live" in failure.reason


def test_a_frame_with_too_many_pixels_is_left_out_and_a_wrong_limit_ends_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1]))
    tracklet = Tracklet("t", (crop(1), path))
    monkeypatch.setenv("REID_MAX_PIXELS", "599")
    (batch,) = run([tracklet], 8)
    assert batch.frame_indices == (0,)
    assert [failure.reason.partition(",")[0] for failure in batch.unreadable] == [f"{path}: 30 x 20 pixels"]
    monkeypatch.setenv("REID_MAX_PIXELS", "many")
    with pytest.raises(ReidError, match=r"^REID_MAX_PIXELS is 'many': set it to an integer"):
        run([tracklet], 8)
