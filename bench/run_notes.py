"""What a reader of a result should know of the run, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reid.bench.costs.sentences import above_the_peak
from reid.bench.meters.missing import sentence
from reid.bench.meters.turns import Meters
from reid.bench.report.numbers import figure
from reid.bench.report.sentences import DISTURBANCES
from reid.bench.result import BatchResult, BenchResult, SubjectResult
from reid.bench.summary import undisturbed_are_few

__all__ = ["notes_of"]

_NEARLY_ALL = 97
"""The share of its bare speed, in percent, that a session should reach from files."""


def notes_of(result: BenchResult, meters: Meters) -> tuple[str, ...]:
    """Return the notes of a result, and what its turns and the meters add to them."""
    cells = [(subject, batch) for subject in result.subjects for batch in subject.batches]
    return (
        *result.notes,
        *_restless(cells),
        *_steady(cells),
        *_unstable(cells),
        *_above_the_peak(result),
        *_plumbing(result.subjects),
        *_shared_gpu(result),
        *_warned(result),
        *map(sentence, meters.missing),
    )


def _restless(cells: list[tuple[SubjectResult, BatchResult]]) -> Iterator[str]:
    few = [_name(*cell) for cell in cells if undisturbed_are_few(cell[1].turns)]
    if few:
        yield f"most turns were disturbed, so all of them count, and the figures say little: {_listed(few)}"


def _steady(cells: list[tuple[SubjectResult, BatchResult]]) -> Iterator[str]:
    """Yield what the whole run had to live with."""
    for cause, words in DISTURBANCES.items():
        busy = [_name(*cell) for cell in cells if cause in cell[1].steady]
        if busy:
            yield f"even the calm turns lost more than a tenth because {words}: {_listed(busy)}"


def _unstable(cells: list[tuple[SubjectResult, BatchResult]]) -> Iterator[str]:
    unstable = [_name(*cell) for cell in cells if not cell[1].warm_up.stable]
    if unstable:
        yield f"still became faster or slower when its warm-up was over: {_listed(unstable)}"


def _plumbing(subjects: Iterable[SubjectResult]) -> Iterator[str]:
    """Yield why a session is slower from files than it could be."""
    for subject in subjects:
        files = subject.end_to_end
        if files is None or files.of_session_percent.value >= _NEARLY_ALL:
            continue
        share = f"{subject.name} reaches {files.of_session_percent.value:.0f} % of its bare speed from files"
        if files.cpu_ms_per_frame and files.session_cpu_ms_per_frame:
            session_ms = files.session_cpu_ms_per_frame
            more_ms = max(files.cpu_ms_per_frame - session_ms, 0.0)
            share += f": they take {figure(more_ms)} ms of CPU time a frame, the session {figure(session_ms)} ms"
        yield f"{share}; the others wait for the stage {files.limited_by!r}"


def _shared_gpu(result: BenchResult) -> Iterator[str]:
    for gpu in result.environment.gpus:
        if gpu.other_processes:
            others = f"{gpu.other_processes} other process{'es' if gpu.other_processes > 1 else ''}"
            yield f"{others} had {gpu.name} open when the run began: what they computed on it is in its figures"


def _warned(result: BenchResult) -> Iterator[str]:
    """Yield what sessions warned of, each once with the sessions."""
    said: dict[str, list[str]] = {}
    for subject in result.subjects:
        for note in subject.notes:
            said.setdefault(note, []).append(subject.name)
    yield from (f"{_listed(names)}: {note}" for note, names in said.items())


def _above_the_peak(result: BenchResult) -> Iterator[str]:
    for subject in result.subjects:
        if subject.roofline_percent and (said := above_the_peak(subject.roofline_percent.value)):
            yield f"{subject.name}: {said}"


def _name(subject: SubjectResult, batch: BatchResult) -> str:
    return f"{subject.name} with batches of {batch.frames}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
