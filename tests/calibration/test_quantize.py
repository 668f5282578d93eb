"""The Q/DQ graph beside PyTorch's own fake quantization, and read by two other runtimes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from reid.calibration.layers import QuantizableLayers, find_layers
from reid.calibration.quantize import QDQ_OPSET, channel_scales, quantize
from reid.calibration.shapes import tensor_types
from reid.export.fp16 import write_fp16_graph
from reid.runtime.errors import ModelError
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.openvino import load_openvino
from reid.runtime.sessions.session import run as run_session

from .conftest import graph_of, scaled

SCALE = 2.0**-5
"""Scales are powers of two and values multiples of small ones, so that every runtime computes without rounding."""


def run(model: ModelProto, x: NDArray[Any]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def on_cpu(path: Path) -> HostSession:
    return load_onnxruntime(path, "cpu")


def embed(path: Path, frames: NDArray[np.uint8], load: Callable[[Path], HostSession] = on_cpu) -> NDArray[np.float32]:
    with load(path) as session:
        return np.array(run_session(session, frames, np.eye(len(frames), dtype=np.float32))[0])


def fake(values: torch.Tensor, scale: float = SCALE) -> torch.Tensor:
    return torch.fake_quantize_per_tensor_affine(values, scale, 0, -128, 127)


def fake_weight(weight: NDArray[np.float32], axis: int) -> torch.Tensor:
    scales = torch.from_numpy(channel_scales(weight, axis))
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(torch.from_numpy(weight), scales, zeros, axis, -127, 127)


def dyadic(*shape: int, axis: int, seed: int = 0) -> NDArray[np.float32]:
    """Weights in quarters of a step, whose largest of each output channel is 127 steps of 2^-6 or 2^-8."""
    random = np.random.default_rng(seed)
    rows = random.integers(-500, 501, (shape[axis], int(np.prod(shape)) // shape[axis])) / 4
    rows[:, 0] = 127
    rows *= 2.0 ** -random.choice([6, 8], (shape[axis], 1))
    others = [size for index, size in enumerate(shape) if index != axis]
    return np.moveaxis(rows.reshape(shape[axis], *others), 0, axis).astype(np.float32)


def values(*shape: int) -> NDArray[np.float32]:
    """Halves and quarters of the scale, and some values beyond the range."""
    return (np.random.default_rng(1).integers(-700, 700, shape) * SCALE / 4).astype(np.float32)


@pytest.mark.parametrize("kind", ["convolution", "depthwise", "grouped"])
def test_a_convolution_computes_what_pytorchs_fake_quantization_does(kind: str) -> None:
    groups = {"convolution": 1, "depthwise": 4, "grouped": 2}[kind]
    weight, x = dyadic(8, 4 // groups, 3, 3, axis=0), values(2, 4, 6, 6)
    model = graph_of(
        ("Conv", ["x", "w"], "y", {"group": groups, "pads": [1, 1, 1, 1]}), weights={"w": weight}, shape=(4, 6, 6)
    )
    layers = find_layers(model)
    actual = run(quantize(model, layers, layers.names, {"x": 127 * SCALE}), x)
    expected = F.conv2d(fake(torch.from_numpy(x)), fake_weight(weight, 0), padding=1, groups=groups)
    np.testing.assert_array_equal(actual, expected.numpy())
    assert (run(model, x) != actual).any()


@pytest.mark.parametrize("op", ["Gemm", "Gemm transposed", "MatMul"])
def test_a_matrix_product_has_a_scale_for_each_output(op: str) -> None:
    axis = 0 if op == "Gemm transposed" else 1
    weight, x = dyadic(5, 7, axis=axis), values(3, 7 if axis == 0 else 5)
    given = {"transB": 1} if axis == 0 else {}
    model = graph_of((op.split()[0], ["x", "w"], "y", given), weights={"w": weight}, shape=x.shape[1:])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3  # several rows: no head, which has one a frame
    layers = find_layers(model)
    quantized = quantize(model, layers, layers.names, {"x": 127 * SCALE})
    other = fake_weight(weight, axis)
    expected = fake(torch.from_numpy(x)) @ (other.T if axis == 0 else other)
    np.testing.assert_array_equal(run(quantized, x), expected.numpy())
    (weights,) = (node for node in quantized.graph.node if node.name == "dq_w")
    assert [attribute.i for attribute in weights.attribute] == [axis]


def residual_block() -> tuple[ModelProto, dict[str, NDArray[np.float32]]]:
    """A block with a shortcut that is a convolution, and a pooling that reads what the next layer reads."""
    weights = {name: dyadic(4, 4, 1, 1, axis=0, seed=seed) for seed, name in enumerate("abcd")}
    nodes = [
        ("Relu", ["x"], "r", {}),
        ("Conv", ["r", "a"], "left", {}),
        ("Conv", ["r", "b"], "right", {}),
        ("Add", ["left", "right"], "sum", {}),
        ("Relu", ["sum"], "s", {}),
        ("ReduceMax", ["s", "axes"], "pooled", {"keepdims": 1}),
        ("Conv", ["s", "c"], "next", {}),
        ("Add", ["next", "pooled"], "y", {}),
    ]
    held = {name: weights[name] for name in "abc"}
    return graph_of(*nodes, weights=held | {"axes": np.array([2, 3])}, shape=(4, 3, 3)), held


def test_residuals_and_poolings_read_the_same_pair_as_the_layers_beside_them() -> None:
    model, weights = residual_block()
    layers, x = find_layers(model), values(2, 4, 3, 3)
    assert [layer.op for layer in layers] == ["Conv", "Conv", "Add", "ReduceMax", "Conv", "Add"]
    scales = {"r": SCALE, "right": 8 * SCALE, "s": 16 * SCALE, "pooled": 4 * SCALE}
    quantized = quantize(model, layers, layers.names, {name: 127 * scale for name, scale in scales.items()})
    a, b, c = (fake_weight(weights[name], 0) for name in "abc")
    r = fake(torch.from_numpy(x).relu())
    s = fake((F.conv2d(r, a) + fake(F.conv2d(r, b), 8 * SCALE)).relu(), 16 * SCALE)
    expected = F.conv2d(s, c) + fake(s.amax((2, 3), keepdim=True), 4 * SCALE)
    np.testing.assert_array_equal(run(quantized, x), expected.numpy())
    assert Counter(n.op_type for n in quantized.graph.node)["QuantizeLinear"] == len(scales)


@pytest.fixture(scope="module")
def fp16(graph: Path, frames: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> ModelProto:
    path = tmp_path_factory.mktemp("fp16") / "fp16.onnx"
    assert write_fp16_graph(graph, path, frames) == ()
    return onnx.load(path)


def chosen(layers: QuantizableLayers) -> list[list[str]]:
    every = list(layers.names)
    return [every, every[:1], every[1::2], [layer.name for layer in layers if layer.op != "Conv"], []]


def readers(model: ModelProto, ops: Collection[str]) -> set[str]:
    return {name for node in model.graph.node if node.op_type in ops for name in node.input}


def test_only_the_named_layers_change(
    model: ModelProto, fp16: ModelProto, layers: QuantizableLayers, amax: dict[str, float]
) -> None:
    for source in (model, fp16):
        before = {node.name: node for node in source.graph.node}
        for int8 in chosen(layers):
            quantized = quantize(source, layers, int8, amax)
            onnx.checker.check_model(quantized, full_check=True)
            own = {layer.node for layer in layers if layer.name in int8}
            changed = {node.name for node in quantized.graph.node if before.get(node.name) not in (None, node)}
            added = {node.name: node.op_type for node in quantized.graph.node if node.name not in before}
            assert changed == own
            assert set(added.values()) <= {"QuantizeLinear", "DequantizeLinear"}
            # One quantizer a tensor, however many read it; and no weight is left in both forms.
            quantizers = [node.input[0] for node in quantized.graph.node if node.op_type == "QuantizeLinear"]
            assert sorted(quantizers) == sorted({layer.input for layer in layers if layer.name in int8})
            used = {name for node in quantized.graph.node for name in node.input}
            assert {tensor.name for tensor in quantized.graph.initializer} <= used
            int8_weights = [t for t in quantized.graph.initializer if t.name.endswith("weight_int8")]
            assert len(int8_weights) == sum(layer.op == "Conv" for layer in layers if layer.name in int8)


def test_inputs_outputs_and_the_card_are_those_of_the_graph(
    fp16: ModelProto, layers: QuantizableLayers, amax: dict[str, float]
) -> None:
    quantized = quantize(fp16, layers, layers.names, amax)
    assert quantized.graph.input == fp16.graph.input
    assert quantized.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert quantized.graph.output == fp16.graph.output
    assert quantized.metadata_props == fp16.metadata_props
    assert [entry.version for entry in quantized.opset_import if not entry.domain] == [QDQ_OPSET]
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in fp16.graph.node}  # not changed itself


def assert_pairs_are_read_in_their_readers_type(model: ModelProto) -> None:
    """No cast stands between a pair and what reads it: TensorRT would fuse nothing."""
    kinds = {name: known.kind for name, known in tensor_types(model).items()}
    producers = {name: node for node in model.graph.node for name in node.output}
    pairs = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert not pairs & readers(model, ["Cast"])
    for node in model.graph.node:
        if pairs & set(node.input):
            assert {kinds[name] for name in node.input if kinds[name] != TensorProto.INT64} == {kinds[node.output[0]]}
    for name in pairs:
        node = producers[name]
        assert producers[node.input[0]].op_type == "QuantizeLinear" if node.input[0] in producers else True


def test_layers_that_the_fp16_graph_has_in_fp32_are_dequantized_in_fp32(
    model: ModelProto, layers: QuantizableLayers, amax: dict[str, float], frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    first, second = "model.backbone.layer2.0.conv1", "model.backbone.layer2.0.conv2"
    factor = 2.0**18
    hostile = scaled(model, first, second, factor)
    onnx.save(hostile, tmp_path / "hostile.onnx")
    in_fp32 = write_fp16_graph(tmp_path / "hostile.onnx", tmp_path / "fp16.onnx", frames)
    assert len(in_fp32) == 3  # both convolutions and the ReLU between them
    (between,) = (layer.input for layer in layers if layer.name == second.removeprefix("model."))
    quantized = quantize(
        onnx.load(tmp_path / "fp16.onnx"),
        layers,
        layers.names,
        amax | {between: amax[between] * factor},
    )
    onnx.checker.check_model(quantized, full_check=True)
    assert_pairs_are_read_in_their_readers_type(quantized)
    # A tensor that is read in both types has the same scale in both.
    scales = {t.name: float(numpy_helper.to_array(t)) for t in quantized.graph.initializer if t.name.endswith("_float")}
    in_fp16 = {
        t.name: float(numpy_helper.to_array(t)) for t in quantized.graph.initializer if t.name.endswith("float16")
    }
    shared = {name: scale for name, scale in scales.items() if f"{name}16" in in_fp16}
    assert shared
    assert all(in_fp16[f"{name}16"] == scale for name, scale in shared.items())
    # The whole layer was scaled, so that INT8 makes of it what it makes of the model as it was.
    onnx.save(quantized, tmp_path / "int8.onnx")
    onnx.save(quantize(model, layers, layers.names, amax), tmp_path / "plain.onnx")
    assert (embed(tmp_path / "int8.onnx", frames) * embed(tmp_path / "plain.onnx", frames)).sum(axis=1).min() > 0.999


def test_both_runtimes_answer_nearly_alike_and_nearly_as_in_fp32(
    graph: Path,
    fp16: ModelProto,
    layers: QuantizableLayers,
    amax: dict[str, float],
    frames: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    pytest.importorskip("openvino")
    quantized = quantize(fp16, layers, layers.names, amax)
    assert_pairs_are_read_in_their_readers_type(quantized)
    onnx.save(quantized, tmp_path / "int8.onnx")
    expected = embed(graph, frames)
    onnxruntimes = embed(tmp_path / "int8.onnx", frames)
    openvinos = embed(tmp_path / "int8.onnx", frames, load_openvino)
    away = 1 - (expected * onnxruntimes).sum(axis=1)
    assert 1e-7 < away.max() < 2e-3
    assert (1 - (openvinos * onnxruntimes).sum(axis=1)).max() < 1e-3


def test_dead_channels_and_dead_tensors_are_0_in_every_type(tmp_path: Path) -> None:
    weight = dyadic(4, 4, 1, 1, axis=0)
    weight[2] = 0
    model = graph_of(
        ("Mul", ["x", "zero"], "dead", {}),
        ("Conv", ["dead", "w"], "a", {}),
        ("Conv", ["x", "w"], "b", {}),
        ("Add", ["a", "b"], "y", {}),
        weights={"w": weight, "zero": np.zeros((), np.float32)},
        shape=(4, 3, 3),
    )
    layers, x = find_layers(model), values(2, 4, 3, 3)
    quantized = quantize(model, layers, layers.names, {"x": 127 * SCALE, "dead": 0.0, "b": 127 * 64 * SCALE})
    actual = run(quantized, x)
    assert (actual[:, 2] == 0).all()
    expected = fake(F.conv2d(fake(torch.from_numpy(x)), fake_weight(weight, 0)), 64 * SCALE)
    np.testing.assert_array_equal(actual, expected.numpy())
    scales = [numpy_helper.to_array(t) for t in quantized.graph.initializer if "_scale" in t.name]
    assert all((scale > 0).all() and np.isfinite(scale).all() for scale in scales)


@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-30, 1e-9, 1e-6, 3e4, 1e8])
def test_no_scale_is_0_or_infinite_in_fp16_and_none_clips_what_it_was_made_for(
    fp16: ModelProto, layers: QuantizableLayers, size: float
) -> None:
    quantized = quantize(fp16, layers, layers.names, dict.fromkeys(layers.inputs, size))
    scales = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer if "_scale" in t.name}
    assert {scale.dtype for scale in scales.values()} == {np.dtype(np.float16), np.dtype(np.float32)}
    assert all((scale > 0).all() and np.isfinite(scale).all() for scale in scales.values())
    if size < 127 * 65504:
        assert min(127 * float(scale) for scale in scales.values() if scale.ndim == 0) >= size


def test_tiny_weights_keep_their_values_in_fp16(
    fp16: ModelProto, layers: QuantizableLayers, amax: dict[str, float]
) -> None:
    changed = ModelProto()
    changed.CopyFrom(fp16)
    layer = next(layer for layer in layers if layer.op == "Conv")
    (tensor,) = (t for t in changed.graph.initializer if t.name.startswith(layer.weight))
    random = np.random.default_rng(0)
    weights = random.normal(size=tuple(tensor.dims)).astype(np.float16) * np.float16(1e-5)
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    quantized = quantize(changed, layers, [layer.name], amax)
    found = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer}
    scales = found[f"{layer.weight}_scale"].astype(np.float32).reshape(-1, 1, 1, 1)
    restored = found[f"{layer.weight}_int8"] * scales
    assert (np.abs(restored - weights.astype(np.float32)) <= scales / 2).all()  # nothing is clipped


def test_weights_that_two_layers_share_are_quantized_once() -> None:
    model = graph_of(
        ("Conv", ["x", "w"], "a", {}),
        ("Conv", ["a", "w"], "y", {}),
        weights={"w": dyadic(4, 4, 1, 1, axis=0)},
        shape=(4, 3, 3),
    )
    layers, x = find_layers(model), values(1, 4, 3, 3)
    quantized = quantize(model, layers, layers.names, {"x": 127 * SCALE, "a": 127 * 16 * SCALE})
    onnx.checker.check_model(quantized, full_check=True)
    weight = fake_weight(dyadic(4, 4, 1, 1, axis=0), 0)
    inner = fake(F.conv2d(fake(torch.from_numpy(x)), weight), 16 * SCALE)
    np.testing.assert_array_equal(run(quantized, x), F.conv2d(inner, weight).numpy())


def test_weights_that_were_trained_for_scales_get_these(
    model: ModelProto, layers: QuantizableLayers, amax: dict[str, float]
) -> None:
    layer = layers.in_order[0]
    (tensor,) = (t for t in model.graph.initializer if t.name == layer.weight)
    given = np.linspace(0.01, 0.02, tensor.dims[0], dtype=np.float32)
    quantized = quantize(model, layers, [layer.name], amax, weight_scales={layer.name: given})
    found = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer}
    np.testing.assert_array_equal(found[f"{layer.weight}_scale"], given)
    expected = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(numpy_helper.to_array(tensor).copy()),
        torch.from_numpy(given),
        torch.zeros(len(given), dtype=torch.int32),
        0,
        -127,
        127,
    )
    restored = found[f"{layer.weight}_int8"] * given.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(restored, expected.numpy(), rtol=1e-6)


def test_a_tensor_without_an_amax_is_named(
    model: ModelProto, layers: QuantizableLayers, amax: dict[str, float]
) -> None:
    lacking = layers.in_order[3].input
    without = {name: value for name, value in amax.items() if name != lacking}
    with pytest.raises(ModelError, match=f"no amax for {lacking}; calibrate"):
        quantize(model, layers, layers.names, without)
    quantize(model, layers, [layer.name for layer in layers if layer.input != lacking], without)
