"""The INT8 graph of a model one layer of which is hostile to INT8: it is found, left in FP16, and found only once."""

from __future__ import annotations

import json
import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import reid.export.int8.calibrated as calibrated
import reid.export.int8.measurement as measurement
import reid.export.int8.search
from reid.calibration.journal import Journal
from reid.calibration.layers import find_layers
from reid.calibration.probe import Probe
from reid.calibration.scales import ScaleFile
from reid.calibration.search import BUDGET, Evaluation, Found
from reid.calibration.selection import open_calibration_data
from reid.data.dataset import Split
from reid.data.held_out import held_out_data
from reid.evaluation.verification.records import ReferenceData, Tolerance
from reid.evaluation.verification.reference import Crops, Reference, embed_retrieval
from reid.export.fp16 import write_fp16_graph
from reid.export.int8.calibrated import write_int8_graph
from reid.export.int8.graph import Int8Graph
from reid.export.int8.plan import CalibrationPlan, CalibrationRequest
from reid.export.int8.record import Int8Record
from reid.export.int8.search import Int8Search
from reid.export.verification.graphs import compare_graph, load_usual
from reid.runtime.bundle import Bundle
from reid.runtime.errors import GateError, ModelError, ReidError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.onnxruntime import load_onnxruntime

GUILTY = "backbone.conv1.3"
TOLERANCE = Tolerance(map=100, rank=100, int8_similarity=0.5)
"""An untrained model's mAP says nothing; its embeddings do."""


@dataclass
class Workshop:
    """A folder with the FP32 and the FP16 graph, and everything that their INT8 graph is made with."""

    folder: Path
    card: ModelCard
    request: CalibrationRequest
    judge: Reference

    def plan(self, **changes: Any) -> CalibrationPlan:  # noqa: ANN401
        return CalibrationPlan.of(replace(self.request, **changes), self.card)

    def write(self, output: Path, **changes: Any) -> tuple[Int8Record, ScaleFile]:  # noqa: ANN401
        judge = changes.pop("judge", self.judge)
        fp32, fp16 = self.folder / "fp32.onnx", self.folder / "fp16.onnx"
        return write_int8_graph(fp32, fp16, output, self.plan(**changes), judge)


def write_hostile(graph: Path, output: Path, factor: float = 1000.0) -> None:
    """Scale one channel of the layer before GUILTY, and undo it there: the same function in FP32."""
    model = onnx.load(graph)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    (node,) = (node for node in model.graph.node if "model.backbone.conv1.0.weight" in node.input)
    spots = [(name, np.s_[5], factor) for name in node.input[1:]]
    for name, where, by in [*spots, (f"model.{GUILTY}.weight", np.s_[:, 5], 1 / factor)]:
        values = numpy_helper.to_array(weights[name]).copy()
        values[where] *= np.float32(by)
        weights[name].CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, output)


@pytest.fixture(scope="module")
def workshop(bundle: Path, veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("int8")
    opened = Bundle.open(bundle)
    crops, embeddings = opened.reference()
    frames = np.stack([resize(read_frame(crop), 64, 64).transpose(2, 0, 1) for crop in crops])
    write_hostile(bundle / "model.fp32.onnx", folder / "fp32.onnx")
    write_fp16_graph(folder / "fp32.onnx", folder / "fp16.onnx", frames)
    data = open_calibration_data(veri)
    judged_on = held_out_data(data, opened.card)
    assert judged_on is not None
    with load_onnxruntime(folder / "fp32.onnx", "cpu") as session:
        retrieval = embed_retrieval(session, judged_on.query, judged_on.gallery)
    facts = ReferenceData(
        name=data.root.name,
        layout=data.layout,
        held_out=True,
        query_images=len(judged_on.query.images),
        gallery_images=len(judged_on.gallery.images),
        unreadable=0,
    )
    judge = Reference(opened.card.levels, Crops(frames, embeddings), retrieval, facts, TOLERANCE)
    request = CalibrationRequest(data, frames=8, methods=("max",), journal=folder / "journal.json")
    return Workshop(folder, opened.card, request, judge)


@pytest.fixture(scope="module")
def notes() -> Iterator[list[str]]:
    """Everything that is logged from the first search on."""
    library, handler = logging.getLogger("reid"), Collector()
    level = library.level
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    yield handler.notes
    library.removeHandler(handler)
    library.setLevel(level)


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(record.getMessage())


@pytest.fixture(scope="module")
def written(workshop: Workshop, notes: list[str]) -> tuple[Int8Record, ScaleFile]:
    return workshop.write(workshop.folder / "int8.onnx")


@pytest.fixture
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object, **__: object) -> None:
        pytest.fail("this was measured before, or need not be")

    monkeypatch.setattr(Probe, "measure", measured)
    monkeypatch.setattr(reid.export.int8.search, "compare_graph", measured)


