"""What a subject says of itself is checked, its answers are checked in every batch size; its errors name no folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.bench import answers, measure, running
from reid.bench.answers import check_answers
from reid.bench.material import Material
from reid.bench.meters.turns import Meters, Reading
from reid.bench.models import Frames, GivenModel
from reid.bench.process import HostProcess, SubjectError
from reid.bench.records import Estimate
from reid.bench.replies import Opened
from reid.bench.result import Absent, Cameras, Failure, Quality, Scenario, Settings, SubjectKind
from reid.bench.running import Running, start
from reid.bench.scenarios import cameras_of
from reid.bench.subjects import Candidate
from reid.runtime.model_card import Level, ModelCard, Preprocessing

CARD = ModelCard(
    format_version=1,
    fingerprint="f",
    backbone="none",
    levels=(Level(name="level4", size=4),),
    preprocessing=Preprocessing(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1)),
)
MODEL = GivenModel(Path("models/bundle"), "graph", CARD, ("fp32",))
FACTS = {"backend": "Fake 1.0", "device": "CPU", "precision": "fp32"}
OPENED = {"facts": FACTS, "most_frames": 4, "import_s": 0.1, "open_s": 0.1, "first_batch_s": 0.1}

CALM_TURN = Reading(
    seconds=0.25,
    energy_j=None,
    clock_mhz=None,
    usable_cores=2,
    own_cores=None,
    others_cores=None,
    waited_share=None,
    stolen_share=None,
    throttled={},
)

Answer = Callable[..., dict[str, Any]]


class StandInHost(HostProcess):
    """Answers as a function does, without a process."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def ask(self, do: str, timeout_s: float, **request: object) -> dict[str, Any]:
        return self._answer(do, **request)


def candidate(name: str = "one", kind: SubjectKind = "session", *, apart: bool = False) -> Candidate:
    return Candidate(name, kind, "fp32", MODEL, "any:opener", apart=apart)


def party(one: Candidate, answer: Answer = lambda do, **_: {}, **facts: str) -> Running:
    opened = Opened.model_validate(OPENED | {"facts": FACTS | facts})
    return Running(one, StandInHost(answer), opened, contextlib.ExitStack())


def started(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> Running | Absent | Failure:
    @contextlib.contextmanager
    def host(*_: object, **__: object) -> Iterator[HostProcess]:
        yield StandInHost(answer)

    monkeypatch.setattr(running, "start_host", host)
    return start(candidate(), Path("frames.npy"), threads=1, most_frames=64)


def test_a_precision_that_does_not_exist_is_a_failure_of_its_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    found = started(monkeypatch, lambda do, **_: OPENED | {"facts": FACTS | {"precision": "float32"}})
    assert isinstance(found, Failure)
    assert found.reason == "its facts say the precision 'float32', which is none of fp32, fp16, int8, bf16"


def test_a_subject_is_told_the_largest_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    found = started(monkeypatch, lambda do, **request: asked.update(request) or OPENED)
    assert isinstance(found, Running)
    assert (asked["most_frames"], found.precision) == (64, "fp32")


@pytest.mark.parametrize(("kind", "of"), [("ValueError", Failure), ("SessionError", Absent)])
def test_a_reason_has_the_path_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, kind: str, of: type[Failure | Absent]
) -> None:
    path = MODEL.path.absolute()

    def fail(*_: object, **__: object) -> dict[str, Any]:
        raise SubjectError(f"{path}/model.fp32.onnx is damaged", kind)

    found = started(monkeypatch, fail)
    assert isinstance(found, of)
    assert found.reason == "models/bundle/model.fp32.onnx is damaged"
    later = party(candidate(), fail)
    assert later.attempt("a turn", lambda host: host.memory()) is None
    assert later.failure == Failure(during="a turn", reason="models/bundle/model.fp32.onnx is damaged")


def test_a_batch_that_takes_no_time_is_a_failure_of_its_subject() -> None:
    turn = {"wall_ms": [1.0, 0.0], "cpu_s": 0, "untimed": 0, "started": 0, "ended": 1}
    one = party(candidate(), lambda do, **_: turn)
    assert one.attempt("batches of 1", lambda host: host.turn(1, 0.25)) is None
    assert one.failure is not None
    assert "its reply is not valid" in one.failure.reason


