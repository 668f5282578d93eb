"""Layers that drift: found where they were broken, measured as a loop would, finite even where FP16 overflows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from reid.evaluation.verification.drift import first_drift
from reid.evaluation.verification.graph_drift import drifted_layers
from reid.evaluation.verification.records import LayerDrift
from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError
from reid.runtime.imaging import read_frame, resize

BROKEN = "model.backbone.layer3.0.conv1.weight"


@pytest.fixture(scope="module")
def graph(bundle: Path) -> Path:
    return bundle / "model.fp32.onnx"


@pytest.fixture(scope="module")
def frames(bundle: Path) -> NDArray[np.uint8]:
    crops, _ = Bundle.open(bundle).reference()
    return np.stack([resize(read_frame(crop), 64, 64).transpose(2, 0, 1) for crop in crops[:3]])


def scaled(graph: Path, weight: str, factor: float) -> ModelProto:
    model = onnx.load(graph)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == weight)
    values = numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(values, weight))
    return model


def saved(model: ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def tensor_of(graph: Path, layer: str, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Give what one layer makes of all frames at once."""
    model = onnx.load(graph)
    (name,) = (node.output[0] for node in model.graph.node if node.name == layer)
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"frames": frames, "pooling": np.ones((1, len(frames)), np.float32)}
    return np.asarray(session.run([name], feeds)[0], np.float64)


def test_a_graph_does_not_drift_from_itself(graph: Path, frames: NDArray[np.uint8]) -> None:
    drift = drifted_layers(graph, graph, frames, most=1000)
    assert len(drift) > 30
    assert {(layer.relative_error, layer.largest_error, layer.not_finite) for layer in drift} == {(0, 0, 0)}
    assert [layer.position for layer in drift] == sorted(layer.position for layer in drift)
    assert first_drift(drift) is None


