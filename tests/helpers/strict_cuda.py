"""A CUDA driver that refuses what CUDA refuses, without a GPU; pycuda, cuda-bindings and the C library on top of it.

Work on streams is done when somebody waits for it and no sooner, so that whoever reads too early reads what was there
before. Every access to memory has to be ordered after those that conflict with it: by its stream, or by an event. Work
takes a millisecond for every byte that it accesses, and nothing else takes any time.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from reid.runtime.cuda import Cuda
from reid.runtime.cuda_driver.bindings import CudaBindings
from reid.runtime.cuda_driver.library import DriverLibrary
from reid.runtime.cuda_driver.pycuda import PyCuda

__all__ = ["CONTEXT", "Access", "Driver", "Failed", "cuda_on"]

CONTEXT = 0xC0DE
"""The primary context."""

LEGACY = 1
OUT_OF_MEMORY, NOT_INITIALIZED, INVALID_CONTEXT, INVALID_HANDLE, NOT_READY, CAPTURE = 2, 3, 201, 400, 600, 901
REASONS = {
    1: "invalid argument",
    2: "out of memory",
    3: "initialization error",
    101: "invalid device ordinal",
    201: "invalid device context",
    400: "invalid resource handle",
    600: "device not ready",
    700: "an illegal memory access was encountered",
    901: "operation failed due to a previous error during capture",
}


class Failed(Exception):  # noqa: N818
    """A call that returns an error."""

    def __init__(self, code: int) -> None:
        super().__init__(REASONS[code])
        self.code = code


@dataclass(eq=False)
class Memory:
    """An allocation: what it holds, and the accesses to it that later ones may conflict with."""

    address: int
    content: np.ndarray
    on_host: bool
    is_freed: bool = False
    accesses: list[tuple[int, int, bool, int, int]] = field(default_factory=list)  # begin, end, writes, stream, tick


@dataclass(frozen=True)
class Access:
    """An access to memory, by address and size."""

    address: int
    size: int
    writes: bool


@dataclass(eq=False)
class Work:
    """What a stream does at a time: after other work, once."""

    act: Callable[[], None] | None
    after: list[Work]
    is_done: bool = False
    done_ms: int = 0

    def do(self) -> None:
        if not self.is_done:
            self.is_done = True
            for work in self.after:
                work.do()
            if self.act:
                self.act()


@dataclass(eq=False)
class Stream:
    """A stream: its last work, and how far it is known to be after others."""

    last: Work = field(default_factory=lambda: Work(None, [], is_done=True))
    clock: Counter[int] = field(default_factory=Counter)
    captured: list[tuple[Callable[[], None], list[Access], Any]] | None = None
    capturer: int = 0


class Driver:
    """The driver of a machine with one GPU.

    Attributes:
        room: the bytes that may be allocated on the device.
        failing: name of a call -> error that it returns next.
        calls: how often each call was made.
        faults: what went wrong where nothing can be raised; has to be empty in the end.
        is_forked: whether the process is a child of the one that uses the driver, to which it refuses everything.
        now_ms: how long the device has worked.
    """

    def __init__(self, room: int = 1 << 40) -> None:
        self.room, self.failing, self.calls, self.faults = room, {}, Counter[str](), list[str]()
        self.stacks: dict[int, list[int]] = defaultdict(list)
        self.memory: dict[int, Memory] = {}
        self.streams: dict[int, Stream] = {0: Stream(), LEGACY: Stream()}
        self.events: dict[int, tuple[Work, Counter[int]] | None] = {}
        self.graphs: dict[int, Any] = {}
        self.modules: set[int] = set()
        self.host = Counter[int]()  # how far the host is known to be after streams
        self.retained, self.is_forked, self.now_ms = 0, False, 0
        self._handles = itertools.count(0x1000)
        self._addresses = itertools.count(0x7F00_0000_0000, 1 << 32)

    # contexts
    @property
    def stack(self) -> list[int]:
        return self.stacks[threading.get_ident()]

    def enter(self, name: str) -> None:
        """Begin a call that needs the context."""
        self.calls[name] += 1
        if code := self.failing.pop(name, NOT_INITIALIZED if self.is_forked else 0):
            raise Failed(code)
        if self.stack[-1:] != [CONTEXT]:
            raise Failed(INVALID_CONTEXT)

    def push(self, context: int) -> None:
        assert context == CONTEXT
        assert self.retained
        if self.is_forked:
            raise Failed(NOT_INITIALIZED)
        self.stack.append(context)

    def pop(self) -> int:
        if not self.stack:
            raise Failed(INVALID_CONTEXT)
        return self.stack.pop()

    def not_while_capturing(self) -> None:
        """A call that is unsafe in a capture ends it, if this thread is the one that captures."""
        for stream in self.streams.values():
            if stream.captured is not None and stream.capturer == threading.get_ident():
                stream.captured.append((lambda: None, [], None))
                stream.capturer = -1
                raise Failed(CAPTURE)

    # memory
    def allocate(self, size: int) -> int:
        self.enter("cuMemAlloc")
        self.not_while_capturing()
        assert size > 0
        if self.used + size > self.room:
            raise Failed(OUT_OF_MEMORY)
        address = next(self._addresses)
        self.memory[address] = Memory(address, np.full(size, 0xA5, np.uint8), on_host=False)
        return address

    @property
    def used(self) -> int:
        return sum(len(one.content) for one in self.memory.values() if not (one.on_host or one.is_freed))

    def allocate_host(self, size: int) -> int:
        self.enter("cuMemHostAlloc")
        self.not_while_capturing()
        content = np.full(size, 0xA5, np.uint8)
        self.memory[content.ctypes.data] = Memory(content.ctypes.data, content, on_host=True)
        return content.ctypes.data

    def free(self, address: int) -> None:
        self.enter("cuMemFree")
        self.not_while_capturing()
        assert not self.memory[address].is_freed, "freed twice"
        for stream in self.streams.values():
            stream.last.do()
        self.memory[address].is_freed = True
        self.memory[address].content.fill(0xDD)

    def find(self, address: int, size: int) -> Memory:
        """Return the one allocation that holds all of some bytes."""
        for one in self.memory.values():
            if one.address <= address and address + size <= one.address + len(one.content):
                assert not one.is_freed, "used after it was freed"
                return one
        raise AssertionError(f"{size} bytes at {address:#x} are in no allocation")

    def at(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:  # noqa: ANN401
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        one = self.find(address, size)
        return one.content[address - one.address :][:size].view(dtype).reshape(shape)

    # code
    def load(self, image: bytes) -> int:
        self.enter("cuModuleLoadData")
        assert image
        self.modules.add(module := next(self._handles))
        return module

    def unload(self, module: int) -> None:
        self.enter("cuModuleUnload")
        self.modules.remove(module)

    def find_kernel(self, module: int, name: bytes) -> int:
        self.enter("cuModuleGetFunction")
        assert module in self.modules
        assert name
        return next(self._handles)

    # streams
    def stream(self, handle: int) -> Stream:
        if handle not in self.streams:
            raise Failed(INVALID_HANDLE)
        return self.streams[handle]

    def create_stream(self, flags: int) -> int:
        self.enter("cuStreamCreate")
        assert flags == 1, "a stream that waits for the default stream"
        handle = next(self._handles)
        self.streams[handle] = Stream()
        return handle

    def destroy_stream(self, handle: int) -> None:
        self.enter("cuStreamDestroy")
        self.stream(handle).last.do()
        del self.streams[handle]

    def put(self, handle: int, act: Callable[[], None], accesses: list[Access], owner: Any = None) -> None:  # noqa: ANN401
        """Put work on a stream, or into the graph that is captured from it."""
        stream = self.stream(handle)
        if stream.captured is not None:
            stream.captured.append((act, accesses, owner))
            return
        stream.clock |= self.host
        stream.clock[handle] += 1
        for access in accesses:
            self._order(access, handle, stream.clock)

        def take_time() -> None:
            self.now_ms += sum(access.size for access in accesses)
            act()

        stream.last = Work(take_time, [stream.last])

    def _order(self, access: Access, handle: int, clock: Counter[int]) -> None:
        memory, end = self.find(access.address, access.size), access.address + access.size
        for other_begin, other_end, writes, other, tick in memory.accesses:
            if other_begin < end and access.address < other_end and (writes or access.writes):
                assert clock[other] >= tick, (
                    f"stream {handle} does not wait for what stream {other} does with {memory.address:#x}"
                )
        del memory.accesses[:-64]
        memory.accesses.append((access.address, end, access.writes, handle, clock[handle]))

    def copy(self, name: str, target: int, source: int, size: int, handle: int) -> None:
        self.enter(name)
        memory = [Access(target, size, True), Access(source, size, False)]
        accesses = [one for one in memory if self._is_known(one.address)]  # pageable memory is not the driver's
        before = ctypes.string_at(source, size) if name == "cuMemcpyHtoDAsync" else b""

        def act() -> None:
            if before and len(accesses) == 2:
                assert before == ctypes.string_at(source, size), "page-locked memory changed before it was copied"
            content = before or self.at(source, (size,), np.uint8).tobytes()
            if name == "cuMemcpyDtoHAsync":
                ctypes.memmove(target, content, size)
            else:
                self.at(target, (size,), np.uint8)[:] = np.frombuffer(content, np.uint8)

        self.put(handle, act, accesses)
        if name == "cuMemcpyDtoHAsync" and len(accesses) == 1:
            self.stream(handle).last.do()

    def _is_known(self, address: int) -> bool:
        return any(one.address <= address < one.address + len(one.content) for one in self.memory.values())

    def wait_for(self, work: Work, clock: Counter[int]) -> None:
        work.do()
        self.host |= clock

    # graphs
    def end_capture(self, handle: int) -> int:
        stream = self.stream(handle)
        works, stream.captured = stream.captured, None
        assert works is not None
        if stream.capturer != threading.get_ident():
            raise Failed(CAPTURE)
        graph = next(self._handles)
        self.graphs[graph] = works
        return graph

    def launch_graph(self, executable: int, handle: int) -> None:
        for act, accesses, owner in self.graphs[executable]:
            if owner is not None:
                owner()
            self.put(handle, act, accesses)

    # fronts
    def library(self) -> Any:  # noqa: ANN401
        """Return the C library, as ctypes shows it."""
        return _Library(self)

    def pycuda(self) -> Any:  # noqa: ANN401
        """Return the module pycuda.driver."""
        return _pycuda(self)

    def bindings(self) -> Any:  # noqa: ANN401
        """Return the module cuda.bindings.driver."""
        return _Bindings(self)


def cuda_on(driver: Driver, package: str) -> Cuda:
    """Return CUDA as the runtime uses it, through "pycuda" or "cuda-bindings"."""
    made: Any = PyCuda(driver.pycuda()) if package == "pycuda" else CudaBindings(driver.bindings())
    return Cuda(0, made, DriverLibrary(driver.library()))


class _Library:
    """What of the C library is used, with the arguments that ctypes passes."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Callable[..., int]:
        call = getattr(self, f"_{name}")

        def function(*arguments: Any) -> int:  # noqa: ANN401
            plain = [one._obj if hasattr(one, "_obj") else getattr(one, "value", one) or 0 for one in arguments]
            try:
                if name != "cuGetErrorString":
                    self._driver.enter(name)
                return call(*plain) or 0
            except Failed as error:
                return error.code

        return function

    def _cuGetErrorString(self, code: int, text: Any) -> None:  # noqa: ANN401, N802
        text.value = REASONS[code].encode()

    def _cuStreamSynchronize(self, stream: int) -> None:  # noqa: N802
        if self._driver.stream(stream).captured is not None:
            raise Failed(CAPTURE)
        self._driver.wait_for(self._driver.stream(stream).last, self._driver.stream(stream).clock)

    def _cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:  # noqa: N802
        assert flags == 0
        if (recorded := self._driver.events[event]) is not None:
            one = self._driver.stream(stream)
            one.last, one.clock = Work(None, [one.last, recorded[0]]), one.clock | recorded[1]

    def _cuEventCreate(self, event: Any, flags: int) -> None:  # noqa: ANN401, N802
        event.value = next(self._driver._handles)
        self._driver.events[event.value] = None

    def _cuEventDestroy_v2(self, event: int) -> None:  # noqa: N802
        del self._driver.events[event]

    def _cuEventRecord(self, event: int, stream: int) -> None:  # noqa: N802
        assert event in self._driver.events
        one = self._driver.stream(stream)
        assert one.captured is None, "an event in a graph tells no time"
        mark = Work(None, [one.last])
        mark.act = lambda: setattr(mark, "done_ms", self._driver.now_ms)
        if one.last.is_done:
            mark.do()
        one.last = mark
        self._driver.events[event] = mark, Counter(one.clock)

    def _cuEventQuery(self, event: int) -> int:  # noqa: N802
        recorded = self._driver.events[event]
        return 0 if recorded is None or recorded[0].is_done else NOT_READY

    def _cuEventSynchronize(self, event: int) -> None:  # noqa: N802
        if (recorded := self._driver.events[event]) is not None:
            self._driver.wait_for(*recorded)

    def _cuEventElapsedTime(self, milliseconds: Any, earlier: int, later: int) -> int:  # noqa: ANN401, N802
        marks = [recorded[0] for event in (earlier, later) if (recorded := self._driver.events[event]) is not None]
        if len(marks) < 2:
            return INVALID_HANDLE
        milliseconds.value = marks[1].done_ms - marks[0].done_ms
        return 0 if all(mark.is_done for mark in marks) else NOT_READY

    def _cuMemcpyDtoDAsync_v2(self, target: int, source: int, size: int, stream: int) -> None:  # noqa: N802
        self._driver.copy("cuMemcpyDtoDAsync", target, source, size, stream)

    def _cuPointerGetAttribute(self, ordinal: Any, attribute: int, address: int) -> int:  # noqa: ANN401, N802
        assert attribute == 9
        if not self._driver._is_known(address):
            return 1
        ordinal.value = 0
        return 0

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> None:  # noqa: N802
        assert mode == 1, "other threads could not allocate meanwhile"
        one = self._driver.stream(stream)
        assert stream not in (0, LEGACY)
        assert one.captured is None
        one.captured, one.capturer = [], threading.get_ident()

    def _cuStreamEndCapture(self, stream: int, graph: Any) -> None:  # noqa: ANN401, N802
        graph.value = self._driver.end_capture(stream)

    def _cuGraphInstantiateWithFlags(self, executable: Any, graph: int, flags: int) -> None:  # noqa: ANN401, N802
        assert flags == 0
        executable.value = next(self._driver._handles)
        self._driver.graphs[executable.value] = self._driver.graphs[graph]

    def _cuGraphLaunch(self, executable: int, stream: int) -> None:  # noqa: N802
        self._driver.launch_graph(executable, stream)

    def _cuGraphDestroy(self, graph: int) -> None:  # noqa: N802
        del self._driver.graphs[graph]

    _cuGraphExecDestroy = _cuGraphDestroy  # noqa: N815


