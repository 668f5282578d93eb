"""TensorRT and TensorRT-RTX on the strict driver, refusing what they refuse. Every engine pools its frames' means."""

from __future__ import annotations

import contextlib
import json
import weakref
from collections.abc import Sequence
from enum import Enum, IntFlag
from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_cuda import CAPTURE, OUT_OF_MEMORY, Access, Driver, Failed

from reid.runtime.engine_card import Profile

__all__ = ["Api"]

SCRATCH = 1 << 18
"""The memory that an engine needs for each frame."""


class Strategy(Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class Invalidity(IntFlag):
    VERSION_MISMATCH, UNSUPPORTED_CC = 1, 2


class Api:
    """The package.

    Attributes:
        driver: the driver.
        profiles: the profiles of every engine that is deserialized.
        image: height and width of frames.
        dimensions: the size of embeddings.
        loads: whether engines deserialize.
        contexts: how many contexts may be created.
        most: the frames above which enqueueing finds no memory.
        runs: how often an engine was enqueued; graphs do not count.
        captures: whether what engines enqueue can be captured.
        compiled: what the runtime cache holds, of TensorRT-RTX.
    """

    __version__ = "1.7.1.116"
    ILogger = type("ILogger", (), {"ERROR": 1, "INTERNAL_ERROR": 0})
    ProfilingVerbosity = Enum("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED")
    ExecutionContextAllocationStrategy = Strategy
    TensorIOMode = Enum("TensorIOMode", "NONE INPUT OUTPUT")
    DynamicShapesKernelSpecializationStrategy = Enum("Specialization", "LAZY EAGER NONE")
    CudaGraphStrategy = Enum("CudaGraphStrategy", "DISABLED WHOLE_GRAPH_CAPTURE")
    EngineInvalidityDiagnostics = Invalidity

    def __init__(self, driver: Driver, profiles: Sequence[Profile], image: tuple[int, int], dimensions: int) -> None:
        self.driver, self.profiles, self.image, self.dimensions = driver, list(profiles), image, dimensions
        self.loads, self.captures, self.contexts, self.runs, self.alive = True, True, 1000, 0, 0
        self.most = 1000
        self.compiled, self.configs, self.profiles_run = b"", [], []

    def Runtime(self, logger: Any) -> Any:  # noqa: ANN401, N802
        return _Runtime(self, logger)

    def inside(self) -> None:
        """Every call needs a current context."""
        assert self.driver.stack, "TensorRT was called with no context current"


class _Runtime:
    engine_host_code_allowed = False
    engine_header_size = 64

    def __init__(self, api: Api, logger: Any) -> None:  # noqa: ANN401
        api.inside()
        assert isinstance(logger, api.ILogger)
        self._api, self._logger = api, logger
        logger.log(3, "all is well")

    def get_engine_validity(self, header: bytes) -> tuple[int, int]:
        assert len(header) <= self.engine_header_size
        return (0, 0) if self._api.loads else (2, int(Invalidity.UNSUPPORTED_CC))

    def deserialize_cuda_engine(self, plan: Any) -> Any:  # noqa: ANN401
        self._api.inside()
        assert memoryview(plan).nbytes
        if self._api.loads:
            return _Engine(self._api, self._logger)
        self._logger.log(1, "Serialization assertion\nfailed")
        return None


class _Engine:
    num_io_tensors = 4

    def __init__(self, api: Api, logger: Any) -> None:  # noqa: ANN401
        self._api, self._logger = api, logger
        self.names = ["frames", "pooling", "frame_embedding", "pooled"]

    def __del__(self) -> None:
        if self._api.alive or not self._api.driver.stack:
            self._api.driver.faults.append("an engine was deleted before its contexts, or with no context current")

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:  # noqa: ANN401
        return self._api.TensorIOMode.INPUT if name in self.names[:2] else self._api.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:  # noqa: ANN401
        return SimpleNamespace(name="UINT8" if name == "frames" else "FLOAT")

    def get_device_memory_size_for_profile_v2(self, index: int) -> int:
        return SCRATCH * self._api.profiles[index].frames[2]

    def create_runtime_config(self) -> Any:  # noqa: ANN401
        config = _Config(self._api)
        self._api.configs.append(config)
        return config

    def create_execution_context(self, how: Any = Strategy.STATIC) -> Any:  # noqa: ANN401
        self._api.inside()
        strategy = how.strategy if isinstance(how, _Config) else how
        assert isinstance(strategy, Strategy)
        if self._api.alive >= self._api.contexts:
            self._logger.log(1, "[executionContext.cpp] out of memory")
            return None
        return _Context(self._api, self, strategy, self._logger)


class _Config:
    """An IRuntimeConfig of TensorRT-RTX."""

    cuda_graph_strategy = Api.CudaGraphStrategy.DISABLED
    dynamic_shapes_kernel_specialization_strategy = Api.DynamicShapesKernelSpecializationStrategy.LAZY
    strategy = Strategy.STATIC

    def __init__(self, api: Api) -> None:
        self._api, self.cache = api, None

    def set_execution_context_allocation_strategy(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> Any:  # noqa: ANN401
        def deserialize(content: bytes) -> bool:
            with contextlib.suppress(ValueError):
                self._api.compiled = json.dumps(json.loads(content)).encode()
                return True
            return False

        return SimpleNamespace(deserialize=deserialize, serialize=lambda: self._api.compiled)

    def set_runtime_cache(self, cache: Any) -> bool:  # noqa: ANN401
        self.cache = cache
        return True


class _Context:
    nvtx_verbosity = Api.ProfilingVerbosity.DETAILED

    def __init__(self, api: Api, engine: _Engine, strategy: Strategy, logger: Any) -> None:  # noqa: ANN401
        self._api, self._engine, self._logger = api, engine, logger
        api.alive += 1
        self.active_optimization_profile, self.shapes, self.addresses = 0, {}, {}
        self.version, self.flushed = 0, None  # of its state; the one that was enqueued last
        self.memory: tuple[int, int] | None = None
        self.needs = 0
        self._is_own = strategy is Strategy.STATIC
        if self._is_own:
            size = SCRATCH * max(profile.frames[2] for profile in api.profiles)
            self.memory = api.driver.allocate(size), size

    def __del__(self) -> None:
        self._api.alive -= 1
        if not self._api.driver.stack:
            self._api.driver.faults.append("an execution context was deleted with no context current")
        elif self._is_own and self.memory:
            self._api.driver.free(self.memory[0])

    def _changed(self) -> None:
        self._api.inside()
        self.version += 1

    def set_device_memory(self, memory: int, size: int) -> None:
        self._changed()
        assert memory % 256 == 0
        self._api.driver.find(memory, size)
        assert size >= self._needed(), "TensorRT keeps what it had before: this is less than it may need"
        self.memory = memory, size

    def _needed(self) -> int:
        return self.needs or SCRATCH * self._api.profiles[self.active_optimization_profile].frames[2]

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self._changed()
        if not 0 <= index < len(self._api.profiles):
            raise RuntimeError("Error in set optimization profile async.")
        self._api.driver.stream(stream)
        self.active_optimization_profile, self.shapes, self.needs = index, {}, 0
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert isinstance(shape, tuple)
        assert all(type(size) is int for size in shape)
        if self.shapes.get(name) == shape:
            return True
        self._changed()
        profile = self._api.profiles[self.active_optimization_profile]
        least, _, most = profile.frames if name == "frames" else profile.tracklets
        rest = (3, *self._api.image) if name == "frames" else shape[1:]
        if not (least <= shape[0] <= most and shape[1:] == rest):
            self._logger.log(1, f"{name} {shape} is out of range")
            return False
        self.shapes[name], self.needs = shape, 0
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        assert set(self.shapes) == {"frames", "pooling"}
        self._changed()
        self.needs = SCRATCH * self.shapes["frames"][0]
        return self.needs

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert type(address) is int
        if self.addresses.get(name) != address:
            self._changed()
        self.addresses[name] = address
        return name in self._engine.names and address % 256 == 0

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        source = "frames" if name in ("frames", "frame_embedding") else "pooling"
        count = self.shapes.get(source, (-1,))[0]
        return self.shapes.get(name, (count, self._api.dimensions))

    def execute_async_v3(self, handle: int) -> bool:
        self._api.inside()
        try:
            self._enqueue(handle)
        except Failed as error:
            self._logger.log(1, f"Error Code 1: Cuda Runtime ({error})")
            return False
        return True

    def _enqueue(self, handle: int) -> None:
        api, driver = self._api, self._api.driver
        driver.enter("execute_async_v3")
        assert set(self.shapes) == {"frames", "pooling"}, "shapes do not survive a change of the profile"
        assert set(self.addresses) == set(self._engine.names)
        (count, *_), (tracklets, columns) = self.shapes["frames"], self.shapes["pooling"]
        assert columns == count
        if count > api.most:
            raise Failed(OUT_OF_MEMORY)
        assert self.memory, "no memory was set"
        assert self.memory[1] >= self._needed(), "too little memory was set"
        capturing = driver.stream(handle).captured is not None
        assert not capturing or self.flushed == self.version, "captured before what new sizes need was done"
        if capturing and not api.captures:
            driver.stream(handle).capturer = -1
            raise Failed(CAPTURE)
        api.runs += not capturing
        api.profiles_run.append(self.active_optimization_profile)
        api.compiled = api.compiled or b"[1]"
        self.flushed = self.version
        sizes = {
            "frames": (self.shapes["frames"], np.uint8),
            "pooling": (self.shapes["pooling"], np.float32),
            "frame_embedding": ((count, api.dimensions), np.float32),
            "pooled": ((tracklets, api.dimensions), np.float32),
        }
        addresses = dict(self.addresses)
        accesses = [
            Access(addresses[name], int(np.prod(shape)) * np.dtype(kind).itemsize, name in self._engine.names[2:])
            for name, (shape, kind) in sizes.items()
        ]

        def act() -> None:
            frames, pooling, embedding, pooled = (driver.at(addresses[name], *sizes[name]) for name in sizes)
            embedding[:] = frames.reshape(count, -1).mean(axis=1, dtype=np.float32)[:, None]
            pooled[:] = pooling @ embedding

        version, context = self.version, weakref.ref(self)

        def check() -> None:
            assert (one := context()) is not None, "the context of a graph was deleted"
            assert one.version == version, "the context of a graph was changed"

        driver.put(handle, act, [*accesses, Access(*self.memory, True)], check)
