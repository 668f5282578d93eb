"""CUDA's driver library itself: the calls that pycuda does not have, or not for streams of other libraries."""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from reid.runtime.cuda_driver.errors import cuda_error

__all__ = ["DriverLibrary", "open_library"]

_OUT_OF_MEMORY, _NOT_READY = 2, 600
_CAPTURE_THREAD_LOCAL = 1
_DEVICE_ORDINAL = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL


class DriverLibrary:
    """Events, CUDA graphs, copies on the device, and pointers. All handles and addresses are integers."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - a ctypes library
        """Take the loaded library."""
        self._driver = driver

    def _call(self, name: str, *arguments: object) -> None:
        if code := getattr(self._driver, name)(*arguments):
            raise cuda_error(f"{name} failed: {self._reason(code)}", out_of_memory=code == _OUT_OF_MEMORY)

    def _reason(self, code: int) -> str:
        text = c_char_p()
        self._driver.cuGetErrorString(code, byref(text))
        return text.value.decode(errors="replace") if text.value else f"error {code}"

    def current_context(self) -> int:
        """Return the context that is current on this thread; 0 where there is none."""
        context = c_void_p()
        self._call("cuCtxGetCurrent", byref(context))
        return context.value or 0

    def synchronize(self, stream: int) -> None:
        """Wait for all work of a stream."""
        self._call("cuStreamSynchronize", c_void_p(stream))

    def wait(self, stream: int, event: int) -> None:
        """Make what is put on a stream from here on wait for an event."""
        self._call("cuStreamWaitEvent", c_void_p(stream), c_void_p(event), c_uint(0))

    def create_event(self) -> int:
        """Create an event that keeps time."""
        event = c_void_p()
        self._call("cuEventCreate", byref(event), c_uint(0))
        return event.value or 0

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        self._call("cuEventDestroy_v2", c_void_p(event))

    def record(self, event: int, stream: int) -> None:
        """Make an event happen once all that is on a stream by now is done."""
        self._call("cuEventRecord", c_void_p(event), c_void_p(stream))

    def happened(self, event: int) -> bool:
        """Return whether an event has happened; one that was never recorded has."""
        code = self._driver.cuEventQuery(c_void_p(event))
        if code not in (0, _NOT_READY):
            raise cuda_error(f"cuEventQuery failed: {self._reason(code)}", out_of_memory=False)
        return bool(code == 0)

    def wait_for(self, event: int) -> None:
        """Wait on this thread until an event has happened."""
        self._call("cuEventSynchronize", c_void_p(event))

    def milliseconds_between(self, earlier: int, later: int) -> float:
        """Return the time between two events that have happened."""
        milliseconds = c_float()
        self._call("cuEventElapsedTime", byref(milliseconds), c_void_p(earlier), c_void_p(later))
        return milliseconds.value

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy bytes within the device's memory, on a stream."""
        self._call("cuMemcpyDtoDAsync_v2", c_uint64(target), c_uint64(source), c_size_t(size), c_void_p(stream))

    def ordinal_of(self, address: int) -> int:
        """Return the number of the GPU that an address is on. Raises SessionError where it is on none."""
        ordinal = c_int(-1)
        self._call("cuPointerGetAttribute", byref(ordinal), c_int(_DEVICE_ORDINAL), c_uint64(address))
        return ordinal.value

    def begin_capture(self, stream: int) -> None:
        """Capture what is put on a stream from here on; other threads may go on using CUDA as they like."""
        self._call("cuStreamBeginCapture_v2", c_void_p(stream), c_int(_CAPTURE_THREAD_LOCAL))

    def end_capture(self, stream: int) -> int:
        """Return the graph of what was captured. Raises SessionError where something in it cannot be captured."""
        graph = c_void_p()
        self._call("cuStreamEndCapture", c_void_p(stream), byref(graph))
        return graph.value or 0

    def instantiate(self, graph: int) -> int:
        """Make a graph ready to launch; the graph itself may be destroyed afterwards."""
        executable = c_void_p()
        self._call("cuGraphInstantiateWithFlags", byref(executable), c_void_p(graph), c_uint64(0))
        return executable.value or 0

    def launch(self, executable: int, stream: int) -> None:
        """Launch a graph that was made ready, on a stream."""
        self._call("cuGraphLaunch", c_void_p(executable), c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        """Destroy a graph."""
        self._call("cuGraphDestroy", c_void_p(graph))

    def destroy_executable(self, executable: int) -> None:
        """Destroy what `instantiate` returned, once its launches are done."""
        self._call("cuGraphExecDestroy", c_void_p(executable))


def open_library() -> DriverLibrary:
    """Load the driver's library. Raises OSError where there is none."""
    return DriverLibrary(ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"))