class _Bindings:
    """What of cuda.bindings.driver is used: each call returns its error and what it gives."""

    def __init__(self, driver: Driver) -> None:
        self._calls: dict[str, Callable[..., Any]] = {
            "cuInit": lambda flags: None,
            "cuDeviceGet": lambda ordinal: ordinal if ordinal == 0 else _fail(101),
            "cuDevicePrimaryCtxRetain": lambda device: _retain(driver),
            "cuCtxPushCurrent": driver.push,
            "cuCtxPopCurrent": driver.pop,
            "cuStreamCreate": driver.create_stream,
            "cuStreamDestroy": driver.destroy_stream,
            "cuMemAlloc": driver.allocate,
            "cuMemFree": driver.free,
            "cuMemHostAlloc": lambda size, flags: driver.allocate_host(size),
            "cuMemFreeHost": driver.free,
            "cuMemcpyHtoDAsync": functools.partial(driver.copy, "cuMemcpyHtoDAsync"),
            "cuMemcpyDtoHAsync": functools.partial(driver.copy, "cuMemcpyDtoHAsync"),
            "cuModuleLoadData": driver.load,
            "cuModuleUnload": driver.unload,
            "cuModuleGetFunction": driver.find_kernel,
        }

    def cuGetErrorString(self, code: int) -> tuple[int, bytes]:  # noqa: N802
        return 0, REASONS[code].encode()

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        call = self._calls[name]

        def function(*arguments: Any) -> tuple[Any, ...]:  # noqa: ANN401
            try:
                found = call(*arguments)
            except Failed as error:
                return (error.code, None)
            return (0,) if found is None else (0, found)

        return function


