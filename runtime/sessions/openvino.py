"""OpenVINO: graphs on CPUs, INT8 ones above all."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError, SessionError
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.graph import CARD_KEY, open_graph, parse_card
from reid.runtime.sessions.threads import thread_limit

__all__ = ["OpenVINOSession", "import_openvino", "open_openvino"]

_INSTALL = "pip install 'reid[cpu]'"
_TELEMETRY = "openvino_telemetry"


def open_openvino(model: Path, device: str | None, precision: str) -> OpenVINOSession:
    """Open a bundle's graph, or an .onnx file, on the CPU.

    Raises:
        ModelError: the graph is damaged, was not written by `reid-export`, or does not embed its bundle's reference
            crops as PyTorch did.
        SessionError: OpenVINO is not installed, the device is not "cpu", or a precision is asked of an .onnx file.
    """
    if device not in (None, "cpu"):
        raise SessionError(f"OpenVINO has no device {device!r} here; use openvino:cpu, or onnxruntime:cuda on a GPU")
    version = import_openvino().__version__.partition("-")[0]
    return open_graph(model, precision, load=OpenVINOSession, backend=f"openvino {version}")


def import_openvino() -> ModuleType:
    """Import OpenVINO, which would else report its import to Google Analytics and leave an id in the home folder.

    Raises:
        SessionError: it is not installed, or does not load.
    """
    with _without_telemetry():
        try:
            return importlib.import_module("openvino")
        except ModuleNotFoundError:
            raise SessionError(f"openvino is not installed: {_INSTALL}") from None
        except (ImportError, OSError) as error:
            raise SessionError(f"openvino does not load ({_last_line(error)}); install it again: {_INSTALL}") from None


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Make the telemetry's package look absent, for which OpenVINO has a stand-in that does nothing."""
    loaded = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # how Python marks a module that cannot be imported
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if loaded:
            sys.modules[_TELEMETRY] = loaded


class OpenVINOSession:
    """A graph in OpenVINO, on the CPU. One batch at a time; the arrays that `run` returns are the caller's."""

    device = "OpenVINO on CPU"

    def __init__(self, graph: Path) -> None:
        """Load `graph` and the card in its metadata."""
        openvino = import_openvino()
        model = _read(openvino, graph)
        self.card = parse_card(_metadata(model, CARD_KEY), graph)
        self._request = _compile(openvino, model, graph)

    def run(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See Session.run. Raises ValueError where the arrays are not a batch of this model."""
        _check_batch(frames, pooling, self.card)
        results = self._request.infer({"frames": frames, "pooling": pooling})
        return results["frame_embedding"], results["pooled"]

    def close(self) -> None:
        """See Session.close."""
        self._request = None

    def __enter__(self) -> OpenVINOSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(openvino: ModuleType, graph: Path) -> Any:  # noqa: ANN401 - OpenVINO's types are not checked
    # Not Core.read_model: a file that is no ONNX it gives to the readers of other formats, which print what they think.
    reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
    try:
        return reader.convert(reader.load(graph))
    except Exception as error:  # a frontend's exceptions share no base class
        raise ModelError(f"{graph}: OpenVINO cannot read it ({_last_line(error)}); export it again") from None


def _metadata(model: Any, key: str) -> str | None:  # noqa: ANN401
    path = ["framework", key]  # where OpenVINO keeps the metadata of the format it read
    return str(model.get_rt_info(path).astype(str)) if model.has_rt_info(path) else None


def _compile(openvino: ModuleType, model: Any, graph: Path) -> Any:  # noqa: ANN401
    try:
        return openvino.Core().compile_model(model, "CPU", _settings()).create_infer_request()
    except RuntimeError as error:
        raise ModelError(f"{graph}: OpenVINO cannot compile it ({_last_line(error)}); export it again") from None


def _settings() -> dict[str, Any]:
    settings: dict[str, Any] = {
        # Of itself it computes FP32 in BF16 where the CPU can. FP16 is widened; INT8 stays what the graph makes it.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",  # all threads work on the one batch there is
        "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
    }
    # OpenVINO follows the CPU affinity, but does not know the variable by which numpy and PyTorch are limited.
    if threads := thread_limit():
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings


def _check_batch(frames: NDArray[Any], pooling: NDArray[Any], card: ModelCard) -> None:
    """Refuse what is no batch; OpenVINO converts wrong types, and is wrong on the next batch after wrong counts."""
    size = card.preprocessing
    as_frames = frames.dtype == np.uint8 and frames.shape == (len(frames), 3, size.height, size.width)
    as_pooling = pooling.dtype == np.float32 and pooling.shape == (len(pooling), len(frames))
    if not (as_frames and as_pooling):
        raise ValueError(
            f"not a batch: frames {frames.dtype} {frames.shape}, pooling {pooling.dtype} {pooling.shape}; give "
            f"uint8 (N, 3, {size.height}, {size.width}) and float32 (T, N)"
        )


def _last_line(error: Exception) -> str:
    """Of OpenVINO's messages, the last line says what is wrong; those before it say where in its sources."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
