"""An exported graph with another input: pixels as floats, which is what other libraries give a model.

Needs nothing but onnx and numpy, so that scripts in other environments can use it. The network is not changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["with_float_input"]

INPUT, OUTPUT = "images", "frame_embedding"

_FRAMES, _POOLING, _POOLED = "frames", "pooling", "pooled"


def with_float_input(model: Path, output: Path, pixels: Literal["0..1", "normalized"]) -> None:
    """Write a bundle's FP32 graph as a graph of one input, float32 [N, 3, H, W], and one output, float32 [N, D].

    Args:
        model: a bundle or a graph of `reid-export`.
        output: the file to write.
        pixels: what is given: RGB from 0 to 1, of which the graph makes 0 to 255; or RGB normalized with the model's
            mean and standard deviation, with which the graph begins behind its own normalization.
    """
    proto = onnx.load(model / "model.fp32.onnx" if model.is_dir() else model)
    graph = proto.graph
    cast = next(node for node in graph.node if node.op_type == "Cast" and node.input[0] == _FRAMES)
    if pixels == "0..1":
        graph.initializer.append(numpy_helper.from_array(np.float32(255), "white"))
        start = helper.make_node("Mul", [INPUT, "white"], [cast.output[0]])
        replaced = [cast]
    else:
        minus = next(node for node in graph.node if cast.output[0] in node.input)
        divide = next(node for node in graph.node if minus.output[0] in node.input)
        if (minus.op_type, divide.op_type) != ("Sub", "Div"):
            raise ValueError(f"{model} does not begin with a normalization; export it again")
        start = helper.make_node("Identity", [INPUT], [divide.output[0]])
        replaced = [cast, minus, divide]
    kept = [node for node in graph.node if node not in replaced and _POOLED not in node.output]
    for node in kept:  # the number of frames is read from the input's shape
        node.input[:] = [INPUT if name == _FRAMES else name for name in node.input]
    given = next(value for value in graph.input if value.name == _FRAMES)
    shape = [dim.dim_value or dim.dim_param for dim in given.type.tensor_type.shape.dim]
    wanted = [value for value in graph.output if value.name == OUTPUT]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([start, *kept])
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape))
    graph.output.extend(wanted)
    onnx.checker.check_model(proto)
    onnx.save(proto, output)
