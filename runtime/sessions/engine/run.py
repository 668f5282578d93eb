"""`EngineRun` runs an engine once with any named tensors: what an engine computes inside, next to what a graph does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, DeviceBuffer, DeviceMemoryError
from reid.runtime.errors import SessionError
from reid.runtime.sessions.engine.loading import LoadedEngine, Plan
from reid.runtime.tensorrt_api import TensorRT

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EngineRun"]

_DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}
"""TensorRT's types of tensors that numpy has, too."""


class EngineRun:
    """An engine of any inputs and outputs, which it runs one batch after the other. Close it, or use it in a `with`."""

    def __init__(self, api: TensorRT, plan: Plan, cuda: Cuda, *, host_code: bool = False) -> None:
        """Deserialize a plan that was just built here.

        Args:
            api: the package that built it.
            plan: the serialized engine.
            cuda: the GPU to run it on.
            host_code: whether to run code that the plan brings along, as a version-compatible one does.

        Raises:
            DeviceMemoryError: it needs more memory than is free.
            ModelError: it does not load; the message is TensorRT's reason, in a few words.
        """
        self._cuda = cuda
        self._stream = cuda.stream()
        with cuda.current():
            self._loaded = LoadedEngine(api, plan, host_code=host_code)
            execution = self._loaded.engine.create_execution_context()
            if execution is None:
                self._loaded.close()
                reason = self._loaded.reason()
                raise DeviceMemoryError(f"the engine has too little memory on the GPU ({reason}); free some")
            self._execution, self._is_closed = execution, False
            self._input = api.TensorIOMode.INPUT

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one batch.

        Args:
            inputs: name -> array, for every input of the engine.

        Returns:
            Name -> array, for every output of the engine.

        Raises:
            SessionError: the engine takes no such shapes, or the device failed.
            ValueError: an input is missing or of another type, or an output is of a type that numpy does not have.
        """
        with self._cuda.current():
            buffers = {name: self._put(name, inputs) for name in self._names(are_inputs=True)}
            outputs = {name: self._room(name) for name in self._names(are_inputs=False)}
            buffers |= {name: self._buffer(name, array) for name, array in outputs.items()}
            if not self._execution.execute_async_v3(self._stream.handle):
                raise SessionError(f"the engine did not run ({self._loaded.reason()}); build it again")
            for name, array in outputs.items():
                self._cuda.download(array, buffers[name], self._stream)
            self._stream.synchronize()
            for buffer in buffers.values():
                buffer.free()
        return outputs

    def _names(self, *, are_inputs: bool) -> list[str]:
        engine = self._loaded.engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [name for name in names if (engine.get_tensor_mode(name) == self._input) == are_inputs]

    def _dtype(self, name: str) -> np.dtype[Any]:
        kind = self._loaded.engine.get_tensor_dtype(name).name
        if kind not in _DTYPES:
            raise ValueError(f"{name} is {kind}, which numpy does not have; cast it in the graph")
        return np.dtype(_DTYPES[kind])

    def _put(self, name: str, inputs: Mapping[str, NDArray[Any]]) -> DeviceBuffer:
        array = inputs.get(name)
        if array is None or array.dtype != self._dtype(name):
            raise ValueError(f"{name} is {getattr(array, 'dtype', 'missing')}; give an array of {self._dtype(name)}")
        if not self._execution.set_input_shape(name, array.shape):
            raise SessionError(f"the engine takes no {name} of {array.shape} ({self._loaded.reason()})")
        buffer = self._buffer(name, array)
        self._cuda.upload(buffer, np.ascontiguousarray(array), self._stream)
        return buffer

    def _room(self, name: str) -> NDArray[Any]:
        shape = tuple(self._execution.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise SessionError(f"{name} has no shape that is known beforehand: {shape}; leave it out of the outputs")
        return np.empty(shape, self._dtype(name))

    def _buffer(self, name: str, array: NDArray[Any]) -> DeviceBuffer:
        buffer = self._cuda.allocate(max(1, math.prod(array.shape) * array.itemsize))
        if not self._execution.set_tensor_address(name, buffer.address):
            raise SessionError(f"the engine has no tensor {name} ({self._loaded.reason()})")
        return buffer

    def close(self) -> None:
        """Release the device's memory. What is closed can be closed again."""
        if not self._is_closed:
            self._is_closed = True
            with self._cuda.current():
                del self._execution
                self._loaded.close()
                self._stream.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
