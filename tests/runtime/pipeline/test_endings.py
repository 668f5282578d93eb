"""Streams that are left, fail, are forgotten or share a session: nothing hangs, and everything is given back."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from projection import ProjectionSession, crop

from reid.runtime.pipeline.events import Crop, FrameEvent
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.sessions.slots import HostSlots, Pending, Slot, Slots

WAIT_S = 10.0


class CountedSlots(HostSlots):
    """Slots that know how many of them are free, and may refuse a batch."""

    refuses = False

    def submit(self, slot: Slot, frames: int, tracklets: int) -> Pending:
        if self.refuses:
            raise RuntimeError("refused")
        return super().submit(slot, frames, tracklets)

    @property
    def free(self) -> int:
        return len(self._free)


class LendingSession(ProjectionSession):
    """A session with slots of its own, which outlive a stream."""

    def __init__(self) -> None:
        super().__init__(BatchLimits(4, 4))
        self.own = CountedSlots(self)
        self.fails = False

    def slots(self) -> Slots:
        return self.own

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        if self.fails:
            raise MemoryError("full")
        return super().compute(frames, pooling)


def numbered(count: int | None = None) -> Iterator[FrameEvent]:
    numbers = itertools.count() if count is None else range(count)
    return (FrameEvent(number, crop(number % 5), last=True) for number in numbers)


def names(session: ProjectionSession, count: int) -> list[Any]:
    return [track.name for track in embed_events(session, numbered(count))]


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def leave(session: LendingSession) -> None:
    for _ in embed_events(session, numbered()):
        return


def lose_the_source(session: LendingSession) -> None:
    def broken() -> Iterator[FrameEvent]:
        yield from numbered(7)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(embed_events(session, broken()))


def run_out_of_memory(session: LendingSession) -> None:
    session.fails = True
    with pytest.raises(MemoryError):
        list(embed_events(session, numbered()))


def be_refused(session: LendingSession) -> None:
    session.own.refuses = True
    with pytest.raises(RuntimeError, match="refused"):
        list(embed_events(session, numbered()))


def give_what_is_no_frame(session: LendingSession) -> None:
    with pytest.raises(TypeError):
        list(embed_events(session, [*numbered(5), FrameEvent("a", Crop(crop(1), (0.5, 0, 2, 2)))]))  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [leave, lose_the_source, run_out_of_memory, be_refused, give_what_is_no_frame])
def test_a_session_has_its_slots_back_however_a_stream_ends(end: Callable[[LendingSession], None]) -> None:
    session = LendingSession()
    for _ in range(3):
        end(session)
        assert session.own.free == session.own.count
        session.fails = session.own.refuses = False
    assert names(session, 9) == list(range(9))


@pytest.mark.parametrize("make", [ProjectionSession, LendingSession])
def test_a_stream_may_run_within_another_and_beside_it(make: Callable[[], ProjectionSession]) -> None:
    session = make()
    for number, track in enumerate(embed_events(session, numbered(12))):
        assert track.name == number
        assert names(session, 5) == list(range(5))
    found: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: found.append(names(session, 50)), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert found == [list(range(50))] * 3


def test_a_session_of_a_backend_computes_one_batch_at_a_time() -> None:
    session, using = ProjectionSession(BatchLimits(2, 2)), threading.Lock()

    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert using.acquire(blocking=False), "two batches at once"
        time.sleep(0.001)
        using.release()
        return session.compute(frames, pooling)

    backend = HostSession(session.info, infer, session.limits)
    for _ in embed_events(backend, numbered(10)):
        assert len(list(embed_events(backend, numbered(2)))) == 2


def test_tracks_that_ended_before_the_source_failed_come_first() -> None:
    def broken() -> Iterator[FrameEvent]:
        yield from numbered(10)
        yield FrameEvent("goes on", crop(0))
        raise ConnectionError

    for _ in range(10):
        stream = embed_events(ProjectionSession(BatchLimits(4, 4)), broken())
        assert [next(stream).name for _ in range(10)] == list(range(10))
        with pytest.raises(ConnectionError):
            next(stream)


class Collecting:
    """A stream that only the garbage collector can end, in the thread that calls `collect`."""

    def __init__(self) -> None:
        self.is_forgotten, self.done = threading.Event(), threading.Event()

    def collect(self, where: str, here: str) -> None:
        if where == here and self.is_forgotten.is_set() and not self.done.is_set():
            gc.collect()
            self.done.set()


@pytest.mark.parametrize("where", ["source", "decoding", "model"])
def test_the_garbage_collector_may_end_a_stream_in_its_own_threads(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    collecting = Collecting()

    class Session(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            collecting.collect(where, "model")
            return super().compute(frames, pooling)

    class Picture:
        def __getitem__(self, box: Any) -> NDArray[np.uint8]:  # noqa: ANN401
            collecting.collect(where, "decoding")
            return crop(0)[box]

    def source() -> Iterator[FrameEvent]:
        for number in itertools.count():
            collecting.collect(where, "source")
            time.sleep(0.001)
            yield FrameEvent(number, Crop(Picture(), (0, 0, 5, 3)), last=True)  # type: ignore[arg-type]

    before = set(threading.enumerate())
    gc.disable()
    try:
        stream: Any = embed_events(Session(BatchLimits(2, 2)), source())
        next(stream)
        cycle = [stream]
        cycle.append(cycle)
        forgotten = weakref.ref(stream)
        del stream, cycle
        collecting.is_forgotten.set()
        assert collecting.done.wait(WAIT_S)
    finally:
        gc.enable()
    assert forgotten() is None
    assert until(lambda: set(threading.enumerate()) <= before)
    assert unraisable == []


def test_leaving_frees_the_slots_without_the_garbage_collector() -> None:
    slots: list[weakref.ref[Any]] = []

    class Session(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            slots.append(weakref.ref(frames.base))
            return super().compute(frames, pooling)

    gc.disable()
    try:
        for _ in embed_events(Session(BatchLimits(2, 2)), numbered()):
            break
        assert until(lambda: all(slot() is None for slot in slots))
    finally:
        gc.enable()


def test_the_end_of_the_interpreter_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    class Session(ProjectionSession):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            if self.batch_sizes:
                goes_on.wait(WAIT_S)
            return super().compute(frames, pooling)

    stream: Any = embed_events(Session(BatchLimits(1, 1)), numbered())
    next(stream)
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    start = time.monotonic()
    stream.close()
    assert time.monotonic() - start < WAIT_S
    goes_on.set()