def test_the_guilty_layer_is_found_and_nearly_all_work_stays_in_int8(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, notes: list[str]
) -> None:
    record, _ = written
    assert record.in_fp16 == (GUILTY,)
    searched = [evaluation for evaluation in record.evaluations if evaluation.session == record.judged_by]
    assert [evaluation.passed for evaluation in searched] == [False, True]
    *_, last = record.evaluations  # where another session judged, the gate's own has the last word
    assert (last.session, last.passed, last.in_fp16) == (
        f"ONNX Runtime {onnxruntime.__version__} on CPU",
        True,
        (GUILTY,),
    )
    assert len(record.evaluations) - len(searched) == (last.session != record.judged_by)
    assert (record.budget, record.objective, record.times) == (15, "macs", None)
    assert record.evaluations[0].in_fp16 == ()
    assert "similarity" in record.evaluations[0].failures[0]
    assert 80 < record.int8_percent < 100
    fraction = record.int8_percent / 100
    assert record.predicted_speedup == pytest.approx(1 / (1 - fraction + fraction / 2))
    errors = record.sensitivity.errors
    assert errors[GUILTY] > 100 * max(error for name, error in errors.items() if name != GUILTY)
    assert {f"{protocol} mAP" for protocol in ("i2i", "i2t", "t2t")} <= record.evaluations[-1].changes.keys()
    judged_on = workshop.judge.retrieval
    assert judged_on is not None
    assert record.judged_on == ReferenceData(
        name="veri",
        layout="veri",
        held_out=True,
        query_images=len(judged_on.query.images),
        gallery_images=len(judged_on.gallery.images),
        unreadable=0,
    )
    assert Int8Record.model_validate_json(record.model_dump_json()) == record
    assert any("all layers in INT8" in note and "outside tolerance" in note for note in notes)
    assert sum("similarity" in note for note in notes) == len(record.evaluations)  # a line for each


def test_the_graph_is_int8_but_for_that_layer_and_fp16_there(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop
) -> None:
    graph = onnx.load(workshop.folder / "int8.onnx")
    onnx.checker.check_model(graph, full_check=True)
    layers = find_layers(onnx.load(workshop.folder / "fp32.onnx"))
    nodes = {node.name: node for node in graph.graph.node}
    pairs = {node.output[0] for node in graph.graph.node if node.op_type == "DequantizeLinear"}
    fed = {layer.name: sum(name in pairs for name in nodes[layer.node].input) for layer in layers}
    expected = {layer.name: 0 if layer.name == GUILTY else 1 + bool(layer.weight) for layer in layers}
    assert fed == expected
    verified = compare_graph(workshop.judge, "int8", workshop.folder / "int8.onnx")
    assert verified.failures == ()
    assert verified.similarity.levels[0].minimum == written[0].evaluations[-1].similarity


@pytest.mark.usefixtures("nothing_measured")
def test_a_second_run_and_one_with_the_same_scales_measure_nothing_and_give_the_same_graph(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, notes: list[str], tmp_path: Path
) -> None:
    record, scales = written
    scales.save(tmp_path / "scales.json")
    for reused in (None, ScaleFile.load(tmp_path / "scales.json")):
        journal = Path(shutil.copy(workshop.folder / "journal.json", tmp_path / "journal.json"))
        again = workshop.write(tmp_path / "again.onnx", scales=reused, journal=journal)
        assert again == (record, scales)
        assert (tmp_path / "again.onnx").read_bytes() == (workshop.folder / "int8.onnx").read_bytes()
    assert any("resuming an interrupted search after" in note for note in notes)


