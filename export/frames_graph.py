"""The part of a fused graph that embeds frames, for servers that form batches themselves and know no tracklets."""

from __future__ import annotations

from pathlib import Path

import onnx

from reid.calibration.graph_file import load_graph
from reid.runtime.errors import ModelError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES

__all__ = ["EMBEDDING", "write_float_frames_graph", "write_frames_graph"]

EMBEDDING = "embedding"
"""Output of a graph for DeepStream, float32 [N, D], L2-normalized."""


def write_frames_graph(graph: Path, output: Path) -> None:
    """Write the part of a fused graph that embeds frames: frames [N, 3, H, W] to frame_embedding [N, D].

    Raises:
        ModelError: the frames' embeddings depend on the pooling, so `export_graph` did not write the graph.
    """
    onnx.save(_frames_graph(graph), output)


def write_float_frames_graph(graph: Path, output: Path) -> None:
    """Write the same part for DeepStream: frames float32 [N, 3, H, W], RGB from 0 to 255, to embedding [N, D].

    Raises:
        ModelError: as `write_frames_graph`.
    """
    model = _frames_graph(graph)
    # The cast of the pixels to FP32, which follows, now changes nothing.
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in model.graph.node:
        node.input[:] = [EMBEDDING if name == FRAME_EMBEDDING else name for name in node.input]
        node.output[:] = [EMBEDDING if name == FRAME_EMBEDDING else name for name in node.output]
    model.graph.output[0].name = EMBEDDING
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, output)


def _frames_graph(graph: Path) -> onnx.ModelProto:
    model = load_graph(graph)
    part = onnx.utils.Extractor(model).extract_model([FRAMES], [FRAME_EMBEDDING])
    # The extractor writes the newest IR version, which the server's ONNX Runtime may not know.
    part.ir_version = model.ir_version
    onnx.helper.set_model_props(part, {entry.key: entry.value for entry in model.metadata_props})
    try:
        onnx.checker.check_model(part)
    except onnx.checker.ValidationError:  # it misses the pooling
        raise ModelError(f"{graph} does not embed frames on their own: use a graph that `reid-export` wrote") from None
    return part
