"""CUDA through pycuda."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda_driver.errors import cuda_error
from reid.runtime.cuda_driver.ownership import Owned, keep_forever
from reid.runtime.cuda_driver.package import NON_BLOCKING

__all__ = ["PyCuda"]


class PyCuda:
    """See Package."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401
        """Take the module pycuda.driver."""
        self._driver = driver

    def _call(self, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
        try:
            return function(*arguments)
        except self._driver.Error as error:
            raise cuda_error(str(error), out_of_memory=isinstance(error, self._driver.MemoryError)) from None

    def retain(self, ordinal: int) -> Any:  # noqa: ANN401
        """See Package."""
        self._call(self._driver.init)
        context = self._call(self._call(self._driver.Device, ordinal).retain_primary_context)
        keep_forever(context)  # deleted, at exit, it would be detached, which is not for a primary context
        return context

    def push(self, context: Any) -> None:  # noqa: ANN401
        """See Package."""
        self._call(context.push)

    def pop(self) -> None:
        """See Package."""
        self._call(self._driver.Context.pop)

    def stream(self) -> Owned:
        """See Package."""
        stream = self._call(self._driver.Stream, NON_BLOCKING)
        return Owned(stream, stream.handle, lambda stream: None)

    def allocate(self, size: int) -> Owned:
        """See Package."""
        memory = self._call(self._driver.mem_alloc, size)
        return Owned(memory, int(memory), lambda memory: self._call(memory.free))

    def allocate_host(self, size: int) -> Owned:
        """See Package."""
        array = self._call(self._driver.pagelocked_empty, size, np.uint8)
        return Owned(array, array.ctypes.data, lambda array: self._call(array.base.free))

    def upload(self, address: int, array: NDArray[Any], stream: Owned) -> None:
        """See Package."""
        self._call(self._driver.memcpy_htod_async, address, array, stream.raw)

    def download(self, array: NDArray[Any], address: int, stream: Owned) -> None:
        """See Package."""
        self._call(self._driver.memcpy_dtoh_async, array, address, stream.raw)

    def load(self, image: bytes) -> Owned:
        """See Package."""
        return Owned(self._call(self._driver.module_from_buffer, image), 0, lambda module: None)

    def function(self, module: Owned, name: str) -> Owned:
        """See Package. It keeps the module, so that whoever gives back the last of both unloads it."""
        return Owned(self._call(module.raw.get_function, name), 0, lambda function: None)

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
        self._call(function.raw._launch_kernel, grid, block, parameters, shared, stream.raw)
