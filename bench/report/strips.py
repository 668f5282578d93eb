"""The turns of every subject and batch size as strips over time: the noise as it was, disturbed turns marked."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape

from reid.bench.report.sentences import disturbances_sentence
from reid.bench.result import BatchResult, SubjectResult, Turn
from reid.pages.markup import scrolling

__all__ = ["draw_strips"]

_WIDTH, _HEIGHT, _EDGE = 132.0, 36.0, 3.0
_LOWEST, _HIGHEST = 0.5, 1.3
"""The ends of a strip, relative to the middle turn; a turn beyond them lies on the edge."""


def draw_strips(subjects: Sequence[SubjectResult]) -> str:
    """Return a table of strips, all to one scale: a row for each subject, a column for each batch size."""
    sizes = sorted({batch.frames for subject in subjects for batch in subject.batches})
    heads = "".join(f'<th scope="col">batches of {size}</th>' for size in sizes)
    rows = "".join(_row(subject, sizes) for subject in subjects if subject.batches)
    if not rows:
        return ""
    return scrolling(
        f'<table class="strips">\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>'
    )


def _row(subject: SubjectResult, sizes: Sequence[int]) -> str:
    by_size = {batch.frames: batch for batch in subject.batches}
    cells = "".join(f"<td>{_strip(subject.name, by_size[size]) if size in by_size else ''}</td>\n" for size in sizes)
    return f'<tr><th scope="row">{escape(subject.name)}</th>\n{cells}</tr>\n'


def _strip(name: str, batch: BatchResult) -> str:
    """Return a strip: throughput over time, dots for the turns that count, crosses for disturbed ones."""
    if not batch.turns:
        return ""
    rates = [turn.batches / turn.wall_s for turn in batch.turns]
    middle = statistics.median(
        [rate for rate, turn in zip(rates, batch.turns, strict=True) if not turn.disturbances] or rates
    )
    step = (_WIDTH - 2 * _EDGE) / max(1, len(rates) - 1)
    places = [(_EDGE + step * number, _height(rate / middle)) for number, rate in enumerate(rates)]
    counted, disturbed = ([*_where(places, batch.turns, is_disturbed)] for is_disturbed in (False, True))
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in counted)
    crosses = "".join(f"M{x - 2:.1f} {y - 2:.1f}l4 4m0 -4l-4 4" for x, y in disturbed)
    words = f"{name}, batches of {batch.frames}: {disturbances_sentence(batch.turns)}"
    return (
        f'<svg class="strip" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(words)}">'
        f'<title>{escape(words)}</title><path class="middle" d="M0 {_height(1):.1f}H{_WIDTH:g}"/>'
        f'<path class="turns" d="{dots}"/><path class="disturbed" d="{crosses}"/></svg>'
    )


def _height(relative: float) -> float:
    """Return where a turn lies that has so many times the throughput of the middle one."""
    clipped = min(max(relative, _LOWEST), _HIGHEST)
    return _EDGE + (_HIGHEST - clipped) / (_HIGHEST - _LOWEST) * (_HEIGHT - 2 * _EDGE)


def _where(
    places: Sequence[tuple[float, float]], turns: Sequence[Turn], is_disturbed: bool
) -> list[tuple[float, float]]:
    return [place for place, turn in zip(places, turns, strict=True) if bool(turn.disturbances) is is_disturbed]
