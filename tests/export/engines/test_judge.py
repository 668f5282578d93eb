"""An engine that this machine can run is judged before it is added; of others, the sidecar says why it was not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from marked_engines import MarkedEngines, layer_of, write_broken
from numpy.typing import NDArray

import reid.export.engines.judge as gate
import reid.export.engines.trace as tracing
import reid.runtime.sessions.tensorrt as sessions
from reid.data.layout import open_dataset
from reid.evaluation.verification.compare import compare
from reid.evaluation.verification.engines import record_judgment
from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import DriftSearch, EngineFacts, PrecisionVerification, Tolerance
from reid.evaluation.verification.sentences import engine_sentence
from reid.evaluation.verification.verify import bundle_reference, record_of
from reid.export.engines.add import EngineTrial, add_engines
from reid.export.engines.judge import EngineGate
from reid.export.engines.options import EngineOptions
from reid.export.engines.trace import SessionTrace
from reid.runtime.bundle import Bundle
from reid.runtime.engine_card import EngineCard, Profile
from reid.runtime.engine_judgment import EngineJudgment
from reid.runtime.errors import GateError, ModelError, SessionError
from reid.runtime.gpu import Device
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.tensorrt import load_engine

OPTIONS = EngineOptions(
    "tensorrt-rtx", profiles=(Profile((1, 4, 8), (1, 2, 8)),), optimization_level=0, compute_capabilities=("8.9",)
)
STORED = Path(__file__).parents[2] / "stored" / "engine.json"
BROKEN = "model.backbone.layer2.0.downsample.1.weight"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def unchanged(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frames


@dataclass
class OnGpu:
    """What stands in for an engine on its GPU: the graph, whose frames may be changed on their way."""

    graph: Path
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = unchanged
    run: list[str] = field(default_factory=list)

    def load(self, path: Path, engine: EngineCard, card: ModelCard) -> HostSession:
        assert path.stat().st_size == engine.engine_bytes
        self.run.append(path.name)
        session = load_onnxruntime(self.graph, "cpu")
        infer = session.infer
        session.infer = lambda frames, pooling: infer(np.ascontiguousarray(self.change(frames)), pooling)
        return session


@pytest.fixture
def engine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> OnGpu:
    found = OnGpu(bundle / "model.fp32.onnx")
    monkeypatch.setattr(gate, "load_engine", found.load)
    return found


def sidecar_of(bundle: Path) -> EngineCard:
    (sidecar,) = (bundle / "engines").glob("*.json")
    return EngineCard.read(sidecar)


@pytest.mark.rtx
def test_an_engine_that_passes_on_data_is_added_with_its_verdict(copy: Path, veri: Path, engine: OnGpu) -> None:
    trial = EngineTrial(open_dataset(veri, needs="query"))
    (facts,) = add_engines(Bundle.open(copy), ["fp32"], OPTIONS, trial=trial)
    card = sidecar_of(copy)
    assert engine.run == [path.name for path in (copy / "engines").glob("*.engine")]
    assert facts == EngineFacts.of(card)
    assert (card.judged.verdict, card.judged.data) == ("undecided", "15 queries of veri (veri)")
    assert card.judged.reference.startswith("the bundle's FP32 graph by ONNX Runtime")
    assert engine_sentence(facts).endswith("undecided, on 15 queries of veri (veri)")
    assert card.note(copy) == ""


@pytest.mark.rtx
def test_an_engine_outside_tolerance_is_not_added_and_its_report_is_left(
    copy: Path, veri: Path, engine: OnGpu, tmp_path: Path
) -> None:
    engine.change = lambda frames: frames[:, ::-1]
    trial = EngineTrial(open_dataset(veri, needs="query"), Tolerance(map=100, rank=100))
    with pytest.raises(
        GateError,
        match=r"fp32: the least similar of 112 .*nothing was written but the report, .*copy\.rejected/report\.html",
    ):
        add_engines(Bundle.open(copy), ["fp32"], OPTIONS, trial=trial)
    assert not (copy / "engines").exists()
    assert sorted(os.listdir(tmp_path)) == ["copy", "copy.rejected"]
    assert read_verification(tmp_path / "copy.rejected" / "verification.json").verdict == "outside"


@pytest.mark.rtx
def test_an_export_whose_engine_is_outside_tolerance_writes_no_bundle(
    checkpoint: Path, engine: OnGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import reid.export.bundle as writer
    from reid.train.model.checkpoint import load_checkpoint

    monkeypatch.setattr(writer, "export_graph", lambda model, card, path: shutil.copy(engine.graph, path))
    engine.change = lambda frames: frames[:, ::-1]
    with pytest.raises(
        GateError, match=r"nothing was written but the report, .*bundle\.rejected/report\.html"
    ) as caught:
        writer.write_bundle(load_checkpoint(checkpoint), tmp_path / "bundle", writer.ExportRequest(engines=OPTIONS))
    assert caught.value.exit_code == 3
    assert os.listdir(tmp_path) == ["bundle.rejected"]


@pytest.mark.rtx
def test_where_it_cannot_be_run_the_sidecar_says_why_and_no_data_is_read(
    copy: Path, veri: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "find_device", lambda: None)
    dataset = open_dataset(veri, needs="query")
    monkeypatch.setattr("reid.export.engines.add.bundle_reference", lambda *_: pytest.fail("nothing can be compared"))
    (facts,) = add_engines(Bundle.open(copy), ["fp32"], OPTIONS, trial=EngineTrial(dataset))
    assert facts.judged == EngineJudgment(reason="no GPU where it was built")
    assert "was not verified on data (no GPU where it was built); `reid-verify" in sidecar_of(copy).note(copy)


def test_reference_crops_are_too_few_for_a_verdict_and_enough_to_refuse(
    bundle: Path, engine: OnGpu, tmp_path: Path
) -> None:
    opened = Bundle.open(bundle)
    (tmp_path / "e.engine").write_bytes(b"engine")
    sidecar = EngineCard.read(STORED).model_copy(update={"engine_bytes": 6})
    trial = EngineGate(
        tmp_path / "bundle", opened.root, opened.card, lambda: bundle_reference(opened, None, Tolerance())
    )
    assert trial(tmp_path / "e.engine", sidecar) == EngineJudgment(reason="only on 32 reference crops")
    engine.change = lambda frames: frames // 2
    with pytest.raises(GateError, match="nothing was written"):
        trial(tmp_path / "e.engine", sidecar)
    assert (tmp_path / "bundle.rejected" / "report.html").is_file()


def refused(
    bundle: Path, engine: OnGpu, folder: Path, builder: object, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, PrecisionVerification]:
    """Judge an engine that reverses the channels of a layer; return the error, and what the report says."""
    opened = Bundle.open(bundle)
    engine.graph = write_broken(bundle / "model.fp32.onnx", BROKEN, folder / "broken.onnx")
    (folder / "e.engine").write_bytes(b"engine")
    sidecar = EngineCard.read(STORED).model_copy(update={"engine_bytes": 6, "precision": "fp32"})
    monkeypatch.setattr(tracing, "MarkedBuilder", builder)
    tolerance = Tolerance(similarity=0.99999)
    trial = EngineGate(folder / "b", opened.root, opened.card, lambda: bundle_reference(opened, None, tolerance))
    with pytest.raises(GateError) as caught:
        trial(folder / "e.engine", sidecar)
    (found,) = read_verification(folder / "b.rejected" / "verification.json").precisions
    return str(caught.value), found


def test_the_report_on_a_refused_engine_names_the_layer(
    bundle: Path, engine: OnGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = bundle / "model.fp32.onnx"
    engines = MarkedEngines(sound, tmp_path / "broken.onnx")
    said, found = refused(bundle, engine, tmp_path, lambda *_: engines, monkeypatch)
    assert f"; the first layer to drift is {layer_of(sound, BROKEN)} (Conv at position 20, " in said
    assert found.drift_search is not None
    assert (found.drift_search.builds, found.drift_search.fused) == (1, ())
    page = (tmp_path / "b.rejected" / "report.html").read_text()
    assert f"<code>{layer_of(sound, BROKEN)}</code> <i>(Conv at position 20)</i>" in page
    assert "TensorRT does not fuse across a tensor that it has to give" in page
    assert "peak in the graph" in page


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SessionError("tensorrt is not installed"), "tensorrt is not installed"),
        (RuntimeError("CUDA\nerror 700"), "RuntimeError: CUDA error 700"),
        (KeyboardInterrupt(), "it was interrupted"),
    ],
)
def test_whatever_fails_behind_the_verdict_leaves_it_as_it_is(
    error: BaseException,
    reason: str,
    bundle: Path,
    engine: OnGpu,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> None:
        assert read_verification(tmp_path / "b.rejected" / "verification.json").verdict == "outside"
        raise error

    said, found = refused(bundle, engine, tmp_path, fail, monkeypatch)
    assert "fp32: the least similar of 32 embeddings" in said
    assert f"; where it departs was not found: {reason}; nothing was written but the report" in said
    assert (found.verdict, found.drift) == ("outside", ())
    assert found.drift_search == DriftSearch(reason=reason)
    assert f"where it departs was not found: {reason}" in (tmp_path / "b.rejected" / "report.html").read_text()


def test_what_is_inside_another_session_is_not_known(bundle: Path, tmp_path: Path) -> None:
    opened = Bundle.open(bundle)
    graph = write_broken(bundle / "model.fp32.onnx", BROKEN, tmp_path / "broken.onnx")
    reference = bundle_reference(opened, None, Tolerance(similarity=0.99999))
    with load_onnxruntime(graph, "cpu") as session:
        found = record_of(compare(reference, "fp32", session))
        traced = SessionTrace(bundle, reference.crops)(found, session)
    assert traced.drift_search is not None
    assert traced.drift_search.reason.endswith("departs from its graph, and only TensorRT gives what is inside")
    assert traced.model_copy(update={"drift_search": None}) == found


def test_an_engine_for_another_gpu_is_not_loaded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "find_device", lambda: Device("NVIDIA H100", "9.0", "13.0"))
    with pytest.raises(SessionError, match=r"it is for compute capability 8\.9, and was built where there is 9\.0"):
        load_engine(Path("absent.engine"), EngineCard.read(STORED), Bundle.open(bundle).card)


def test_a_judgment_changes_nothing_else_of_a_sidecar(tmp_path: Path) -> None:
    shutil.copy(STORED, tmp_path / "one.json")
    (tmp_path / "one.engine").write_bytes(b"engine")
    judgment = EngineJudgment(verdict="within", data="1678 queries of VeRi (veri)", reference="PyTorch 2 on CPU")
    record_judgment(tmp_path / "one.engine", judgment)
    before, after = EngineCard.read(STORED), EngineCard.read(tmp_path / "one.json")
    assert after == before.model_copy(update={"judged": judgment})
    assert (before.judged, after.note(tmp_path)) == (EngineJudgment(), "")
    assert (tmp_path / "one.engine").read_bytes() == b"engine"


@pytest.mark.parametrize("change", [{"data": "a\nb"}, {"verdict": "perfect"}, {"surprise": 1}])
def test_a_judgment_that_cannot_be_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    facts = json.loads(EngineCard.read(STORED).to_json())
    facts["judged"] |= change
    (tmp_path / "one.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="the engine's card is not valid"):
        EngineCard.read(tmp_path / "one.json")
