"""CUDA through pycuda and through cuda-bindings, on a driver that refuses what CUDA refuses."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from types import ModuleType

import numpy as np
import pytest
from strict_cuda import CONTEXT, Driver, Failed, cuda_on

import reid.runtime.cuda as module
from reid.runtime.cuda import Cuda, DeviceMemoryError, open_cuda
from reid.runtime.cuda_driver.bindings import CudaBindings
from reid.runtime.cuda_driver.dlpack import read_capsule
from reid.runtime.cuda_driver.find import find_package
from reid.runtime.cuda_driver.kernels import packed
from reid.runtime.cuda_driver.library import DriverLibrary
from reid.runtime.cuda_driver.pycuda import PyCuda
from reid.runtime.errors import SessionError
from reid.runtime.gpu import Device

PACKAGES = ("pycuda", "cuda-bindings")


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture(params=PACKAGES)
def cuda(driver: Driver, request: pytest.FixtureRequest) -> Cuda:
    return cuda_on(driver, request.param)


def test_what_was_current_before_is_current_afterwards(driver: Driver, cuda: Cuda) -> None:
    driver.stack.append(0xBEEF)  # another library's, of another GPU
    with cuda.current():
        with cuda.current():
            assert driver.stack == [0xBEEF, CONTEXT, CONTEXT]
        assert driver.stack == [0xBEEF, CONTEXT]
    stream, event, buffer = cuda.stream(), cuda.event(), cuda.allocate(16)
    cuda.upload(buffer, np.arange(4, dtype=np.float32), stream)
    event.record(stream)
    stream.wait(event)
    event.synchronize()
    driver.failing["cuMemAlloc"] = 2
    with pytest.raises(DeviceMemoryError):
        cuda.allocate(16)
    for one in (stream, event, buffer):
        one.free()
        one.free()  # once is enough
    assert driver.stack == [0xBEEF]
    assert (driver.used, driver.faults) == (0, [])


def test_a_gpu_is_opened_once_and_stays_open(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_opened", {})
    monkeypatch.setattr(
        module, "find_device", lambda ordinal: Device("NVIDIA L4", "8.9", "13.0") if ordinal < 2 else None
    )
    monkeypatch.setattr(module, "find_package", lambda: PyCuda(driver.pycuda()))
    monkeypatch.setattr(module, "open_library", lambda: DriverLibrary(driver.library()))
    found: list[Cuda] = []
    threads = [threading.Thread(target=lambda: found.append(open_cuda())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(one) for one in found} == {id(open_cuda())}
    assert driver.retained == 1
    with pytest.raises(SessionError, match="invalid device ordinal"):
        open_cuda(1)
    with pytest.raises(SessionError, match=r"NVIDIA GPU 2 .*; or use onnxruntime:cpu"):
        open_cuda(2)


def test_what_another_thread_drops_is_freed(driver: Driver, cuda: Cuda) -> None:
    owned = [cuda.stream(), cuda.event(), cuda.allocate(8), cuda.pinned((2, 2), np.float32)]
    thread = threading.Thread(target=owned.clear)
    thread.start()
    thread.join()
    assert driver.used == 0
    assert all(one.is_freed for one in driver.memory.values())
    assert len(driver.streams) == 2
    assert (driver.events, driver.faults) == ({}, [])


def test_code_is_unloaded_with_its_context_current_whatever_goes_last(driver: Driver, cuda: Cuda) -> None:
    code = cuda.module(b"a fat binary")
    held = [code.function("first"), code.function("second")]
    code.free()  # pycuda's kernels keep it
    assert driver.faults == []
    other = cuda.module(b"a fat binary")
    held += [other.function("first")]
    del code, other
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert (driver.modules, driver.faults) == (set(), [])


@pytest.mark.parametrize("package", PACKAGES)
def test_the_context_is_never_given_back(driver: Driver, package: str) -> None:
    cuda_on(driver, package).stream().synchronize()
    gc.collect()
    assert driver.faults == []


def test_a_forked_process_leaves_alone_what_it_inherits(driver: Driver, cuda: Cuda) -> None:
    inherited = [cuda.stream(), cuda.event(), cuda.allocate(8), cuda.pinned((2, 2), np.float32)]
    inherited.append(cuda.module(b"a fat binary").function("first"))
    driver.is_forked = True
    inherited.clear()
    gc.collect()
    assert (driver.used, driver.faults) == (8, [])
    with pytest.raises(SessionError, match="initialization error"):
        cuda.stream()


def test_page_locked_memory_lives_as_long_as_a_view_of_it(driver: Driver, cuda: Cuda) -> None:
    array = cuda.pinned((4, 3), np.uint8)
    assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == ((4, 3), np.uint8, True, True)
    view = array[1:, :2]
    (memory,) = driver.memory.values()
    del array
    assert not memory.is_freed
    view[:] = 7
    del view
    assert memory.is_freed


def test_copies_run_in_the_order_of_their_stream(cuda: Cuda) -> None:
    stream, buffer = cuda.stream(), cuda.allocate(400)
    source, target = cuda.pinned((10, 10), np.float32), cuda.pinned((5, 10), np.float32)
    source[:], target[:] = np.arange(100).reshape(10, 10), -1
    cuda.upload(buffer, source, stream)
    cuda.download(target, buffer, stream)
    assert (target == -1).all()  # nothing is there before it is waited for
    stream.synchronize()
    np.testing.assert_array_equal(target, source[:5])
    pageable = np.empty(3, np.float32)
    cuda.download(pageable, buffer, stream)
    np.testing.assert_array_equal(pageable, [0, 1, 2])


def test_a_copy_beyond_a_buffer_or_with_gaps_is_refused(cuda: Cuda) -> None:
    stream, buffer = cuda.stream(), cuda.allocate(100)
    for array in (np.zeros(101, np.uint8), np.zeros((5, 10), np.uint8)[:, ::2], np.zeros(26, np.float32)):
        with pytest.raises(ValueError, match=r"does not fit|not contiguous"):
            cuda.upload(buffer, array, stream)
        with pytest.raises(ValueError, match=r"does not fit|not contiguous"):
            cuda.download(array, buffer, stream)
    with pytest.raises(ValueError, match="does not fit"):
        buffer.view((26,), np.float32)


def test_a_stream_waits_for_an_event_of_another(cuda: Cuda) -> None:
    first, second, buffer, event = cuda.stream(), cuda.stream(), cuda.allocate(4), cuda.event()
    assert event.done()
    cuda.upload(buffer, np.ones(1, np.float32), first)
    event.record(first)
    found = cuda.pinned((1,), np.float32)
    with pytest.raises(AssertionError, match="does not wait"):  # so the driver finds it
        cuda.download(found, buffer, second)
    second.wait(event)
    cuda.download(found, buffer, second)
    assert not event.done()
    second.synchronize()
    assert found[0] == 1


@pytest.mark.parametrize("name", ["cuStreamCreate", "cuMemHostAlloc", "cuStreamSynchronize", "cuEventRecord"])
def test_every_failure_is_one_line_with_a_remedy(driver: Driver, cuda: Cuda, name: str) -> None:
    stream, event = cuda.stream(), cuda.event()
    calls = {
        "cuStreamCreate": cuda.stream,
        "cuMemHostAlloc": lambda: cuda.pinned((1,), np.uint8),
        "cuStreamSynchronize": stream.synchronize,
        "cuEventRecord": lambda: event.record(stream),
    }
    for code, error, said in (
        (2, DeviceMemoryError, r"memory is full \(.*out of memory\); end other programs .* smaller batch"),
        (700, SessionError, r"CUDA failed \(.*illegal memory access.*\); run it again, .* onnxruntime:cpu"),
    ):
        driver.failing[name] = code
        with pytest.raises(error, match=said):
            calls[name]()
    assert driver.stack == []


def test_without_a_context_the_driver_refuses(driver: Driver) -> None:
    with pytest.raises(Failed, match="invalid device context"):
        driver.allocate(8)
    with pytest.raises(Failed, match="invalid device context"):
        driver.pop()


def fake(name: str, **content: object) -> ModuleType:
    one = ModuleType(name)
    one.__dict__.update(content)
    return one


def test_pycuda_is_taken_where_it_is_new_enough_and_cuda_bindings_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, kind in (((2026, 1), PyCuda), ((2025, 1, 2), PyCuda), ((2025, 1, 1), CudaBindings)):
        monkeypatch.setitem(sys.modules, "pycuda", fake("pycuda", VERSION=version))
        monkeypatch.setitem(sys.modules, "pycuda.driver", fake("pycuda.driver"))
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", fake("cuda.bindings.driver"))
        assert isinstance(find_package(), kind)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(
        SessionError, match=r"pycuda .*2025\.1\.1 is older than 2025\.1\.2.* and cuda-bindings is not .*pip"
    ):
        find_package()


def test_the_calls_are_those_of_the_real_cuda_bindings() -> None:
    real = pytest.importorskip("cuda.bindings.driver")
    for name in Driver().bindings()._calls:
        assert callable(getattr(real, name))
    for name in ("cuLaunchKernel", "cuGetErrorString"):
        assert callable(getattr(real, name))


def test_arguments_are_packed_as_c_packs_them(cuda: Cuda) -> None:
    class Arguments(ctypes.Structure):
        _fields_ = (
            ("a", ctypes.c_uint8),
            ("pointer", ctypes.c_uint64),
            ("b", ctypes.c_int32),
            ("c", ctypes.c_float),
            ("d", ctypes.c_int16),
            ("e", ctypes.c_double),
        )

    buffer = cuda.allocate(8)
    values = np.uint8(1), buffer, np.int32(-2), np.float32(0.5), np.int16(3), np.float64(0.25)
    expected = Arguments(1, buffer.address, -2, 0.5, 3, 0.25)
    assert packed(values) == bytes(expected)


def test_a_device_array_says_where_it_is_and_when(cuda: Cuda) -> None:
    buffer = cuda.allocate(24)
    facts = buffer.view((2, 3), np.float32).__cuda_array_interface__
    assert (facts["shape"], facts["typestr"], facts["data"], facts["stream"]) == (
        (2, 3),
        "<f4",
        (buffer.address, False),
        None,
    )


def test_a_device_array_gives_its_own_memory_or_none(cuda: Cuda) -> None:
    array = cuda.allocate(24).view((2, 3), np.float32)
    for given in ({}, {"copy": False, "dl_device": (2, 0)}, {"copy": None, "dl_device": None, "max_version": (1, 0)}):
        assert read_capsule(array.__dlpack__(**given))[0] == array.address
    for wish in ({"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (2, 1)}):
        with pytest.raises(BufferError, match="copy it afterwards"):
            array.__dlpack__(**wish)


@pytest.mark.gpu
def test_memory_goes_to_a_real_gpu_and_back() -> None:
    cuda = open_cuda()
    before = cuda.library.current_context()
    stream, buffer = cuda.stream(), cuda.allocate(1 << 20)
    source, target = cuda.pinned((1 << 18,), np.float32), cuda.pinned((1 << 18,), np.float32)
    source[:] = np.arange(1 << 18)
    begin, end = cuda.event(), cuda.event()
    begin.record(stream)
    cuda.upload(buffer, source, stream)
    cuda.download(target, buffer, stream)
    end.record(stream)
    stream.synchronize()
    np.testing.assert_array_equal(target, source)
    assert end.milliseconds_since(begin) > 0
    with cuda.current():
        assert cuda.library.ordinal_of(buffer.address) == 0
    with pytest.raises(DeviceMemoryError):
        cuda.allocate(1 << 50)
    assert cuda.library.current_context() == before
    assert open_cuda() is cuda
