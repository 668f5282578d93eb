"""The session on a GPU that refuses what CUDA and TensorRT refuse."""

from __future__ import annotations

import gc
import hashlib
import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jpeg_files import jpeg, picture, turned
from strict_cuda import LEGACY, Driver, cuda_on
from strict_nvimgcodec import NvImageCodec, on_driver
from strict_resizing import Resizing
from strict_tensorrt import SCRATCH, Api

import reid.runtime.sessions.engine.session as module
from reid.runtime.bundle import Bundle
from reid.runtime.cuda import Cuda, DeviceMemoryError
from reid.runtime.embedding import embed
from reid.runtime.engine_card import EngineCard, LayerSummary, Profile
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import Device
from reid.runtime.pipeline.events import FrameEvent
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.sessions.clocks import BatchSeconds
from reid.runtime.sessions.engine.session import TensorRTSession
from reid.runtime.sessions.session import BatchLimits, Embeddings, run
from reid.runtime.sessions.slots import DecodesOnDevice, LendsSlots, Pending
from reid.runtime.tracklet import Tracklet

ONE = (Profile((1, 4, 8), (1, 2, 8)),)
TWO = (Profile((1, 16, 16), (1, 8, 16)), Profile((1, 1, 2), (1, 1, 2)))


class Gpu:
    """A GPU with an engine for it."""

    def __init__(self, bundle: Path, folder: Path, driver: Driver, cuda: Cuda) -> None:
        self.driver, self.cuda = driver, cuda
        self.card = Bundle.open(bundle).card
        size = self.card.preprocessing
        self.api = Api(driver, ONE, (size.height, size.width), self.card.dimensions)
        self.path = folder / "one.engine"
        self.path.write_bytes(b"plan")

    def open(self, *profiles: Profile, flavor: str = "tensorrt") -> TensorRTSession:
        self.api.profiles = list(profiles or ONE)
        engine = EngineCard(
            format_version=1,
            flavor=flavor,  # type: ignore[arg-type]
            version=self.api.__version__,
            cuda=None,
            device="NVIDIA L4",
            compute_capabilities=("8.9",),
            hardware_compatible=False,
            version_compatible=False,
            precision="fp32",
            profiles=tuple(self.api.profiles),
            graph_sha256="0",
            engine_sha256=hashlib.sha256(b"plan").hexdigest(),
            engine_bytes=4,
            fingerprint="0",
            opset=19,
            layers=LayerSummary(source="engine", layers={}, convolutions={}),
            build_command="reid-export BUNDLE --precision fp32 --engine tensorrt",
        )
        return TensorRTSession(self.path, engine, self.card, self.api, Device("NVIDIA L4", "8.9", "13.0"), 0)  # type: ignore[arg-type]

    def check_nothing_is_left(self) -> None:
        gc.collect()
        assert self.driver.stack == []
        assert (self.driver.used, self.api.alive, self.driver.graphs, self.driver.events) == (0, 0, {}, {})
        assert list(self.driver.streams) == [0, LEGACY]
        assert self.driver.faults == []


