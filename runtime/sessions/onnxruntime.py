"""ONNX Runtime: CPU, CUDA, and its TensorRT execution provider."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import find_device
from reid.runtime.sessions.graph import CARD_KEY, open_graph, parse_card
from reid.runtime.sessions.threads import thread_limit

__all__ = ["OnnxRuntimeSession", "best_device", "open_onnxruntime"]

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
# TF32 would make an FP32 graph something else than what was verified.
_OPTIONS: dict[str, dict[str, str]] = {"cpu": {}, "cuda": {"use_tf32": "0"}, "tensorrt": {}}
# It gives biases beside Q/DQ pairs a scale that is a product of two: in FP16 that underflows, and the bias is gone.
_HARMFUL_OPTIMIZERS = ["WeightBiasQuantization"]
_REMEDIES = {
    "cpu": "reinstall onnxruntime",
    "cuda": "install onnxruntime-gpu and the CUDA and cuDNN libraries that it was built for, or use onnxruntime:cpu",
    "tensorrt": "install onnxruntime-gpu and TensorRT's libraries, or use onnxruntime:cuda",
}


def open_onnxruntime(model: Path, device: str | None, precision: str) -> OnnxRuntimeSession:
    """Open a bundle's graph, or an .onnx file, on a device; None takes CUDA where there is a GPU, else the CPU.

    Raises:
        ModelError: the graph is damaged, was not written by `reid-export`, or does not embed its bundle's reference
            crops on this device as PyTorch did.
        SessionError: the device's provider is missing or did not start, or a precision is asked of an .onnx file.
    """
    device = device or best_device()
    return open_graph(model, precision, load=lambda graph: OnnxRuntimeSession(graph, device), backend=_backend(device))


def _backend(device: str) -> str:
    import onnxruntime

    version = f"onnxruntime {onnxruntime.__version__}"
    gpu = find_device()
    return f"{version}, {gpu.name}" if gpu and device != "cpu" else version


def best_device() -> str:
    """Give "cuda" where there are its provider and a GPU, else "cpu"; onnxruntime-gpu has the provider without one."""
    import onnxruntime

    return "cuda" if _PROVIDERS["cuda"] in onnxruntime.get_available_providers() and find_device() else "cpu"


class OnnxRuntimeSession:
    """A graph in ONNX Runtime. The arrays that `run` returns are the caller's."""

    def __init__(self, graph: Path, device: str) -> None:
        """Load `graph` and the card in its metadata."""
        self._session = _load(graph, device)
        self.card = parse_card(self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY), graph)
        self.device = f"ONNX Runtime on {'CPU' if device == 'cpu' else device.upper()}"

    def run(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See Session.run."""
        frame_embedding, pooled = self._session.run(
            ["frame_embedding", "pooled"], {"frames": frames, "pooling": pooling}
        )
        return frame_embedding, pooled

    def close(self) -> None:
        """See Session.close."""
        self._session = None

    def __enter__(self) -> OnnxRuntimeSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load(graph: Path, device: str) -> Any:  # noqa: ANN401 - ONNX Runtime has no stubs
    import onnxruntime

    if device not in _PROVIDERS:
        raise SessionError(f"ONNX Runtime has no device {device!r}; there are {', '.join(_PROVIDERS)}")
    provider = _PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise SessionError(f"this ONNX Runtime has no {provider}: {_REMEDIES[device]}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = thread_limit()
    with _quiet():
        if device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        try:
            session = onnxruntime.InferenceSession(
                str(graph),
                options,
                providers=[(provider, _OPTIONS[device])],
                enable_fallback=0,
                disabled_optimizers=_HARMFUL_OPTIMIZERS,
            )
        except (RuntimeError, ValueError) as error:
            raise SessionError(f"{provider} did not start ({_first_line(error)}): {_REMEDIES[device]}") from None
        except Exception as error:  # what is wrong with a graph: ONNX Runtime's exceptions share no base class
            raise ModelError(f"{graph}: ONNX Runtime cannot load it ({_first_line(error)}); export it again") from None
    if session.get_providers()[0] != provider:
        raise SessionError(f"{provider} did not start: {_REMEDIES[device]}")
    return session


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime from printing what our errors say, on standard output even."""
    import onnxruntime

    fatal, warning = 4, 2
    onnxruntime.set_default_logger_severity(fatal)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(warning)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
