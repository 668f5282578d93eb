"""ONNX Runtime on the CPU and on CUDA."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, Stream, open_cuda
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.precision import Precision
from reid.runtime.sessions.graph import GraphSession, open_graph, parse_card, precision_of
from reid.runtime.sessions.halving import Halving
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.onnx_file import check_onnx_file
from reid.runtime.sessions.onnxruntime_binding import BoundGraph
from reid.runtime.sessions.onnxruntime_cuda import CudaSession
from reid.runtime.sessions.onnxruntime_errors import load_error, run_error
from reid.runtime.sessions.onnxruntime_providers import Provider, best_device, find_provider, import_onnxruntime
from reid.runtime.sessions.opened import Opened
from reid.runtime.sessions.session import DEFAULT_LIMITS, SessionInfo
from reid.runtime.sessions.signature import Array, check_signature
from reid.runtime.sessions.threads import thread_limit
from reid.runtime.versions import is_older

__all__ = ["best_device", "import_onnxruntime", "load_onnxruntime", "open_onnxruntime"]

logger = logging.getLogger(__name__)

# It gives biases beside Q/DQ pairs a scale that is a product of two scales: in FP16 that underflows, and the bias is
# lost.
_DISABLED_OPTIMIZERS = ["WeightBiasQuantization"]
_HEEDS_FALLBACK = "1.31"
"""From this version on, at the latest, `enable_fallback` is heeded where a graph does not load."""
_ROUNDS_FROM = "1.30"
"""Before this version, QuantizeLinear on the CPU truncates FP16 values where it has to round."""
_FATAL = 4  # severity of what it logs
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


def open_onnxruntime(model: Path, device: str | None, precision: Precision) -> Opened:
    """Open a bundle's graph, or an .onnx file, on a device; None takes CUDA where it can start, else the CPU.

    Raises:
        ModelError: the graph is damaged, or was not written by `reid-export`.
        SessionError: the device's provider is missing or did not start, ONNX Runtime is too old for the graph, or a
            precision is asked of an .onnx file.
    """
    device = device or best_device()
    return open_graph(model, precision, lambda graph: load_onnxruntime(graph, device))


def load_onnxruntime(graph: Path, device: str) -> GraphSession:
    """Load a graph on "cpu", "cuda" or "cuda:1", with the card in its metadata. Raises as `open_onnxruntime`."""
    check_onnx_file(graph)
    onnxruntime, provider = import_onnxruntime(), find_provider(device)
    cuda = _cuda(provider)
    stream = cuda.stream() if cuda else None
    with cuda.current() if cuda else contextlib.nullcontext():  # ONNX Runtime makes its GPU the current one
        session = _load(onnxruntime, graph, provider, stream)
    info = _facts(session, onnxruntime.__version__, graph, provider)
    host = _host_session(session, info, graph, provider)
    if cuda is None or stream is None:
        return host
    return CudaSession(host, BoundGraph(session, provider, graph, stream, info.card, host.limits), cuda)


def _cuda(provider: Provider) -> Cuda | None:
    """Return CUDA on the provider's GPU; None on the CPU, and with a note where there is nothing to drive it with."""
    if provider.ordinal is None:
        return None
    try:
        return open_cuda(provider.ordinal)
    except SessionError as error:
        logger.warning("ONNX Runtime copies every batch, and nothing overlaps: %s", error)
        return None


def _facts(session: Any, version: str, graph: Path, provider: Provider) -> SessionInfo:  # noqa: ANN401
    """Return the facts about a session. Raises ModelError where the graph cannot be run as its card says."""
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        inputs, outputs = _arrays(session.get_inputs()), _arrays(session.get_outputs())
    except UnicodeDecodeError:
        raise ModelError(f"{graph}: its names or metadata are not UTF-8; export it again") from None
    info = SessionInfo(
        backend="onnxruntime",
        backend_version=version,
        device=provider.title,
        precision=precision_of(metadata, graph),
        card=parse_card(metadata, graph),
    )
    check_signature(inputs, outputs, info.card, graph)
    if info.precision == "int8" and provider.ordinal is not None:
        _warn_of_int8()
    elif info.precision == "int8" and is_older(version, _ROUNDS_FROM):
        _warn_of_truncation(version)
    return info


def _host_session(session: Any, info: SessionInfo, graph: Path, provider: Provider) -> HostSession:  # noqa: ANN401
    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            frame_embedding, pooled = session.run([FRAME_EMBEDDING, POOLED], {FRAMES: frames, POOLING: pooling})
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise run_error(error, graph, provider, len(frames)) from None
        return frame_embedding, pooled

    return HostSession(info, Halving(infer, DEFAULT_LIMITS.frames), source=str(graph))


@functools.cache  # a search for the layers to leave in FP16 opens many graphs
def _warn_of_truncation(version: str) -> None:
    logger.warning(
        "ONNX Runtime %s truncates on the CPU where INT8 graphs round, and embeds slightly unlike other sessions; use "
        "OpenVINO, or ONNX Runtime %s or newer",
        *(version, _ROUNDS_FROM),
    )


@functools.cache
def _warn_of_int8() -> None:
    logger.warning(
        "ONNX Runtime has no INT8 convolutions on CUDA: it rounds between FP16 layers, which is slower than "
        "--precision fp16; use --session tensorrt"
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


def _load(onnxruntime: ModuleType, graph: Path, provider: Provider, stream: Stream | None) -> Any:  # noqa: ANN401
    """Return ONNX Runtime's session. What it would log, an error says."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = thread_limit()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # between batches, others need the cores
    try:
        with _quiet(onnxruntime.__version__):
            session = onnxruntime.InferenceSession(
                str(graph),
                options,
                providers=[(provider.name, provider.options(stream.handle if stream else None))],
                enable_fallback=0,
                disabled_optimizers=_DISABLED_OPTIMIZERS,
            )
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise load_error(error, graph, provider, onnxruntime.__version__) from None
    if session.get_providers()[0] != provider.name:
        raise SessionError(f"{provider.name} did not start; {provider.remedy}")
    return session


def _quiet(version: str) -> contextlib.AbstractContextManager[object]:
    """Keep older versions, which do not heed `enable_fallback`, from printing that they fall back to the CPU."""
    return contextlib.redirect_stdout(io.StringIO()) if is_older(version, _HEEDS_FALLBACK) else contextlib.nullcontext()
