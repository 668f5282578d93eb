"""A result as one table, a subject a row: Markdown for documents, CSV for programs, columns for a terminal."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reid.bench.recommendation import Choice, best_batch, choose
from reid.bench.records import Estimate
from reid.bench.report.numbers import estimated, figure
from reid.bench.report.sentences import advice, command, disturbances_sentence, quality_name, quality_text, why_missing
from reid.bench.result import BatchResult, BenchResult, SubjectResult
from reid.runtime.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["ResultTable", "as_csv", "as_markdown", "as_renderables", "notes", "result_table"]

_DASH = "\N{EN DASH}"
_P50, _P99, _ENERGY, _MEMORY, _START = "p50 at 1, ms", "p99 at 1, ms", "J per 1,000 frames", "memory, MiB", "start, s"
_SECOND_PART = (_P50, _P99, _ENERGY, _MEMORY, _START)
"""The columns that have a table of their own where there is little room."""
_WIDEST = 24
"""The most characters of a subject's name that are in one line."""


@dataclass(frozen=True, slots=True)
class ResultTable:
    """A table for people.

    Attributes:
        head: the names of the columns, with units.
        rows: the cells, each row as long as the head; a dash stands for what is not known.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def result_table(result: BenchResult, choice: Choice) -> ResultTable:
    """Return a row for every subject that has figures, without the columns that nobody has a figure in."""
    rows = [_cells(subject, result, choice) for subject in result.subjects if subject.batches]
    head = [name for name in (rows[0] if rows else {}) if any(row[name] != _DASH for row in rows)]
    return ResultTable(tuple(head), tuple(tuple(row[name] for name in head) for row in rows))


def notes(result: BenchResult, choice: Choice) -> Iterator[str]:
    """Yield what stands below the table: what is missing and why, disturbances, and what the run itself noted."""
    yield from why_missing(result, choice)
    turns = [turn for subject in result.subjects for batch in subject.batches for turn in batch.turns]
    if any(turn.disturbances for turn in turns):
        yield f"{disturbances_sentence(turns)}; these count for nothing where others suffice"
    yield from result.notes


def as_markdown(result: BenchResult) -> str:
    """Return the recommendation, the table and its notes as Markdown."""
    choice = choose(result)
    said = " ".join(_escaped(line) for line in advice(result, choice))
    run = f"\n\n`{command(choice.taken)}`" if choice.taken else ""
    below = "".join(f"- {_escaped(line)}\n" for line in notes(result, choice))
    guide = "After ± and in parentheses: the 99 % interval for what another run would find."
    return f"{said}{run}\n\n{_markdown(result_table(result, choice))}\n{guide}\n{below and f'{chr(10)}{below}'}"


def as_renderables(result: BenchResult) -> list[RenderableType]:
    """Return the table in two parts that fit a terminal, its notes and the recommendation."""
    choice = choose(result)
    table = result_table(result, choice)
    later = [name for name in table.head if name in _SECOND_PART]
    parts = [[name for name in table.head if name not in later], [*table.head[:1], *later]]
    below = [one_line(line) for line in (*notes(result, choice), *advice(result, choice))]
    run = [one_line(command(choice.taken))] if choice.taken else []
    return [*(_drawn(table, names) for names in parts if table.rows), *below, *run]


def _drawn(table: ResultTable, names: list[str]) -> RenderableType:
    """Return some columns of the table for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    columns = [table.head.index(name) for name in names]
    for name, column in zip(names, columns, strict=True):
        # A heading may be broken into lines, a figure may not, and a subject's name only if it is very long.
        widest = min(max(len(one_line(row[column])) for row in table.rows), _WIDEST)
        heading = "\n".join(textwrap.wrap(one_line(name), max(widest, *map(len, name.split()))))
        if column:
            drawn.add_column(heading, justify="right", no_wrap=True)
        else:
            drawn.add_column(heading, max_width=_WIDEST, min_width=widest)
    for row in table.rows:
        drawn.add_row(*(one_line(row[column]) for column in columns))
    return drawn


def as_csv(result: BenchResult) -> str:
    """Return a row for every subject and batch size, with plain numbers; empty cells for what is not known."""
    file = io.StringIO()
    rows = [_numbers(subject, batch) for subject in result.subjects for batch in subject.batches]
    writer = csv.DictWriter(file, rows[0] if rows else ["subject"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _cells(subject: SubjectResult, result: BenchResult, choice: Choice) -> dict[str, str]:
    best = best_batch(subject)
    single = next((batch for batch in subject.batches if batch.frames == 1), None)
    latency = single.latency_ms if single else None
    start = subject.start
    return {
        "subject": f"{subject.name} (wrong)" if subject.name in choice.wrong else subject.name,
        "frames/s": estimated(best.frames_per_s),
        "batch": f"{best.frames}",
        _P50: _known(latency.p50 if latency else None),
        _P99: _known(latency.p99 if latency else None),
        f"times {result.peer}": _known(best.times_peer),
        quality_name(choice): quality_text(choice, choice.measure.of(subject.quality)),
        "cameras": f"{subject.cameras.value:,}" if subject.cameras else _DASH,
        _ENERGY: _known(best.energy_j_per_1000_frames),
        _MEMORY: _memory(subject),
        _START: figure(start.import_s + start.open_s + start.first_batch_s) if start else _DASH,
    }


def _known(one: Estimate | None) -> str:
    return estimated(one) if one else _DASH


def _memory(subject: SubjectResult) -> str:
    """Return what a subject's process took, naming places other than the host."""
    places = [f"{mib:,.0f}" if place == "host" else f"{place} {mib:,.0f}" for place, mib in subject.memory_mib.items()]
    return ", ".join(places) or _DASH


def _markdown(table: ResultTable) -> str:
    lines = (table.head, ("---", *("---:" for _ in table.head[1:])), *table.rows)
    return "".join(f"| {' | '.join(map(_escaped, line))} |\n" for line in lines) if table.head else ""


def _escaped(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is."""
    line = one_line(text)
    for sign in "\\`*_|<[":
        line = line.replace(sign, f"\\{sign}")
    return line


def _numbers(subject: SubjectResult, batch: BatchResult) -> dict[str, object]:
    quality, start, cameras = subject.quality, subject.start, subject.cameras
    maps = quality.map_percent if quality else {}
    return {
        "subject": subject.name,
        "kind": subject.kind,
        "backend": subject.backend,
        "device": subject.device,
        "precision": subject.precision,
        "batch": batch.frames,
        **_ends("frames_per_s", batch.frames_per_s),
        **_ends("p50_ms", batch.latency_ms.p50),
        **_ends("p90_ms", batch.latency_ms.p90),
        **_ends("p99_ms", batch.latency_ms.p99),
        **_ends("times_peer", batch.times_peer),
        **_ends("energy_j_per_1000_frames", batch.energy_j_per_1000_frames),
        **{f"{protocol}_map_percent": maps.get(protocol) for protocol in ("i2i", "i2t", "t2t")},
        "least_similarity": quality.least_similarity if quality else None,
        "cameras": cameras.value if cameras else None,
        **{f"{place}_memory_mib": subject.memory_mib.get(place) for place in ("host", "device")},
        "import_s": start.import_s if start else None,
        "open_s": start.open_s if start else None,
        "first_batch_s": start.first_batch_s if start else None,
        "turns": len(batch.turns),
        "disturbed_turns": sum(1 for turn in batch.turns if turn.disturbances),
    }


def _ends(name: str, one: Estimate | None) -> dict[str, float | None]:
    """Return a figure's value and the ends of its interval, each in a column."""
    ends = (one.value, one.low, one.high) if one else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
