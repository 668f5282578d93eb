from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from reid.calibration.intermediates import float_tensors, run_with_intermediates
from reid.export.fp16 import LIMIT, write_fp16_graph
from reid.runtime.bundle import graph_file


@pytest.fixture(scope="module")
def graph(bundle: Path) -> Path:
    return bundle / graph_file("fp32")


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 3, 64, 64), dtype=np.uint8)


def run(graph: Path, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (embedding,) = session.run(["frame_embedding"], {"frames": frames, "pooling": np.eye(len(frames), dtype="f4")})
    return np.asarray(embedding)


def rescaled(graph: Path, output: Path, layer: int, factor: float) -> Path:
    """Scale one convolution's output and undo it in the next, with a ReLU between them: the same function in FP32."""
    model = onnx.load(graph)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    seconds = [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and node.input[0] in producers
        and producers[node.input[0]].op_type == "Relu"
        and producers[producers[node.input[0]].input[0]].op_type == "Conv"
        and [node.input[0] in other.input for other in model.graph.node].count(True) == 1
    ]
    second = seconds[layer]
    first = producers[producers[second.input[0]].input[0]]
    for name, scale in (*((name, factor) for name in first.input[1:]), (second.input[1], 1 / factor)):
        weights[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights[name]) * np.float32(scale), name))
    onnx.save(model, output)
    return output


def casts(model: ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.name.startswith("cast_")]


def test_convolutions_and_heads_are_fp16_and_everything_outside_is_as_before(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    assert write_fp16_graph(graph, tmp_path / "fp16.onnx", frames) == ()
    fp16, full = onnx.load(tmp_path / "fp16.onnx"), onnx.load(graph)
    kinds = float_tensors(fp16)
    heavy = [node for node in fp16.graph.node if node.op_type in ("Conv", "Gemm")]
    assert heavy
    assert {kinds[node.output[0]] for node in heavy} == {TensorProto.FLOAT16}
    accurate = [node for node in fp16.graph.node if node.op_type in ("ReduceL2", "Div")]
    assert {kinds[node.output[0]] for node in accurate} == {TensorProto.FLOAT}
    assert fp16.graph.input == full.graph.input
    assert fp16.graph.output == full.graph.output
    stated = [{entry.key: entry.value for entry in model.metadata_props} for model in (full, fp16)]
    assert stated[1] == stated[0] | {"reid.precision": "fp16"}
    assert stated[0]["reid.precision"] == "fp32"
    assert Counter(n.op_type for n in fp16.graph.node) - Counter(n.op_type for n in full.graph.node) == {
        "Cast": len(casts(fp16))
    }
    # One at the entrance, and one behind each of the two levels.
    assert len(casts(fp16)) == 3


def test_the_half_graph_embeds_alike_in_half_the_space(graph: Path, frames: NDArray[np.uint8], tmp_path: Path) -> None:
    fp16 = tmp_path / "fp16.onnx"
    write_fp16_graph(graph, fp16, frames)
    cosine = (run(graph, frames) * run(fp16, frames)).sum(axis=1)
    assert cosine.min() > 0.9999
    assert (run(graph, frames) != run(fp16, frames)).any()
    assert fp16.stat().st_size < 0.55 * graph.stat().st_size


@pytest.mark.parametrize("layer", [0, -1])
def test_layers_that_would_overflow_are_found_and_stay_in_fp32(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path, layer: int
) -> None:
    hostile = rescaled(graph, tmp_path / "hostile.onnx", layer, 3e5)
    np.testing.assert_allclose(run(hostile, frames), run(graph, frames), atol=1e-5)
    found = write_fp16_graph(hostile, tmp_path / "fp16.onnx", frames)
    assert 2 <= len(found) <= 3
    assert max(one.amax for one in found) > LIMIT
    in_fp32 = [one.layer for one in found]
    cosine = (run(hostile, frames) * run(tmp_path / "fp16.onnx", frames)).sum(axis=1)
    assert cosine.min() > 0.9999
    fp16 = onnx.load(tmp_path / "fp16.onnx")
    assert [node.name for node in fp16.graph.node if node.name in in_fp32] == in_fp32  # in the order of execution
    # Not by way of FP16: between two layers that stay in FP32 there is no cast.
    inside = {name for node in fp16.graph.node if node.name in in_fp32 for name in node.output}
    read_by = {node.name for node in fp16.graph.node if inside & set(node.input)}
    assert len(read_by.intersection(in_fp32)) == len(in_fp32) - 1


def test_layers_that_are_too_small_for_fp16_stay_in_fp32(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    hostile = rescaled(graph, tmp_path / "hostile.onnx", 0, 1e-7)
    assert write_fp16_graph(hostile, tmp_path / "fp16.onnx", frames)
    cosine = (run(hostile, frames) * run(tmp_path / "fp16.onnx", frames)).sum(axis=1)
    assert cosine.min() > 0.9999


def test_intermediates_are_those_of_a_whole_batch(graph: Path, frames: NDArray[np.uint8]) -> None:
    collected: dict[str, list[NDArray[np.float32]]] = {}
    for name, values in run_with_intermediates(graph, frames, batch_size=2):
        collected.setdefault(name, []).append(values)
    np.testing.assert_allclose(np.concatenate(collected["frame_embedding"]), run(graph, frames), atol=1e-6)
    convolutions = [node for node in onnx.load(graph).graph.node if node.op_type == "Conv"]
    assert all(sum(map(len, collected[node.output[0]])) == len(frames) for node in convolutions)


def test_a_layer_whose_values_are_infinite_stays_in_fp32_with_a_number_that_json_can_hold(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = onnx.load(graph)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = np.sign(numpy_helper.to_array(weight)) * np.float32(3e38)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, vast := tmp_path / "vast.onnx")
    assert any(np.isinf(values).any() for _, values in run_with_intermediates(vast, frames))
    in_fp32 = write_fp16_graph(vast, tmp_path / "fp16.onnx", frames)
    assert in_fp32
    assert json.loads(json.dumps([one.amax for one in in_fp32], allow_nan=False))
    assert max(one.amax for one in in_fp32) == np.finfo(np.float32).max
