"""ONNX Runtime on a GPU without one: the CPU's provider computes, and the device's memory is the host's."""

from __future__ import annotations

import ctypes
import itertools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from host_cuda import HostPackage
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, DeviceArray, DeviceMemoryError
from reid.runtime.cuda_driver.library import DriverLibrary
from reid.runtime.cuda_driver.ownership import Owned
from reid.runtime.embedding import embed
from reid.runtime.errors import SessionError
from reid.runtime.imaging import as_model_input
from reid.runtime.opening import open_session
from reid.runtime.sessions import onnxruntime as backend
from reid.runtime.sessions.device.slots import LENT
from reid.runtime.sessions.onnxruntime_binding import BoundGraph
from reid.runtime.sessions.onnxruntime_cuda import CudaSession
from reid.runtime.sessions.onnxruntime_providers import Provider, find_provider
from reid.runtime.sessions.session import BatchLimits, Session, run
from reid.runtime.sessions.slots import LendsSlots, Pending, Slot, slots_of
from reid.runtime.tracklet import Tracklet


class Driver:
    """The driver's library: in a context everything succeeds, and events happen at once. It remembers the calls."""

    def __init__(self, package: HostPackage) -> None:
        self.package, self.called = package, list[str]()
        self._events = itertools.count(1)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        def call(*arguments: Any) -> int:  # noqa: ANN401
            assert self.package.current[threading.get_ident()], f"{name} was called with no context current"
            self.called.append(name)
            if name == "cuEventCreate":
                arguments[0]._obj.value = next(self._events)
            elif name == "cuPointerGetAttribute":
                arguments[0]._obj.value = 0
            elif name == "cuMemcpyDtoDAsync_v2":
                ctypes.memmove(arguments[0].value, arguments[1].value, arguments[2].value)
            return 0

        return call


@pytest.fixture
def driver() -> Driver:
    return Driver(HostPackage())


@pytest.fixture
def cuda(driver: Driver) -> Cuda:
    return Cuda(0, driver.package, DriverLibrary(driver))


@pytest.fixture
def session(bundle: Path, cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaSession]:
    """A session "on a GPU": only the provider is another."""
    monkeypatch.setattr(backend, "_cuda", lambda provider: cuda)
    monkeypatch.setattr("reid.runtime.sessions.onnxruntime_cuda.find_kernels", lambda cuda: None)
    with backend.load_onnxruntime(bundle / "model.fp32.onnx", "cpu") as loaded:
        assert isinstance(loaded, CudaSession)
        yield loaded


@pytest.fixture
def reference(bundle: Path) -> Iterator[Session]:
    with open_session(bundle, "onnxruntime:cpu") as opened:
        yield opened


