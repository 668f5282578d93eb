"""OpenVINO: the fast way to run graphs on CPUs, above all INT8 graphs."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError, SessionError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.installs import SEE_DOCTOR, how_to_install, how_to_reinstall
from reid.runtime.precision import Precision
from reid.runtime.sessions.graph import CARD_KEY, PRECISION_KEY, open_graph, parse_card, precision_of
from reid.runtime.sessions.host import RUN_REMEDY, HostSession
from reid.runtime.sessions.library import graph_refused
from reid.runtime.sessions.onnx_file import check_onnx_file
from reid.runtime.sessions.opened import Opened
from reid.runtime.sessions.session import SessionInfo
from reid.runtime.sessions.signature import Array, check_signature
from reid.runtime.sessions.threads import thread_limit

__all__ = ["import_openvino", "load_openvino", "open_openvino"]

_TELEMETRY = "openvino_telemetry"


def open_openvino(model: Path, device: str | None, precision: Precision) -> Opened:
    """Open a bundle's graph, or an .onnx file, on the CPU.

    Raises:
        ModelError: the graph is damaged, or was not written by `reid-export`.
        SessionError: OpenVINO is not installed, or too old for the graph; the device is not "cpu"; or a precision is
            asked of an .onnx file.
    """
    if device not in (None, "cpu"):
        raise SessionError(f"OpenVINO has no device {device!r} here; use openvino:cpu, or onnxruntime:cuda on a GPU")
    return open_graph(model, precision, load_openvino)


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, which reports to Google Analytics and leaves an id in the home folder.

    Raises:
        SessionError: it is not installed, or does not load.
    """
    with _without_telemetry():
        try:
            return importlib.import_module("openvino")
        except ModuleNotFoundError:
            raise SessionError(f"openvino is not installed: {how_to_install('openvino')}") from None
        except (ImportError, OSError) as error:
            remedy = f"install it again: {how_to_reinstall('openvino')}{SEE_DOCTOR}"
            raise SessionError(f"openvino does not load ({_last_line(error)}); {remedy}") from None


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Make the telemetry package look absent: OpenVINO then uses a stand-in that does nothing."""
    loaded = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # how Python marks a module that cannot be imported
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if loaded:
            sys.modules[_TELEMETRY] = loaded


def load_openvino(graph: Path) -> HostSession:
    """Load a graph on the CPU, with the card in its metadata. Raises as `open_openvino`."""
    check_onnx_file(graph)
    openvino = import_openvino()
    model = _read(openvino, graph)
    try:
        metadata = _metadata(model)
        inputs, outputs = _arrays(model.inputs), _arrays(model.outputs)
    except UnicodeDecodeError:
        raise ModelError(f"{graph}: its names or metadata are not UTF-8; export it again") from None
    except IndexError:  # OpenVINO looks up the type of an input or output in a table
        raise ModelError(f"{graph}: an input or output is of no known type; export it again") from None
    info = SessionInfo(
        backend="openvino",
        backend_version=_version(openvino),
        device="CPU",
        precision=precision_of(metadata, graph),
        card=parse_card(metadata, graph),
    )
    check_signature(inputs, outputs, info.card, graph)
    request = _compile(openvino, model, graph)

    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            results = request.infer({FRAMES: frames, POOLING: pooling})
        except RuntimeError as error:
            raise SessionError(f"{graph}: OpenVINO cannot run it ({_last_line(error)}); {RUN_REMEDY}") from None
        return results[FRAME_EMBEDDING], results[POOLED]

    return HostSession(info, infer, source=str(graph))


def _version(openvino: ModuleType) -> str:
    """Return the version without the build that follows it."""
    return str(openvino.__version__).partition("-")[0]


def _read(openvino: ModuleType, graph: Path) -> Any:  # noqa: ANN401 - OpenVINO's types are not checked
    # Not Core.read_model: it passes a file that is not ONNX to the readers of other formats, which print messages.
    reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
    try:
        return reader.convert(reader.load(graph))
    except Exception as error:  # a frontend's exceptions share no base class
        raise graph_refused(graph, "openvino", _version(openvino), refusal=f"read it ({_last_line(error)})") from None


def _metadata(model: Any) -> dict[str, str]:  # noqa: ANN401
    """Return what OpenVINO keeps of the graph's metadata, under the name of the framework that wrote it."""
    paths = {key: ["framework", key] for key in (CARD_KEY, PRECISION_KEY)}
    return {key: str(model.get_rt_info(path).astype(str)) for key, path in paths.items() if model.has_rt_info(path)}


def _arrays(ports: list[Any]) -> dict[str, Array]:
    """Return what OpenVINO knows of a graph's inputs or outputs, each of which may have several names."""
    return {
        name: Array(
            port.element_type.to_dtype().name,
            tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
            if port.partial_shape.rank.is_static
            else None,
        )
        for port in ports
        for name in port.names
    }


def _compile(openvino: ModuleType, model: Any, graph: Path) -> Any:  # noqa: ANN401
    try:
        return openvino.Core().compile_model(model, "CPU", _settings()).create_infer_request()
    except RuntimeError as error:
        raise graph_refused(
            graph, "openvino", _version(openvino), refusal=f"compile it ({_last_line(error)})"
        ) from None


def _settings() -> dict[str, Any]:
    settings: dict[str, Any] = {
        # By default it computes FP32 in BF16 where the CPU can. FP16 is widened; INT8 stays as the graph has it.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",  # all threads work on the one batch there is
        "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
    }
    # OpenVINO follows the CPU affinity, but does not know the variable by which numpy and PyTorch are limited.
    if threads := thread_limit():
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings


def _last_line(error: Exception) -> str:
    """Return the last line of an error, which says what is wrong; the lines before it name OpenVINO's sources."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
