"""`reid-verify` judges what a session finds on data: 0 within tolerance, 3 outside, and a report in either case."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import Run, assert_one_line_of_error
from marked_engines import MarkedEngines, layer_of, write_broken
from numpy.typing import NDArray

import reid.export.engines.trace as tracing
import reid.runtime.files.manifest as manifest
import reid.runtime.opening as opening
from reid.commands.verify import main
from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import DriftSearch
from reid.runtime.bundle import Bundle
from reid.runtime.engine_card import EngineCard
from reid.runtime.opening import open_session
from reid.runtime.precision import Precision
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.opened import Opened
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.sessions.slots import HostSlots, Slots
from reid.runtime.sessions.tensorrt import TensorRTSession

STORED = Path(__file__).parents[1] / "stored"
LENIENT = ("--tolerance-map", 100, "--tolerance-rank", 100)


BROKEN = "model.backbone.layer2.0.downsample.1.weight"


class OnEngine(TensorRTSession):
    """An engine's session whose GPU is ONNX Runtime, and whose frames may come in another order of channels."""

    def __init__(self, path: Path, graph: Path, *, bgr: bool) -> None:
        self._inner, self._bgr = load_onnxruntime(graph, "cpu"), bgr
        self.path, self.ordinal = path, 0
        self.info = replace(self._inner.info, backend="tensorrt", device="NVIDIA L4")

    @property
    def limits(self) -> BatchLimits:
        return self._inner.limits

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        return self._inner.compute(np.ascontiguousarray(frames[:, ::-1] if self._bgr else frames), pooling)

    def slots(self) -> Slots:
        return HostSlots(self)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle with the sidecar of an engine, built before there were judgments."""
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (folder / "engines").mkdir()
    card = EngineCard.read(STORED / "engine.json").model_copy(update={"flavor": "tensorrt", "precision": "fp32"})
    (folder / "engines" / "l4.json").write_text(card.to_json())
    (folder / "engines" / "l4.engine").write_bytes(b"an engine")
    return folder


@pytest.fixture
def run(run_main: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, with two more sessions: `tensorrt` is sound, and `sabotaged` is not."""

    def opener(bgr: bool, model: Path, device: str | None, precision: Precision) -> Opened:
        bundle = Bundle.open(model)
        engine = bundle.root / "engines" / "l4.engine"
        note = EngineCard.read(engine.with_suffix(".json")).note(bundle.root)
        return Opened(OnEngine(engine, bundle.graph(precision).path, bgr=bgr), note=note)

    def points(group: str) -> list[Any]:
        own = [("tensorrt", partial(opener, False)), ("sabotaged", partial(opener, True))]
        return [*found(group=group), *(SimpleNamespace(name=name, load=lambda one=one: one) for name, one in own)]

    found = opening.entry_points
    monkeypatch.setattr(opening, "entry_points", points)
    monkeypatch.chdir(tmp_path)
    return partial(run_main, main, "reid-verify")


def judged(copy: Path) -> tuple[str, str]:
    judgment = EngineCard.read(copy / "engines" / "l4.json").judged
    return judgment.verdict, judgment.data


