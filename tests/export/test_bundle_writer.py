"""Writing a bundle: whole or absent, whatever happens, and never with a graph that differs from PyTorch."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import reid.export.bundle as writer
import reid.export.int8.calibrated as calibrated
from reid.calibration.layers import QuantizableLayers
from reid.calibration.scales import ScaleFile
from reid.calibration.selection import open_calibration_data
from reid.calibration.sensitivity import LayerEffect, Sensitivity
from reid.data.layout import open_dataset
from reid.evaluation.verification.records import LayerInFp32, ReferenceData, Tolerance
from reid.evaluation.verification.stored_retrieval import read_retrieval
from reid.export.bundle import ExportRequest
from reid.export.int8.plan import CalibrationRequest
from reid.export.int8.record import Int8Record
from reid.runtime.bundle import Bundle
from reid.runtime.errors import GateError, ModelError, ReidError
from reid.runtime.files.reading import sha256_of
from reid.runtime.model_card import ModelCard
from reid.runtime.opening import open_session
from reid.train.model.checkpoint import Checkpoint, load_checkpoint
from reid.train.model.multi_level import MultiLevelReID


@pytest.fixture
def loaded(checkpoint: Path) -> Checkpoint:
    return load_checkpoint(checkpoint)


@pytest.fixture
def quick_export(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graph that was exported once, instead of exporting it for every test."""

    def copy(model: MultiLevelReID, card: ModelCard, path: Path) -> None:
        shutil.copy(bundle / "model.fp32.onnx", path)

    monkeypatch.setattr(writer, "export_graph", copy)


def perturbed(bundle: Path, path: Path, change: float) -> None:
    """Write the bundle's graph with one of its largest weights changed."""
    model = onnx.load(bundle / "model.fp32.onnx")
    tensor = max((t for t in model.graph.initializer if len(t.dims) == 2), key=lambda t: np.prod(t.dims))
    weights = numpy_helper.to_array(tensor).copy()
    weights += np.float32(change) * np.random.default_rng(0).normal(size=weights.shape).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    onnx.save(model, path)


FILES = ["model.fp32.onnx", "model.json", "reference", "report.html", "verification.json"]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_bundle_has_the_files_of_the_design(bundle: Path, loaded: Checkpoint) -> None:
    assert names(bundle) == FILES
    assert names(bundle / "reference") == sorted([*loaded.reference, "embeddings.npy"])
    for name, content in loaded.reference.items():
        assert (bundle / "reference" / name).read_bytes() == content


def test_the_proof_says_how_far_the_graph_is_from_pytorch(bundle: Path, loaded: Checkpoint) -> None:
    proof = json.loads((bundle / "verification.json").read_text())
    assert proof["judged_on"] == {"kind": "reference crops", "crops": len(loaded.reference)}
    (fp32,) = proof["precisions"]
    assert (fp32["precision"], fp32["similarity"]["frames"]) == ("fp32", len(loaded.reference))
    assert 1 - 1e-6 < fp32["similarity"]["levels"][0]["minimum"] <= 1


@pytest.mark.usefixtures("quick_export")
def test_the_same_checkpoint_gives_the_same_bundle(loaded: Checkpoint, bundle: Path, tmp_path: Path) -> None:
    export = writer.write_bundle(loaded, tmp_path / "again")
    assert export.card.fingerprint == Bundle.open(bundle).card.fingerprint
    for name in ("model.fp32.onnx", "reference/0000.jpg"):
        assert (tmp_path / "again" / name).read_bytes() == (bundle / name).read_bytes()


