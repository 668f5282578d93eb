"""CUDA as the runtime uses it: a GPU's primary context, and streams, events, memory and kernels in it.

The context is the one that PyTorch and CuPy use, too. It is retained once per process and GPU, made current around each
use and never released: what was current before is current afterwards, on every thread. A failure is a SessionError.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from numpy.typing import DTypeLike, NDArray

from reid.runtime.cuda_driver.errors import DeviceMemoryError
from reid.runtime.cuda_driver.find import find_package
from reid.runtime.cuda_driver.kernels import Function, Module
from reid.runtime.cuda_driver.library import DriverLibrary, open_library
from reid.runtime.cuda_driver.memory import DeviceArray, DeviceBuffer, check_copy, pinned_array
from reid.runtime.cuda_driver.ownership import Current, Owned, free_with
from reid.runtime.cuda_driver.package import Package
from reid.runtime.errors import SessionError
from reid.runtime.gpu import find_device, why_no_device

__all__ = [
    "Cuda",
    "DeviceArray",
    "DeviceBuffer",
    "DeviceMemoryError",
    "Event",
    "Function",
    "Module",
    "Stream",
    "open_cuda",
]

_opened: dict[int, Cuda] = {}
_opening = threading.Lock()


def open_cuda(ordinal: int = 0) -> Cuda:
    """Return CUDA on a GPU, by its number; the same for each call of a process.

    Raises:
        SessionError: there is no package for it, no driver or no such GPU.
    """
    with _opening:
        if ordinal not in _opened:
            if find_device(ordinal) is None:
                raise SessionError(f"{why_no_device(ordinal)}; or use onnxruntime:cpu")
            _opened[ordinal] = Cuda(ordinal, find_package(), open_library())
        return _opened[ordinal]


class Cuda:
    """A GPU's primary context. May be used from any thread.

    Attributes:
        ordinal: the GPU's number.
        library: the driver's library, for what the package does not have; its calls need the context to be current.
    """

    def __init__(self, ordinal: int, package: Package, library: DriverLibrary) -> None:
        """Retain the context for as long as the process runs; call `open_cuda` instead."""
        self.ordinal = ordinal
        self.library = library
        self._package = package
        self._context = package.retain(ordinal)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current on this thread, and leave what was current before."""
        self._package.push(self._context)
        try:
            yield
        finally:
            self._package.pop()

    def stream(self) -> Stream:
        """Create a stream that neither waits for the default stream nor makes it wait."""
        with self.current():
            stream = self._package.stream()
        return Stream(self.current, self.library, stream)

    def stream_at(self, handle: int) -> Stream:
        """Return another library's stream, which stays its own, to wait and record on; 0 is the default stream."""
        return Stream(self.current, self.library, Owned(None, handle, lambda raw: None))

    def event(self) -> Event:
        """Create an event."""
        with self.current():
            return Event(self.current, self.library)

    def allocate(self, size: int) -> DeviceBuffer:
        """Allocate bytes on the device, aligned to 256. Raises DeviceMemoryError where there are not as many."""
        with self.current():
            memory = self._package.allocate(size)
        return DeviceBuffer(self.current, memory, size, self.ordinal)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Allocate an array in page-locked memory on the host; not initialized. Freed when no view of it is left."""
        return pinned_array(self.current, self._package, shape, dtype)

    def upload(self, buffer: DeviceBuffer, array: NDArray[Any], stream: Stream) -> None:
        """Copy an array to the start of a buffer, in a stream's order.

        A pinned array must stay as it is until the stream has come so far. Any other is read at once.

        Raises:
            ValueError: the array is not contiguous, or larger than the buffer.
        """
        check_copy(array, buffer)
        with self.current():
            self._package.upload(buffer.address, array, stream.owned)

    def download(self, array: NDArray[Any], buffer: DeviceBuffer, stream: Stream, start: int = 0) -> None:
        """Fill an array from a buffer, from its byte `start` on, in a stream's order. Raises ValueError as `upload`.

        The array is filled once the stream has come so far.
        """
        check_copy(array, buffer, start)
        with self.current():
            self._package.download(array, buffer.address + start, stream.owned)

    def module(self, image: bytes) -> Module:
        """Load code for the device: a fat binary. Raises SessionError where it has none for this GPU."""
        with self.current():
            module = self._package.load(image)
        return Module(self.current, self._package, module)


class Stream:
    """A queue of work on the device.

    Attributes:
        handle: the driver's handle, as TensorRT and others take it.
        owned: the package's stream.
        free: destroys it, once; its work goes on.
    """

    def __init__(self, current: Current, library: DriverLibrary, stream: Owned) -> None:
        """Take a stream; call `Cuda.stream` instead."""
        self.handle = stream.handle
        self.owned = stream
        self.free = free_with(self, current, stream.release)
        self._current, self._library = current, library

    def synchronize(self) -> None:
        """Wait until all of its work is done."""
        with self._current():
            self._library.synchronize(self.handle)

    def wait(self, event: Event) -> None:
        """Let the work that comes from here on wait for an event, on the device."""
        with self._current():
            self._library.wait(self.handle, event.handle)


class Event:
    """A point in the work of a stream.

    Attributes:
        handle: the driver's handle.
        free: destroys it, once.
    """

    def __init__(self, current: Current, library: DriverLibrary) -> None:
        """Create an event in the context that is current; call `Cuda.event` instead."""
        self.handle = handle = library.create_event()
        self.free = free_with(self, current, lambda: library.destroy_event(handle))
        self._current, self._library = current, library

    def record(self, stream: Stream) -> None:
        """Let the event happen once the work that is on the stream by now is done."""
        with self._current():
            self._library.record(self.handle, stream.handle)

    def done(self) -> bool:
        """Return whether it has happened. One that was never recorded has."""
        with self._current():
            return self._library.happened(self.handle)

    def synchronize(self) -> None:
        """Wait until it has happened."""
        with self._current():
            self._library.wait_for(self.handle)

    def milliseconds_since(self, earlier: Event) -> float:
        """Return the time from an earlier event to this one; both must have happened."""
        with self._current():
            return self._library.milliseconds_between(earlier.handle, self.handle)
