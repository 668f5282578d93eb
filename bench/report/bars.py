"""Tables with bars: energy, start-up, memory and stages of every subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from reid.bench.recommendation import best_batch
from reid.bench.report.numbers import estimated, figure
from reid.bench.result import SubjectResult
from reid.pages.charts import series
from reid.pages.markup import scrolling

__all__ = ["Bar", "energy_bars", "memory_bars", "stage_bars", "start_bars"]

Bar = tuple[Mapping[str, float], Mapping[str, str]]
"""The parts of a bar by their names, and what is written for each of them."""


def energy_bars(subjects: Sequence[SubjectResult]) -> str:
    """Return the energy per 1,000 frames at each subject's best batch; empty without a meter."""
    bars: dict[str, Bar] = {}
    name = "J per 1,000 frames"
    for subject in subjects:
        energy = best_batch(subject).energy_j_per_1000_frames
        if energy is not None:
            bars[subject.name] = {name: energy.value}, {name: estimated(energy)}
    return _table(bars, [name])


def start_bars(subjects: Sequence[SubjectResult]) -> str:
    """Return how long each subject takes to start, by parts."""
    names = ("import, s", "open, s", "first batch, s")
    bars = {
        one.name: _plain(dict(zip(names, (one.start.import_s, one.start.open_s, one.start.first_batch_s), strict=True)))
        for one in subjects
        if one.start
    }
    return _table(bars, names)


def memory_bars(subjects: Sequence[SubjectResult]) -> str:
    """Return the most memory that each subject's process had, by place."""
    bars = {
        one.name: _plain({f"{place}, MiB": mib for place, mib in one.memory_mib.items()})
        for one in subjects
        if one.memory_mib
    }
    return _table(bars, _names(bars))


def stage_bars(subjects: Sequence[SubjectResult]) -> str:
    """Return what each stage between files and embeddings takes of a frame, in ms, and how fast the whole is."""
    bars: dict[str, Bar] = {}
    for one in subjects:
        if one.end_to_end:
            parts, words = _plain({f"{stage}, ms": ms for stage, ms in one.end_to_end.stage_ms_per_frame.items()})
            whole = {
                "frames/s": estimated(one.end_to_end.frames_per_s),
                "of the session, %": estimated(one.end_to_end.of_session_percent),
                "limited by": one.end_to_end.limited_by,
                "ranking, ms/query": figure(one.end_to_end.ranking_ms_per_query),
            }
            bars[one.name] = parts, {**words, **whole}
    stages = [*dict.fromkeys(name for parts, _ in bars.values() for name in parts)]
    return _table(bars, [*stages, *(name for name in _names(bars) if name not in stages)], colored=len(stages))


def _plain(parts: Mapping[str, float]) -> Bar:
    return parts, {name: figure(value) for name, value in parts.items()}


def _names(bars: Mapping[str, Bar]) -> list[str]:
    return [*dict.fromkeys(name for _, words in bars.values() for name in words)]


def _table(bars: Mapping[str, Bar], names: Sequence[str], colored: int | None = None) -> str:
    """Return a table: a bar for each subject, all to one scale, and a column for each name.

    Args:
        bars: the bars, by subject.
        names: the columns; the parts of bars come first.
        colored: how many columns are parts of the bars; None for all.
    """
    if not bars:
        return ""
    longest = max(sum(parts.values()) for parts, _ in bars.values()) or 1.0
    parts = names[:colored]
    heads = "".join(f'<th scope="col">{_swatch(parts, name)}{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(subject)}</th><td class="bar">{_bar(of_subject, parts, longest)}</td>'
        + "".join(f"<td>{escape(words.get(name, '–'))}</td>" for name in names)  # noqa: RUF001
        + "</tr>\n"
        for subject, (of_subject, words) in bars.items()
    )
    table = f"<table>\n<thead><tr><td></td><td></td>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
    return scrolling(table)


def _swatch(parts: Sequence[str], name: str) -> str:
    """Return a sample of a part's color, where a bar has several."""
    if len(parts) < 2 or name not in parts:
        return ""
    kind = series(parts.index(name)).partition(" ")[0]
    return f'<svg class="swatch {kind}" aria-hidden="true"><rect width="100%" height="100%"/></svg>'


def _bar(of_subject: Mapping[str, float], parts: Sequence[str], longest: float) -> str:
    drawn, left = "", 0.0
    for place, name in enumerate(parts):
        width = 100 * of_subject.get(name, 0.0) / longest
        kind = series(place).partition(" ")[0]
        drawn += f'<g class="{kind}"><rect x="{left:.2f}%" width="{width:.2f}%" height="100%"/></g>'
        left += width
    return f'<svg aria-hidden="true">{drawn}</svg>'
