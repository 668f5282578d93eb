"""Graphs that a backend could load, or fails to load in odd ways: each is refused in one line when it is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import run
from reid.runtime.sessions.signature import Array

SESSIONS = ("onnxruntime:cpu", "openvino")
NOT_UTF_8 = b"\xff\xfe\xfd\xfc"


@pytest.fixture
def model(bundle: Path) -> ModelProto:
    return onnx.load(bundle / "model.fp32.onnx")


@pytest.fixture(params=SESSIONS)
def refusal(request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Save a graph, open it, and return the one line with which it was refused."""

    def refuse(graph: ModelProto | bytes, error: type[ReidError] = ModelError) -> str:
        path = tmp_path / "graph.onnx"
        path.write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
        with pytest.raises(error) as caught:
            open_session(path, request.param)
        message = str(caught.value)
        assert "\n" not in message
        assert str(path) in message
        assert capfd.readouterr() == ("", "")
        return message

    return refuse


def rename(model: ModelProto, old: str, new: str) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new if name == old else name


def hide(model: ModelProto, output: str) -> None:
    """Let the graph compute "hidden" instead of an output, which remains to be computed from it."""
    rename(model, output, "hidden")
    for value in model.graph.output:
        value.name = output if value.name == "hidden" else value.name


def cast(model: ModelProto, name: str, inside: int, outside: int) -> None:
    """Give an input or output another type, and cast it to or from the one that the graph computes with."""
    taken = {value.name: value for value in model.graph.input}
    hidden = f"{name}.hidden"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, other in enumerate(names):
                names[index] = hidden if other == name else other
    value = taken.get(name) or next(value for value in model.graph.output if value.name == name)
    value.type.tensor_type.elem_type = outside
    if name in taken:
        model.graph.node.insert(0, helper.make_node("Cast", [name], [hidden], to=inside))
    else:
        model.graph.node.append(helper.make_node("Cast", [hidden], [name], to=outside))


def test_the_graph_that_the_cases_change_is_sound(model: ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "graph.onnx")
    for session in SESSIONS:
        open_session(tmp_path / "graph.onnx", session).close()


@pytest.mark.parametrize("name", [FRAMES, POOLING, FRAME_EMBEDDING, POOLED])
def test_a_missing_input_or_output(name: str, model: ModelProto, refusal: Callable[..., str]) -> None:
    rename(model, name, "other")
    kind = "input" if name in (FRAMES, POOLING) else "output"
    assert f"the {kind} {name} is missing, instead of " in refusal(model)


def test_an_input_too_many(model: ModelProto, refusal: Callable[..., str]) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["frames"]))
    model.graph.output.append(helper.make_tensor_value_info("less", TensorProto.FLOAT, ["frames"]))
    model.graph.node.append(helper.make_node("Neg", ["more"], ["less"]))
    assert "an input 'more'" in refusal(model)


@pytest.mark.parametrize(
    ("name", "inside", "outside", "found"),
    [
        (FRAMES, TensorProto.UINT8, TensorProto.FLOAT, "is float32 [*, 3, 64, 64], instead of uint8 [*, 3, 64, 64]"),
        (POOLING, TensorProto.FLOAT, TensorProto.FLOAT16, "is float16 [*, *], instead of float32 [*, *]"),
        (POOLED, TensorProto.FLOAT, TensorProto.FLOAT16, "is float16 [*, 32], instead of float32 [*, 32]"),
    ],
)
def test_another_type(
    name: str, inside: int, outside: int, found: str, model: ModelProto, refusal: Callable[..., str]
) -> None:
    cast(model, name, inside, outside)
    assert f"{name} {found}" in refusal(model)


def test_a_batch_of_one_size_only(model: ModelProto, refusal: Callable[..., str]) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == "frames":
                size.dim_value = 8
    assert "frames is uint8 [8, 3, 64, 64], instead of uint8 [*, 3, 64, 64]" in refusal(model)


def test_pictures_of_another_size_than_the_cards(model: ModelProto, refusal: Callable[..., str]) -> None:
    frames = next(value for value in model.graph.input if value.name == FRAMES)
    frames.type.tensor_type.shape.dim[2].dim_value = 96
    assert "frames is uint8 [*, 3, 96, 64], instead of uint8 [*, 3, 64, 64]" in refusal(model)


