"""Every float tensor of a graph, by running it with all of them as outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

__all__ = ["float_tensors", "run_with_intermediates"]

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def float_tensors(model: ModelProto) -> dict[str, int]:
    """Give the element type, FLOAT or FLOAT16, of every such tensor that a node makes."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    made = [name for node in model.graph.node for name in node.output]
    return {name: known[name] for name in made if known.get(name) in _FLOATS}


def run_with_intermediates(
    graph: Path, frames: NDArray[np.uint8], *, batch_size: int = 4
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run a graph on the CPU and give each float tensor that a node makes, batch after batch.

    Args:
        graph: of export_graph, or made from one.
        frames: uint8 [n, 3, H, W].
        batch_size: frames at a time, which bounds the memory.

    Yields:
        The tensor's name and its values for one batch, as float32.
    """
    import onnxruntime

    model = onnx.load(graph)
    tensors = float_tensors(model)
    outputs = {output.name for output in model.graph.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, kind, None) for name, kind in tensors.items() if name not in outputs
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # fusing hides tensors
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    for start in range(0, len(frames), batch_size):
        batch = frames[start : start + batch_size]
        feeds = {"frames": batch, "pooling": np.eye(len(batch), dtype=np.float32)}
        for name, values in zip(tensors, session.run(list(tensors), feeds), strict=True):
            yield name, values.astype(np.float32)
