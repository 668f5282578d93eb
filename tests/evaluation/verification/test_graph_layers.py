"""A graph's layers and their tensors are those that onnx reads from the file, though onnx is not needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from reid.evaluation.verification.graph_layers import GraphLayers, Layer
from reid.runtime.bundle import Bundle, graph_file
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.precision import PRECISIONS, Precision


@pytest.fixture(scope="module")
def frames(whole_bundle: Path) -> NDArray[np.uint8]:
    bundle = Bundle.open(whole_bundle)
    crops, _ = bundle.reference()
    return np.stack([as_model_input(read_frame(crop), bundle.card.preprocessing) for crop in crops[:2]])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_layers_and_tensors_are_those_of_the_file(
    whole_bundle: Path, precision: Precision, frames: NDArray[np.uint8]
) -> None:
    path = whole_bundle / graph_file(precision)
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    read = GraphLayers(path)
    for position, node in enumerate(model.graph.node):
        weight = next((name for name in node.input if name in weights), "")
        if node.name in read.layers:
            assert read.layers[node.name] == Layer(node.name, node.op_type, position, node.output[0], weight)
        else:
            assert node.op_type in ("Shape", "Concat", "Gather", "Slice", "QuantizeLinear", "Unsqueeze")

    present = {output.name for output in model.graph.output}
    tensors = [layer.tensor for layer in read.layers.values()]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in present)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for frame, found in zip(frames, read.run(frames, tensors), strict=True):
        expected = session.run(tensors, {"frames": frame[None], "pooling": np.ones((1, 1), np.float32)})
        assert list(found) == tensors
        for name, values in zip(tensors, expected, strict=True):
            assert found[name].dtype == np.float32
            # How sums are ordered depends on what else is an output; a step of FP16 is 2**-10 of a value.
            np.testing.assert_allclose(found[name], values, rtol=2**-9, atol=2**-9 * np.abs(values).max())


def test_what_is_packed_or_said_twice_is_read_as_protobuf_reads_it(tmp_path: Path) -> None:
    """Dimensions in one field or one by one; a name that is there twice; a graph in two parts."""
    from onnx import TensorProto, helper, numpy_helper

    ends = [
        helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 3, 2, 2]),
        helper.make_tensor_value_info("pooling", TensorProto.FLOAT, ["T", "N"]),
    ]
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Add", ["float", "flat"], ["added"], name="add"),
        helper.make_node("Mul", ["added", "square"], ["frame_embedding"], name="multiply"),
        helper.make_node("Identity", ["frame_embedding"], ["unnamed"]),
    ]
    square = numpy_helper.from_array(np.ones((2, 2), np.float32), "square")
    flat = numpy_helper.from_array(np.ones(2, np.float32), "flat")
    output = helper.make_tensor_value_info("frame_embedding", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph(nodes[:2], "one", ends, [], [flat]), opset_imports=[helper.make_opsetid("", 19)], ir_version=9
    )
    rest = onnx.ModelProto()
    rest.graph.node.extend(nodes[2:])
    rest.graph.output.append(output)
    stored = square.SerializeToString()
    packed = stored.replace(b"\x08\x02\x08\x02", b"\x0a\x02\x02\x02")
    assert packed != stored
    parts = rest.SerializeToString() + _field(7, _field(5, packed))
    path = tmp_path / "parts.onnx"
    path.write_bytes(model.SerializeToString() + parts + _field(7, _field(2, b"renamed")))
    read = GraphLayers(path)
    assert [(one.name, one.position, one.weight) for one in read.layers.values()] == [
        ("cast", 0, ""),
        ("add", 1, ""),
        ("multiply", 2, "square"),
    ]
    (found,) = read.run(np.full((1, 3, 2, 2), 5, np.uint8), ["added", "frame_embedding"])
    np.testing.assert_array_equal(found["added"], np.full((1, 3, 2, 2), 6, np.float32))


def _field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value
