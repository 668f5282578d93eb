"""`trtexec`, with which NVIDIA times TensorRT: its arguments, for TensorRT 10 and 11, and what it writes.

https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/command-line-programs.html
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLING

__all__ = [
    "batch_times_ms",
    "build_arguments",
    "embedding_arguments",
    "embeddings_in",
    "find_trtexec",
    "run_arguments",
    "tensorrt_version",
    "timing_arguments",
]

_JETPACK = "/usr/src/tensorrt/bin"
"""Where JetPack and Debian's packages put it, which is not on the PATH."""

_STRONGLY_TYPED = "--stronglyTyped"

_WARM_UP_MS = 500


def find_trtexec() -> Path | None:
    """Return the program; None where there is none."""
    found = shutil.which("trtexec") or shutil.which("trtexec", path=_JETPACK)
    return Path(found) if found else None


def build_arguments(
    graph: Path, engine: Path, image_size: tuple[int, int], most_frames: int, help_text: str
) -> list[str]:
    """Return the arguments that build a graph's engine for batches of 1 to `most_frames`, best for the largest.

    The types in the graph are its precision: TensorRT 10 has to be told so, and TensorRT 11 knows nothing else.

    Args:
        graph: the ONNX file.
        engine: the file to write.
        image_size: height and width of a frame.
        most_frames: the largest batch.
        help_text: what `trtexec --help` prints.
    """
    most = _shapes(most_frames, image_size)
    return [
        f"--onnx={graph}",
        f"--saveEngine={engine}",
        f"--minShapes={_shapes(1, image_size)}",
        f"--optShapes={most}",
        f"--maxShapes={most}",
        "--skipInference",
        *([_STRONGLY_TYPED] if _STRONGLY_TYPED in help_text else []),
    ]


def run_arguments(engine: Path, image_size: tuple[int, int], frames: int) -> list[str]:
    """Return the arguments that run an engine with batches of one size; what to do with them comes behind."""
    return [f"--loadEngine={engine}", f"--shapes={_shapes(frames, image_size)}"]


def timing_arguments(seconds: float, times: Path) -> list[str]:
    """Return the arguments that time batches for so long, and write the times to a file."""
    duration = max(1, round(seconds))
    return [f"--duration={duration}", f"--warmUp={_WARM_UP_MS}", "--useCudaGraph", f"--exportTimes={times}"]


def embedding_arguments(inputs: Mapping[str, Path], output: Path) -> list[str]:
    """Return the arguments that run one batch, of which each input is a file of bytes, and write all outputs."""
    files = ",".join(f"{name}:{file}" for name, file in inputs.items())
    return ["--iterations=1", "--duration=0", "--warmUp=0", f"--loadInputs={files}", f"--exportOutput={output}"]


def batch_times_ms(queries: Sequence[Mapping[str, float]]) -> list[float]:
    """Return the time of each batch of an exported trace: from the end of the one before, or from its own start.

    `trtexec` sends a batch while the one before is computed, as loadgen's Offline scenario does. So a batch's own
    latency is longer than the time that it adds, and the sum of these times is the wall time of all batches.
    """
    ends = [query["endD2hMs"] for query in queries]
    starts = [queries[0]["startH2dMs"], *ends[:-1]]
    return [end - start for start, end in zip(starts, ends, strict=True)]


def embeddings_in(outputs: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
    """Return the embeddings, float32 [N, D], among exported outputs."""
    output = next(one for one in outputs if one["name"] == FRAME_EMBEDDING)
    shape = tuple(int(size) for size in output["dimensions"].split("x"))
    return np.asarray(output["values"], np.float32).reshape(shape)


def tensorrt_version(printed: str) -> str:
    """Return TensorRT's version from the first line that `trtexec` prints: "10.3.0" from "[TensorRT v100300]".

    An empty text where it says none.
    """
    found = re.search(r"\[TensorRT v(\d+)(\d\d)(\d\d)\]", printed)
    return ".".join(str(int(number)) for number in found.groups()) if found else ""


def _shapes(frames: int, image_size: tuple[int, int]) -> str:
    """Return the inputs' shapes for so many frames, as one tracklet."""
    height, width = image_size
    return f"{FRAMES}:{frames}x3x{height}x{width},{POOLING}:1x{frames}"