def test_another_rank(model: ModelProto, refusal: Callable[..., str]) -> None:
    model.graph.node.append(helper.make_node("Flatten", [POOLED], ["flat"], axis=0))
    output = next(value for value in model.graph.output if value.name == POOLED)
    model.graph.output.remove(output)
    rename(model, POOLED, "hidden")
    rename(model, "flat", "deeper")
    model.graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [1], [0]))
    model.graph.node.append(helper.make_node("Unsqueeze", ["hidden", "axes"], [POOLED]))
    model.graph.output.append(helper.make_tensor_value_info(POOLED, TensorProto.FLOAT, [1, "tracklets", 32]))
    assert "pooled is float32 [1, *, 32], instead of float32 [*, 32]" in refusal(model)


def test_operators_of_a_library_that_is_not_here(model: ModelProto, refusal: Callable[..., str]) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    hide(model, POOLED)
    model.graph.node.append(helper.make_node("Custom", ["hidden"], [POOLED], domain="com.example"))
    assert re.search(r"(ONNX Runtime|OpenVINO) cannot (load|read) it \(.*Custom.*\); export it again", refusal(model))


@pytest.mark.parametrize("place", ["node of no known operator", "input", "metadata"])
def test_text_that_is_not_utf_8(place: str, model: ModelProto, refusal: Callable[..., str]) -> None:
    mark = b"MARK"
    if place == "metadata":
        for entry in model.metadata_props:
            entry.value = mark.decode() + entry.value
    elif place == "input":
        rename(model, FRAMES, mark.decode())
    else:
        hide(model, POOLED)
        model.graph.node.append(helper.make_node("Unknown", ["hidden"], [POOLED], name=mark.decode()))
    said = refusal(model.SerializeToString().replace(mark, NOT_UTF_8))
    # ONNX Runtime's own text is lost where Python cannot decode it, at times with an error and at times without.
    reasons = ("not UTF-8; export it again", "operations: Unknown", "cannot load it (InvalidGraph); export it again")
    assert any(reason in said for reason in reasons)


def sum_of_pooling(model: ModelProto) -> None:
    """Add a tensor "sum" of one integer, the sum of `pooling`, and hide the output `pooled`."""
    hide(model, POOLED)
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.INT64, [1], [1]))
    model.graph.node.append(helper.make_node("ReduceSum", [POOLING], ["scalar"], keepdims=0))
    model.graph.node.append(helper.make_node("Cast", ["scalar"], ["integer"], to=TensorProto.INT64))
    model.graph.node.append(helper.make_node("Reshape", ["integer", "one"], ["sum"]))


BATCH = np.zeros((3, 3, 64, 64), np.uint8), np.ones((1, 3), np.float32)


def test_what_fails_on_a_batch_is_one_line(model: ModelProto, tmp_path: Path) -> None:
    """With ONNX Runtime alone: OpenVINO does not always notice this."""
    sum_of_pooling(model)
    model.graph.initializer.append(helper.make_tensor("factors", TensorProto.INT64, [2], [1, 32]))
    model.graph.node.append(helper.make_node("Mul", ["sum", "factors"], ["sizes"]))
    model.graph.node.append(helper.make_node("Reshape", ["hidden", "sizes"], [POOLED]))
    onnx.save(model, tmp_path / "graph.onnx")
    with open_session(tmp_path / "graph.onnx", "onnxruntime:cpu") as opened:
        run(opened, BATCH[0], np.array([[1, 0, 0]], np.float32))
        with pytest.raises(SessionError, match=r"graph\.onnx: (ONNX Runtime|OpenVINO) cannot run it \(") as caught:
            run(opened, *BATCH)
        assert "\n" not in str(caught.value)


def test_embeddings_of_another_size_than_declared_are_not_returned(model: ModelProto, tmp_path: Path) -> None:
    """ONNX Runtime believes what a graph declares of its outputs, where it cannot tell."""
    sum_of_pooling(model)
    model.graph.initializer.append(helper.make_tensor("zero", TensorProto.INT64, [1], [0]))
    model.graph.node.append(helper.make_node("Slice", ["hidden", "zero", "sum", "one"], [POOLED]))
    onnx.save(model, tmp_path / "graph.onnx")
    problem = r"arrays of \(\(3, 32\), \(1, 3\)\), and its card says \(\(3, 32\), \(1, 32\)\)"
    with open_session(tmp_path / "graph.onnx", "onnxruntime:cpu") as opened, pytest.raises(ModelError, match=problem):
        run(opened, *BATCH)


def test_arrays_read_as_people_write_them() -> None:
    assert str(Array("uint8", (None, 3, 64, 64))) == "uint8 [*, 3, 64, 64]"
    assert str(Array("float32", None)) == "float32 [...]"
