from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from reid.calibration.layers import Layer, find_layers
from reid.export.int8.trained import write_trained_int8_graph
from reid.runtime.errors import ModelError
from reid.train.model.quantization import Quantization


def channels(graph: Path, layer: Layer) -> int:
    (weight,) = (tensor for tensor in onnx.load(graph).graph.initializer if tensor.name == layer.weight)
    return int(weight.dims[layer.axis])


@pytest.mark.parametrize("op", ["Conv", "Add"])
def test_scales_that_are_not_one_for_each_channel_are_refused(bundle: Path, tmp_path: Path, op: str) -> None:
    graph, output = bundle / "model.fp32.onnx", tmp_path / "int8.onnx"
    layer = next(layer for layer in find_layers(onnx.load(graph)) if layer.op == op)
    right = channels(graph, layer) if layer.weight else 0

    def write(count: int) -> None:
        scales = {layer.node: torch.full((count,), 0.01)} if count else {}
        quantization = Quantization({layer.node: layer.input}, {layer.input: 0.01}, scales)
        write_trained_int8_graph(graph, graph, output, quantization)

    for count in (1, right + 1, 2 * right + 2):
        with pytest.raises(ModelError, match=f"trained with {count} scales .* {layer.node}, .* has {right}; export"):
            write(count)
        assert not output.exists()
    write(right)
    pairs = [node for node in onnx.load(output).graph.node if node.op_type == "DequantizeLinear"]
    assert len(pairs) == (2 if right else 1)
