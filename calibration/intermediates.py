"""Every float tensor of a graph, by running the graph with all of them as outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from reid.calibration.graph_file import load_graph
from reid.calibration.shapes import tensor_types
from reid.runtime.errors import ModelError
from reid.runtime.graph_names import FRAMES, POOLING
from reid.runtime.sessions.library import graph_refused
from reid.runtime.sessions.onnxruntime import import_onnxruntime
from reid.runtime.sessions.threads import thread_limit

__all__ = ["float_tensors", "run_with_intermediates"]

_FATAL = 4
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def float_tensors(model: ModelProto) -> dict[str, int]:
    """Return the element type, FLOAT or FLOAT16, of every such tensor that a node computes."""
    known = {name: found.kind for name, found in tensor_types(model).items()}
    made = [name for node in model.graph.node for name in node.output]
    return {name: known[name] for name in made if known.get(name) in _FLOATS}


def run_with_intermediates(
    graph: Path,
    frames: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
    *,
    batch_size: int = 4,
    only: Set[str] | None = None,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run a graph on the CPU and yield each float tensor that a node computes, batch after batch.

    Args:
        graph: a graph that export_graph wrote, or one made from it.
        frames: the frames, uint8 [n, 3, H, W], or batches of this shape, read lazily and run as they are.
        batch_size: the number of frames of an array to run at a time, which bounds the memory.
        only: the names of the tensors to yield; None for all.

    Yields:
        The tensor's name and its values for one batch, as float32; all of one batch before the next is read.

    Raises:
        ModelError: the graph cannot be read or run, or computes no tensor that `only` names.
        SessionError: ONNX Runtime is too old for the graph.
    """
    onnxruntime = import_onnxruntime()
    model = load_graph(graph)
    tensors = float_tensors(model)
    if unknown := sorted((only or set()) - tensors.keys()):
        raise ModelError(f"{graph} computes no float tensor {unknown[0]!r}; the names belong to another graph")
    tensors = {name: kind for name, kind in tensors.items() if only is None or name in only}
    outputs = {output.name for output in model.graph.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, kind, None) for name, kind in tensors.items() if name not in outputs
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # fusing hides tensors
    options.log_severity_level = _FATAL  # what else it says, our errors do
    options.intra_op_num_threads = thread_limit()
    with _errors_naming(graph, onnxruntime.__version__):
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    for batch in _in_batches(frames, batch_size) if isinstance(frames, np.ndarray) else frames:
        feeds = {FRAMES: batch, POOLING: np.eye(len(batch), dtype=np.float32)}
        with _errors_naming(graph, onnxruntime.__version__):
            found = session.run(list(tensors), feeds)
        for name, values in zip(tensors, found, strict=True):
            yield name, values.astype(np.float32, copy=False)


@contextlib.contextmanager
def _errors_naming(graph: Path, version: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason = " ".join(str(error).split())[:300]
        raise graph_refused(graph, "onnxruntime", version, refusal=f"run it ({reason})") from None


def _in_batches(frames: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    return (frames[start : start + size] for start in range(0, len(frames), size))
