"""How to install what reid can use: the one place that errors and `reid-doctor` take their commands from."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from reid.runtime.gpu import find_device, is_jetson
from reid.runtime.versions import installed_name, is_installed, least_version

__all__ = [
    "EXTRAS",
    "PACKAGES",
    "SEE_DOCTOR",
    "Extra",
    "Install",
    "how_to_install",
    "how_to_reinstall",
    "how_to_update",
]

SEE_DOCTOR = "; `reid-doctor` says what works on this machine"
"""The end of an error about a library that is there and does not start."""


@dataclass(frozen=True, slots=True)
class Extra:
    """One of reid's extras.

    Attributes:
        name: its name, as pip takes it.
        packages: the packages that it brings, as pip names them; of those that say the same, "a|b", one is enough.
        purpose: what it is for, without a verb.
        needs_gpu: whether it does nothing without an NVIDIA GPU.
    """

    name: str
    packages: tuple[str, ...]
    purpose: str
    needs_gpu: bool = False


EXTRAS = (
    Extra("cpu", ("openvino",), "the session openvino: INT8 on CPUs"),
    Extra("gpu", ("tensorrt", "pycuda|cuda-bindings"), "the sessions tensorrt and onnxruntime:cuda", needs_gpu=True),
    Extra("rtx", ("tensorrt-rtx",), "the session tensorrt-rtx, and building its engines, which needs no GPU"),
    Extra("nvimgcodec", ("nvidia-nvimgcodec",), "JPEG decoding on a GPU", needs_gpu=True),
    Extra("bench", ("nvidia-ml-py",), "a GPU's power, clocks and memory in reid-bench", needs_gpu=True),
    Extra(
        "train",
        ("torch", "torchvision", "timm", "safetensors", "tensorboard"),
        "reid-train, and the session torch",
    ),
    Extra("export", ("onnxscript", "onnx"), "reid-export from a checkpoint"),
    Extra("onnx", ("onnx",), "reid-calibrate on a device"),
    Extra("table", ("pyarrow",), "data sets listed in Parquet"),
    Extra("lance", ("lancedb",), "galleries in LanceDB"),
    Extra("milvus", ("pymilvus", "milvus-lite"), "galleries in Milvus"),
    Extra("ray", ("ray",), "reid-embed on many machines"),
    Extra("serve", ("fastapi", "prometheus-client", "python-multipart", "threadpoolctl", "uvicorn"), "reid-serve"),
    Extra("triton", ("tritonclient",), "the session triton: a server that embeds"),
)
"""What a user may add, the most useful first; `pyproject.toml` has their versions."""

_EXTRA_OF = {one: extra.name for extra in EXTRAS for packages in extra.packages for one in packages.split("|")}
_EXTRA_OF |= {"onnxruntime-gpu": "gpu", "onnx": "onnx"}  # the extra that brings the least

PACKAGES = frozenset(_EXTRA_OF)
"""The packages that an extra brings, as pip names them."""


@dataclass(frozen=True, slots=True)
class Install:
    """What brings a package to this machine.

    Attributes:
        command: the command, as one types it.
        note: what follows it in a sentence, from its comma or bracket on.
    """

    command: str
    note: str = ""

    def __str__(self) -> str:
        """Return both, for the end of an error's line."""
        return self.command + self.note


def how_to_install(package: str) -> Install:
    """Return what brings a package, as pip names it, to this machine."""
    special = {
        "tensorrt": _tensorrt,
        "pycuda": _cuda_driver,
        "nvidia-nvimgcodec": _nvimgcodec,
        "onnxruntime-gpu": _onnxruntime_gpu,
    }
    if package in special:
        return special[package]()
    return _extra(_EXTRA_OF[package]) if package in _EXTRA_OF else Install(f"pip install {package}")


def how_to_reinstall(package: str) -> Install:
    """Return what brings a package again that is installed and does not load: pip would leave it as it is."""
    if package == "tensorrt" and is_jetson():
        return Install("sudo apt install --reinstall tensorrt")
    if package == "onnxruntime" and is_installed("onnxruntime") and is_installed("onnxruntime-gpu"):
        return Install("pip uninstall --yes onnxruntime && pip install --force-reinstall onnxruntime-gpu")
    return Install(f"pip install --force-reinstall {installed_name(package)}")


def how_to_update(package: str, found: str) -> Install:
    """Return what brings a package in a version that reid takes, where one that is too old was found."""
    if package == "tensorrt" and is_jetson():
        return Install("sudo apt install --only-upgrade tensorrt")
    return Install(f"pip install '{installed_name(package, found)}>={least_version(package)}'")


def _extra(name: str) -> Install:
    return Install(f"pip install 'reid[{name}]'")


def _tensorrt() -> Install:
    if is_jetson():  # on PyPI, the packages for aarch64 are those of servers
        environment = "`python3 -m venv --system-site-packages`"
        return Install("sudo apt install tensorrt", f", and make the environment with {environment}")
    return _extra("gpu")


def _onnxruntime_gpu() -> Install:
    if is_installed("onnxruntime"):  # for CPUs: it lies in the same folder, and one of the two has replaced the other
        return Install("pip uninstall --yes onnxruntime onnxruntime-gpu && pip install 'reid[gpu]'")
    return _extra("gpu")


def _cuda_driver() -> Install:
    if _can_build_pycuda():
        note = ", or cuda-bindings where there is no compiler to build pycuda"
        return Install("pip install --upgrade 'reid[gpu]'", note)
    note = ", or 'reid[gpu]' where a compiler and CUDA's headers can build pycuda"
    return Install("pip install cuda-bindings", note)


def _can_build_pycuda() -> bool:
    """Return whether pycuda, which is on PyPI as source alone, finds what it is built with."""
    roots = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda")
    headers = shutil.which("nvcc") or any(root and os.path.exists(f"{root}/include/cuda.h") for root in roots)
    return bool(headers and (shutil.which("c++") or shutil.which("g++") or shutil.which("cl")))


def _nvimgcodec() -> Install:
    if is_jetson():
        return Install("pip install nvidia-nvimgcodec-tegra-cu12")
    gpu = find_device()
    kind = "cu12" if gpu and gpu.cuda.startswith("12.") else "cu13"
    other = "-cu13 where it is one of CUDA 13" if kind == "cu12" else "-cu12 where the driver is one of CUDA 12"
    return Install(f"pip install 'nvidia-nvimgcodec-{kind}[nvjpeg]'", f", or {other}")
