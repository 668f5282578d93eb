from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from reid.calibration.intermediates import run_with_intermediates
from reid.calibration.shapes import TensorType, tensor_types
from reid.export.fp16 import write_fp16_graph

from .conftest import graph_of

ONE = {"frames": (1, 3, 64, 64), "pooling": (1, 1)}


def test_shapes_for_one_frame_are_those_that_it_has_when_it_runs(
    graph: Path, model: ModelProto, frames: NDArray[np.uint8]
) -> None:
    known = tensor_types(model, ONE)
    seen = {name: values.shape for name, values in run_with_intermediates(graph, frames[:1])}
    assert len(seen) > 30
    assert {name: known[name].shape for name in seen} == seen
    assert {known[name].kind for name in seen} == {TensorProto.FLOAT}


def test_weights_and_inputs_are_known_and_free_sizes_are_0(model: ModelProto) -> None:
    before = model.SerializeToString()
    known = tensor_types(model)
    for tensor in model.graph.initializer:
        assert known[tensor.name] == TensorType(tensor.data_type, numpy_helper.to_array(tensor).shape)
    assert known["frames"] == TensorType(TensorProto.UINT8, (0, 3, 64, 64))
    assert known["frame_embedding"] == TensorType(TensorProto.FLOAT, (0, 32))
    assert model.SerializeToString() == before


def test_every_type_of_a_half_graph_is_known_without_its_own_words(
    graph: Path, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    write_fp16_graph(graph, tmp_path / "half.onnx", frames)
    half = onnx.load(tmp_path / "half.onnx")
    assert not half.graph.value_info
    known = tensor_types(half)
    for node in half.graph.node:
        assert all(known[name].kind for name in (*node.input, *node.output))
        if node.op_type == "Conv":
            assert {known[name].kind for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}


@pytest.mark.parametrize("rows", [5, 80])
def test_a_constant_that_is_a_shape_is_looked_into(rows: int) -> None:
    model = graph_of(
        ("Reshape", ["x", "shape"], "flat", {}),
        ("MatMul", ["flat", "w"], "y", {}),
        weights={"shape": np.array([-1, 3]), "w": np.zeros((3, rows), np.float32)},
        shape=(5, 3),
    )
    assert tensor_types(model, {"x": (2, 5, 3)})["y"].shape == (10, rows)
