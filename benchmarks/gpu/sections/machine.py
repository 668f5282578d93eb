"""The machine and its software, and `find_device` beside nvidia-smi: it names the same GPU and makes no context."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from proving import Proof, prove

_PACKAGES = (
    *("reid", "torch", "torchvision", "timm", "numpy", "opencv-python-headless", "pydantic"),
    *("onnx", "onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-rtx"),
    *("pycuda", "cuda-bindings", "cupy-cuda12x", "cupy-cuda13x", "cvcuda-cu12", "cvcuda-cu13"),
)
_TOOLS = ("nvcc", "cmake", "compute-sanitizer", "ncu", "ctest", "nvidia-smi")

# In a process of its own, where nothing but find_device can have made a context.
_FIND = """
import ctypes, json
from reid.runtime.gpu import find_device
device = find_device()
driver = ctypes.CDLL("libcuda.so.1")
flags, active = ctypes.c_uint(), ctypes.c_int()
failed = driver.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active))
print(json.dumps([device.name, device.compute_capability, device.cuda, failed, active.value, find_device(999) is None]))
"""


def machine(proof: Proof) -> None:
    """Note what is here, and hold `find_device` to nvidia-smi."""
    proof.note("python", f"{platform.python_version()} on {platform.platform()}")
    proof.note("packages", {name: found for name in _PACKAGES if (found := _version(name))})
    proof.note("tools", [tool for tool in _TOOLS if shutil.which(tool)])
    proof.needs_gpu()
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version,memory.total", "--format=csv,noheader"]
    proof.attempt("nvidia-smi", lambda: subprocess.check_output(query, text=True).strip())
    found = subprocess.check_output([sys.executable, "-c", _FIND], text=True)
    name, capability, cuda, failed, active, no_other = json.loads(found)
    smi = subprocess.check_output(query, text=True).splitlines()[0].split(", ")
    proof.note("newest CUDA of the driver", cuda)
    proof.check("find_device names the GPU as nvidia-smi does", smi[:2] == [name, capability], [name, capability])
    proof.check("find_device makes no context", not failed and not active)
    proof.check("find_device finds no GPU 999", no_other)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    prove(machine)
