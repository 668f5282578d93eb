"""A run with subjects that do well, and with those that fail in every way: each is said, and none spoils another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_party import SCRIPT, expected_of
from recording import Recorder

from reid.bench import measure, starting
from reid.bench.compare import compare
from reid.bench.measure import Plan
from reid.bench.models import Frames, GivenModel, frames_of
from reid.bench.reading import read_result
from reid.bench.recommendation import choose
from reid.bench.report.files import write_result
from reid.bench.result import Absent, BenchResult, Failure, Settings, SubjectKind, SubjectResult
from reid.bench.rounds import LEAST_ROUNDS
from reid.bench.running import Running, start
from reid.bench.subjects import Candidate
from reid.runtime.errors import SessionError
from reid.runtime.model_card import Level, ModelCard, Preprocessing

SETTINGS = Settings(batches=(1, 2, 8), threads=1, minutes=0.002, latency_limit_ms=100, camera_frames_per_s=10)

CARD = ModelCard(
    format_version=1,
    fingerprint="f",
    backbone="party",
    levels=(Level(name="level4", size=4),),
    preprocessing=Preprocessing(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1)),
)
MODEL = GivenModel(Path("party.onnx"), "graph", CARD, ("fp32",))


def candidate(name: str, kind: SubjectKind = "session", **request: object) -> Candidate:
    return Candidate(name, kind, "fp32", MODEL, f"{SCRIPT}:open_party", request)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Frames whose embeddings are known; short turns; no peaks of the machine, which take seconds."""

    def frames(model: GivenModel) -> Frames:
        found = frames_of(model, 8)
        return Frames(found.pixels, found.jpegs, expected_of(found.pixels))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reid.bench.material.frames_of", frames)
        patch.setattr(measure, "_TURN_S", 0.005)
        patch.setattr(measure, "_LEAST_WARM_UP_S", 0.01)
        patch.setattr("reid.bench.machine.gathering.IDLE_S", 0.01)
        patch.setattr(measure, "with_limits", lambda result, *_: result)
        patch.setattr("reid.bench.scenarios._FRAMES", 10)
        patch.setattr("reid.bench.scenarios._LEAST_S", 0.02)
        yield


def run(*candidates: Candidate, absent: tuple[Absent, ...] = ()) -> tuple[BenchResult, Recorder]:
    progress = Recorder()
    return measure.measure(Plan([MODEL], candidates, absent, SETTINGS, "reid-bench party.onnx"), progress), progress


@pytest.fixture(scope="module")
def result(quick: None) -> BenchResult:
    """A run with every fault."""
    found, _ = run(
        candidate("good"),
        candidate("slow", batch_s=0.01),
        candidate("wrong", fault="wrong", batch_s=0),
        candidate("killed", fault="killed", after=60),
        candidate("gone", fault="gone", after=60),
        candidate("absent fp32", fault="absent"),
        candidate("absent int8", fault="absent"),
        candidate("damaged", fault="damaged"),
        candidate("wrong peer", kind="peer", fault="wrong"),
        candidate("mute peer", kind="peer", fault="mute"),
        candidate("peer", kind="peer", batch_s=0.001),
        absent=(Absent(name="trtexec", reason="it is not on the PATH"),),
    )
    return found


@pytest.fixture(scope="module")
def subjects(result: BenchResult) -> dict[str, SubjectResult]:
    return {subject.name: subject for subject in result.subjects}


def test_whoever_does_well_has_every_figure(subjects: dict[str, SubjectResult]) -> None:
    good = subjects["good"]
    assert (good.backend, good.device, good.failure) == ("Party 1.0", "CPU", None)
    assert [batch.frames for batch in good.batches] == [1, 2]  # it takes no eight
    assert {scenario.name for scenario in good.scenarios} >= {"SingleStream", "Offline"}
    assert good.quality is not None
    assert good.quality.least_similarity == pytest.approx(1, abs=1e-6)
    assert good.memory_mib["host"] > 1
    assert good.start is not None
    assert all(len(batch.turns) >= LEAST_ROUNDS for batch in good.batches)


def test_a_batch_takes_at_least_what_it_takes(subjects: dict[str, SubjectResult]) -> None:
    for name, batch_ms in {"good": 0.5, "slow": 10.0}.items():
        for batch in subjects[name].batches:
            assert batch.latency_ms.p50.value >= batch_ms
            assert batch.frames_per_s.value <= 1000 * batch.frames / batch_ms


def test_the_peer_of_the_same_rounds_is_what_speeds_are_compared_with(
    result: BenchResult, subjects: dict[str, SubjectResult]
) -> None:
    assert result.peer == "peer"
    slow = subjects["slow"].batches[0]
    assert slow.times_peer is not None
    assert slow.times_peer.value < 1
    assert subjects["peer"].batches[0].times_peer is not None
    assert subjects["peer"].batches[0].times_peer.value == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("killed", "SIGKILL"),
        ("gone", "CUDA error: the GPU has fallen off the bus"),
        ("damaged", "the engine is damaged"),
        ("mute peer", "its facts do not say 'device'"),
    ],
)
def test_whoever_fails_says_when_and_why_and_has_no_figures(
    subjects: dict[str, SubjectResult], name: str, reason: str
) -> None:
    one = subjects[name]
    assert one.failure is not None
    assert reason in one.failure.reason
    assert one.failure.during
    assert (one.batches, one.scenarios, one.quality, one.cameras) == ((), (), None, None)