def batch(count: int, rows: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    random = np.random.default_rng(count)
    frames = random.integers(0, 256, (count, 3, 64, 64)).astype(np.uint8)
    return frames, random.uniform(size=(rows, count)).astype(np.float32)


def fill(slot: Slot, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> tuple[int, int]:
    for position, frame in enumerate(frames):
        slot.place(position, np.ascontiguousarray(frame.transpose(1, 2, 0)))
    slot.pooling[: len(pooling), : len(frames)] = pooling
    return len(frames), len(pooling)


def assert_same(actual: Any, expected: Any) -> None:  # noqa: ANN401
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-5)


def out_of(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let batches of more frames than this fail, in either way of running them, as ONNX Runtime does on a GPU."""
    text = "Failed to allocate memory for requested buffer of size 123"
    enqueue, real = BoundGraph.enqueue, onnxruntime.InferenceSession.run

    def run_bound(self: Any, binding: Any, options: Any) -> None:  # noqa: ANN401
        if sizes.pop() > memory:
            raise RuntimeError(text)
        bound(self, binding, options)

    def run_copying(self: Any, names: Any, feed: Any) -> Any:  # noqa: ANN401
        if len(feed["frames"]) > memory:
            raise RuntimeError(text)
        return real(self, names, feed)

    def sized(self: BoundGraph, one: Any) -> None:  # noqa: ANN401
        sizes.append(one.frames)
        enqueue(self, one)

    sizes: list[int] = []
    bound = onnxruntime.InferenceSession.run_with_iobinding
    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", run_bound)
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run_copying)
    monkeypatch.setattr(BoundGraph, "run", sized)


def test_slots_give_what_run_gives(session: CudaSession, reference: Session) -> None:
    assert isinstance(session, LendsSlots)
    slots = session.slots()
    waiting: list[tuple[Pending, Any]] = []
    for count, rows in ((7, 3), (32, 32), (1, 1), (32, 2), (31, 17)):
        slot = slots.lend()
        frames, pooling = batch(count, rows)
        waiting.append((slots.submit(slot, *fill(slot, frames, pooling)), run(reference, frames, pooling)))
        if len(waiting) == slots.count:
            pending, expected = waiting.pop(0)
            assert pending.done()
            assert_same(pending.result(), expected)
    assert_same(waiting[0][0].result(), waiting[0][1])


def test_crops_of_any_size_are_resized_by_any_number_of_threads(session: CudaSession, reference: Session) -> None:
    random = np.random.default_rng(0)
    crops = [random.integers(0, 256, (20 + 9 * index, 90 - 5 * index, 3)).astype(np.uint8) for index in range(8)]
    slots = session.slots()
    slot = slots.lend()
    threads = [threading.Thread(target=slot.place, args=(index, crop)) for index, crop in enumerate(crops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slot.pooling[0, :8] = 1
    frames = np.stack([as_model_input(crop, session.info.card.preprocessing) for crop in crops])
    assert_same(slots.submit(slot, 8, 1).result(), run(reference, frames, np.ones((1, 8), np.float32)))


def test_no_more_slots_than_there_are_and_each_comes_back_empty(session: CudaSession) -> None:
    slots = session.slots()
    first, second, _ = (slots.lend() for _ in range(slots.count))
    with pytest.raises(ValueError, match="all slots are lent"):
        slots.lend()
    first.pooling[:] = 7
    slots.withdraw(first)
    assert not slots.lend().pooling.any()
    assert slots.submit(second, *fill(second, *batch(2, 1))).result().pooled.shape == (1, 32)
    assert slots.lend() is second


def test_results_belong_to_the_caller(session: CudaSession) -> None:
    slots = session.slots()
    results = []
    for count in (3, 4, 5):
        slot = slots.lend()
        results.append(slots.submit(slot, *fill(slot, *batch(count, 1))).result())
    kept = results[0].frame_embedding.copy()
    results[1].frame_embedding[:] = 0
    np.testing.assert_array_equal(results[0].frame_embedding, kept)


def test_the_device_computes_after_the_upload_and_downloads_after_that(session: CudaSession, driver: Driver) -> None:
    slots = session.slots()
    slot = slots.lend()
    size = fill(slot, *batch(2, 2))
    driver.called.clear()
    slots.submit(slot, *size)
    waited = [name for name in driver.called if name in ("cuEventRecord", "cuStreamWaitEvent")]
    record, wait = "cuEventRecord", "cuStreamWaitEvent"
    assert waited == [wait, record, record] * 3  # for the buffers, the inputs and the outputs
    assert "cuStreamSynchronize" not in driver.called


@pytest.mark.parametrize("room", [1, 4, 20])
def test_where_memory_is_short_batches_are_halved_and_said_so_once(
    session: CudaSession,
    reference: Session,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = {count: run(reference, *batch(count, 5)) for count in (32, 3)}
    out_of(room, monkeypatch)
    slots = session.slots()
    with caplog.at_level(logging.WARNING):
        for count in (32, 3, 32):
            slot = slots.lend()
            assert_same(slots.submit(slot, *fill(slot, *batch(count, 5))).result(), expected[count])
        assert_same(run(session, *batch(32, 5)), expected[32])
    sizes = {1: [16, 8, 4, 2, 1], 4: [16, 8, 4], 20: [16]}[room]
    assert [int(message.rpartition(" ")[2]) for message in caplog.messages] == sizes


def give_room(frames: int, session: CudaSession, package: HostPackage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the device have memory for slots of so many frames; return a list of the bytes that are in use."""
    each = 3 * 64 * 64 + 4 * frames + 2 * 4 * session.info.card.dimensions
    room, sizes, real = LENT * frames * each, list[int](), package.allocate

    def allocate(size: int) -> Owned:
        if sum(sizes) + size > room:
            raise DeviceMemoryError("memory is full; end other programs on the GPU")
        sizes.append(size)
        memory = real(size)

        def free(_: object) -> None:
            sizes.remove(size)
            memory.release()

        return Owned(None, memory.handle, free)

    monkeypatch.setattr(package, "allocate", allocate)
    return sizes


@pytest.mark.parametrize(("room", "most"), [(32, 32), (31, 16), (9, 8), (1, 1)])
def test_slots_that_find_no_room_are_halved_and_said(
    session: CudaSession,
    reference: Session,
    driver: Driver,
    room: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    used = give_room(room, session, driver.package, monkeypatch)
    frames, pooling = batch(most, 1)
    expected = run(reference, frames, pooling)
    with caplog.at_level(logging.WARNING), slots_of(session) as slots:
        assert session.limits == BatchLimits(most, most)
        lent = [slots.lend() for _ in range(slots.count)]
        assert [slot.pooling.shape for slot in lent] == [(most, most)] * slots.count
        assert_same(slots.submit(lent[-1], *fill(lent[-1], frames, pooling)).result(), expected)
        for slot in lent[:-1]:
            slots.withdraw(slot)
    sizes = [32 >> step for step in range(6) if 32 >> step > most]
    assert caplog.messages == [
        f"out of memory for batches of {size} frames: they have at most {size // 2}" for size in sizes
    ]
    tracklets = [Tracklet(str(number), tuple(frames[:3].transpose(0, 2, 3, 1))) for number in range(4)]
    mean = expected.frame_embedding[:3].mean(axis=0)
    for entry in embed(session, tracklets):
        np.testing.assert_allclose(entry.embedding, mean / np.linalg.norm(mean), atol=1e-5)
    session.close()
    assert used == []


def test_without_room_for_slots_of_one_frame_it_says_so_and_takes_arrays_as_before(
    session: CudaSession, reference: Session, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as short:
        used = give_room(0, session, driver.package, short)
        for ask in (session.slots, lambda: session.run_on_device(*map(Foreign, batch(2, 1)))):
            with pytest.raises(DeviceMemoryError, match="memory is full"):
                ask()
        assert used == []
    assert_same(run(session, *batch(32, 5)), run(reference, *batch(32, 5)))
    assert session.slots().lend().pooling.shape == (32, 32)


def test_without_room_for_one_frame_the_result_is_an_error_and_the_slot_free(
    session: CudaSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_of(0, monkeypatch)
    slots = session.slots()
    for _ in range(3):
        slot = slots.lend()
        pending = slots.submit(slot, *fill(slot, *batch(4, 1)))
        with pytest.raises(DeviceMemoryError, match="out of memory with 1 frames"):
            pending.result()


def test_a_device_that_fails_is_an_error_of_the_result_and_frees_the_slot(
    session: CudaSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Error in execution: CUDA failure 700: an illegal memory access was encountered")

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", fail)
    slots = session.slots()
    for _ in range(3):
        slot = slots.lend()
        pending = slots.submit(slot, *fill(slot, *batch(4, 1)))
        with pytest.raises(SessionError, match="illegal memory access"):
            pending.result()


class Foreign:
    """An array of another library on the device."""

    def __init__(self, array: NDArray[Any], stream: int | None = None) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "stream": stream}


def on_host(array: DeviceArray) -> NDArray[np.float32]:
    """Read an array on the device, which is memory of the host here."""
    content = ctypes.string_at(array.address, array.nbytes)
    return np.frombuffer(content, array.dtype).reshape(array.shape)


@pytest.mark.parametrize("stream", [None, 0, 42])
def test_arrays_on_the_device_go_in_and_come_out(
    session: CudaSession, reference: Session, driver: Driver, stream: int | None
) -> None:
    frames, pooling = batch(5, 2)
    driver.called.clear()  # the reference, on the same driver, may have checked itself
    found = session.run_on_device(Foreign(frames, stream=7), Foreign(pooling), stream)
    assert_same(map(on_host, found), run(reference, frames, pooling))
    assert found.pooled.__cuda_array_interface__["shape"] == (2, 32)
    assert driver.called.count("cuStreamWaitEvent") == (2 if stream is None else 3)  # for the streams they are made on


@pytest.mark.parametrize(
    ("frames", "pooling"),
    [
        (np.zeros((2, 3, 64, 64), np.float32), np.ones((1, 2), np.float32)),
        (np.zeros((2, 3, 64, 64), np.uint8), np.ones((1, 2), np.float64)),
        (np.zeros((2, 3, 64, 64), np.uint8), np.ones((1, 3), np.float32)),
        (np.zeros((2, 3, 65, 64), np.uint8), np.ones((1, 2), np.float32)),
        (np.zeros((33, 3, 64, 64), np.uint8), np.ones((1, 33), np.float32)),
        (np.zeros((2, 3, 64, 128), np.uint8)[..., ::2], np.ones((1, 2), np.float32)),
    ],
)
def test_what_is_no_batch_on_the_device_is_refused(
    session: CudaSession, frames: NDArray[Any], pooling: NDArray[Any]
) -> None:
    with pytest.raises(ValueError, match=r"not a batch|are more than"):
        session.run_on_device(Foreign(frames), Foreign(pooling))


def test_onnxruntime_runs_in_the_sessions_context_so_that_the_callers_stays_current(
    session: CudaSession, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths: list[int] = []
    for name in ("run", "run_with_iobinding"):
        real = getattr(onnxruntime.InferenceSession, name)

        def noted(*arguments: Any, real: Any = real) -> Any:  # noqa: ANN401
            depths.append(driver.package.current[threading.get_ident()])
            return real(*arguments)

        monkeypatch.setattr(onnxruntime.InferenceSession, name, noted)
    slot = session.slots().lend()
    session.slots().submit(slot, *fill(slot, *batch(2, 1))).result()
    run(session, *batch(2, 1))
    session.run_on_device(*map(Foreign, batch(2, 1)))
    assert len(depths) == 3
    assert all(depths)
    assert not any(driver.package.current.values())


def test_a_closed_session_takes_nothing(session: CudaSession) -> None:
    slots = session.slots()
    slot = slots.lend()
    size = fill(slot, *batch(2, 1))
    session.close()
    session.close()
    with pytest.raises(ValueError, match="closed"):
        slots.submit(slot, *size).result()
    with pytest.raises(ValueError, match="closed"):
        session.compute(*batch(2, 1))
    with pytest.raises(ValueError, match="closed"):
        session.run_on_device(*map(Foreign, batch(2, 1)))


def test_onnxruntime_computes_on_the_sessions_stream(
    bundle: Path, cuda: Cuda, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []
    real = onnxruntime.InferenceSession

    def opened(path: str, options: Any, *, providers: Any, **_: object) -> Any:  # noqa: ANN401
        assert driver.package.current[threading.get_ident()]  # so that it is no other afterwards
        given.append(providers[0][1])
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(backend, "_cuda", lambda provider: cuda)
    monkeypatch.setattr(backend, "find_provider", lambda device: Provider("CPUExecutionProvider", "", 1))
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    backend.load_onnxruntime(bundle / "model.fp32.onnx", "cuda:1").close()
    assert given[0]["user_compute_stream"] == str(cuda.stream().handle)
    assert given[0]["device_id"] == "1"


def test_without_a_package_for_cuda_it_copies_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(ordinal: int) -> Cuda:
        raise SessionError("pycuda is not installed: pip install 'reid[gpu]'")

    monkeypatch.setattr(backend, "open_cuda", refuse)
    with caplog.at_level(logging.WARNING):
        assert backend._cuda(Provider("CUDAExecutionProvider", "", 0)) is None
    assert "copies every batch" in caplog.text
    assert backend._cuda(find_provider("cpu")) is None


@pytest.mark.gpu
def test_on_a_gpu_slots_and_arrays_of_pytorch_give_what_the_cpu_does(bundle: Path, reference: Session) -> None:
    torch = pytest.importorskip("torch")
    frames, pooling = batch(9, 3)
    expected = run(reference, frames, pooling)
    with open_session(bundle, "onnxruntime:cuda") as session:
        assert isinstance(session, CudaSession)
        slots = session.slots()
        for _ in range(5):
            slot = slots.lend()
            assert_same(slots.submit(slot, *fill(slot, frames, pooling)).result(), expected)
        inputs = torch.from_numpy(frames).cuda(), torch.from_numpy(pooling).cuda()
        for stream in (None, torch.cuda.current_stream().cuda_stream):
            found = session.run_on_device(*inputs, stream)
            assert_same((torch.as_tensor(array, device="cuda").cpu() for array in found), expected)
