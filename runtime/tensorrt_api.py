"""TensorRT's two packages, which share one API: importing them, their versions, and their messages."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from reid.runtime.errors import SessionError
from reid.runtime.installs import SEE_DOCTOR, how_to_install, how_to_reinstall
from reid.runtime.versions import release

if TYPE_CHECKING:
    import tensorrt as trt
    import tensorrt_rtx as rtx

__all__ = ["Flavor", "TensorRT", "TensorRTRTX", "import_tensorrt", "logger_for", "release"]

Flavor: TypeAlias = Literal["tensorrt", "tensorrt-rtx"]

_MODULES: dict[Flavor, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_OLDEST: dict[Flavor, tuple[int, ...]] = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 2)}


class TensorRT(Protocol):
    """What is used of either package; tests/contract holds every use of it to NVIDIA's own bindings."""

    __version__: str
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    ExecutionContextAllocationStrategy: type[trt.ExecutionContextAllocationStrategy]
    HardwareCompatibilityLevel: type[trt.HardwareCompatibilityLevel]
    ILogger: type[trt.ILogger]
    IProgressMonitor: type[trt.IProgressMonitor]
    LayerInformationFormat: type[trt.LayerInformationFormat]
    LayerType: type[trt.LayerType]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
    Runtime: type[trt.Runtime]
    TensorIOMode: type[trt.TensorIOMode]


class TensorRTRTX(Protocol):
    """What is used of TensorRT-RTX beyond that."""

    ComputeCapability: type[rtx.ComputeCapability]
    CudaGraphStrategy: type[rtx.CudaGraphStrategy]
    DynamicShapesKernelSpecializationStrategy: type[rtx.DynamicShapesKernelSpecializationStrategy]
    EngineInvalidityDiagnostics: type[rtx.EngineInvalidityDiagnostics]
    ExecutionContextAllocationStrategy: type[rtx.ExecutionContextAllocationStrategy]


def import_tensorrt(flavor: Flavor) -> TensorRT:
    """Import a flavor's package; both have the same API.

    Raises:
        SessionError: the package is not installed, does not load, or is older than this code supports.
    """
    install = how_to_install(flavor)
    try:
        api: Any = importlib.import_module(_MODULES[flavor])
    except ModuleNotFoundError:
        raise SessionError(f"{flavor} is not installed: {install}") from None
    except (ImportError, OSError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        again = f"install it again: {how_to_reinstall(flavor)}{SEE_DOCTOR}"
        raise SessionError(f"{flavor} does not load ({first}); {again}") from None
    if release(api.__version__) < _OLDEST[flavor]:
        oldest = ".".join(map(str, _OLDEST[flavor]))
        raise SessionError(f"{flavor} {api.__version__} is older than {oldest}; update it: {install}")
    found: TensorRT = api
    return found


def logger_for(api: TensorRT, on_message: Callable[[bool, str], None]) -> trt.ILogger:
    """Make a logger that prints nothing and calls `on_message` with (is an error, message); that must not raise."""
    # TensorRT's objects that an earlier failure left wait, when they are deleted, for a lock that TensorRT holds while
    # it calls a logger: the garbage collector must not find them only then.
    gc.collect()
    errors = (api.ILogger.ERROR, api.ILogger.INTERNAL_ERROR)

    class Logger(api.ILogger):  # type: ignore[misc,name-defined] # the API takes nothing but a subclass
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            on_message(severity in errors, message)

    logger: trt.ILogger = Logger()
    return logger