def test_the_layer_whose_weight_was_changed_is_the_first_to_drift(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    other = saved(scaled(graph, BROKEN, 1.2), tmp_path / "other.onnx")
    drift = drifted_layers(graph, other, frames, most=1000)
    first = first_drift(drift)
    assert first is not None
    assert (first.weight, first.op) == (BROKEN, "Conv")
    assert first.relative_error == pytest.approx(0.2, rel=1e-4)
    assert all(layer.relative_error < 1e-5 for layer in drift if layer.position < first.position)
    assert [layer.relative_error for layer in drift] == sorted((e.relative_error for e in drift), reverse=True)


def test_errors_equal_those_of_one_run_with_all_frames(graph: Path, frames: NDArray[np.uint8], tmp_path: Path) -> None:
    other = saved(scaled(graph, BROKEN, 0.9), tmp_path / "other.onnx")
    for layer in drifted_layers(graph, other, frames, most=8):
        expected, actual = (tensor_of(path, layer.layer, frames) for path in (graph, other))
        error = actual - expected
        relative = np.sqrt((error**2).mean() / (expected**2).mean())
        assert layer.relative_error == pytest.approx(relative, rel=1e-4)
        assert layer.largest_error == pytest.approx(np.abs(error).max(), rel=1e-3)
        assert layer.peak == pytest.approx(np.abs(expected).max(), rel=1e-4)


def test_the_first_to_drift_is_kept_where_others_have_larger_errors(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = scaled(graph, "model.backbone.conv1.0.weight", 1.05)
    path = saved(model, tmp_path / "one.onnx")
    path = saved(scaled(path, BROKEN, 3), tmp_path / "both.onnx")
    every, few = (drifted_layers(graph, path, frames, most=most) for most in (1000, 4))
    assert few[:3] == every[:3]
    assert few[3] == first_drift(every) == first_drift(few)
    assert few[3].weight == "model.backbone.conv1.0.weight"
    assert first_drift(every, threshold=0.5) in every[:20]
    assert first_drift(every, threshold=1e9) is None


def test_an_fp16_graph_is_compared_without_its_casts(graph: Path, frames: NDArray[np.uint8], tmp_path: Path) -> None:
    half = convert_float_to_float16(onnx.load(graph), keep_io_types=True, op_block_list=["Cast"])
    drift = drifted_layers(graph, saved(half, tmp_path / "half.onnx"), frames, most=1000)
    convolutions = [layer for layer in drift if layer.op == "Conv"]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in onnx.load(graph).graph.node)
    rounded = [layer for layer in convolutions if layer.peak > 0]  # the last of an untrained block is zero everywhere
    assert len(rounded) > 8
    assert all(1e-5 < layer.relative_error < 0.01 for layer in rounded)
    names = {node.name for node in onnx.load(graph).graph.node}
    assert {layer.layer for layer in drift} < names
    assert first_drift(drift) is None


def test_a_layer_that_overflows_comes_first_and_with_finite_figures(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    large = saved(scaled(graph, BROKEN, 2e5), tmp_path / "large.onnx")
    half = convert_float_to_float16(onnx.load(large), keep_io_types=True, op_block_list=["Cast"])
    drift = drifted_layers(large, saved(half, tmp_path / "half.onnx"), frames)
    first = first_drift(drift)
    assert first is not None
    assert first.weight == BROKEN
    assert first.not_finite > 0
    assert first.peak > 65504
    assert drift[0].not_finite > 0
    for layer in drift:
        assert math.isfinite(layer.relative_error)
        assert math.isfinite(layer.largest_error)
        assert LayerDrift.model_validate_json(layer.model_dump_json()) == layer


def test_quantization_shows_in_the_layers_behind_it(graph: Path, frames: NDArray[np.uint8], tmp_path: Path) -> None:
    model = onnx.load(graph)
    (consumer,) = (node for node in model.graph.node if BROKEN in node.input)
    position = list(model.graph.node).index(consumer)
    source = consumer.input[0]
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
            numpy_helper.from_array(np.array(0, np.int8), "zero"),
        ]
    )
    pair = [
        helper.make_node("QuantizeLinear", [source, "scale", "zero"], ["quantized"], name="q"),
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["dequantized"], name="dq"),
    ]
    consumer.input[0] = "dequantized"
    for node in reversed(pair):
        model.graph.node.insert(position, node)
    drift = drifted_layers(graph, saved(model, tmp_path / "quantized.onnx"), frames, most=1000)
    assert not {"q", "dq"} & {layer.layer for layer in drift}
    first = first_drift(drift)
    assert first is not None
    assert first.weight == BROKEN


def test_graphs_of_other_models_and_damaged_ones_are_refused(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    renamed = onnx.load(graph)
    for node in renamed.graph.node:
        node.name = f"other/{node.name}"
    wider = onnx.load(graph)
    (first,) = (node for node in wider.graph.node if node.op_type == "MaxPool")
    strides = next(attribute for attribute in first.attribute if attribute.name == "strides")
    strides.ints[:] = [1, 1]
    del wider.graph.value_info[:]
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(graph.read_bytes()[:5000])
    for path, named in (
        (saved(renamed, tmp_path / "renamed.onnx"), "shares no layer with"),
        (saved(wider, tmp_path / "wider.onnx"), "graphs of different models"),
        (damaged, "is not an ONNX graph, or is damaged"),
        (tmp_path / "absent.onnx", "No such file"),
    ):
        with pytest.raises(ModelError, match=named):
            drifted_layers(graph, path, frames)


def test_values_that_are_infinite_in_both_graphs_are_no_drift(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = onnx.load(graph)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == BROKEN)
    values = np.sign(numpy_helper.to_array(tensor)) * np.float32(3e38)
    tensor.CopyFrom(numpy_helper.from_array(values, BROKEN))
    vast = saved(model, tmp_path / "vast.onnx")
    assert not np.isfinite(tensor_of(vast, layer_of(vast), frames)).all()
    found = {layer.layer: layer for layer in drifted_layers(vast, vast, frames, most=10**6)}
    own = found[layer_of(vast)]
    assert (own.relative_error, own.largest_error, own.not_finite) == (0, 0, 0)
    assert all(math.isfinite(layer.peak) for layer in found.values())


def layer_of(graph: Path) -> str:
    (node,) = (node for node in onnx.load(graph).graph.node if BROKEN in node.input)
    return str(node.name)