@pytest.mark.usefixtures("nothing_measured")
def test_a_journal_of_other_images_is_not_resumed(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, tmp_path: Path
) -> None:
    journal = Path(shutil.copy(workshop.folder / "journal.json", tmp_path / "journal.json"))
    data = workshop.request.data
    probe = workshop.plan().probe
    fewer = Split(tuple(image for image in data.train.images if image != probe[0]), data.train.tracklets)
    with pytest.raises(pytest.fail.Exception, match="measured"):
        workshop.write(tmp_path / "int8.onnx", data=replace(data, train=fewer), scales=written[1], journal=journal)


@pytest.mark.usefixtures("nothing_measured")
def test_scales_of_another_graph_are_refused(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, tmp_path: Path
) -> None:
    wrong = written[1].model_copy(update={"graph_sha256": "0" * 64})
    with pytest.raises(ModelError, match="is not the graph that the scales were measured on"):
        workshop.write(tmp_path / "int8.onnx", scales=wrong)
    assert not (tmp_path / "int8.onnx").exists()


def test_nothing_is_calibrated_on_what_judges_or_what_layers_are_measured_on(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop
) -> None:
    plan = workshop.plan()
    assert workshop.judge.retrieval is not None
    judging = {image.vehicle for image in workshop.judge.retrieval.gallery.images}
    every = plan.choose_frames(10**6)
    calibrated = {image.vehicle for image in every.images}
    probed = {image.vehicle for image in plan.probe}
    assert calibrated
    assert probed
    assert judging
    assert calibrated.isdisjoint(probed)
    assert (calibrated | probed).isdisjoint(judging)
    assert calibrated | probed | judging == {image.vehicle for image in workshop.request.data.train.images}
    assert written[1].calibration == plan.choose_frames(8).facts


def test_fewer_frames_than_requested_and_unreadable_ones_are_told(
    workshop: Workshop, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "measure_scales", lambda *_, **__: None)
    shutil.copytree(workshop.request.data.root, tmp_path / "data", symlinks=False)
    data = open_calibration_data(tmp_path / "data")
    plan = workshop.plan(data=data, frames=10**6)
    readable = plan.choose_frames(10**6).images
    bad = readable[0].frames[0]
    Path(str(bad)).write_bytes(b"\xff\xd8")
    measurement.calibrate(workshop.folder / "fp32.onnx", find_layers(onnx.load(workshop.folder / "fp32.onnx")), plan)
    fewer, lost = (record.getMessage() for record in caplog.records)
    assert f"calibrating on {len(readable) - 1} frames instead of 1000000" in fewer
    assert lost.startswith("1 frames could not be read")
    assert str(bad) in lost


def test_a_file_in_the_journals_place_is_refused_before_any_work(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "load_graph", lambda path: pytest.fail("work was done"))
    monkeypatch.setattr(measurement, "load_graph", lambda path: pytest.fail("work was done"))
    (mine := tmp_path / "bundle.search.json").write_text('{"notes": "my own"}')
    with pytest.raises(ReidError, match=f"^{mine} is not a journal .*; move it elsewhere, or choose another --output$"):
        workshop.write(tmp_path / "int8.onnx", journal=mine)
    with pytest.raises(ReidError, match=f"^{mine} is not a journal"):
        measurement.measure(workshop.folder / "fp32.onnx", replace(workshop.request, journal=mine))
    assert mine.read_text() == '{"notes": "my own"}'


@pytest.mark.parametrize("damage", [None, {"failures": []}, {"similarity": math.nan}, {"in_fp16": [[]]}])
def test_a_damaged_evaluation_is_one_line_that_says_what_to_remove(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, tmp_path: Path, damage: dict[str, Any] | None
) -> None:
    journal = Path(shutil.copy(workshop.folder / "journal.json", tmp_path / "journal.json"))
    stored = json.loads(journal.read_text())
    for key, entry in stored["entries"].items():
        if key.startswith("mix with "):
            stored["entries"][key] = damage if damage is None or "failures" in damage else entry | damage
    journal.write_text(json.dumps(stored))
    with pytest.raises(ReidError, match=rf"^{journal}: 'mix with .* is damaged \(.*\); remove the file"):
        workshop.write(tmp_path / "again.onnx", scales=written[1], journal=journal)