def test_an_engine_that_passes_is_remembered_and_no_longer_noted(
    run: Run, copy: Path, veri: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_session(copy, "tensorrt").close()
    command = f"`reid-verify {copy} DATA --session tensorrt --precision fp32` runs it on data"
    assert caplog.messages == [f"this fp32 engine was not verified on data; {command}"]
    caplog.clear()
    hashes = Bundle.open(copy).card
    code, out, err = run(copy, veri, "--session", "tensorrt")
    assert (code, out) == (0, "verification/report.html\n")
    assert "compared with the bundle's FP32 graph by ONNX Runtime" in err
    assert "smallest cosine similarity to the FP32 graph " in err
    assert "not verified on data" not in err
    assert judged(copy) == ("undecided", "15 queries of veri (veri)")
    assert (copy / "engines" / "l4.engine").read_bytes() == b"an engine"
    assert Bundle.open(copy).card == hashes
    caplog.clear()
    open_session(copy, "tensorrt").close()
    assert caplog.messages == []


def test_a_sabotaged_session_ends_with_3_and_a_report(run: Run, copy: Path, veri: Path, tmp_path: Path) -> None:
    code, out, err = run(copy, veri, "--session", "sabotaged", *LENIENT)
    assert (code, out) == (3, "")
    line = err.splitlines()[-1]
    assert line.startswith("error: TensorRT ")
    assert "fp32: the least similar of 112 embeddings has cosine similarity" in line
    assert "; where it departs was not found: " in line  # there is no TensorRT, or no GPU
    assert line.endswith("see verification/report.html")
    assert sorted(os.listdir(tmp_path / "verification")) == [".reid-manifest.json", "report.html", "verification.json"]
    assert read_verification(tmp_path / "verification" / "verification.json").verdict == "outside"
    assert judged(copy)[0] == "outside"


@pytest.fixture
def broken(run: Run, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command with a session, `broken`, of an engine that reverses the channels of a layer."""
    graph = write_broken(copy / "model.fp32.onnx", BROKEN, tmp_path / "broken.onnx")
    session = Opened(OnEngine(copy / "engines" / "l4.engine", graph, bgr=False))
    found = opening.entry_points
    point = SimpleNamespace(name="broken", load=lambda: lambda model, device, precision: session)
    monkeypatch.setattr(opening, "entry_points", lambda group: [*found(group=group), point])
    engines = MarkedEngines(copy / "model.fp32.onnx", graph)
    monkeypatch.setattr(tracing, "MarkedBuilder", lambda *_: engines)
    return run


def test_the_layer_in_which_an_engine_departs_is_named(broken: Run, copy: Path, veri: Path, tmp_path: Path) -> None:
    (tmp_path / "tolerances.json").write_text('{"map": 100, "rank": 100, "match": 100, "similarity": 0.99999}')
    code, out, err = broken(copy, veri, "--session", "broken", "--tolerances", tmp_path / "tolerances.json")
    assert (code, out) == (3, "")
    layer = layer_of(copy / "model.fp32.onnx", BROKEN)
    assert f"; the first layer to drift is {layer} (Conv at position 20, " in err.splitlines()[-1]
    (found,) = read_verification(tmp_path / "verification" / "verification.json").precisions
    assert found.drift_search == DriftSearch(threshold=0.01, marked=54, builds=1)
    assert layer in (tmp_path / "verification" / "report.html").read_text()
    assert judged(copy)[0] == "outside"


def test_a_session_whose_graph_is_wrong_has_the_graphs_drift(
    run: Run, whole_bundle: Path, veri: Path, tmp_path: Path
) -> None:
    """The graph was changed by someone who changed its hash in the card, too."""
    copy = Path(shutil.copytree(whole_bundle, tmp_path / "whole"))
    graph, weight = copy / "model.fp16.onnx", f"{BROKEN}_as_fp16"
    layer = layer_of(graph, weight)
    write_broken(graph, weight, graph)
    card = json.loads((copy / "model.json").read_text())
    card["files"][graph.name] = hashlib.sha256(graph.read_bytes()).hexdigest()
    (copy / "model.json").write_text(json.dumps(card))
    (tmp_path / "tolerances.json").write_text('{"map": 100, "rank": 100, "match": 100, "similarity": 0.99999}')
    options = ("--session", "onnxruntime:cpu", "--precision", "fp16", "--tolerances", tmp_path / "tolerances.json")
    code, _, err = run(copy, veri, *options)
    assert code == 3
    said = f"; the session gives what its graph gives, in which the first layer to drift is {layer} (Conv at position "
    assert said in err.splitlines()[-1]


def test_a_report_that_cannot_be_replaced_leaves_verdict_and_report(
    broken: Run, copy: Path, veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> MarkedEngines:
        monkeypatch.setattr(manifest, "atomic_directory", lambda *_, **__: full())
        raise KeyboardInterrupt

    @contextmanager
    def full() -> Iterator[Path]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield Path()

    monkeypatch.setattr(tracing, "MarkedBuilder", fail)
    code, _, err = broken(copy, veri, "--session", "broken", *LENIENT)
    assert code == 3
    assert "the report does not say where the session departs: [Errno 28] No space left on device" in err
    assert "; where it departs was not found: it was interrupted; compared with" in err.splitlines()[-1]
    (found,) = read_verification(tmp_path / "verification" / "verification.json").precisions
    assert (found.verdict, found.drift_search) == ("outside", None)


def test_json_says_the_verdict_and_a_second_run_replaces_the_report(run: Run, copy: Path, veri: Path) -> None:
    for _ in range(2):
        code, out, _ = run(copy, veri, "--session", "tensorrt", "--json", "--output", "found")
        assert code == 0
    result = json.loads(out)
    assert (result["output"], result["verdict"]) == ("found", "undecided")
    assert result["reference"].startswith("the bundle's FP32 graph by ONNX Runtime")
    assert result["data"]["layout"] == "veri"


def test_what_few_queries_leave_open_is_refused_if_strict(run: Run, copy: Path, veri: Path) -> None:
    code, _, err = run(copy, veri, "--session", "tensorrt", "--strict")
    assert code == 3
    assert "--strict" in err.splitlines()[-1]


def test_a_bundle_that_may_not_be_changed_is_verified_all_the_same(
    run: Run, copy: Path, veri: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import reid.runtime.files.storage as storage

    monkeypatch.setattr(storage, "may_write", lambda folder: folder.name != "engines")
    code, _, err = run(copy, veri, "--session", "tensorrt")
    assert code == 0
    assert "note: the verdict is not kept with the engine" in err
    assert judged(copy)[0] == "not run"


def test_what_cannot_be_judged_is_one_line(run: Run, copy: Path, veri: Path, tmp_path: Path) -> None:
    for arguments, named in (
        ((copy, veri, "--session", "onnxruntime:cpu"), "would be compared with itself"),
        ((copy, "absent"), "absent"),
        (("absent", veri), "absent"),
        ((copy, veri, "--precision", "int8"), "has no int8 graph"),
        ((copy, veri, "--session", "absent"), "unknown session 'absent'"),
        ((copy, veri, "--output", copy), "is an input"),
    ):
        assert named in assert_one_line_of_error(*run(*arguments, "--json"))
        assert not (tmp_path / "verification").exists()


def test_wrong_usage_ends_with_2(run: Run, copy: Path, veri: Path) -> None:
    for arguments in (("--precision", "fp8"), ("--tolerance-map", "nan"), ("--session",)):
        code, out, err = run(copy, veri, *arguments)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
