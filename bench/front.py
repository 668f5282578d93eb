"""What takes long and concerns only who might be chosen: frames that arrive by themselves, and the way from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reid.bench.from_files import measure_from_files
from reid.bench.material import Material
from reid.bench.recommendation import best_batch, choose
from reid.bench.result import BenchResult, Settings, SubjectResult
from reid.bench.running import Running
from reid.bench.scenarios import cameras_of, measure_server
from reid.bench.summary import failed_result
from reid.runtime.progress import Progress

__all__ = ["ask_the_best"]

_SERVER, _FILES = 0.25, 0.15
"""Their shares of the time; the turns have the rest."""


def ask_the_best(
    result: BenchResult,
    party: Mapping[str, Running],
    material: Mapping[Path, Material],
    unseen: float,
    progress: Progress,
) -> tuple[SubjectResult, ...]:
    """Return the subjects, those on the front with what they do with frames that arrive and with files."""
    choice = choose(result)
    names = {one.subject.name for one in (*choice.front, *filter(None, [choice.taken]))}
    asked = [one for one in result.subjects if one.name in names and one.kind == "session"]
    progress.begin("from files, and as frames arrive", len(asked), "sessions")
    seconds = 60 * result.settings.minutes / max(len(asked), 1)
    more = {}
    for subject in asked:
        running = party[subject.name]
        jpegs = material[running.candidate.model.path].jpegs
        more[subject.name] = _asked(subject, running, jpegs, result.settings, seconds, unseen)
        progress.advance()
    return tuple(more.get(subject.name, subject) for subject in result.subjects)


def _asked(
    subject: SubjectResult, running: Running, jpegs: Path, settings: Settings, seconds: float, unseen: float
) -> SubjectResult:
    rate = best_batch(subject).frames_per_s
    server = running.attempt(
        "the Server scenario",
        lambda host: measure_server(host, subject.batches, settings, seconds=_SERVER * seconds, unseen=unseen),
    )
    files = running.attempt(
        "the way from files",
        lambda host: measure_from_files(host, jpegs, rate, seconds=_FILES * seconds, unseen=unseen),
    )
    if running.failure:
        return failed_result(running.candidate, running.failure, running.opened)
    return subject.model_copy(
        update={
            "scenarios": (*subject.scenarios, *filter(None, [server])),
            "cameras": cameras_of(server, settings),
            "end_to_end": files,
        }
    )
