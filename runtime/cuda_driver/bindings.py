"""CUDA through NVIDIA's cuda-bindings."""

from __future__ import annotations

import ctypes
from typing import Any

from numpy.typing import NDArray

from reid.runtime.cuda_driver.errors import cuda_error
from reid.runtime.cuda_driver.ownership import Owned
from reid.runtime.cuda_driver.package import NON_BLOCKING

__all__ = ["CudaBindings"]


class CudaBindings:
    """See Package."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401
        """Take the module cuda.bindings.driver."""
        self._driver = driver

    def _call(self, name: str, *arguments: object) -> Any:  # noqa: ANN401
        code, *values = getattr(self._driver, name)(*arguments)
        if int(code):
            _, reason = self._driver.cuGetErrorString(code)
            reason = reason.decode() if reason else f"error {int(code)}"
            raise cuda_error(f"{name} failed: {reason}", out_of_memory=int(code) == 2)
        return values[0] if values else None

    def retain(self, ordinal: int) -> Any:  # noqa: ANN401
        """See Package."""
        self._call("cuInit", 0)
        return self._call("cuDevicePrimaryCtxRetain", self._call("cuDeviceGet", ordinal))

    def push(self, context: Any) -> None:  # noqa: ANN401
        """See Package."""
        self._call("cuCtxPushCurrent", context)

    def pop(self) -> None:
        """See Package."""
        self._call("cuCtxPopCurrent")

    def _owned(self, raw: Any, free: str) -> Owned:  # noqa: ANN401
        return Owned(raw, int(raw), lambda raw: self._call(free, raw))

    def stream(self) -> Owned:
        """See Package."""
        return self._owned(self._call("cuStreamCreate", NON_BLOCKING), "cuStreamDestroy")

    def allocate(self, size: int) -> Owned:
        """See Package."""
        return self._owned(self._call("cuMemAlloc", size), "cuMemFree")

    def allocate_host(self, size: int) -> Owned:
        """See Package."""
        return self._owned(self._call("cuMemHostAlloc", size, 0), "cuMemFreeHost")

    def upload(self, address: int, array: NDArray[Any], stream: Owned) -> None:
        """See Package."""
        self._call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream.raw)

    def download(self, array: NDArray[Any], address: int, stream: Owned) -> None:
        """See Package."""
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream.raw)

    def load(self, image: bytes) -> Owned:
        """See Package."""
        return self._owned(self._call("cuModuleLoadData", image), "cuModuleUnload")

    def function(self, module: Owned, name: str) -> Owned:
        """See Package."""
        function = self._call("cuModuleGetFunction", module.raw, name.encode())
        return Owned(function, int(function), lambda function: None)

    def launch(
        self,
        function: Owned,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        parameters: bytes,
        shared: int,
        stream: Owned,
    ) -> None:
        """See Package."""
        packed, size = ctypes.create_string_buffer(parameters, len(parameters)), ctypes.c_size_t(len(parameters))
        # CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END
        extra = (ctypes.c_void_p * 5)(1, ctypes.addressof(packed), 2, ctypes.addressof(size), 0)
        self._call("cuLaunchKernel", function.raw, *grid, *block, shared, stream.raw, 0, ctypes.addressof(extra))