@pytest.fixture(params=["pycuda", "cuda-bindings"])
def gpu(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    driver = Driver()
    cuda = cuda_on(driver, request.param)
    monkeypatch.setattr(module, "open_cuda", lambda ordinal: cuda)
    monkeypatch.setattr(module, "find_kernels", lambda cuda: None)
    return Gpu(bundle, tmp_path, driver, cuda)


def batch(frames: int, tracklets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng((frames, tracklets, seed))
    pixels = random.integers(0, 256, (frames, 3, 64, 64)).astype(np.uint8)
    return pixels, random.uniform(size=(tracklets, frames)).astype(np.float32)


def check(found: Embeddings, frames: np.ndarray, pooling: np.ndarray) -> None:
    means = frames.reshape(len(frames), -1).mean(axis=1)
    np.testing.assert_allclose(found.frame_embedding, np.repeat(means[:, None], found.pooled.shape[1], 1), rtol=1e-5)
    np.testing.assert_allclose(found.pooled[:, -1], pooling @ means, rtol=1e-5)


def test_a_batch_goes_to_the_device_and_back_and_nothing_is_left(gpu: Gpu) -> None:
    gpu.driver.stack.append(0xBEEF)
    with gpu.open() as session:
        assert str(session.info) == "TensorRT 1.7.1.116 on NVIDIA L4"
        kept = []
        for count, tracklets in ((1, 1), (8, 3), (5, 5)):
            frames, pooling = batch(count, tracklets)
            found = run(session, frames[:, :, ::-1], np.asfortranarray(pooling))
            check(found, frames, pooling)
            kept.append((found, [array.copy() for array in found]))
        for found, before in kept:  # they belong to the caller
            assert all(map(np.array_equal, found, before))
    assert gpu.driver.stack.pop() == 0xBEEF
    gpu.check_nothing_is_left()


def test_a_session_can_be_closed_by_any_thread_and_says_so_afterwards(gpu: Gpu) -> None:
    session = gpu.open()
    slot = session.slots().lend()
    thread = threading.Thread(target=session.close)
    thread.start()
    thread.join()
    session.close()
    for use in (
        lambda: run(session, *batch(2, 1)),
        lambda: session.run_on_device(None, None),
        lambda: session.slots().submit(slot, 1, 1).result(),
    ):
        with pytest.raises(ValueError, match="session is closed; open it again"):
            use()
    session.slots()._free.clear()  # type: ignore[attr-defined]
    gpu.check_nothing_is_left()


def test_several_threads_may_call_one_session(gpu: Gpu) -> None:
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for count in (1, 8, 3, 8):
                frames, pooling = batch(count, 2, seed)
                check(run(session, frames, pooling), frames, pooling)
        except BaseException as error:
            errors.append(error)

    with gpu.open() as session:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    gpu.check_nothing_is_left()


def test_wrong_types_and_sizes_never_reach_the_device(gpu: Gpu) -> None:
    frames, pooling = batch(4, 2)
    with gpu.open() as session:
        before = dict(gpu.driver.calls)
        for wrong in ((frames.astype(np.float32), pooling), (frames, pooling.astype(float)), (frames[:3], pooling)):
            with pytest.raises(ValueError, match="not a batch"):
                run(session, *wrong)
        assert gpu.driver.calls == before


def test_the_profile_whose_best_size_is_nearest_runs_and_is_never_switched(gpu: Gpu) -> None:
    with gpu.open(*TWO) as session:
        assert session.limits == BatchLimits(16, 16)
        for count, tracklets in ((16, 8), (1, 1), (2, 2), (3, 1), (1, 1)):
            frames, pooling = batch(count, tracklets)
            check(run(session, frames, pooling), frames, pooling)
        assert gpu.api.profiles_run[:5] == [0, 1, 1, 0, 1]
        with pytest.raises(SessionError, match=r"3 frames of 0 tracklets fit no profile.*16 frames"):
            run(session, *batch(3, 0))
    gpu.check_nothing_is_left()


def test_a_profile_that_tensorrt_does_not_take_is_an_error(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    open_all = gpu.open
    real = gpu.api.Runtime

    def fewer(logger: Any) -> Any:  # noqa: ANN401
        gpu.api.profiles = gpu.api.profiles[:1]
        return real(logger)

    monkeypatch.setattr(gpu.api, "Runtime", fewer)
    with pytest.raises(SessionError, match=r"does not switch to profile 1 .*build it again"):
        open_all(*TWO)
    gpu.check_nothing_is_left()


def test_the_limits_do_not_depend_on_the_order_of_the_profiles(gpu: Gpu) -> None:
    profiles = [Profile((1, 8, 8), (1, 8, 8)), Profile((9, 32, 32), (1, 2, 2)), Profile((1, 32, 32), (1, 8, 8))]
    for ordered in itertools.permutations(profiles):
        with gpu.open(*ordered) as session:
            assert session.limits == BatchLimits(32, 8)


@pytest.mark.parametrize("profile", [Profile((1, 8, 8), (1, 4, 4)), Profile((1, 16, 32), (1, 1, 1))])
def test_tracklets_are_embedded_in_batches_that_the_profile_takes(gpu: Gpu, profile: Profile) -> None:
    pixels, _ = batch(40, 1)
    crops = [frame.transpose(1, 2, 0) for frame in pixels]
    tracklets = [Tracklet(str(i), tuple(crops[i : i + 1 + i % 7])) for i in range(30)]
    with gpu.open(profile) as session:
        for entry in embed(session, tracklets, keep_frames=True):
            assert len(entry.frames) == len(entry.tracklet.frames)
            for index, embedding in entry.frames.items():
                assert embedding[0] == pytest.approx(np.asarray(entry.tracklet.frames[index]).mean(), rel=1e-5)
    gpu.check_nothing_is_left()


def test_markers_for_profilers_are_off(gpu: Gpu) -> None:
    with gpu.open(*TWO) as session:
        contexts = session._lanes.contexts._contexts
        assert [context.nvtx_verbosity for context in contexts] == [Api.ProfilingVerbosity.NONE] * 2
        del contexts


# slots


def test_all_slots_are_on_their_way_at_once_and_nothing_waits_for_them(gpu: Gpu) -> None:
    with gpu.open() as session:
        assert isinstance(session, LendsSlots)
        slots = session.slots()
        assert slots.count == 3
        waiting = []
        for seed in range(3):
            slot, (frames, pooling) = slots.lend(), batch(8, 3, seed)
            assert slot.pooling.shape == (8, 8)
            assert not slot.pooling.any()
            for position in reversed(range(8)):
                slot.place(position, frames[position].transpose(1, 2, 0))
            slot.pooling[:3] = pooling
            waiting.append((slots.submit(slot, 8, 3), frames, pooling))
        with pytest.raises(ValueError, match="all slots are lent"):
            slots.lend()
        assert [pending.done() for pending, _, _ in waiting] == [False] * 3
        assert gpu.driver.calls["cuStreamSynchronize"] + gpu.driver.calls["cuEventSynchronize"] == 0
        for pending, frames, pooling in reversed(waiting):  # in whatever order they are taken
            check(pending.result(), frames, pooling)
        slots.withdraw(slots.lend())
        del pending, waiting, slot, slots
    gpu.check_nothing_is_left()


def test_a_slot_is_free_after_an_error(gpu: Gpu) -> None:
    with gpu.open() as session:
        slots = session.slots()
        for name, code in (("execute_async_v3", 700), ("cuMemcpyHtoDAsync", 700), ("cuEventSynchronize", 700)):
            slot = slots.lend()
            gpu.driver.failing[name] = code
            pending = slots.submit(slot, 2, 1)
            with pytest.raises(SessionError, match="illegal memory access"):
                pending.result()
        assert id(slot) in {id(slots.lend()) for _ in range(slots.count)}


def test_slots_and_run_do_not_disturb_each_other(gpu: Gpu) -> None:
    with gpu.open() as session:
        slots = session.slots()
        for seed in range(6):
            slot, (frames, pooling) = slots.lend(), batch(5, 2, seed)
            slot.pooling[:2, :5] = pooling
            for position, frame in enumerate(frames):
                slot.place(position, frame.transpose(1, 2, 0))
            pending = slots.submit(slot, 5, 2)
            others = batch(8, 8, seed)
            check(run(session, *others), *others)
            check(pending.result(), frames, pooling)


def test_each_step_is_timed_on_the_device_and_nothing_waits_for_that(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("reid.runtime.sessions.clocks.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    depth = gpu.card.dimensions

    def expected(count: int, tracklets: int) -> BatchSeconds:
        """By the bytes that are read and written, at a millisecond each."""
        rows = {1: 1, 3: 4, 5: 8}[tracklets]
        given = count * 3 * 64 * 64 + 4 * rows * count
        engine = given + 4 * depth * (count + rows) + 8 * SCRATCH
        return BatchSeconds(
            upload_s=2 * given / 1000,
            resize_s=count,
            engine_s=engine / 1000,
            download_s=8 * depth * (count + tracklets) / 1000,
        )

    with gpu.open() as session:
        slots = session.slots()
        for _ in range(3):  # as they are, captured, and launched as graphs
            waiting = []
            for count, tracklets in ((8, 3), (2, 1), (6, 5)):
                slot, (frames, _) = slots.lend(), batch(count, tracklets)
                for position, frame in enumerate(frames):
                    slot.place(position, frame.transpose(1, 2, 0))
                waiting.append((slots.submit(slot, count, tracklets), expected(count, tracklets)))
            assert [pending.seconds for pending, _ in waiting] == [BatchSeconds()] * 3
            for pending, seconds in waiting:
                pending.result()
                assert pending.seconds == seconds
        assert gpu.driver.calls["cuGraphLaunch"] == 3
        assert (gpu.driver.calls["cuStreamSynchronize"], gpu.driver.calls["cuEventSynchronize"]) == (0, 9)


def test_a_stream_adds_up_what_its_batches_took(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, _ = batch(40, 1)
    events = [FrameEvent(number % 5, frame.transpose(1, 2, 0)) for number, frame in enumerate(pixels)]
    stages, waiting = Stages(), list[Pending]()
    with gpu.open() as session:
        slots = session.slots()
        submit = slots.submit
        monkeypatch.setattr(slots, "submit", lambda *batch: (waiting.append(submit(*batch)), waiting[-1])[1])
        assert len(list(embed_events(session, events, stages=stages))) == 5
    assert len(waiting) == stages.batches == 5
    assert set(stages.busy_s) == {"decode", "upload", "resize", "engine", "download"}
    for step in ("upload", "resize", "engine", "download"):
        assert stages.busy_s[step] == pytest.approx(sum(getattr(one.seconds, f"{step}_s") for one in waiting))


# CUDA graphs


def test_a_size_that_comes_again_is_launched_as_a_graph(gpu: Gpu) -> None:
    with gpu.open() as session:
        for seed in range(6):
            for count in (8, 3):
                frames, pooling = batch(count, 3, seed)
                check(run(session, frames, pooling), frames, pooling)
        # Twice in a row each: once as it is, and once so that what new sizes need is done before capturing.
        assert gpu.api.runs == 4
        assert gpu.driver.calls["cuGraphLaunch"] == 8
    gpu.check_nothing_is_left()


def test_tracklets_that_differ_in_number_share_graphs(gpu: Gpu) -> None:
    with gpu.open() as session:
        for tracklets in (5, 6, 7, 8, 5, 6):
            frames, pooling = batch(8, tracklets)
            check(run(session, frames, pooling), frames, pooling)
        assert gpu.driver.calls["cuGraphLaunch"] == 4


def test_the_graphs_used_last_are_kept(gpu: Gpu) -> None:
    sizes = Profile((1, 32, 40), (1, 1, 1))
    with gpu.open(sizes) as session:
        for _ in range(3):
            for count in range(1, 21):
                frames, pooling = batch(count, 1)
                check(run(session, frames, pooling), frames, pooling)
        assert len(gpu.driver.graphs) == 16
        assert gpu.api.alive == 1 + 16
    gpu.check_nothing_is_left()


@pytest.mark.parametrize("reason", ["capture", "memory", "launch"])
def test_where_capturing_fails_batches_run_without_and_the_log_says_so_once(
    gpu: Gpu, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.api.captures = reason != "capture"
    with gpu.open() as session:
        if reason == "memory":
            gpu.api.contexts = 1
        for seed in range(5):
            if reason == "launch" and seed == 2:
                gpu.driver.failing["cuGraphLaunch"] = 2
            frames, pooling = batch(8, 2, seed)
            check(run(session, frames, pooling), frames, pooling)
        assert gpu.driver.graphs == {}
    (line,) = caplog.messages
    assert "without CUDA graphs" in line
    gpu.check_nothing_is_left()


# memory


def test_what_finds_no_room_at_open_is_halved_and_said(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    profiles = Profile((1, 32, 32), (1, 8, 16)), Profile((32, 32, 32), (1, 8, 16))  # one of them will not be needed
    gpu.driver.room = 12 * SCRATCH
    with gpu.open(*profiles) as session:
        assert session.limits == BatchLimits(8, 8)
        assert [line.split(":")[0] for line in caplog.messages] == [
            "out of memory for batches of 32 frames",
            "out of memory for batches of 16 frames",
        ]
        for count, tracklets in ((8, 8), (1, 1), (7, 3), (7, 3), (8, 8), (7, 3)):
            frames, pooling = batch(count, tracklets)
            check(run(session, frames, pooling), frames, pooling)
        assert len(gpu.driver.graphs) == 2
        with pytest.raises(ValueError, match="at most 8 frames of 8"):
            run(session, *batch(9, 1))
    gpu.check_nothing_is_left()


def test_where_not_even_one_frame_finds_room_it_says_so(gpu: Gpu) -> None:
    gpu.driver.room = SCRATCH // 2
    with pytest.raises(DeviceMemoryError, match=r"memory is full .*end other programs"):
        gpu.open()
    gpu.check_nothing_is_left()


@pytest.mark.parametrize("by_slots", [False, True])
def test_what_finds_no_room_while_running_is_halved_and_said(
    gpu: Gpu, caplog: pytest.LogCaptureFixture, by_slots: bool
) -> None:
    with gpu.open() as session:
        frames, pooling = batch(8, 8)
        if by_slots:
            slots = session.slots()
            slot = slots.lend()
            slot.pooling[:] = pooling
            for position, frame in enumerate(frames):
                slot.place(position, frame.transpose(1, 2, 0))
            gpu.api.most = 4
            pending = slots.submit(slot, 8, 8)
            found = pending.result()
            assert None not in (pending.seconds.resize_s, pending.seconds.engine_s)
        else:
            gpu.api.most = 4
            found = run(session, frames, pooling)
        check(found, frames, pooling)
        assert session.limits == BatchLimits(4, 4)
        assert len(caplog.messages) == 1
        assert "out of memory with 8 frames at a time" in caplog.text


def test_an_engine_that_does_not_load_is_an_error_with_the_command(gpu: Gpu) -> None:
    gpu.api.loads = False
    with pytest.raises(
        ModelError,
        match=r"does not load on TensorRT .*\(UNSUPPORTED_CC; Serialization assertion failed\); rebuild it: reid-exp",
    ):
        gpu.open()
    gpu.check_nothing_is_left()


def test_an_engine_that_is_gone_is_an_error_with_the_command(gpu: Gpu) -> None:
    gpu.path.unlink()
    with pytest.raises(ModelError, match=r"one\.engine does not load .*No such file.* rebuild it: reid-export"):
        gpu.open()
    gpu.check_nothing_is_left()


# arrays on the device


class OnDevice:
    """An array in the device's memory, by the interface of Numba and CuPy."""

    def __init__(self, gpu: Gpu, array: np.ndarray, offset: int = 0, stream: int | None = None) -> None:
        self.buffer = gpu.cuda.allocate(array.nbytes + offset)
        with gpu.cuda.current():
            gpu.driver.at(self.buffer.address + offset, array.shape, array.dtype)[...] = array
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.buffer.address + offset, False),
            "version": 3,
            "stream": stream,
        }


def read(gpu: Gpu, array: Any) -> np.ndarray:  # noqa: ANN401
    facts = array.__cuda_array_interface__
    return gpu.driver.at(facts["data"][0], facts["shape"], np.dtype(facts["typestr"])).copy()


@pytest.mark.parametrize("offset", [0, 4])
def test_arrays_on_the_device_are_neither_uploaded_nor_downloaded(gpu: Gpu, offset: int) -> None:
    with gpu.open() as session:
        for count in (8, 8, 3):
            frames, pooling = batch(count, 2)
            given = OnDevice(gpu, frames, offset), OnDevice(gpu, pooling, offset)
            before = gpu.driver.calls["cuMemcpyHtoDAsync"] + gpu.driver.calls["cuMemcpyDtoHAsync"]
            found = session.run_on_device(*given)
            assert gpu.driver.calls["cuMemcpyHtoDAsync"] + gpu.driver.calls["cuMemcpyDtoHAsync"] == before
            check(Embeddings(*(read(gpu, array) for array in found)), frames, pooling)
            del found, given
            check(run(session, frames, pooling), frames, pooling)  # whose buffers took what was not aligned
    gpu.check_nothing_is_left()


def test_the_callers_stream_is_waited_for_and_waits(gpu: Gpu) -> None:
    frames, pooling = batch(4, 2)
    with gpu.open() as session:
        mine = gpu.cuda.stream()
        inputs = OnDevice(gpu, np.zeros_like(frames)), OnDevice(gpu, pooling)
        gpu.cuda.upload(inputs[0].buffer, frames, mine)
        found = session.run_on_device(*inputs, stream=mine.handle)
        assert [array.__cuda_array_interface__["stream"] for array in found] == [mine.handle] * 2
        target = gpu.cuda.pinned(found.pooled.shape, np.float32)
        gpu.cuda.download(target, found.pooled.buffer, mine)
        other = gpu.cuda.stream()
        with pytest.raises(AssertionError, match="does not wait"):
            gpu.cuda.download(target, found.pooled.buffer, other)
        found.pooled.__dlpack__(stream=other.handle)
        mine.synchronize()
        np.testing.assert_allclose(target[:, 0], pooling @ frames.reshape(4, -1).mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda gpu, frames, pooling: (OnDevice(gpu, frames.astype(np.float32)), OnDevice(gpu, pooling)),
        lambda gpu, frames, pooling: (OnDevice(gpu, frames), OnDevice(gpu, pooling.astype(np.float64))),
        lambda gpu, frames, pooling: (OnDevice(gpu, frames[:3]), OnDevice(gpu, pooling)),
        lambda gpu, frames, pooling: (OnDevice(gpu, frames.repeat(4, 0)), OnDevice(gpu, pooling.repeat(4, 1))),
        lambda gpu, frames, pooling: (with_strides(OnDevice(gpu, frames)), OnDevice(gpu, pooling)),
        lambda gpu, frames, pooling: (frames, OnDevice(gpu, pooling)),
        lambda gpu, frames, pooling: (elsewhere(OnDevice(gpu, frames)), OnDevice(gpu, pooling)),
        lambda gpu, frames, pooling: (object(), OnDevice(gpu, pooling)),
    ],
    ids=["frames' type", "pooling's type", "sizes", "limits", "gaps", "numpy", "not on the GPU", "no array"],
)
def test_what_is_no_batch_on_the_device_is_refused(gpu: Gpu, change: Callable[..., Any]) -> None:
    with gpu.open() as session, pytest.raises(ValueError, match=r"not a batch|more than 8|is on no GPU|neither|type 1"):
        session.run_on_device(*change(gpu, *batch(4, 2)))


def with_strides(array: OnDevice) -> OnDevice:
    facts = array.__cuda_array_interface__
    facts["strides"] = (2 * 3 * 64 * 64, 64 * 64, 64, 1)
    return array


def elsewhere(array: OnDevice) -> OnDevice:
    array.__cuda_array_interface__["data"] = (512, False)
    return array


# TensorRT-RTX


def test_rtx_keeps_what_it_compiled(gpu: Gpu, cache: Path) -> None:
    def files() -> list[Path]:
        return list((cache / "reid" / "tensorrt-rtx").glob("*"))

    for file in files():
        file.unlink()
    for content in (b"[1]", b"[1, 2]"):
        with gpu.open(flavor="tensorrt-rtx") as session:
            for _ in range(3):
                run(session, *batch(2, 1))
            gpu.api.compiled = content
        assert [file.read_bytes() for file in files()] == [content]
        gpu.api.compiled = b""
    (file,) = files()
    with gpu.open(flavor="tensorrt-rtx"):
        assert gpu.api.compiled == b"[1, 2]"
    gpu.api.compiled = b""
    file.write_bytes(b"damaged")
    with gpu.open(flavor="tensorrt-rtx") as session:
        assert gpu.api.compiled == b""
        run(session, *batch(2, 1))
    assert file.read_bytes() == b"[1]"
    gpu.check_nothing_is_left()


def test_rtx_runs_the_kernels_that_were_verified_and_captures_by_itself(gpu: Gpu) -> None:
    with gpu.open(flavor="tensorrt-rtx") as session:
        for _ in range(4):
            run(session, *batch(2, 1))
        (config,) = gpu.api.configs
        assert (
            config.dynamic_shapes_kernel_specialization_strategy is Api.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        assert config.cuda_graph_strategy is Api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        assert config.cache is not None
        assert gpu.driver.calls["cuStreamBeginCapture_v2"] == 0


def test_a_cache_that_others_could_have_written_is_not_read(gpu: Gpu, cache: Path) -> None:
    with gpu.open(flavor="tensorrt-rtx") as session:
        run(session, *batch(2, 1))
    (file,) = (cache / "reid" / "tensorrt-rtx").glob("*")
    gpu.api.compiled = b""
    file.chmod(0o666)
    with gpu.open(flavor="tensorrt-rtx"):
        assert gpu.api.compiled == b""


def test_the_gpu_decodes_files_where_that_was_asked_for(
    gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = NvImageCodec(on_driver(gpu.driver))
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", api)
    monkeypatch.setattr(module, "find_kernels", lambda cuda: Resizing(gpu.driver, gpu.cuda, gpu.card))
    contents = [jpeg(picture(40 + index, 60, index)) for index in range(11)]
    contents[2], contents[5], contents[9] = contents[2][:-2], turned(contents[5], 6), contents[9][:400] + bytes(99)
    files = [tmp_path / f"{position}.jpg" for position in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    broken = contents[4]  # in a way that only decoders notice, and that OpenCV does not mind
    api.refused = {broken}
    tracklets = [Tracklet("a", tuple(files[:7])), Tracklet("b", (*files[7:], tmp_path / "missing.jpg"))]
    with gpu.open() as session:
        assert isinstance(session, DecodesOnDevice)
        on_cpu = list(embed(session, tracklets, keep_frames=True))
        session.decode_on_device()
        assert str(session.info) == "TensorRT 1.7.1.116 on NVIDIA L4 with nvImageCodec 0.9.0"
        on_gpu = list(embed(session, tracklets, keep_frames=True))
    assert sum(api.batches[1:]) == 8  # after the first, which tries it out
    for one, other in zip(on_cpu, on_gpu, strict=True):
        assert one.unreadable == other.unreadable
        np.testing.assert_array_equal(one.embedding, other.embedding)
        assert all(np.array_equal(one.frames[index], other.frames[index]) for index in one.frames)
    assert [len(one.unreadable) for one in on_gpu] == [1, 2]
    assert api.open == 0
    gpu.check_nothing_is_left()
