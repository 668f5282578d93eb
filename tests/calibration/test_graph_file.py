"""Reading a graph: it holds its weights itself, whatever else lies around."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from reid.calibration.graph_file import load_graph
from reid.runtime.errors import ModelError


def test_a_graph_is_read_as_it_was_written(graph: Path) -> None:
    assert load_graph(graph) == onnx.load(graph)


def move_out(tensor: TensorProto, place: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)


@pytest.mark.parametrize("of", ["weight", "attribute"])
@pytest.mark.parametrize("place", ["weights.bin", "/etc/hostname", "../weights.bin"])
def test_weights_in_other_files_are_refused_also_where_these_exist(
    model: ModelProto, tmp_path: Path, of: str, place: str
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    outside = ModelProto()
    outside.CopyFrom(model)
    tensor = next(one for one in outside.graph.initializer if one.raw_data)
    if of == "attribute":
        outside.graph.node.append(helper.make_node("Constant", [], ["made"], name="made", value=tensor))
        tensor = outside.graph.node[-1].attribute[0].t
    move_out(tensor, place)
    path = tmp_path / "graph.onnx"
    path.write_bytes(outside.SerializeToString())
    with pytest.raises(ModelError, match=rf"^{path} .* weights in other files; .*`reid-export`"):
        load_graph(path)


def test_what_is_no_graph_is_refused_in_one_line(graph: Path, tmp_path: Path) -> None:
    pipe, text, cut = (tmp_path / name for name in ("pipe.onnx", "text.onnx", "cut.onnx"))
    os.mkfifo(pipe)
    text.write_text("hello")
    cut.write_bytes(graph.read_bytes()[:5000])
    for path, named in (
        (pipe, "a named pipe, not a file"),
        (tmp_path, "a folder, not a file"),
        (tmp_path / "absent.onnx", "No such file"),
        (text, "is not an ONNX graph"),
        (cut, "is not an ONNX graph"),
    ):
        with pytest.raises(ModelError, match=f"^{path}.*{named}") as caught:
            load_graph(path)
        assert "\n" not in str(caught.value)