# ---- answers ----


@pytest.fixture
def material(tmp_path: Path) -> Material:
    expected = np.eye(5, dtype=np.float32)
    return Material(Frames(np.zeros((5, 3, 8, 8), np.uint8), (), expected), tmp_path / "frames.npy", tmp_path)


def embedding(sizes: list[int], wrong_at: int = 0) -> Answer:
    """Embed five frames rightly, but for batches of one size."""

    def answer(do: str, output: str = "", frames: int = 0) -> dict[str, Any]:
        if do == "embed":
            sizes.append(frames)
            found: NDArray[np.float32] = np.eye(5, dtype=np.float32)[np.arange(-(-5 // frames) * frames) % 5]
            np.save(output, found[:, ::-1] if frames == wrong_at else found)
        return {}

    return answer


def test_answers_are_checked_in_every_batch_size_that_it_takes(material: Material) -> None:
    sizes: list[int] = []
    assert check_answers(party(candidate(), embedding(sizes)), material, (1, 2, 4, 8)).least_similarity == 1
    assert sizes == [1, 2, 4]
    for wrong_at in (1, 2, 4):
        one = party(candidate(), embedding([], wrong_at))
        assert check_answers(one, material, (1, 2, 4, 8)).least_similarity == 0


def test_what_takes_seconds_for_a_batch_is_checked_in_its_largest(material: Material) -> None:
    sizes: list[int] = []
    check_answers(party(candidate(apart=True), embedding(sizes)), material, (1, 2))
    assert sizes == [2]


def test_map_is_that_of_the_precision_that_it_computes_in(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"fp32": Quality(map_percent={"i2i": 80}), "bf16": Quality()}
    monkeypatch.setattr(answers, "map_of", lambda model, precision: known[precision])
    for precision, quality in known.items():
        one = party(candidate(kind="peer"), embedding([]), precision=precision)
        assert check_answers(one, material, (1,)).map_percent == quality.map_percent


# ---- the peer ----


def test_speeds_are_compared_with_a_peer_of_the_same_model_that_answers_rightly() -> None:
    other = replace(MODEL, card=CARD.model_copy(update={"fingerprint": "another"}))
    party_ = {
        "ours": party(candidate("ours")),
        "another model": party(replace(candidate("another model", "peer"), model=other)),
        "wrong": party(candidate("wrong", "peer")),
        "peer": party(candidate("peer", "peer"), precision="int8"),
    }
    similarity = {"ours": 1, "another model": 1, "wrong": 0.9, "peer": 0.9}
    qualities = {name: Quality(least_similarity=one) for name, one in similarity.items()}
    assert measure._peer(party_, qualities, MODEL) == "peer"
    assert measure._peer(party_, qualities, other) == "another model"
    del party_["peer"]
    assert measure._peer(party_, qualities, MODEL) == ""


def test_a_turn_with_the_start_of_a_program_has_no_energy() -> None:
    class Metered:
        def start(self, *_: object) -> Metered:
            return self

        def stop(self) -> Reading:
            return replace(CALM_TURN, energy_j=5.0)

        def energy_source(self, _: str) -> str:
            return "RAPL"

    meters = cast("Meters", Metered())
    turn = {"wall_ms": [1.0], "cpu_s": 0, "untimed": 0, "started": 0, "ended": 1}
    for apart, energy_j in ((False, 5.0), (True, None)):
        one = party(candidate(apart=apart), lambda do, **_: turn)
        one.host._process = cast("Popen[bytes]", SimpleNamespace(pid=1))
        sample = measure._take_turn(one, 1, meters)
        assert sample is not None
        assert sample.reading.energy_j == energy_j
        assert len(list(measure._without_energy([one], meters))) == apart


def test_where_no_rate_keeps_the_limit_it_serves_no_camera() -> None:
    settings = Settings(batches=(1,), threads=1, minutes=1, latency_limit_ms=1, camera_frames_per_s=10)
    assert cameras_of(None, settings) == Cameras(low=0, value=0, high=0)
    rate = Estimate(value=25, low=19, high=31)
    server = Scenario(name="Server", latency_ms=None, frames_per_s=rate, seconds=1)
    assert cameras_of(server, settings) == Cameras(low=1, value=2, high=3)
