"""What graphs cost, against PyTorch's counter and against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reid.bench.costs.graph import graph_cost
from reid.bench.costs.products import Products
from reid.bench.costs.record import GraphCost, LayerCost
from reid.runtime.bundle import graph_file
from reid.runtime.errors import ModelError
from reid.runtime.precision import PRECISIONS, Precision

_SIDE, _IN, _OUT = 6, 4, 8


def written(path: Path, nodes: list[onnx.NodeProto], **constants: np.ndarray) -> Path:
    """Write a graph of one input, [N, 4, 6, 6], with nodes of which the last gives its output."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", _IN, _SIDE, _SIDE])
    made = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "by hand", [given], [made], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(model, path)
    return path


def naive_flops(kernel: np.ndarray, outputs: int) -> int:
    """Count a multiplication and an addition for each number of the kernel, at every place of the output."""
    return sum(2 for _ in range(outputs) for _ in kernel.flat)


@pytest.mark.torch
@pytest.mark.parametrize("precision", PRECISIONS)
def test_operations_are_those_that_pytorch_counts(whole_bundle: Path, checkpoint: Path, precision: Precision) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from reid.train.model.checkpoint import load_checkpoint

    model = load_checkpoint(checkpoint).model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    pooling = 2 * 2 * 16  # of one frame, by its weight: the graph's alone
    assert graph_cost(whole_bundle / graph_file(precision)).flops == counter.get_total_flops() + pooling


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sums_and_weights_are_those_of_the_file(whole_bundle: Path, precision: Precision) -> None:
    path = whole_bundle / graph_file(precision)
    cost = graph_cost(path)
    for name in ("flops", "weight_bytes", "activation_bytes"):
        assert getattr(cost, name) == sum(getattr(layer, name) for layer in cost.layers)
    stored = [numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer]
    large = sum(values.nbytes for values in stored if values.ndim > 1 and values.size > 16)
    assert large <= cost.weight_bytes < 1.01 * large


def test_int8_layers_are_those_with_both_operands_quantized(whole_bundle: Path) -> None:
    """Their share of the operations grows with what is quantized, and their weights take a byte each."""
    path = whole_bundle / graph_file("int8")
    products = {node.name: node for node in onnx.load(path).graph.node if node.op_type in ("Conv", "Gemm", "MatMul")}
    given = {output: node.op_type for node in onnx.load(path).graph.node for output in node.output}
    for layer in graph_cost(path).layers:
        if layer.name in products:
            both = all(given.get(name) == "DequantizeLinear" for name in products[layer.name].input[:2])
            assert (layer.precision == "int8") == both
    fp16 = {layer.name: layer for layer in graph_cost(whole_bundle / graph_file("fp16")).layers}
    int8 = [one for one in graph_cost(path).layers if one.precision == "int8"]
    assert len(int8) > 5
    assert all(fp16[one.name].flops == one.flops for one in int8)


def test_fp16_halves_the_bytes_of_what_is_fp16(whole_bundle: Path) -> None:
    fp32, fp16 = (graph_cost(whole_bundle / graph_file(precision)) for precision in ("fp32", "fp16"))
    assert [layer.name for layer in fp32.layers] == [layer.name for layer in fp16.layers]
    inner = [pair for pair in zip(fp32.layers, fp16.layers, strict=True) if pair[1].op == "Conv"]
    assert all(2 * one.activation_bytes == other.activation_bytes for other, one in inner)
    assert all(2 * one.weight_bytes == other.weight_bytes for other, one in inner)


def test_a_residual_block_by_hand(tmp_path: Path) -> None:
    """conv -> relu -> conv -> + x -> relu: two layers, the second reads x as well."""
    first, second = np.ones((_OUT, _IN, 3, 3), np.float32), np.ones((_IN, _OUT, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "first", "bias"], ["a"], name="one", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "second"], ["c"], name="two"),
        helper.make_node("Add", ["c", "x"], ["d"], name="add"),
        helper.make_node("Relu", ["d"], ["e"], name="last"),
    ]
    cost = graph_cost(written(tmp_path / "g.onnx", nodes, first=first, second=second, bias=np.ones(_OUT, np.float32)))
    x, b = 4 * _IN * _SIDE**2, 4 * _OUT * _SIDE**2
    outputs = _SIDE**2
    assert cost.layers == (
        layer("one", naive_flops(first, outputs), first.nbytes + 4 * _OUT, x + b),
        layer("two", naive_flops(second, outputs), second.nbytes, b + x + x),
    )


def test_what_others_read_is_written_and_not_fused_away(tmp_path: Path) -> None:
    """conv -> a; relu(a) and a both are pooled: the relu is a layer of its own, which reads a again."""
    kernel = np.ones((_OUT, _IN, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Concat", ["a", "b"], ["c"], name="both", axis=1),
    ]
    cost = graph_cost(written(tmp_path / "g.onnx", nodes, w=kernel))
    x, a = 4 * _IN * _SIDE**2, 4 * _OUT * _SIDE**2
    assert [(one.name, one.activation_bytes) for one in cost.layers] == [
        ("conv", x + a),
        ("relu", 2 * a),
        ("both", 4 * a),
    ]


def test_groups_and_strides_by_hand(tmp_path: Path) -> None:
    """A depthwise convolution with a stride of 2: of each kernel, one channel counts."""
    kernel = np.ones((_IN, 1, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="depthwise", group=_IN, strides=[2, 2], pads=[1] * 4)
    cost = graph_cost(written(tmp_path / "g.onnx", [node], w=kernel))
    assert cost.flops == naive_flops(kernel, (_SIDE // 2) ** 2)


def test_quantized_products_by_hand(tmp_path: Path) -> None:
    """x is quantized once; from then on, all is stored in 8 bits."""
    products = Products("Conv", "int8", rows=1, channels=8, length=2)
    path = tmp_path / "g.onnx"
    path.write_bytes(products.onnx())
    onnx.checker.check_model(onnx.load(path), full_check=True)
    elements, weights = 8 * 14 * 14, 8 * 8 * 9
    quantizes, first, second = graph_cost(path).layers
    assert (quantizes.op, quantizes.activation_bytes) == ("QuantizeLinear", 5 * elements)
    assert [one.precision for one in (first, second)] == ["int8", "int8"]
    assert [one.weight_bytes for one in (first, second)] == [weights, weights]
    assert [one.activation_bytes for one in (first, second)] == [2 * elements, 2 * elements]
    assert first.flops + second.flops == products.flops == 2 * 2 * elements * 8 * 9


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"g\.onnx"):
        graph_cost(tmp_path / "g.onnx")


def layer(name: str, flops: int, weights: int, activations: int) -> LayerCost:
    return LayerCost(
        name=name, op="Conv", flops=flops, weight_bytes=weights, activation_bytes=activations, precision="fp32"
    )


def test_a_cost_is_stored_and_read(whole_bundle: Path) -> None:
    cost = graph_cost(whole_bundle / graph_file("int8"))
    assert GraphCost.model_validate_json(cost.model_dump_json()) == cost
