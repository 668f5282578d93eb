"""Scale files: whole through JSON, bound to their graph, shown and compared."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reid.calibration.amax import METHODS, collect_amax
from reid.calibration.scales import SCALES_FORMAT_VERSION, ScaleFile, compare, describe, measure_scales
from reid.calibration.selection import CalibrationSet, open_calibration_data, select_frames
from reid.runtime.errors import ModelError
from reid.runtime.model_card import Level, ModelCard, Preprocessing

CARD = ModelCard(
    format_version=1,
    fingerprint="f" * 64,
    backbone="test",
    levels=(Level(name="level1", size=4),),
    preprocessing=Preprocessing(height=16, width=16, mean=(0, 0, 0), std=(1, 1, 1)),
)


def write_graph(path: Path, factor: float) -> Path:
    """Write a graph of "values", the frames as float32, "scaled", `factor` times those, and "nothing", which is 0."""
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("scaled", "nothing")]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["values", "factor"], ["scaled"]),
            helper.make_node("Sub", ["values", "values"], ["nothing"]),
        ],
        "test",
        [
            helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 3, 16, 16]),
            helper.make_tensor_value_info("pooling", TensorProto.FLOAT, ["t", "n"]),
        ],
        floats,
        [numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def frames(veri: Path) -> CalibrationSet:
    return select_frames(open_calibration_data(veri), 6, 0)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("graph") / "model.fp32.onnx", 0.5)


@pytest.fixture(scope="module")
def scales(graph: Path, frames: CalibrationSet) -> ScaleFile:
    return measure_scales(graph, CARD, frames)


def test_what_is_saved_is_loaded_and_is_what_was_measured(
    scales: ScaleFile, graph: Path, frames: CalibrationSet, tmp_path: Path
) -> None:
    scales.save(tmp_path / "scales.json")
    loaded = ScaleFile.load(tmp_path / "scales.json")
    assert loaded == scales
    assert list(loaded.tensors) == ["values", "scaled", "nothing"]
    loaded.check(graph)
    assert loaded.fingerprint == CARD.fingerprint
    assert loaded.calibration == frames.facts
    assert loaded.tensors == collect_amax(graph, frames.batches(CARD.preprocessing, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["scales.json"]


def test_a_graph_that_changed_since_or_is_gone_is_refused(scales: ScaleFile, graph: Path, tmp_path: Path) -> None:
    for factor, accepted in ((0.5, True), (0.25, False)):
        other = write_graph(tmp_path / "other.onnx", factor)
        if accepted:
            scales.check(other)
            continue
        with pytest.raises(ModelError, match=r"other.onnx is not the graph .* `reid-calibrate`") as raised:
            scales.check(other)
        assert scales.graph_sha256[:12] in str(raised.value)
    with pytest.raises(ModelError, match="no such graph"):
        scales.check(tmp_path / "absent.onnx")


def test_scales_that_lack_a_tensor_of_their_graph_are_refused(scales: ScaleFile, graph: Path) -> None:
    scales.check(graph, ["values", "scaled"])
    with pytest.raises(ModelError, match=r"the scales of .* lack its tensor other; calibrate again"):
        scales.check(graph, ["values", "other"])


def test_files_that_are_damaged_or_too_new_are_refused_in_one_line(scales: ScaleFile, tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    scales.save(path)
    facts = json.loads(path.read_text())
    amax = facts["tensors"]["values"]["by_method"]
    fewer = {**facts["tensors"]["values"], "by_method": {"max": amax["max"]}}
    negative, vast = ({**fewer, "by_method": {**amax, "mse": {**amax["mse"], "value": x}}} for x in (-1, 1e39))
    for content, reason in (
        (path.read_bytes()[:300], "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "should be an object"),
        ({**facts, "format_version": SCALES_FORMAT_VERSION + 1, "new": 1}, "is newer than 1: update reid"),
        ({**facts, "format_version": 0}, "format_version"),
        ({**facts, "surprise": 1}, "surprise"),
        ({**facts, "tensors": {"values": fewer}}, "tensors.values.by_method"),
        ({**facts, "tensors": {"values": negative}}, "tensors.values.by_method.mse.value"),
        ({**facts, "tensors": {"values": vast}}, "tensors.values.by_method.mse.value"),
        ({**facts, "calibration": {**facts["calibration"], "seed": -1}}, "calibration.seed"),
        ({**facts, "calibration": {**facts["calibration"], "cameras": {"c": -1}}}, "calibration.cameras.c"),
        (path.read_bytes().replace(b'"zeros": 0', b'"zeros": NaN0'), "Invalid JSON"),
        (b'{"tensors":' + b"[" * 100_000, "Invalid JSON"),
    ):
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        with pytest.raises(ModelError, match=reason) as raised:
            ScaleFile.load(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    os.mkfifo(tmp_path / "pipe.json")
    for absent in (tmp_path / "absent.json", tmp_path, tmp_path / "pipe.json"):
        with pytest.raises(ModelError, match=f"^{absent}: .*; calibrate again with `reid-calibrate`$"):
            ScaleFile.load(absent)


def test_a_file_of_before_loads_and_is_the_same_measurement(scales: ScaleFile, tmp_path: Path) -> None:
    former = json.loads(scales.model_dump_json())
    for facts in former["tensors"].values():
        facts["peak"], facts["thresholds"] = facts.pop("largest"), facts.pop("by_method")
    (tmp_path / "scales.json").write_text(json.dumps(former))
    loaded = ScaleFile.load(tmp_path / "scales.json")
    assert loaded == scales
    assert loaded.digest() == scales.digest()


def test_the_digest_is_that_of_before_the_names_changed() -> None:
    content = (
        '{"format_version":1,"graph_sha256":"ab","fingerprint":"cd","calibration":{"split":"train","requested":2,'
        '"count":2,"seed":0,"cameras":{"c1":2},"vehicles":1,"unreadable":0,"names_sha256":"ef"},"tensors":{"x":'
        '{"peak":0.00003,"zeros":0.5,"thresholds":{"max":{"value":0.00003,"clipped":0.0,"error":0.25},"percentile":'
        '{"value":0.00002,"clipped":0.125,"error":0.5},"entropy":{"value":0.00002,"clipped":0.125,"error":0.5},"mse":'
        '{"value":0.00002,"clipped":0.125,"error":0.5}}}}}'
    )
    digest = hashlib.sha256(content.encode()).hexdigest()
    assert ScaleFile.model_validate_json(content).digest() == digest
    other = ScaleFile.model_validate_json(content.replace("0.00002", "0.00001"))
    assert other.digest() != digest


def test_rows_show_zeros_amax_and_what_it_clips(scales: ScaleFile, frames: CalibrationSet) -> None:
    values, scaled, nothing = describe(scales)
    pixels = np.concatenate(list(frames.batches(CARD.preprocessing)))
    assert (values["tensor"], values["max"], values["zeros"]) == ("values", pixels.max(), (pixels == 0).mean())
    assert scaled["max"] == pixels.max() / 2
    for method in METHODS:
        assert scaled[method] == pytest.approx(float(values[method]) / 2, rel=1e-6)
        above = (pixels[pixels > 0] > float(values[method])).mean()
        assert values[f"{method} clipped"] == pytest.approx(above, abs=1e-4)
        assert nothing[method] == nothing[f"{method} clipped"] == nothing[f"{method} error"] == 0
    assert json.loads(json.dumps(scaled, allow_nan=False)) == scaled


def test_a_comparison_gives_changes_by_tensor_and_what_is_in_one_only(
    scales: ScaleFile, frames: CalibrationSet, tmp_path: Path
) -> None:
    itself = compare(scales, scales)
    assert itself.same_graph
    assert all(change == 0 for changes in itself.changes.values() for change in changes.values())
    other = measure_scales(write_graph(tmp_path / "other.onnx", 2), CARD, frames, {"scaled", "nothing"})
    comparison = compare(scales, other)
    assert not comparison.same_graph
    assert (comparison.only_first, comparison.only_second) == (("values",), ())
    assert list(comparison.changes) == ["scaled", "nothing"]
    assert comparison.changes["scaled"] == pytest.approx(dict.fromkeys(METHODS, 0.75))
    assert comparison.changes["nothing"] == dict.fromkeys(METHODS, 0)
    backwards = compare(other, scales)
    assert backwards.only_second == ("values",)
    assert backwards.changes["scaled"] == pytest.approx(dict.fromkeys(METHODS, -0.75))
