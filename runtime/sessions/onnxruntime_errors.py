"""What ONNX Runtime's exceptions mean: a graph that is damaged, memory that is too small, or a device that fails."""

from __future__ import annotations

import re
from pathlib import Path

from reid.runtime.cuda import DeviceMemoryError
from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.sessions.host import RUN_REMEDY
from reid.runtime.sessions.library import graph_refused
from reid.runtime.sessions.onnxruntime_providers import Provider

__all__ = ["load_error", "run_error"]

# All of them derive from Exception alone, so that only names tell them apart. A failure in a run with I/O binding is a
# RuntimeError.
_OF_A_DEVICE = {"EPFail", "EngineError", "NotImplemented", "RuntimeError", "RuntimeException", "ValueError"}
_FAILED = re.compile(r"out of memory|CUDA failure|CUDA error|CUBLAS|CUDNN|Failed to allocate memory", re.IGNORECASE)
_MEMORY = re.compile(
    r"out of memory|Failed to allocate memory|ALLOC(ATION)?_FAILED|Available memory of \d+ is smaller", re.IGNORECASE
)
_MEMORY_REMEDY = "end other programs that use it"


def load_error(error: Exception, graph: Path, provider: Provider, version: str) -> ReidError:
    """Return the error for a graph that did not load.

    Args:
        error: what ONNX Runtime raised.
        graph: the graph's file.
        provider: the provider that was to run it.
        version: ONNX Runtime's version.
    """
    if isinstance(error, UnicodeDecodeError):  # the text of the error, which names a part of the graph
        return ModelError(f"{graph}: ONNX Runtime cannot load it, and names in it are not UTF-8; export it again")
    if _MEMORY.search(str(error)):
        return SessionError(f"{graph}: out of memory on {provider.title} ({_said(error)}); {_MEMORY_REMEDY}")
    if _is_of_device(error, provider):
        return SessionError(f"{graph}: {provider.name} did not start ({_said(error)}); {provider.remedy}")
    return graph_refused(graph, "onnxruntime", version, refusal=f"load it ({_said(error)})")


def run_error(error: Exception, graph: Path, provider: Provider, frames: int) -> SessionError:
    """Return the error for a batch of so many frames that failed: a DeviceMemoryError where a smaller one may fit."""
    if _MEMORY.search(str(error)):
        return DeviceMemoryError(
            f"{graph}: out of memory with {frames} frames on {provider.title} ({_said(error)}); {_MEMORY_REMEDY}"
        )
    remedy = provider.remedy if _is_of_device(error, provider) else RUN_REMEDY
    return SessionError(f"{graph}: ONNX Runtime cannot run it ({_said(error)}); {remedy}")


def _is_of_device(error: Exception, provider: Provider) -> bool:
    if provider.ordinal is None:
        return False
    return type(error).__name__ in _OF_A_DEVICE or _FAILED.search(str(error)) is not None


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