def _fail(code: int) -> Any:  # noqa: ANN401
    raise Failed(code)


def _retain(driver: Driver) -> int:
    driver.retained += 1
    return CONTEXT


def _pycuda(driver: Driver) -> Any:  # noqa: ANN401, C901
    """pycuda has a context stack of its own for each thread, and frees what it has when its objects are deleted."""

    class Error(Exception): ...

    class MemoryError(Error): ...  # noqa: A001

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def function(*arguments: Any) -> Any:  # noqa: ANN401
            try:
                return call(*arguments)
            except Failed as error:
                raise (MemoryError if error.code == OUT_OF_MEMORY else Error)(f"the call failed: {error}") from None

        return function

    known = weakref.proxy(driver)  # contexts may live forever, and drivers should not

    class Context:
        push = staticmethod(guarded(lambda: known.push(CONTEXT)))
        pop = staticmethod(guarded(lambda: known.pop()))

        def __del__(self) -> None:
            known.faults.append("a primary context was deleted, and its destructor calls cuCtxDetach")

    def device(ordinal: int) -> Any:  # noqa: ANN401
        _ = ordinal and _fail(101)
        return SimpleNamespace(retain_primary_context=lambda: _retain(driver) and Context())

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            self.handle = guarded(driver.create_stream)(flags)

        def __del__(self) -> None:
            try:
                if hasattr(self, "handle"):
                    driver.destroy_stream(self.handle)
            except Failed:
                driver.faults.append("a stream was deleted with no context current, which leaks it")

    class DeviceAllocation:
        def __init__(self, size: int) -> None:
            self._address, self._is_freed = guarded(driver.allocate)(size), False

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            guarded(driver.free)(self._address)
            self._is_freed = True

        def __del__(self) -> None:
            if hasattr(self, "_address") and not self._is_freed:
                driver.faults.append("memory was left to the garbage collector")

    class Module:
        def __init__(self, image: bytes) -> None:
            self._handle = guarded(driver.load)(image)

        def get_function(self, name: str) -> Any:  # noqa: ANN401
            guarded(driver.find_kernel)(self._handle, name.encode())
            return SimpleNamespace(module=self)  # Boost.Python's custodian: a kernel keeps its module

        def __del__(self) -> None:
            try:
                if hasattr(self, "_handle"):
                    driver.unload(self._handle)
            except Failed:
                driver.faults.append("a module was deleted with no context current, which leaks it")

    def pagelocked_empty(shape: int, dtype: Any) -> np.ndarray:  # noqa: ANN401
        address = driver.allocate_host(shape * np.dtype(dtype).itemsize)

        facts = {"shape": (shape,), "typestr": np.dtype(dtype).str, "data": (address, False), "version": 3}
        return np.asarray(SimpleNamespace(__array_interface__=facts, free=guarded(lambda: driver.free(address))))

    def upload(address: int, array: np.ndarray, stream: Stream) -> None:
        assert type(address) is int
        assert array.flags.c_contiguous
        driver.copy("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream.handle)

    def download(array: np.ndarray, address: int, stream: Stream) -> None:
        assert type(address) is int
        assert array.flags.c_contiguous
        assert array.flags.writeable
        driver.copy("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream.handle)

    return SimpleNamespace(
        Error=Error,
        MemoryError=MemoryError,
        init=lambda: None,
        Device=guarded(device),
        Context=Context,
        Stream=Stream,
        mem_alloc=DeviceAllocation,
        module_from_buffer=Module,
        pagelocked_empty=guarded(pagelocked_empty),
        memcpy_htod_async=guarded(upload),
        memcpy_dtoh_async=guarded(download),
    )
