"""`reid-calibrate`: measuring, resuming, inspecting, comparing, and `reid-export` with its files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from command_line import Run, assert_one_line_of_error
from onnx import ModelProto, numpy_helper

from reid.calibration.probe import Effect, Probe
from reid.calibration.scales import ScaleFile
from reid.calibration.sensitivity import Sensitivity
from reid.commands.calibrate import main
from reid.data.layout import open_dataset
from reid.data.splitting import hold_out_vehicles
from reid.export.int8.plan import CalibrationPlan, CalibrationRequest
from reid.runtime.bundle import Bundle
from reid.runtime.files.reading import sha256_of


@pytest.fixture
def run(run_main: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process and a folder of its own: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    return partial(run_main, main, "reid-calibrate")


def changed(bundle: Path, path: Path, change: Callable[[ModelProto], None]) -> Path:
    model = onnx.load(bundle / "model.fp32.onnx")
    change(model)
    onnx.save(model, path)
    return path


def test_a_bundle_its_graph_and_its_checkpoint_give_the_same_scales(
    run: Run, bundle: Path, checkpoint: Path, veri: Path, tmp_path: Path
) -> None:
    results = []
    for number, model in enumerate((bundle, bundle / "model.fp32.onnx", checkpoint)):
        code, out, err = run(model, veri, "--frames", 6, "--output", f"c{number}", "--json")
        assert code == 0, err
        results.append(json.loads(out))
        assert sorted(os.listdir(tmp_path / f"c{number}")) == [".reid-manifest.json", "scales.json"]
    first, *others = ((tmp_path / f"c{number}" / "scales.json").read_bytes() for number in range(3))
    assert others == [first, first]  # the checkpoint's graph was exported again, and is the bundle's to the byte
    scales = ScaleFile.load(tmp_path / "c0" / "scales.json")
    scales.check(bundle / "model.fp32.onnx")
    assert scales.calibration.count == 6
    assert results[0]["graph_sha256"] == sha256_of(bundle / "model.fp32.onnx") == results[2]["graph_sha256"]
    assert results[0]["tensors"] == len(scales.tensors) > 5


def test_a_graph_says_nothing_of_the_machine_that_it_was_exported_on(bundle: Path) -> None:
    import torch

    import reid

    content = (bundle / "model.fp32.onnx").read_bytes()
    for place in (str(Path(torch.__file__).parent), *reid.__path__, ".py"):
        assert place.encode() not in content


def test_no_vehicle_is_both_calibrated_on_and_measured_or_judged_on(bundle: Path, veri: Path) -> None:
    data = open_dataset(veri, needs="query")
    held_out = hold_out_vehicles(data.train, share=0.1, seed=0).gallery  # what training does by default
    plan = CalibrationPlan.of(CalibrationRequest(data, seed=3), Bundle.open(bundle).card)
    calibrated, measured, judged, everyone = (
        {image.vehicle for image in images}
        for images in (plan.choose_frames(10_000).images, plan.probe, held_out.images, data.train.images)
    )
    assert not calibrated & measured
    assert not calibrated & judged
    assert not measured & judged
    assert calibrated | measured | judged == everyone
    assert all((calibrated, measured, judged))


def test_a_stopped_measurement_resumes_and_ends_as_one_that_was_not_stopped(
    run: Run, bundle: Path, veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (bundle, veri, "--frames", 4, "--ranges", "max", "--sensitivity")
    measured: list[Effect] = []
    measure = Probe.measure

    def stopped(probe: Probe, graph: ModelProto) -> Effect:
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(measure(probe, graph))
        return measured[-1]

    monkeypatch.setattr(Probe, "measure", stopped)
    assert run(*words, "--output", "c")[:2] == (130, "")
    assert os.listdir(tmp_path) == ["c.progress.json"]
    measured.clear()
    monkeypatch.setattr(Probe, "measure", lambda probe, graph: measured.append(measure(probe, graph)) or measured[-1])
    code, out, err = run(*words, "--output", "c")
    assert code == 0, err
    assert "resuming an interrupted measurement after 4 results" in err  # the ranges, and three
    assert sorted(os.listdir(tmp_path)) == ["c"]
    found = Sensitivity.model_validate_json((tmp_path / "c" / "sensitivity.json").read_text())
    assert len(measured) == len(found.layers) + 1 - 3
    assert run(*words, "--output", "whole", "--json")[0] == 0
    for name in sorted(os.listdir(tmp_path / "c")):
        assert (tmp_path / "c" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    products = [".reid-manifest.json", "report.html", "scales.json", "sensitivity.json"]
    assert sorted(os.listdir(tmp_path / "c")) == products
    names = {layer.layer.split()[0] for layer in found.layers}
    printed = [word for word in (line.split()[:1] for line in out.splitlines()) if word and word[0] in names]
    worst_first = sorted(found.layers, key=lambda layer: -layer.error)
    assert printed == [layer.layer.split()[:1] for layer in worst_first]


def test_a_scale_file_is_shown_and_compared(run: Run, bundle: Path, veri: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        assert run(bundle, veri, "--frames", 4, "--seed", seed, "--output", name)[0] == 0
    first, second = (ScaleFile.load(tmp_path / name / "scales.json") for name in ("a", "b"))
    code, out, _ = run("--inspect", "a/scales.json", "--json")
    assert code == 0
    rows = json.loads(out)["tensors"]
    assert {row["tensor"]: row["mse"] for row in rows} == {
        name: found.by_method["mse"].value for name, found in first.tensors.items()
    }
    code, out, _ = run("--inspect", "a/scales.json")
    assert code == 0
    assert first.graph_sha256[:12] in out
    assert all(name in out for name in first.tensors)
    code, out, _ = run("--diff", "a/scales.json", "b/scales.json", "--json")
    found = json.loads(out)
    assert (code, found["same_graph"]) == (0, True)
    for name, changes in found["changes"].items():
        before, after = (scales.tensors[name].by_method["max"].value for scales in (first, second))
        assert changes["max"] == pytest.approx((after - before) / max(after, before))
    code, out, _ = run("--diff", "a/scales.json", "b/scales.json")
    assert (code, "of the same graph" in out) == (0, True)


def test_values_that_are_not_finite_are_named_with_their_frames(
    run: Run, bundle: Path, veri: Path, tmp_path: Path
) -> None:
    def spoil(model: ModelProto) -> None:
        weight = next(one for one in model.graph.initializer if one.name.endswith("layer2.0.conv1.weight"))
        values = numpy_helper.to_array(weight).copy()
        values[0, 0, 0, 0] = np.nan
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    line = assert_one_line_of_error(*run(changed(bundle, tmp_path / "nan.onnx", spoil), veri, "--frames", 6))
    assert "is NaN within frames 1 to 4 of the calibration set" in line
    assert "nan.onnx: " in line
    assert os.listdir(tmp_path) == ["nan.onnx"]


def test_what_cannot_be_measured_is_one_line(run: Run, bundle: Path, veri: Path, tmp_path: Path) -> None:
    def with_a_pair(model: ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "s"))
        pooled = model.graph.output[0].name
        model.graph.node.append(onnx.helper.make_node("QuantizeLinear", [pooled, "s"], ["q"]))

    def without_card(model: ModelProto) -> None:
        del model.metadata_props[:]

    (tmp_path / "damaged.onnx").write_bytes((bundle / "model.fp32.onnx").read_bytes()[:1000])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "work.txt").touch()
    one_color = Path(shutil.copytree(veri, tmp_path / "one-color"))
    for path in (one_color / "image_train").iterdir():
        cv2.imwrite(str(path), np.full((32, 32, 3), 127, np.uint8))
    graph = bundle / "model.fp32.onnx"
    for words, named in (
        ((tmp_path / "absent.onnx", veri), "absent.onnx"),
        ((tmp_path / "absent", veri), "absent"),
        ((tmp_path / "damaged.onnx", veri), "damaged.onnx"),
        ((changed(bundle, tmp_path / "pair.onnx", with_a_pair), veri), "is in INT8"),
        ((changed(bundle, tmp_path / "bare.onnx", without_card), veri), "no model card"),
        ((graph, veri / "image_query"), "--calibrate-on-evaluation-data"),
        ((graph, one_color), "single color"),
        ((graph, veri, "--output", "other"), "other"),
        (("--inspect", "absent.json"), "absent.json"),
    ):
        assert named in assert_one_line_of_error(*run(*words)), words
    assert not (tmp_path / "calibration").exists()


@pytest.mark.parametrize(
    "words", [(), ("model",), ("model", "data", "--inspect", "file"), ("model", "data", "--ranges", "max")]
)
def test_wrong_usage_ends_with_2(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_an_export_takes_the_scales_and_shows_how_its_int8_graph_came_about(
    run: Run, run_main: Run, checkpoint: Path, bundle: Path, veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reid.commands.export import main as export

    def copy(model: object, card: object, path: Path) -> None:
        shutil.copy(bundle / "model.fp32.onnx", path)

    # What would be exported again is the same to the byte, as a test above finds.
    monkeypatch.setattr("reid.export.bundle.export_graph", copy)
    assert run(bundle, veri, "--frames", 4)[0] == 0
    # No search, because nothing is outside tolerance.
    (tmp_path / "lenient.json").write_text('{"map": 100, "rank": 100, "int8_similarity": -1}')
    words = ("--int8", "--calibration", veri, "--scales", "calibration/scales.json", "--ranges", "max")
    code, _, err = run_main(export, "reid-export", checkpoint, *words, "--tolerances", "lenient.json")
    assert code == 0, err
    assert "calibrating" not in err
    assert "<h2>INT8</h2>" in (tmp_path / "bundle" / "report.html").read_text()
    other = json.loads((tmp_path / "calibration" / "scales.json").read_text()) | {"graph_sha256": "0" * 64}
    (tmp_path / "other.json").write_text(json.dumps(other))
    code, _, err = run_main(export, "reid-export", checkpoint, *words[:3], "--scales", "other.json")
    assert code == 1
    assert "bundle/model.fp32.onnx is not the graph that the scales were measured on" in err
    assert ".partial" not in err
