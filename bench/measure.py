"""One run of `reid-bench`: every subject starts in a process of its own, is checked, warmed up, and takes its turns.

What takes long and concerns only who might be chosen comes last: frames that arrive by themselves, and the way from
files, for the sessions on the front of throughput and quality.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from reid.bench.answers import check_answers
from reid.bench.estimates import PROCESSES, RUNS_ON_SHARED_HOST, estimate
from reid.bench.front import ask_the_best
from reid.bench.limits import with_limits
from reid.bench.machine.gathering import gather_environment
from reid.bench.material import write_material
from reid.bench.meters.opening import open_meters
from reid.bench.meters.turns import Meters
from reid.bench.models import GivenModel
from reid.bench.pace import pace_ms
from reid.bench.process import HostProcess
from reid.bench.recommendation import is_wrong
from reid.bench.result import Absent, BenchResult, ModelFacts, Quality, Settings, SubjectResult, WarmUp
from reid.bench.rounds import Cell, take_rounds
from reid.bench.run_notes import notes_of
from reid.bench.running import Running
from reid.bench.starting import start_all
from reid.bench.subjects import Candidate
from reid.bench.summary import Sample, batch_results, subject_result
from reid.runtime.progress import SILENT, Progress

__all__ = ["Plan", "measure"]

_TURN_S = 0.25
"""Long enough for clocks and meters, short enough for many rounds."""

_WARM_UP_S, _LEAST_WARM_UP_S = 10.0, 1.0
_WARMING = 0.15
"""The share of the time that warming up takes at most, beside it, unless that is less than a second a batch size."""

_NOTES_S = 30.0
_ROUNDS = 0.6
"""The share of the time that the turns have."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        models: the models; the first one is the result's.
        candidates: what may work here; of the peers, the first one that works and answers rightly is what speeds are
            compared with.
        absent: what is known not to work here.
        settings: what was asked for.
        command: the command that repeats the run.
    """

    models: Sequence[GivenModel]
    candidates: Sequence[Candidate]
    absent: Sequence[Absent]
    settings: Settings
    command: str


def measure(plan: Plan, progress: Progress = SILENT) -> BenchResult:
    """Measure everything.

    Raises:
        ModelError: a model's reference crops cannot be read.
        SessionError: nothing works here.
    """
    began, started = time.perf_counter(), datetime.now(timezone.utc)
    meters = open_meters()
    environment = gather_environment(meters)
    with tempfile.TemporaryDirectory(prefix="reid-bench-") as folder, ExitStack() as processes:
        material = write_material(Path(folder), plan.models)
        found = start_all(plan.candidates, material, plan.settings, meters.tree, processes, progress)
        party = {one.name: one for one in found if isinstance(one, Running)}
        qualities = {
            name: check_answers(one, material[one.candidate.model.path], plan.settings.batches)
            for name, one in party.items()
        }
        paces: list[float] = []
        rounds, warm_ups = _measure_turns(party, plan.settings, meters, paces, progress)
        peer = _peer(party, qualities, plan.models[0])
        apart = {name for name, one in party.items() if one.candidate.apart}
        unseen = RUNS_ON_SHARED_HOST if environment.virtual_machine else PROCESSES
        batches = batch_results(rounds, warm_ups, peer, apart, unseen)
        measured = [subject_result(one, qualities[name], batches.get(name, ()), meters) for name, one in party.items()]
        result = BenchResult(
            command=plan.command,
            started=started.isoformat(timespec="seconds"),
            seconds=0,
            settings=plan.settings,
            environment=environment,
            pace_ms=estimate(paces) if paces else None,
            model=_model_facts(plan.models[0]),
            peer=peer,
            subjects=(*measured, *(one for one in found if isinstance(one, SubjectResult))),
            absent=_merged([*plan.absent, *(one for one in found if isinstance(one, Absent))]),
            notes=(*_too_large(party.values(), plan.settings.batches), *_without_energy(party.values(), meters)),
        )
        subjects = _with_notes(ask_the_best(result, party, material, unseen, progress), party)
    result = with_limits(result.model_copy(update={"subjects": subjects}), plan.models)
    return result.model_copy(update={"seconds": time.perf_counter() - began, "notes": notes_of(result, meters)})


def _too_large(party: Iterable[Running], batches: Sequence[int]) -> Iterator[str]:
    for one in party:
        if left_out := [f"{frames:,}" for frames in batches if frames > one.opened.most_frames]:
            yield f"{one.name} takes at most {one.opened.most_frames:,} frames at once, not {' or '.join(left_out)}"


def _without_energy(party: Iterable[Running], meters: Meters) -> Iterator[str]:
    for one in party:
        if one.candidate.apart and meters.energy_source(one.computes):
            yield f"{one.name} has no energy: its turns include the start of its program"


def _measure_turns(
    party: Mapping[str, Running], settings: Settings, meters: Meters, paces: list[float], progress: Progress
) -> tuple[dict[Cell, Sequence[Sample | None]], dict[Cell, WarmUp]]:
    """Return the turns of the subjects that took part until the end, and how each was warmed up; note the paces."""
    warm_ups = _warm_up(party.values(), settings, progress)

    def take_turn(cell: Cell) -> Sample | None:
        paces.append(pace_ms())
        return _take_turn(party[cell.subject], cell.frames, meters)

    rounds: dict[Cell, Sequence[Sample | None]] = {}
    # What is apart takes seconds for a turn: it would keep the others from having many.
    for apart, seconds in ((False, 60 * settings.minutes * _ROUNDS), (True, 0.0)):
        cells = [cell for cell in warm_ups if party[cell.subject].candidate.apart == apart]
        if cells:
            rounds |= take_rounds(cells, take_turn, seconds=seconds, progress=progress)
    return {cell: samples for cell, samples in rounds.items() if not party[cell.subject].failure}, warm_ups


def _warm_up(party: Iterable[Running], settings: Settings, progress: Progress) -> dict[Cell, WarmUp]:
    cells = [(one, frames) for one in party for frames in settings.batches if frames <= one.opened.most_frames]
    progress.begin("warming up", len(cells), "batch sizes")
    each_s = _WARMING * 60 * settings.minutes / max(len(cells), 1)
    warm_up_s = min(max(each_s, _LEAST_WARM_UP_S), _WARM_UP_S)
    warm_ups = {}
    for one, frames in cells:
        warm_up = partial(HostProcess.warm_up, frames=frames, at_most_s=warm_up_s)
        done = one.attempt(f"the warm-up of batches of {frames}", warm_up)
        if done:
            warm_ups[Cell(one.name, frames)] = done
        progress.advance()
    return warm_ups


def _take_turn(one: Running, frames: int, meters: Meters) -> Sample | None:
    def timed(host: HostProcess) -> Sample:
        turn = meters.start([host.pid], one.computes)
        try:
            done = host.turn(frames, _TURN_S)
        finally:
            reading = turn.stop()
        # A turn of what is apart begins with the start of its program, whose energy no batch has used.
        return Sample(done, replace(reading, energy_j=None) if one.candidate.apart else reading)

    return one.attempt(f"batches of {frames}", timed)


def _with_notes(subjects: Sequence[SubjectResult], party: Mapping[str, Running]) -> tuple[SubjectResult, ...]:
    """Return the subjects with what our sessions warned of."""
    noted = []
    for subject in subjects:
        running = party.get(subject.name) if subject.kind == "session" else None
        said = running.attempt("telling its notes", _notes) if running else None
        noted.append(subject.model_copy(update={"notes": tuple(said or ())}))
    return tuple(noted)


def _notes(host: HostProcess) -> list[str]:
    return [str(note) for note in host.ask("notes", _NOTES_S)["notes"]]


def _merged(absent: Sequence[Absent]) -> tuple[Absent, ...]:
    """Return each reason once for all precisions of a session: "tensorrt" for "tensorrt fp16" and "tensorrt int8"."""
    names: dict[tuple[str, str], list[str]] = {}
    for one in absent:
        names.setdefault((one.name.partition(" ")[0], one.reason), []).append(one.name)
    return tuple(
        Absent(name=session if len(together) > 1 else together[0], reason=reason)
        for (session, reason), together in names.items()
    )


def _peer(party: Mapping[str, Running], qualities: Mapping[str, Quality], model: GivenModel) -> str:
    """Return the subject that speeds are compared with: the first peer of a model that works and answers rightly.

    Empty where there is none.
    """
    for name, one in party.items():
        runs_it = one.candidate.model.card.fingerprint == model.card.fingerprint
        answers = not one.failure and not is_wrong(qualities[name], one.precision)
        if one.candidate.kind == "peer" and runs_it and answers:
            return name
    return ""


def _model_facts(model: GivenModel) -> ModelFacts:
    card = model.card
    return ModelFacts(
        fingerprint=card.fingerprint,
        backbone=card.backbone,
        levels=tuple(level.name for level in card.levels),
        image_size=(card.preprocessing.height, card.preprocessing.width),
        dimensions=card.dimensions,
    )
