"""How execution contexts are created: TensorRT's as they are, TensorRT-RTX's with what it compiled before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reid.runtime.engine_card import EngineCard
from reid.runtime.sessions.engine.loading import LoadedEngine
from reid.runtime.sessions.engine.runtime_cache import RuntimeCache, runtime_cache_file
from reid.runtime.sessions.session import SessionInfo
from reid.runtime.tensorrt_api import TensorRT, TensorRTRTX

if TYPE_CHECKING:
    import tensorrt as trt
    import tensorrt_rtx as rtx

__all__ = ["context_creator"]


def context_creator(
    api: TensorRT, loaded: LoadedEngine, engine: EngineCard, info: SessionInfo, resources: ExitStack
) -> Callable[[], trt.IExecutionContext | None]:
    """Return what creates execution contexts whose memory comes from us; None where TensorRT cannot.

    Args:
        api: the package.
        loaded: the engine.
        engine: its sidecar.
        info: the facts about the session.
        resources: gets what is to be done before the engine is freed.
    """
    if engine.flavor == "tensorrt-rtx":
        file = runtime_cache_file(engine.engine_sha256, info.device, info.backend_version)
        bare = _with_kernels(cast(TensorRTRTX, api), loaded, file, resources)
    else:
        bare = _plain(api, loaded)

    def create() -> trt.IExecutionContext | None:
        context = bare()
        if context is not None:
            context.nvtx_verbosity = api.ProfilingVerbosity.NONE  # engines keep markers, which cost time
        return context

    return create


def _plain(api: TensorRT, loaded: LoadedEngine) -> Callable[[], trt.IExecutionContext | None]:
    strategy = api.ExecutionContextAllocationStrategy.USER_MANAGED
    return lambda: loaded.engine.create_execution_context(strategy)


def _with_kernels(
    api: TensorRTRTX, loaded: LoadedEngine, file: Path | None, resources: ExitStack
) -> Callable[[], trt.IExecutionContext | None]:
    """Return what creates contexts that share the kernels that are compiled, and leave them in a file."""
    engine = cast("rtx.ICudaEngine", loaded.engine)
    config = engine.create_runtime_config()
    del engine  # closing frees it, wherever this function is still on a stack
    config.set_execution_context_allocation_strategy(api.ExecutionContextAllocationStrategy.USER_MANAGED)
    # Otherwise the first batches of a size run other kernels than the later ones: not those that were verified.
    config.dynamic_shapes_kernel_specialization_strategy = api.DynamicShapesKernelSpecializationStrategy.EAGER
    if hasattr(config, "cuda_graph_strategy"):  # from 1.3 on
        config.cuda_graph_strategy = api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    resources.callback(RuntimeCache(config, file).save)

    def create() -> trt.IExecutionContext | None:
        context = cast("rtx.ICudaEngine", loaded.engine).create_execution_context(config)
        return cast("trt.IExecutionContext | None", context)

    return create
