"""Graphs made by onnx, wherever in them a tensor may lie, against what onnx says of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, OperatorSetIdProto, SparseTensorProto, TensorProto

from reid.runtime.errors import ModelError
from reid.runtime.opening import open_session
from reid.runtime.sessions.onnx_file import _MESSAGES, check_onnx_file


def places(model: ModelProto) -> list[Callable[[], TensorProto]]:
    """Functions that each add a tensor to a model, at a place where onnx.proto has one."""

    def attribute() -> AttributeProto:
        added: AttributeProto = model.graph.node.add().attribute.add()
        return added

    def subgraph() -> GraphProto:
        return attribute().g

    def deep() -> GraphProto:
        graph = subgraph()
        for _ in range(20):
            graph = graph.node.add().attribute.add().graphs.add()
        return graph

    def sparse() -> SparseTensorProto:
        added: SparseTensorProto = model.graph.sparse_initializer.add()
        return added

    return [
        lambda: model.graph.initializer.add(),
        lambda: sparse().values,
        lambda: sparse().indices,
        lambda: attribute().t,
        lambda: attribute().tensors.add(),
        lambda: attribute().sparse_tensor.values,
        lambda: attribute().sparse_tensors.add().indices,
        lambda: subgraph().initializer.add(),
        lambda: attribute().graphs.add().initializer.add(),
        lambda: deep().initializer.add(),
        lambda: model.functions.add().node.add().attribute.add().t,
        lambda: model.functions.add().attribute_proto.add().t,
        lambda: model.training_info.add().initialization.initializer.add(),
        lambda: model.training_info.add().algorithm.node.add().attribute.add().t,
    ]


PLACES = len(places(ModelProto()))


def fill(tensor: TensorProto) -> None:
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.arange(64, dtype=np.float32), "weights"))


def point_elsewhere(tensor: TensorProto) -> None:
    fill(tensor)
    onnx.external_data_helper.set_external_data(tensor, "elsewhere.bin", offset=0, length=256)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")


def verdict(content: bytes, path: Path) -> str:
    """What is said of a graph's file: "sound", or the one line of its error."""
    path.write_bytes(content)
    said = "sound"
    try:
        check_onnx_file(path)
    except ModelError as error:
        said = str(error)
    assert said == "sound" or (said.startswith(str(path)) and "\n" not in said)
    return said


def tensors(message: Message) -> Iterator[TensorProto]:
    """Every tensor of a message, found through protobuf's own reflection."""
    if isinstance(message, TensorProto):
        yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value if isinstance(value, (list, tuple)) or hasattr(value, "add") else [value]:
                yield from tensors(part)


def is_elsewhere(tensor: TensorProto) -> bool:
    return bool(tensor.external_data) or tensor.data_location != TensorProto.DEFAULT


def test_the_messages_are_those_of_onnx() -> None:
    """Every path from a model to a tensor or an opset in onnx's own description, without those that hold none."""

    def holds_tensors(message: Descriptor, seen: frozenset[str] = frozenset()) -> bool:
        return message.name in ("TensorProto", "OperatorSetIdProto") or any(
            field.message_type.name not in seen and holds_tensors(field.message_type, seen | {message.name})
            for field in message.fields
            if field.message_type
        )

    found: dict[str, dict[int, str]] = {}
    waiting: list[Descriptor] = [ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name in found:
            continue
        inner = [field for field in message.fields if field.message_type and holds_tensors(field.message_type)]
        found[message.name] = {field.number: field.message_type.name for field in inner}
        waiting += [field.message_type for field in inner]
    assert found == _MESSAGES


@pytest.mark.parametrize("place", range(PLACES))
def test_weights_in_another_file_are_found_wherever_they_are_named(place: int, tmp_path: Path) -> None:
    model = ModelProto(ir_version=9)
    for add in places(model):
        fill(add())
    assert verdict(model.SerializeToString(), tmp_path / "graph.onnx") == "sound"
    for field in ("external_data", "data_location"):
        other = ModelProto()
        other.CopyFrom(model)
        added = places(other)[place]()
        point_elsewhere(added)
        added.ClearField("external_data" if field == "data_location" else "data_location")
        assert "other files" in verdict(other.SerializeToString(), tmp_path / "graph.onnx"), field


def test_what_onnx_itself_saves_with_weights_outside_is_refused_by_every_session(bundle: Path, tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    onnx.save(
        onnx.load(bundle / "model.fp32.onnx"), graph, save_as_external_data=True, location="weights", size_threshold=0
    )
    for session in ("onnxruntime:cpu", "openvino"):
        with pytest.raises(ModelError, match=r"model\.onnx keeps its weights in other files; give an \.onnx file"):
            open_session(graph, session)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.tuples(st.integers(0, PLACES - 1), st.booleans()), max_size=6), data=st.data())
