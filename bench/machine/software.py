"""The facts of the software: versions, and the settings in environment variables."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from reid.bench.meters.tree import Tree

__all__ = ["container", "kernel", "libraries", "speed_variables", "system"]

_LIBRARIES: Final = (
    *("reid", "numpy", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu", "openvino", "nncf"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx", "torch", "torchvision", "torch-tensorrt", "triton"),
    *("timm", "pycuda", "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    *("nvidia-cublas", "nvidia-cublas-cu12", "intel-openmp", "mkl"),
)

_VARIABLES: Final = re.compile(
    r"(OMP|KMP|GOMP|MKL|OPENBLAS|BLIS|VECLIB|DNNL|ONEDNN|TBB|ORT|OV|OPENVINO|TORCH|PYTORCH|TRT|CUBLAS|CUDNN|MALLOC)_\w+"
    r"|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|LAUNCH_BLOCKING|MODULE_LOADING|DEVICE_MAX_CONNECTIONS|MPS_\w+)"
    r"|NVIDIA_TF32_OVERRIDE|NVIDIA_VISIBLE_DEVICES|LD_PRELOAD|PYTHONMALLOC|REID_\w+"
)

_PLACES: Final = re.compile(r"(HOME|DIR|DIRECTORY|FOLDER|PATH|ROOT|FILE)$")
"""The ends of the names of variables that only say where something lies, which may name a user."""

_FOLDERS: Final = re.compile(r"[^\s:;,=]*[/\\](?=[^\s:;,=]*)")


def system(tree: Tree) -> str:
    """Return the name of the operating system."""
    for line in (tree.text("etc/os-release") or "").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return f"{platform.system()} {platform.release()}" if tree.root == "/" else ""


def kernel(tree: Tree) -> str:
    """Return the version of the kernel."""
    return tree.text("proc/sys/kernel/osrelease") or (platform.release() if tree.root == "/" else "")


def container(tree: Tree) -> str:
    """Return what kind of container this is: "docker", "podman", "kubernetes", "lxc"; empty for none."""
    if tree.find("run/secrets/kubernetes.io"):
        return "kubernetes"
    if tree.find(".dockerenv"):
        return "docker"
    if tree.find("run/.containerenv"):
        return "podman"
    groups = tree.text("proc/1/cgroup") or ""
    kinds = {"kubepods": "kubernetes", "docker": "docker", "libpod": "podman", "lxc": "lxc"}
    return next((kind for sign, kind in kinds.items() if sign in groups), "")


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that compute, of those that are installed."""
    return {name: found for name in _LIBRARIES if (found := _version(name))}


def speed_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that change speed, without the folders in their values."""
    names = [name for name in sorted(variables) if _VARIABLES.fullmatch(name) and not _PLACES.search(name)]
    return {name: _FOLDERS.sub("", variables[name]) for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
