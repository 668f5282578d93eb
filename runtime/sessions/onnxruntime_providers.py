"""The devices of ONNX Runtime: their providers, the options of these, and what keeps CUDA from starting here."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from reid.runtime.errors import SessionError
from reid.runtime.gpu import find_device, why_no_device
from reid.runtime.installs import SEE_DOCTOR, how_to_install, how_to_reinstall

__all__ = ["Provider", "best_device", "find_provider", "has_cuda", "import_onnxruntime", "missing_library"]

logger = logging.getLogger(__name__)

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Provider:
    """What runs a graph on a device.

    Attributes:
        name: ONNX Runtime's name of it: "CUDAExecutionProvider".
        remedy: what helps where it fails.
        ordinal: the GPU's number; None for the CPU.
    """

    name: str
    remedy: str
    ordinal: int | None = None

    @property
    def kind(self) -> str:
        """ONNX Runtime's name of the memory that it computes in: "cuda" or "cpu"."""
        return "cpu" if self.ordinal is None else "cuda"

    @property
    def title(self) -> str:
        """The device for people: "CPU", "NVIDIA L4 (CUDA)"."""
        if self.ordinal is None:
            return "CPU"
        gpu = find_device(self.ordinal)
        return f"{gpu.name} (CUDA)" if gpu else "CUDA"

    def options(self, stream: int | None) -> dict[str, str]:
        """Return the provider's options, with the handle of the stream to compute on, if there is one."""
        if self.ordinal is None:
            return {}
        return {
            "use_tf32": "0",  # with it, an FP32 graph would no longer be what was verified
            "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all algorithms anew for each size of a batch
            # From 1.30 on, this option makes ONNX Runtime print a warning that means nothing.
            **({"device_id": str(self.ordinal)} if self.ordinal else {}),
            **({} if stream is None else {"user_compute_stream": str(stream)}),
        }


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime, whose telemetry the variable that `reid` sets has turned off.

    Raises:
        SessionError: it does not load.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except (ImportError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        install = how_to_reinstall("onnxruntime")
        raise SessionError(f"onnxruntime does not load ({reason}); install it again: {install}{SEE_DOCTOR}") from None
    onnxruntime.disable_telemetry_events()  # on Windows, events of the system do not heed the variable
    return onnxruntime


def find_provider(device: str) -> Provider:
    """Return the provider of a device, "cpu", "cuda" or "cuda:1", once it is sure that it can start.

    Raises:
        SessionError: there is no such device, or something that it needs is missing; the message says what.
    """
    if device == "cpu":
        return Provider(_CPU, "reinstall onnxruntime")
    if device == "tensorrt":
        raise SessionError(
            "ONNX Runtime's TensorRT provider cannot run the graphs as they were verified: build an engine with "
            "`reid-export --engine tensorrt` and use --session tensorrt, or use onnxruntime:cuda"
        )
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", device, re.ASCII)
    if match is None:
        raise SessionError(f"unknown ONNX Runtime device {device!r}; choose one of: cpu, cuda, cuda:N for GPU number N")
    ordinal = int(match[1] or 0)
    if obstacle := _obstacle(ordinal):
        raise SessionError(f"{_CUDA} cannot start: {obstacle}, or use onnxruntime:cpu{SEE_DOCTOR}")
    return Provider(
        _CUDA, f"update the GPU's driver and {how_to_install('onnxruntime-gpu')} again, or use onnxruntime:cpu", ordinal
    )


def best_device() -> str:
    """Return "cuda" where it can start, else "cpu"; where there is a GPU all the same, a note says why."""
    if find_device() is None:
        return "cpu"
    obstacle = _obstacle(0)
    if obstacle:
        _note_the_cpu(obstacle)
    return "cpu" if obstacle else "cuda"


@functools.cache  # a search for the layers to leave in FP16 opens many graphs
def _note_the_cpu(obstacle: str) -> None:
    logger.warning("ONNX Runtime uses the CPU, although there is a GPU: %s", obstacle)


def _obstacle(ordinal: int) -> str:
    """Return what keeps the CUDA provider from starting, and what helps; empty where nothing does."""
    if not has_cuda():
        return f"this ONNX Runtime has no {_CUDA}: install onnxruntime-gpu, which is for x86-64"
    gpu, cuda = find_device(ordinal), _built_for()
    if gpu is None:
        return why_no_device(ordinal)
    if cuda and _major(gpu.cuda) < _major(cuda):
        return f"the driver is for CUDA {gpu.cuda}, and this ONNX Runtime is for CUDA {cuda}: update the driver"
    missing = missing_library()
    return f"{missing} does not load: {how_to_install('onnxruntime-gpu')}" if missing else ""


def has_cuda() -> bool:
    """Return whether this ONNX Runtime was built for CUDA."""
    return _CUDA in import_onnxruntime().get_available_providers()


def missing_library() -> str:
    """Return the first of CUDA's libraries that ONNX Runtime needs and that does not load; empty where all do."""
    cuda = _built_for()
    return _load_libraries(_major(cuda)) if cuda and sys.platform == "linux" else ""


def _built_for() -> str:
    """Return the version of CUDA that ONNX Runtime was built for: "13.0"; empty where it does not say."""
    facts = getattr(import_onnxruntime().capi, "build_and_package_info", None)
    version = getattr(facts, "cuda_version", "")
    return version if re.match(r"\d+", str(version)) else ""


def _major(version: str) -> int:
    return int(version.partition(".")[0])


@functools.cache
def _load_libraries(major: int) -> str:
    """Load the libraries of CUDA that the provider needs, from pip's packages first; return the first that is missing.

    ONNX Runtime's own `preload_dlls` prints what is missing.
    """
    needed = (f"libcudart.so.{major}", f"libcublasLt.so.{major}", f"libcublas.so.{major}", "libcurand.so.10")
    optional = (f"libnvrtc.so.{major}",)  # cuDNN compiles with it, and loads it by its name
    for name in (*needed, *optional, "libcudnn.so.9"):
        paths = [*_in_packages(name, major), name]
        if not any(map(_loads, paths)) and name not in optional:
            return name
    return ""


def _in_packages(name: str, major: int) -> Iterator[str]:
    """Yield where pip's packages of NVIDIA have a library; those for CUDA 13 and later share a folder, cu13."""
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(root).glob(f"*/lib/{name}")):
            if re.fullmatch(rf"cu{major}|(?!cu\d).*", path.parent.parent.name):
                yield str(path)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