def test_a_lone_graph_is_checked_before_it_is_measured(workshop: Workshop, tmp_path: Path) -> None:
    for damage, named in (("input", "is not valid ONNX"), ("name", "has nodes of the same name")):
        model = onnx.load(workshop.folder / "fp32.onnx")
        node = next(node for node in model.graph.node if node.op_type == "Conv")
        if damage == "input":
            del node.input[1:]
        else:
            node.name = model.graph.node[-1].name
        onnx.save(model, path := tmp_path / "graph.onnx")
        with (
            pytest.raises(ModelError, match=rf"^{path} {named}.*; export it again") as caught,
            measurement.open_fp32_graph(path),
        ):
            pass
        assert "\n" not in str(caught.value)


def test_a_graph_that_is_not_there_is_a_model_error() -> None:
    with (
        pytest.raises(ModelError, match=r"nowhere\.onnx: No such file"),
        measurement.open_fp32_graph(Path("nowhere.onnx")),
    ):
        pass


def test_where_not_even_fp16_is_within_tolerance_it_says_so(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "measure_layers", lambda *_: written[0].sensitivity)
    strict = replace(workshop.judge, tolerance=Tolerance(map=100, rank=100, int8_similarity=1))
    with pytest.raises(
        GateError, match=r"even with all layers in FP16, the model is outside tolerance on .* held-out .*similarity"
    ) as caught:
        workshop.write(tmp_path / "int8.onnx", judge=strict, scales=written[1], journal=None)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "int8.onnx").exists()


def searching(workshop: Workshop, written: tuple[Int8Record, ScaleFile], timer: Any) -> Int8Search:  # noqa: ANN401
    fp32, fp16 = (onnx.load(workshop.folder / f"{name}.onnx") for name in ("fp32", "fp16"))
    sensitivity = written[0].sensitivity
    graph = Int8Graph(fp16, find_layers(fp32), sensitivity.amax)
    return Int8Search(graph, sensitivity, workshop.judge, Journal(None, {}), timer=timer)


def all_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def compared(_: Int8Search, in_fp16: frozenset[str], __: object) -> Evaluation:
        return Evaluation(in_fp16=tuple(sorted(in_fp16)), failures=(), changes={}, similarity=1, strain=0.5)

    monkeypatch.setattr(Int8Search, "_compare", compared)


@pytest.mark.parametrize(("per_layer", "note"), [(1.0, 0), (-1.0, 1)])
def test_an_engine_that_is_not_faster_than_fp16_is_said_to_be_so(
    written: tuple[Int8Record, ScaleFile],
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    notes: list[str],
    per_layer: float,
    note: int,
) -> None:
    """By the fake clock, each layer in FP16 adds a millisecond, or saves one."""
    all_pass(monkeypatch)
    notes.clear()
    record = searching(workshop, written, lambda in_fp16: 100 + per_layer * len(in_fp16)).run()
    assert record.objective == "latency"
    assert record.times is not None
    every = len(record.sensitivity.layers)
    assert record.times.fp16 == 100 + per_layer * every
    assert record.times.int8 == 100 + per_layer * len(record.in_fp16)
    assert bool(record.in_fp16) == bool(note)  # where FP16 is faster, some layers are in it though all pass in INT8
    assert sum("not faster than FP16" in one for one in notes) == note
    assert Int8Record.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(("needed", "chosen", "disagreements"), [(1, 1, 0), (2, 2, 1), (99, 1, 2)])
def test_where_sessions_disagree_a_mix_with_little_strain_is_tried_and_the_gate_decides(
    written: tuple[Int8Record, ScaleFile],
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    notes: list[str],
    needed: int,
    chosen: int,
    disagreements: int,
) -> None:
    """The gate's own session needs so many layers in FP16; the mixes that passed before have 1, 2 and 3."""

    def evaluation(in_fp16: frozenset[str], session: str, *failures: str) -> Evaluation:
        strain = 1 / (1 + len(in_fp16))
        return Evaluation(
            in_fp16=tuple(in_fp16), failures=failures, changes={}, similarity=1, strain=strain, session=session
        )

    def compared(_: Int8Search, in_fp16: frozenset[str], load: object) -> Evaluation:
        assert load is load_usual
        return evaluation(in_fp16, "usual", *(["i2i mAP fell"] if len(in_fp16) < needed else []))

    monkeypatch.setattr(Int8Search, "_compare", compared)
    notes.clear()
    passed = tuple(evaluation(frozenset(map(str, range(count))), "fast") for count in (3, 2, 1))
    search = searching(workshop, written, None)
    found = search._confirmed(Found(frozenset(passed[-1].in_fp16), passed), frozenset(passed[-1].in_fp16), None)
    assert len(found[0]) == chosen
    assert found[1].evaluations[:3] == passed
    assert 3 + min(2, 1 + disagreements) <= len(found[1].evaluations) <= BUDGET
    told = [note for note in notes if note.startswith("fast and usual disagree on an INT8 graph with")]
    assert len(told) == disagreements
    assert all(note.endswith("for the latter i2i mAP fell") for note in told)