def test_what_a_session_warns_of_is_told(result: BenchResult) -> None:
    told = [note for note in result.notes if note.endswith(": every batch is copied twice")]
    assert len(told) == 1
    assert told[0].startswith("good, slow")


def test_what_is_not_here_is_named_with_its_reason(result: BenchResult) -> None:
    assert {one.name: one.reason for one in result.absent} == {
        "trtexec": "it is not on the PATH",
        "absent": "no such device here: use another",
    }


def test_wrong_answers_are_measured_and_never_recommended(
    result: BenchResult, subjects: dict[str, SubjectResult]
) -> None:
    quality = subjects["wrong"].quality
    assert quality is not None
    assert quality.least_similarity is not None
    assert quality.least_similarity < 0.99
    choice = choose(result)
    assert choice.wrong == ("wrong", "wrong peer")
    assert choice.taken is not None
    assert choice.taken.subject.name in ("good", "slow")


def test_the_machines_own_speed_is_timed_before_the_turns(result: BenchResult) -> None:
    assert result.pace_ms is not None
    assert 0.001 < result.pace_ms.low <= result.pace_ms.value <= result.pace_ms.high < 1000


def test_the_front_is_asked_for_more(result: BenchResult, subjects: dict[str, SubjectResult]) -> None:
    good = subjects["good"]
    assert good.end_to_end is not None
    assert good.end_to_end.of_session_percent.value == pytest.approx(92)
    assert good.end_to_end.frames_per_s.value == pytest.approx(92)
    assert good.end_to_end.stage_ms_per_frame == {"decode": 0.1, "engine": 1.5}
    assert (
        "good reaches 92 % of its bare speed from files: they take 0.500 ms of CPU time a frame, the session 3.00 ms; "
        "the others wait for the stage 'model'" in result.notes
    )
    server = next(one for one in good.scenarios if one.name == "Server")
    assert good.cameras is not None
    assert good.cameras.value == server.frames_per_s.value // 10
    assert subjects["peer"].end_to_end is None


def test_the_result_is_read_back_as_it_was(result: BenchResult, tmp_path: Path) -> None:
    write_result(tmp_path, result, "party")
    assert read_result(tmp_path) == result
    assert compare(result, result).regressed is False


def test_where_nothing_works_there_is_no_result() -> None:
    with pytest.raises(SessionError, match="no session works here: no such device here"):
        run(candidate("absent", fault="absent"))


def test_no_meter_goes_on_after_a_subject_that_died_in_its_turn(subjects: dict[str, SubjectResult]) -> None:
    killed = subjects["killed"].failure
    assert killed is not None
    assert killed.during.startswith("batches of")
    assert "meters" not in [thread.name for thread in threading.enumerate()]


def test_where_the_only_session_is_damaged_that_is_said_and_no_peer_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str] = []

    def spy(one: Candidate, *arguments: Path, **options: int) -> Running | Absent | Failure:
        started.append(one.name)
        return start(one, *arguments, **options)

    monkeypatch.setattr(starting, "start", spy)
    with pytest.raises(SessionError, match="no session works here: the engine is damaged"):
        run(candidate("peer", kind="peer"), candidate("damaged", fault="damaged"))
    assert started == ["damaged"]


def test_what_memory_does_not_hold_beside_the_others_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the processes takes some 30 MiB: the first starts whatever is free, and 20 MiB are too few for more."""
    monkeypatch.setattr(starting, "available_memory_mib", lambda tree: 20.0)
    result, _ = run(candidate("first"), candidate("second"), candidate("peer", kind="peer"))
    assert [one.name for one in result.subjects] == ["first"]
    free = "20 MiB of memory are free beside the others, too few"
    assert [(one.name, one.reason) for one in result.absent] == [
        ("second", f"{free}; run it apart with --session"),
        ("peer", f"{free}; name fewer sessions with --session"),
    ]


def test_batches_that_no_session_takes_are_refused_with_the_largest() -> None:
    settings = SETTINGS.model_copy(update={"batches": (8, 16)})
    with pytest.raises(SessionError, match="no session takes batches of 8; the largest --batch is 4 here"):
        measure.measure(Plan([MODEL], [candidate("good")], (), settings, "reid-bench party.onnx"))


def test_a_batch_size_that_a_session_does_not_take_is_noted(result: BenchResult) -> None:
    assert "good takes at most 4 frames at once, not 8" in result.notes


def test_every_step_of_the_work_is_followed() -> None:
    _, progress = run(candidate("good"))
    assert [stage.done for stage in progress.stages] == [stage.total for stage in progress.stages]