@pytest.mark.usefixtures("quick_export")
def test_a_bundle_is_replaced_as_a_whole(loaded: Checkpoint, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "bundle"
    writer.write_bundle(loaded, output)
    (output / "engines").mkdir()
    (output / "engines" / "mine.engine").touch()
    with pytest.raises(ReidError, match=r"holds engines/mine\.engine, which is not as reid wrote it"):
        writer.write_bundle(loaded, output)
    (output / "engines" / "mine.engine").unlink()
    writer.write_bundle(loaded, output)
    assert names(output) == FILES
    assert names(output.parent) == ["bundle"]
    Bundle.open(output)


@pytest.mark.usefixtures("quick_export")
def test_a_folder_with_other_things_is_refused_before_the_work(loaded: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("work")
    with pytest.raises(ReidError, match="--output"):
        writer.write_bundle(loaded, tmp_path)
    assert names(tmp_path) == ["precious.txt"]


STEPS = ["export_graph", "_reference_frames", "_compare_outputs", "_write_reference", "_finished_card"]
FULL = OSError(28, "No space left on device")


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize(
    ("step", "failure"), [*((step, FULL) for step in STEPS), ("_compare_outputs", KeyboardInterrupt())]
)
def test_a_failure_at_any_step_leaves_what_was_there(
    loaded: Checkpoint, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    """Nothing is written where the bundle will be before it is whole; test_kills.py kills what puts it there."""
    shutil.copytree(bundle, tmp_path / "former")
    before = (tmp_path / "former" / "model.json").read_bytes()

    def fail(*_: object, **__: object) -> None:
        assert names(tmp_path / "former") == FILES
        assert not (tmp_path / "fresh").exists()
        raise failure

    monkeypatch.setattr(writer, step, fail)
    for name in ("former", "fresh"):
        with pytest.raises(type(failure)):
            writer.write_bundle(loaded, tmp_path / name)
    assert names(tmp_path) == ["former"]
    assert (tmp_path / "former" / "model.json").read_bytes() == before
    Bundle.open(tmp_path / "former")


def test_a_graph_that_differs_from_pytorch_fails_the_gate_and_leaves_nothing(
    loaded: Checkpoint, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "export_graph", lambda model, card, path: perturbed(bundle, path, 0.01))
    with pytest.raises(GateError, match="differs from PyTorch by") as caught:
        writer.write_bundle(loaded, tmp_path / "bundle")
    assert caught.value.exit_code == 3
    assert names(tmp_path) == []


def test_a_graph_that_gives_nan_fails_the_gate(
    loaded: Checkpoint, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "export_graph", lambda model, card, path: perturbed(bundle, path, float("nan")))
    with pytest.raises(GateError, match="nan"):
        writer.write_bundle(loaded, tmp_path / "bundle")


def test_a_change_far_below_the_tolerance_passes_the_gate(
    loaded: Checkpoint, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "export_graph", lambda model, card, path: perturbed(bundle, path, 1e-7))
    assert writer.write_bundle(loaded, tmp_path / "bundle").largest_difference < 1e-4


def test_a_checkpoint_without_reference_crops_is_refused(loaded: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="reference crops"):
        writer.write_bundle(Checkpoint(loaded.card, loaded.model, {}), tmp_path / "bundle")
    assert names(tmp_path) == []


@pytest.mark.usefixtures("quick_export")
def test_what_pytorch_found_on_the_data_is_kept_under_the_hashes_of_the_card(
    loaded: Checkpoint, veri: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(veri, needs="query")
    export = writer.write_bundle(loaded, tmp_path / "bundle", ExportRequest(data=dataset))
    found = read_retrieval(Bundle.open(tmp_path / "bundle"), dataset)
    assert found is not None
    assert found.session.startswith(export.verification.reference)
    (fp32,) = export.verification.precisions
    for ranked, comparison in zip(found.ranked, fp32.protocols, strict=True):
        for metric, value in ranked.summary().items():
            assert value == comparison.change(metric).reference
    writer.write_bundle(loaded, tmp_path / "bundle")  # it is replaced as all that reid wrote
    assert not (tmp_path / "bundle" / "reference" / "retrieval.npz").exists()


@pytest.fixture
def request_int8(veri: Path, tmp_path: Path) -> CalibrationRequest:
    return CalibrationRequest(open_calibration_data(veri), frames=6, methods=("max",), journal=tmp_path / "search.json")


@pytest.fixture
def quick_sensitivity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take it that every layer does the same harm, instead of measuring."""

    def made_up(model: ModelProto, layers: QuantizableLayers, scales: ScaleFile, *_: object) -> Sensitivity:
        effects = (
            LayerEffect(
                layer=layer.name,
                op=layer.op,
                fraction=layer.macs / layers.macs,
                error=0.01,
                worst=0.02,
                map_change=None,
                tensor=layer.input,
                method="max",
            )
            for layer in layers
        )
        amax = {name: found.by_method["max"].value for name, found in scales.tensors.items()}
        return Sensitivity(layers=tuple(effects), method_errors={"max": 0.1}, amax=amax)

    monkeypatch.setattr(calibrated, "measure_layers", made_up)


LENIENT = Tolerance(map=100, rank=100, int8_similarity=-1)


@pytest.mark.usefixtures("quick_export", "quick_sensitivity")
def test_an_int8_bundle_has_its_scales_and_its_record_under_its_hashes(
    loaded: Checkpoint, request_int8: CalibrationRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="reid"):
        request = ExportRequest(int8=request_int8, tolerance=LENIENT)
        export = writer.write_bundle(loaded, tmp_path / "bundle", request)
    folder = tmp_path / "bundle"
    graphs = [f"model.{precision}.onnx" for precision in ("fp16", "fp32", "int8")]
    assert names(folder) == sorted([*FILES, *graphs[::2], "distribution.json", "int8.json", "scales.json"])
    opened = Bundle.open(folder)
    assert opened.precisions == ("fp32", "fp16", "int8")
    for name in ("int8.json", "scales.json", "model.int8.onnx"):
        assert opened.card.files[name] == sha256_of(folder / name)
    assert Int8Record.model_validate_json((folder / "int8.json").read_bytes()) == export.int8
    scales = ScaleFile.load(folder / "scales.json")
    scales.check(folder / "model.fp32.onnx")
    assert (scales.calibration.split, scales.calibration.count) == ("train", 6)
    assert [one.precision for one in export.verification.precisions] == ["fp32", "fp16", "int8"]
    # Judged on vehicles that were held out, as no data set was given to verify on, and so are the other precisions.
    assert isinstance(export.int8, Int8Record)
    assert isinstance(export.int8.judged_on, ReferenceData)
    assert export.int8.judged_on.held_out
    assert all(one.protocols for one in export.verification.precisions)
    assert any("all layers in INT8" in note for note in caplog.messages)
    assert not (tmp_path / "search.json").exists()
    with open_session(folder, "onnxruntime:cpu", "int8") as session:  # checks hashes, and embeds the reference crops
        assert session.info.card.fingerprint == opened.card.fingerprint


@pytest.mark.usefixtures("quick_export")
def test_fp16_outside_tolerance_is_told_before_any_search(
    loaded: Checkpoint, bundle: Path, request_int8: CalibrationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(graph: Path, output: Path, frames: object) -> tuple[LayerInFp32, ...]:
        perturbed(bundle, output, 10.0)
        return ()

    def searched(*_: object) -> None:
        pytest.fail("there is nothing to search for")

    monkeypatch.setattr(writer, "write_fp16_graph", damaged)
    monkeypatch.setattr(writer, "write_int8_graph", searched)
    with pytest.raises(GateError, match=r"^fp16"):
        writer.write_bundle(loaded, tmp_path / "bundle", ExportRequest(int8=request_int8))
    assert names(tmp_path) == ["bundle.rejected"]


@pytest.mark.usefixtures("quick_export", "quick_sensitivity")
def test_a_search_that_fails_leaves_its_journal_and_no_bundle(
    loaded: Checkpoint, request_int8: CalibrationRequest, tmp_path: Path
) -> None:
    impossible = Tolerance(map=100, rank=100, int8_similarity=1)
    with pytest.raises(GateError, match="even with all layers in FP16"):
        writer.write_bundle(loaded, tmp_path / "bundle", ExportRequest(int8=request_int8, tolerance=impossible))
    assert names(tmp_path) == ["search.json"]
