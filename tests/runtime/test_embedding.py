from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from projection import HEIGHT, WIDTH, ProjectionSession
from recording import Recorder

from reid.runtime.embedding import embed
from reid.runtime.normalization import normalize
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.tracklet import Tracklet


@st.composite
def tracklets(draw: st.DrawFn) -> list[Tracklet]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, 12), max_size=7))
    missing = draw(st.floats(0, 0.6))
    return [
        Tracklet(
            f"t{index}",
            tuple(
                Path(f"/nowhere/{index}-{j}.jpg")
                if random.random() < missing
                else random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
                for j in range(length)
            ),
        )
        for index, length in enumerate(lengths)
    ]


@settings(max_examples=60, deadline=None)
@given(tracklets(), st.integers(1, 6), st.integers(1, 6))
def test_an_embedding_is_the_normalized_mean_of_the_readable_frames_whatever_the_batches(
    given_tracklets: list[Tracklet], frames: int, rows: int
) -> None:
    session = ProjectionSession(BatchLimits(frames, rows))
    result = list(embed(session, given_tracklets))
    assert [entry.tracklet for entry in result] == given_tracklets
    if rows >= frames:
        assert all(size == frames for size in session.batch_sizes[:-1])
    for entry in result:
        readable = [frame for frame in entry.tracklet.frames if isinstance(frame, np.ndarray)]
        assert len(entry.unreadable) == len(entry.tracklet.frames) - len(readable)
        if not readable:
            assert entry.embedding is None
            continue
        mean = np.mean([session.embed_frame(frame) for frame in readable], axis=0)
        assert entry.embedding is not None
        assert entry.embedding.dtype == np.float32
        np.testing.assert_allclose(entry.embedding, mean / np.linalg.norm(mean), atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(tracklets(), st.integers(1, 6))
def test_kept_frames_are_those_that_could_be_read_each_with_its_own_embedding(
    given_tracklets: list[Tracklet], batch_size: int
) -> None:
    session = ProjectionSession()
    for entry in embed(session, given_tracklets, limits=BatchLimits(batch_size, batch_size), keep_frames=True):
        readable = {i: f for i, f in enumerate(entry.tracklet.frames) if isinstance(f, np.ndarray)}
        assert entry.frames.keys() == readable.keys()
        for index, frame in readable.items():
            np.testing.assert_allclose(entry.frames[index], session.embed_frame(frame), atol=1e-6)


def test_a_tracklet_without_a_readable_frame_has_no_embedding_and_its_frames_are_named() -> None:
    frames = (Path("/nowhere/a.jpg"), Path("/nowhere/b.jpg"))
    (entry,) = embed(ProjectionSession(), [Tracklet("lost", frames)])
    assert entry.embedding is None
    assert entry.frames == {}
    assert [failure.reason.split(":")[0] for failure in entry.unreadable] == ["/nowhere/a.jpg", "/nowhere/b.jpg"]


def test_the_same_tracklet_twice_in_a_row_is_embedded_twice_and_alike() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, HEIGHT, WIDTH, 3)).astype(np.uint8)
    tracklet = Tracklet("again", tuple(pixels))
    first, second = embed(ProjectionSession(), [tracklet, tracklet], limits=BatchLimits(3, 3))
    assert first.tracklet is second.tracklet is tracklet
    assert first.embedding is not None
    assert second.embedding is not None
    np.testing.assert_allclose(first.embedding, second.embedding, atol=1e-6)


def test_frames_are_resized_to_the_size_that_the_card_says() -> None:
    flat = np.full((50, 20, 3), (10, 130, 250), np.uint8)
    session = ProjectionSession()
    (entry,) = embed(session, [Tracklet("large", (flat,))])
    assert entry.embedding is not None
    np.testing.assert_allclose(entry.embedding, session.embed_frame(flat[:HEIGHT, :WIDTH]), atol=1e-6)


def test_an_endless_source_is_embedded_as_it_comes() -> None:
    drawn = 0

    def endless() -> Iterator[Tracklet]:
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            yield Tracklet(str(number), (np.full((HEIGHT, WIDTH, 3), number % 256, np.uint8),))

    stream = embed(ProjectionSession(), endless(), limits=BatchLimits(4, 4))
    assert [entry.tracklet.id for entry in itertools.islice(stream, 50)] == [str(number) for number in range(50)]
    # The rest of a batch, two that wait, one that is handed on, two slots that are full, and a frame.
    assert drawn <= 50 + 6 * 4 + 1


def test_memory_does_not_grow_with_the_length_of_a_tracklet_nor_with_their_number() -> None:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    def peak(count: int, length: int) -> int:
        frames = (pixels,) * length
        source = (Tracklet(str(index), frames) for index in range(count))
        tracemalloc.start()
        for _ in embed(ProjectionSession(), source, limits=BatchLimits(8, 8)):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    assert peak(1, 2000) < peak(1, 100) + 40_000
    assert peak(400, 5) < peak(20, 5) + 40_000


def test_an_error_of_the_session_reaches_the_caller() -> None:
    class Broken(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            raise MemoryError("the device is full")

    with pytest.raises(MemoryError, match="the device is full"):
        list(embed(Broken(), [Tracklet("t", (np.zeros((HEIGHT, WIDTH, 3), np.uint8),))]))


def test_progress_counts_all_frames_of_each_entry() -> None:
    frame = np.ones((HEIGHT, WIDTH, 3), np.uint8)
    source = [Tracklet("a", (frame,) * 3), Tracklet("b", (frame, Path("/nowhere/x.jpg")))]
    recorder = Recorder()
    recorder.begin("embedding", 5)
    entries = embed(ProjectionSession(), source, limits=BatchLimits(2, 2), progress=recorder)
    assert [entry.tracklet.id for entry in entries] == ["a", "b"]
    assert recorder.stages[0].steps == [3, 2]


def test_normalize_leaves_a_zero_vector_zero() -> None:
    result = normalize(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    np.testing.assert_allclose(result, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
