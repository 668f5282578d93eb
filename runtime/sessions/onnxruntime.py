"""ONNX Runtime: CPU, CUDA, and its TensorRT execution provider."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import find_device
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.precision import Precision
from reid.runtime.sessions.graph import open_graph, parse_card, precision_of
from reid.runtime.sessions.host import RUN_REMEDY, HostSession
from reid.runtime.sessions.library import graph_refused, is_older
from reid.runtime.sessions.onnx_file import check_onnx_file
from reid.runtime.sessions.opened import Opened
from reid.runtime.sessions.session import SessionInfo
from reid.runtime.sessions.signature import Array, check_signature
from reid.runtime.sessions.threads import thread_limit

__all__ = ["best_device", "import_onnxruntime", "load_onnxruntime", "open_onnxruntime"]

logger = logging.getLogger(__name__)

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
# With TF32, an FP32 graph would no longer be what was verified.
_OPTIONS: dict[str, dict[str, str]] = {"cpu": {}, "cuda": {"use_tf32": "0"}, "tensorrt": {}}
# It gives biases beside Q/DQ pairs a scale that is a product of two scales: in FP16 that underflows, and the bias is
# lost.
_DISABLED_OPTIMIZERS = ["WeightBiasQuantization"]
_ROUNDS_FROM = "1.30"
"""Before this version, QuantizeLinear on the CPU truncates FP16 values where it has to round."""
_WARNING, _FATAL = 2, 4  # severities of what it logs
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_REMEDIES = {
    "cpu": "reinstall onnxruntime",
    "cuda": "install onnxruntime-gpu and the CUDA and cuDNN libraries that it was built for, or use onnxruntime:cpu",
    "tensorrt": "install onnxruntime-gpu and TensorRT's libraries, or use onnxruntime:cuda",
}


def open_onnxruntime(model: Path, device: str | None, precision: Precision) -> Opened:
    """Open a bundle's graph, or an .onnx file, on a device; None takes CUDA where there is a GPU, else the CPU.

    Raises:
        ModelError: the graph is damaged, or was not written by `reid-export`.
        SessionError: the device's provider is missing or did not start, ONNX Runtime is too old for the graph, or a
            precision is asked of an .onnx file.
    """
    device = device or best_device()
    return open_graph(model, precision, lambda graph: load_onnxruntime(graph, device))


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime, whose telemetry the variable that `reid` sets has turned off.

    Raises:
        SessionError: it does not load.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except (ImportError, OSError) as error:
        raise SessionError(f"onnxruntime does not load ({_first_line(error)}): {_REMEDIES['cpu']}") from None
    onnxruntime.disable_telemetry_events()  # on Windows, events of the system do not heed the variable
    return onnxruntime


def best_device() -> str:
    """Return "cuda" where a GPU and its provider are present, else "cpu"; the provider alone says nothing of a GPU."""
    available = import_onnxruntime().get_available_providers()
    return "cuda" if _PROVIDERS["cuda"] in available and find_device() else "cpu"


def load_onnxruntime(graph: Path, device: str) -> HostSession:
    """Load a graph on "cpu", "cuda" or "tensorrt", with the card in its metadata. Raises as `open_onnxruntime`."""
    check_onnx_file(graph)
    onnxruntime = import_onnxruntime()
    session = _load(onnxruntime, graph, device)
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        inputs, outputs = _arrays(session.get_inputs()), _arrays(session.get_outputs())
    except UnicodeDecodeError:
        raise ModelError(f"{graph}: its names or metadata are not UTF-8; export it again") from None
    info = SessionInfo(
        backend="onnxruntime",
        backend_version=onnxruntime.__version__,
        device=_device_name(device),
        precision=precision_of(metadata, graph),
        card=parse_card(metadata, graph),
    )
    check_signature(inputs, outputs, info.card, graph)
    if info.precision == "int8" and device == "cpu" and is_older(info.backend_version, _ROUNDS_FROM):
        _warn_of_truncation(info.backend_version)

    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            frame_embedding, pooled = session.run([FRAME_EMBEDDING, POOLED], {FRAMES: frames, POOLING: pooling})
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise SessionError(f"{graph}: ONNX Runtime cannot run it ({_first_line(error)}); {RUN_REMEDY}") from None
        return frame_embedding, pooled

    return HostSession(info, infer, source=str(graph))


@functools.cache  # a search for the layers to leave in FP16 opens many graphs
def _warn_of_truncation(version: str) -> None:
    logger.warning(
        "ONNX Runtime %s truncates on the CPU where INT8 graphs round, and embeds slightly unlike other sessions; use "
        "OpenVINO, or ONNX Runtime %s or newer",
        *(version, _ROUNDS_FROM),
    )


def _arrays(values: list[Any]) -> dict[str, Array]:
    """Return what ONNX Runtime knows of a graph's inputs or outputs."""
    return {
        value.name: Array(
            _DTYPES.get(value.type, value.type),
            tuple(size if isinstance(size, int) else None for size in value.shape),  # a symbol, or None
        )
        for value in values
    }


def _device_name(device: str) -> str:
    gpu = None if device == "cpu" else find_device()
    return f"{gpu.name} ({device.upper()})" if gpu else device.upper()


def _load(onnxruntime: ModuleType, graph: Path, device: str) -> Any:  # noqa: ANN401 - ONNX Runtime has no stubs
    if device not in _PROVIDERS:
        raise SessionError(f"unknown ONNX Runtime device {device!r}; choose one of: {', '.join(_PROVIDERS)}")
    provider = _PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise SessionError(f"this ONNX Runtime has no {provider}: {_REMEDIES[device]}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = thread_limit()
    with _quiet(onnxruntime):
        if device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        try:
            session = onnxruntime.InferenceSession(
                str(graph),
                options,
                providers=[(provider, _OPTIONS[device])],
                enable_fallback=0,
                disabled_optimizers=_DISABLED_OPTIMIZERS,
            )
        except UnicodeDecodeError:  # the text of ONNX Runtime's error, which names a part of the graph
            raise ModelError(
                f"{graph}: ONNX Runtime cannot load it, and names in it are not UTF-8; export it again"
            ) from None
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            if device != "cpu" and isinstance(error, (RuntimeError, ValueError)):
                raise SessionError(f"{provider} did not start ({_first_line(error)}): {_REMEDIES[device]}") from None
            refusal = f"load it ({_first_line(error)})"
            raise graph_refused(graph, "onnxruntime", onnxruntime.__version__, refusal=refusal) from None
    if session.get_providers()[0] != provider:
        raise SessionError(f"{provider} did not start: {_REMEDIES[device]}")
    return session


@contextlib.contextmanager
def _quiet(onnxruntime: ModuleType) -> Iterator[None]:
    """Keep ONNX Runtime from printing, even on standard output, what our errors say."""
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