def test_the_verdict_on_any_model_however_it_is_damaged_is_that_of_onnx(
    parts: list[tuple[int, bool]], data: st.DataObject, tmp_path: Path
) -> None:
    """What onnx reads and holds no reference to another file may be refused, but no reference may pass."""
    model = ModelProto(ir_version=9, producer_name="x" * 40)
    model.graph.name = "graph"
    for place, outside in parts:
        (point_elsewhere if outside else fill)(places(model)[place]())
    content = bytearray(model.SerializeToString())
    assert (verdict(bytes(content), tmp_path / "graph.onnx") == "sound") == (not any(map(is_elsewhere, tensors(model))))
    for _ in range(data.draw(st.integers(0, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    said = verdict(bytes(content), tmp_path / "graph.onnx")
    try:
        read = ModelProto.FromString(bytes(content))
    except DecodeError:
        return  # no library reads it
    if any(map(is_elsewhere, tensors(read))):
        assert said != "sound"


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


@pytest.mark.parametrize(
    "location",
    [
        b"\x70\x01",
        b"\x70\x81\x00",  # more bytes than needed
        b"\xf0\x80\x00\x01",  # in the tag, too
        b"\x70" + varint(1 | 1 << 32),  # an enum has 32 bits
        b"\x70\x00\x70\x01",  # the last one counts
        b"\x70\x02",
    ],
)
def test_a_reference_is_found_however_it_is_encoded(location: bytes, tmp_path: Path) -> None:
    content = field(7, field(5, location))
    assert "other files" in verdict(content, tmp_path / "graph.onnx")
    assert "other files" in verdict(field(7, b"") + content + field(7, b""), tmp_path / "graph.onnx")  # merged


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"\x08\x09", "no graph"),
        (b"hello", "wire type"),
        (field(7, b"")[:-1], "cut short"),
        (field(7, b"") + b"\x3a\x05abc", "cut short"),
        (field(7, b"") + b"\x08", "cut short"),
        (field(7, b"") + b"\x0d\x00", "cut short"),
        (field(7, b"\x0a\x7f"), "cut short"),
        (field(7, b"") + b"\x02\x00", "field 0"),
        (field(7, b"") + b"\x08" + b"\xff" * 10 + b"\x01", "64 bits"),
        (field(7, b"") + b"\x0b\x0c", "wire type 3"),
        (b"\x3a" + varint(1 << 63), "cut short"),
    ],
)
def test_what_is_not_onnx_is_refused_in_one_line(content: bytes, why: str, tmp_path: Path) -> None:
    said = verdict(content, tmp_path / "graph.onnx")
    assert why in said
    assert "export it again" in said


@pytest.mark.parametrize("version", [1001, 2**31 - 1, 2**63 - 1, -1])
def test_an_opset_that_a_backend_would_search_for_without_an_end_is_refused(tmp_path: Path, version: int) -> None:
    model = ModelProto(graph=GraphProto(name="g"), opset_import=[OperatorSetIdProto(version=version)])
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"graph\.onnx .*opset [\d,]+, which"):
        check_onnx_file(tmp_path / "graph.onnx")


def test_a_file_of_nothing_but_fields_is_given_up(tmp_path: Path) -> None:
    assert "fields" in verdict(field(7, b"\x08\x01" * 1_100_000), tmp_path / "graph.onnx")


def test_the_deepest_graphs_are_checked(tmp_path: Path) -> None:
    """Deeper than Python's stack, and than protobuf reads."""
    content = field(5, b"\x70\x01")
    for _ in range(2000):
        content = field(1, field(5, field(6, content)))
    assert "other files" in verdict(field(7, content), tmp_path / "graph.onnx")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zeros.onnx").symlink_to("/dev/zero")
    for name, what in (("pipe.onnx", "a named pipe"), ("zeros.onnx", "a device"), ("absent.onnx", "No such file")):
        with pytest.raises(ModelError, match=rf"{name}: {what}.*give an \.onnx file"):
            check_onnx_file(tmp_path / name)


def test_every_graph_of_reid_passes(bundle: Path) -> None:
    check_onnx_file(bundle / "model.fp32.onnx")
