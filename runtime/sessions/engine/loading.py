"""Deserialize an engine, from a memory map where it is a file, and say why one does not load."""

from __future__ import annotations

import mmap
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from reid.runtime.errors import ModelError
from reid.runtime.files.reading import open_regular
from reid.runtime.tensorrt_api import TensorRT, TensorRTRTX, logger_for

if TYPE_CHECKING:
    import tensorrt as trt
    import tensorrt_rtx as rtx

__all__ = ["LoadedEngine", "Plan", "map_plan"]

Plan: TypeAlias = bytes | mmap.mmap
"""A serialized engine."""


def map_plan(path: Path, *, at_most: int) -> mmap.mmap:
    """Map an engine's file, so that it is read once, and straight to where TensorRT wants it.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger.
        ValueError: it is empty.
    """
    with open_regular(path, at_most=at_most) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class LoadedEngine:
    """An engine in memory, and what has to live as long as it does.

    Attributes:
        engine: the engine.
    """

    engine: trt.ICudaEngine

    def __init__(self, api: TensorRT, plan: Plan, *, host_code: bool = False) -> None:
        """Deserialize a plan, in the context that is current.

        Args:
            api: the package that built it.
            plan: the serialized engine; not needed afterwards.
            host_code: whether to run code that the plan brings along, as a version-compatible one does. Only for a plan
                of which its SHA-256 says that it is the one built.

        Raises:
            ModelError: the engine does not load here; the message is TensorRT's reason, in a few words.
        """
        self._said: deque[str] = deque(maxlen=8)
        self._logger = logger_for(api, lambda is_error, message: self._said.append(message) if is_error else None)
        self._runtime: trt.Runtime | None = api.Runtime(self._logger)
        self._runtime.engine_host_code_allowed = host_code
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ModelError("; ".join(filter(None, (_invalidity(api, self._runtime, plan), self.reason()))))
        self.engine = engine

    def reason(self) -> str:
        """Return the last error that TensorRT reported, in a few words."""
        return " ".join(self._said[-1].split())[:300] if self._said else "no reason was given"

    def close(self) -> None:
        """Free the engine, in the context that is current. No context of it may be left."""
        del self.engine
        self._runtime = None


def _invalidity(api: TensorRT, runtime: trt.Runtime, plan: Plan) -> str:
    """Return what TensorRT-RTX finds wrong with a plan's header: "UNSUPPORTED_CC"; empty where it finds nothing."""
    if not hasattr(runtime, "get_engine_validity"):  # TensorRT has none
        return ""
    of_rtx = cast("rtx.Runtime", runtime)
    _, found = of_rtx.get_engine_validity(plan[: of_rtx.engine_header_size])
    kinds = cast(TensorRTRTX, api).EngineInvalidityDiagnostics.__members__
    return ", ".join(name for name, kind in kinds.items() if cast(int, found) & int(kind))
