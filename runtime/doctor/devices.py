"""What the machine has, as far as libraries tell: each check runs in a process of its own, by `apart.py`."""

from __future__ import annotations

from reid.runtime.doctor.check import Check, Doing
from reid.runtime.errors import SessionError
from reid.runtime.gpu import driver_starts, find_device, has_gpu, why_no_device
from reid.runtime.installs import how_to_install, how_to_reinstall
from reid.runtime.versions import installed_version

__all__ = ["check_cuda_libraries", "check_cuda_package", "check_gpu", "check_kernels", "check_pictures"]

_OPENCV = "opencv-python-headless"
_MOST_GPUS = 64


def check_gpu(name: str, doing: Doing) -> Check:
    """Ask the driver for all GPUs."""
    doing("asking NVIDIA's driver")
    gpus = [gpu for ordinal in range(_MOST_GPUS) if (gpu := find_device(ordinal))]
    if gpus:
        facts = [f"{gpu.name} (compute capability {gpu.compute_capability})" for gpu in gpus]
        return Check(name, "works", f"{', '.join(facts)}; driver for CUDA {gpus[0].cuda}")
    return no_gpu(name)


def no_gpu(name: str, ordinal: int = 0) -> Check:
    """Return why there is no GPU of a number."""
    starts = driver_starts()
    if starts is False:
        return Check(name, "broken", why_no_device(ordinal))
    if find_device() is None and not has_gpu():
        return Check(name, "not for this machine", "there is no NVIDIA GPU")
    return Check(name, "missing", why_no_device(ordinal))


def check_cuda_package(name: str, doing: Doing) -> Check:
    """Find the package that drives CUDA."""
    from reid.runtime.cuda_driver.find import find_package

    doing("importing pycuda or cuda-bindings")
    try:
        found = type(find_package()).__name__
    except SessionError as error:
        return Check(name, "missing", str(error), how_to_install("pycuda").command)
    package = "pycuda" if found == "PyCuda" else "cuda-bindings"
    return Check(name, "works", f"{package} {installed_version(package)}")


def check_kernels(name: str, doing: Doing) -> Check:
    """Find the fat binary of our kernels."""
    from reid.runtime.kernels.library import fat_binary

    doing("reading the kernels")
    try:
        return Check(name, "works", f"{len(fat_binary()) / 2**20:.1f} MiB of kernels")
    except SessionError as error:
        return Check(name, "missing", str(error))


def check_cuda_libraries(name: str, doing: Doing) -> Check:
    """Load the libraries of CUDA and cuDNN that ONNX Runtime needs."""
    from reid.runtime.sessions.onnxruntime_providers import has_cuda, missing_library

    doing("loading CUDA's libraries")
    if not has_cuda():
        return Check(name, "not for this machine", "this ONNX Runtime is for CPUs alone")
    if missing := missing_library():
        return Check(name, "missing", f"{missing} does not load", how_to_install("onnxruntime-gpu").command)
    return Check(name, "works", "all that ONNX Runtime needs")


def check_pictures(name: str, doing: Doing) -> Check:
    """Encode and decode a picture in each of the usual formats."""
    doing("importing OpenCV")
    import cv2

    fails = [kind for kind in ("JPEG", "PNG", "WebP", "AVIF") if not _decodes(kind, doing)]
    if set(fails) - {"AVIF"}:
        reason = f"OpenCV {cv2.__version__} does not decode {', '.join(fails)}"
        return Check(name, "broken", reason, how_to_reinstall(_OPENCV).command)
    if fails:
        reason = f"OpenCV {cv2.__version__} decodes JPEG, PNG and WebP, but not AVIF"
        return Check(name, "missing", reason, f"pip install --upgrade {_OPENCV}")
    return Check(name, "works", f"OpenCV {cv2.__version__} decodes JPEG, PNG, WebP and AVIF")


def _decodes(kind: str, doing: Doing) -> bool:
    import cv2
    import numpy as np

    from reid.runtime.errors import DataError
    from reid.runtime.imaging import decode

    doing(f"decoding {kind}")
    gray = np.full((32, 32, 3), 128, np.uint8)
    try:
        content = cv2.imencode(f".{'jpg' if kind == 'JPEG' else kind.lower()}", gray)[1].tobytes()
        return bool(np.abs(decode(content, kind).astype(int) - 128).max() < 8)
    except (cv2.error, DataError):
        return False
