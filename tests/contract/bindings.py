"""NVIDIA's own Python bindings, imported without TensorRT: where the stored facts about the packages come from.

PyPI has the bindings as wheels of one megabyte. To be imported, they need of TensorRT's libraries only that the loader
finds these and ten C functions in them: so libraries that do nothing stand in for them.

    python tests/contract/bindings.py write     # after a change of CLASSES in facts.py, or of a version below
    python tests/contract/bindings.py check     # what `make test-contract` does: exit code 1 where the facts differ

nvImageCodec, whose wheels have their libraries in them, can be imported as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from facts import Facts

__all__ = ["NVIMGCODEC", "PACKAGES", "file_of"]

_HERE = Path(__file__).parent

# JetPack 6, JetPack 7, the newest, and TensorRT-RTX; all have wheels for Python 3.10 to 3.12.
PACKAGES = {
    "tensorrt-10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "tensorrt-10.16.1.11": "tensorrt-cu12-bindings==10.16.1.11",
    "tensorrt-11.4.0.106": "tensorrt-cu12-bindings==11.4.0.106",
    "tensorrt_rtx-1.7.1.116": "tensorrt-rtx-cu13-bindings==1.7.1.116",
}
"""The name of a file of facts -> the wheel that they are about."""

# The oldest that is supported, and the newest.
NVIMGCODEC = {
    "nvimgcodec-0.6.1.37": "nvidia-nvimgcodec-cu12==0.6.1.37",
    "nvimgcodec-0.9.0.20": "nvidia-nvimgcodec-cu13==0.9.0.20",
}
"""The same for nvImageCodec."""

_MODULES = {
    "tensorrt": "tensorrt_bindings",
    "tensorrt_rtx": "tensorrt_rtx_bindings",
    "nvimgcodec": "nvidia.nvimgcodec",
}
_LIBRARIES = {
    "tensorrt": ("libnvinfer.so", "libnvinfer_plugin.so", "libnvonnxparser.so"),
    "tensorrt_rtx": ("libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"),
}


def file_of(name: str) -> Path:
    """Return the file that stores facts."""
    return _HERE / "facts" / f"{name}.json"


def read_bindings(name: str, folder: Path) -> Facts:
    """Download a wheel and read the facts from it.

    Args:
        name: the name of the facts.
        folder: an empty folder.
    """
    package, _, version = name.partition("-")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, "--dest", str(folder), {**PACKAGES, **NVIMGCODEC}[name]], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    for library in _LIBRARIES.get(package, ()):
        file = f"{library}.{version.partition('.')[0]}"
        build = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", str(folder / file), str(_HERE / "stand_ins.c")]
        subprocess.run(build, check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder)}
    command = [sys.executable, str(_HERE / "facts.py"), _MODULES[package]]
    read = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    facts: Facts = json.loads(read.stdout)
    return facts


def main(task: str) -> int:
    """Write or check the facts about every package."""
    differ = []
    for name in (*PACKAGES, *NVIMGCODEC):
        with tempfile.TemporaryDirectory() as folder:
            found = read_bindings(name, Path(folder))
        if task == "write":
            file_of(name).write_text(json.dumps(found, indent=1) + "\n")
        elif found != json.loads(file_of(name).read_text()):
            differ.append(name)
    if differ:
        print(
            f"the facts of {', '.join(differ)} differ from the bindings'; run `python tests/contract/bindings.py write`"
        )
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "check"))
