"""TensorRT's Python API with an engine that is none, and stricter than a real one: for machines without TensorRT.

Everything around the engine is real: CUDA, memory, streams, events and graphs. The engine's two kernels take
milliseconds, so that a copy which does not wait reads too early. An embedding is its frame's mean in every dimension.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

import cupy  # type: ignore[import-not-found]

from reid.runtime.engine_card import Profile

__all__ = ["strict_tensorrt"]

_ALIGNMENT = 256
_THREADS = 256
_CYCLES = 2_000_000
"""What a kernel waits: about a millisecond."""

_KERNELS = r"""
extern "C" __global__ void means(const unsigned char* frames, long long pixels, float* scratch, long long cycles) {
  __shared__ unsigned long long sums[256];
  const long long began = clock64();
  while (clock64() - began < cycles) {}
  unsigned long long sum = 0;
  for (long long i = threadIdx.x; i < pixels; i += blockDim.x) sum += frames[blockIdx.x * pixels + i];
  sums[threadIdx.x] = sum;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) scratch[blockIdx.x] = (float)((double)sums[0] / (double)pixels);
}

extern "C" __global__ void outputs(const float* scratch, const float* pooling, int n, int t, int dims,
                                   float* frame_embedding, float* pooled) {
  const int row = blockIdx.x;
  float value = 0;
  if (row < n) value = scratch[row];
  else for (int i = 0; i < n; ++i) value += pooling[(row - n) * (long long)n + i] * scratch[i];
  float* out = row < n ? frame_embedding + (long long)row * dims : pooled + (long long)(row - n) * dims;
  for (int d = threadIdx.x; d < dims; d += blockDim.x) out[d] = value;
}
"""


class _Strategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class _Verbosity(enum.Enum):
    LAYER_NAMES_ONLY, NONE, DETAILED = range(3)


class _Logger:
    INTERNAL_ERROR, ERROR = 0, 1


class _Context:
    """An execution context that drops its shapes with its profile, as TensorRT does, and wants all there is to set."""

    def __init__(self, engine: _Engine) -> None:
        self.active_optimization_profile = 0
        self.nvtx_verbosity = _Verbosity.DETAILED
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch = (0, 0)

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        if not 0 <= index < len(self._engine.profiles):
            raise RuntimeError("no such profile")
        self.active_optimization_profile, self._shapes = index, {}
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        assert address % _ALIGNMENT == 0
        self._scratch = address, size

    def update_device_memory_size_for_shapes(self) -> int:
        return 4 * self._shapes["frames"][0]

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert isinstance(shape, tuple), name
        assert all(type(size) is int for size in shape), (name, shape)
        profile = self._engine.profiles[self.active_optimization_profile]
        sizes = profile.frames if name == "frames" else profile.tracklets
        self._shapes[name] = shape
        return sizes[0] <= shape[0] <= sizes[2] and len(shape) == (4 if name == "frames" else 2)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert type(address) is int, name
        self._addresses[name] = address
        return address % _ALIGNMENT == 0 and name in ("frames", "pooling", "frame_embedding", "pooled")

    def execute_async_v3(self, stream: int) -> bool:
        if set(self._shapes) != {"frames", "pooling"} or len(self._addresses) != 4:
            return False
        n, t = self._shapes["frames"][0], self._shapes["pooling"][0]
        pixels = self._shapes["frames"][1] * self._shapes["frames"][2] * self._shapes["frames"][3]
        if self._shapes["pooling"][1] != n or self._scratch[1] < 4 * n:
            return False
        place = {name: cupy.uint64(address) for name, address in self._addresses.items()}
        scratch = cupy.uint64(self._scratch[0])
        with cupy.cuda.ExternalStream(stream):
            means = place["frames"], cupy.int64(pixels), scratch, cupy.int64(_CYCLES)
            self._engine.kernels.get_function("means")((n,), (_THREADS,), means)
            sizes = cupy.int32(n), cupy.int32(t), cupy.int32(self._engine.dimensions)
            outputs = scratch, place["pooling"], *sizes, place["frame_embedding"], place["pooled"]
            self._engine.kernels.get_function("outputs")((n + t,), (_THREADS,), outputs)
        return True


class _Engine:
    def __init__(self, dimensions: int, profiles: tuple[Profile, ...]) -> None:
        self.dimensions, self.profiles = dimensions, profiles
        self.kernels = cupy.RawModule(code=_KERNELS)

    def create_execution_context(self, strategy: _Strategy = _Strategy.STATIC) -> _Context:
        assert strategy is _Strategy.USER_MANAGED
        return _Context(self)

    def get_device_memory_size_for_profile_v2(self, index: int) -> int:
        return 4 * self.profiles[index].frames[2]


def strict_tensorrt(dimensions: int, profiles: tuple[Profile, ...]) -> Any:  # noqa: ANN401 - it poses as a module
    """Return what stands in for `import tensorrt`."""

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger: _Logger) -> None:
            assert isinstance(logger, _Logger)

        def deserialize_cuda_engine(self, plan: object) -> _Engine:
            return _Engine(dimensions, profiles)

    return SimpleNamespace(
        __version__="10.13.0.35",
        ExecutionContextAllocationStrategy=_Strategy,
        ILogger=_Logger,
        ProfilingVerbosity=_Verbosity,
        Runtime=Runtime,
    )