def test_where_sessions_disagree_on_everything_the_gates_own_searches_with_what_is_left(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(_: Int8Search, in_fp16: frozenset[str], load: object) -> Evaluation:
        is_usual, passes = load is load_usual, GUILTY in in_fp16
        failures = () if passes or not is_usual else ("i2i mAP fell",)
        names, strain = tuple(sorted(in_fp16)), 0.5 if passes else 1.1
        return Evaluation(in_fp16=names, failures=failures, changes={}, similarity=1, strain=strain)

    monkeypatch.setattr(Int8Search, "_compare", compared)
    monkeypatch.setattr("reid.export.int8.search.choose_judge", lambda *_: lambda _: None)
    record = searching(workshop, written, None).run()
    assert record.in_fp16 == (GUILTY,)
    assert record.evaluations[0].passed
    assert not record.evaluations[1].passed
    assert len(record.evaluations) <= BUDGET


KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from reid.export.int8.calibrated import write_int8_graph
from reid.calibration.probe import Probe
import reid.export.int8.search as search

folder, plan, judge = pickle.loads(Path(sys.argv[1]).read_bytes())
log, kills = Path(sys.argv[2]), [int(number) for number in sys.argv[3:]]

def logged(name, measure):
    def measured(*arguments, **more):
        with log.open("a") as file:
            file.write(name)
        result = measure(*arguments, **more)
        if log.stat().st_size in kills:
            with log.open("a") as file:
                file.write("X")
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return measured

Probe.measure = logged("p", Probe.measure)
search.compare_graph = logged("j", search.compare_graph)
for attempt in range(len(kills) + 1):
    if not (pid := os.fork()):
        record, _ = write_int8_graph(
            folder / "fp32.onnx", folder / "fp16.onnx", log.with_name("int8.onnx"), plan, judge
        )
        log.with_name("record.json").write_text(record.model_dump_json())
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_search_that_is_killed_resumes_where_it_was(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, tmp_path: Path
) -> None:
    import pickle

    record, scales = written
    plan = workshop.plan(scales=scales, journal=tmp_path / "journal.json")
    (tmp_path / "material").write_bytes(pickle.dumps((workshop.folder, plan, workshop.judge)))
    layers = 1 + len(record.sensitivity.layers)
    kills = (layers // 2, layers + 3)  # bytes of the log: once among the layers, once when the first mix was evaluated
    command = [sys.executable, "-c", KILLED, tmp_path / "material", tmp_path / "log", *kills]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["-9", "-9", "0"], done.stderr
    log = (tmp_path / "log").read_text()
    # What was being measured when it was killed is measured again; nothing else is.
    assert log.count("p") == layers + 1
    assert log.count("j") == len(record.evaluations) + 1
    assert log.index("j") > log.rindex("p")
    assert json.loads((tmp_path / "record.json").read_text()) == json.loads(record.model_dump_json())
    assert (tmp_path / "int8.onnx").read_bytes() == (workshop.folder / "int8.onnx").read_bytes()


def former_names(journal: Path) -> None:
    """Write a journal as it was before: `kept` for the layers in FP16."""
    stored = json.loads(journal.read_text())
    for key, entry in stored["entries"].items():
        if key.startswith("mix with "):
            entry["kept"] = entry.pop("in_fp16")
    journal.write_text(json.dumps(stored))


@pytest.mark.usefixtures("nothing_measured")
def test_a_journal_of_before_is_resumed(
    written: tuple[Int8Record, ScaleFile], workshop: Workshop, tmp_path: Path
) -> None:
    journal = Path(shutil.copy(workshop.folder / "journal.json", tmp_path / "journal.json"))
    former_names(journal)
    assert '"kept"' in journal.read_text()
    assert workshop.write(tmp_path / "again.onnx", scales=written[1], journal=journal) == written
