"""What depends on the batch size, as lines on logarithmic axes: one a subject, with its spread at every size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reid.bench.report.numbers import figure
from reid.pages.charts import Area, Axes, across_at, chart, hover, log_ticks, series, up_at

__all__ = ["Point", "draw_by_batch"]

_BESIDE = 3.0  # between the spreads of neighboring subjects, in the unit of the drawing


@dataclass(frozen=True, slots=True)
class Point:
    """A subject with one batch size.

    Attributes:
        frames: the batch size.
        value: the figure, positive.
        low: the lower end of what is drawn as its spread, positive.
        high: the upper end.
        words: the figure and its spread in words, for the pointer.
    """

    frames: int
    value: float
    low: float
    high: float
    words: str


def draw_by_batch(title: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Return a <figure>: a line for every subject, in the color of its place among them."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    sizes = sorted({point.frames for point in points})
    up = log_ticks(min(point.low for point in points), max(point.high for point in points))
    margin = 0.12 if len(sizes) > 1 else 0.5
    area = Area(math.log10(sizes[0]) - margin, math.log10(sizes[-1]) + margin, *_logarithms(up[0], up[-1]))
    content = up_at({math.log10(value): f"{value:,g}" for value in up}, area)
    content += across_at({math.log10(size): f"{size}" for size in _apart(sizes)}, area)
    middle = (len(lines) - 1) / 2
    content += "".join(
        f'<g class="{series(number)}">{_line(line, area, (number - middle) * _BESIDE)}</g>\n'
        for number, line in enumerate(lines.values())
    )
    content += "".join(_tip(place, sizes, lines, area) for place in range(len(sizes)))
    return chart(title, _description(lines), area, content, Axes([], [], "batch size, frames"))


def _logarithms(low: float, high: float) -> tuple[float, float]:
    return math.log10(low), math.log10(high)


def _apart(sizes: Sequence[int]) -> list[int]:
    """Return the batch sizes whose labels do not touch."""
    shown: list[int] = []
    least = math.log10(sizes[-1] / sizes[0]) / 14
    for size in sizes:
        if not shown or math.log10(size / shown[-1]) >= least:
            shown.append(size)
    return shown


def _line(line: Sequence[Point], area: Area, aside: float) -> str:
    """Return a line with a dot and an upright spread at every batch size, moved aside from other subjects' ones."""
    places = [
        (area.x(math.log10(one.frames)) + aside, *(area.y(math.log10(y)) for y in (one.value, one.low, one.high)))
        for one in line
    ]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _, _ in places)
    spreads = "".join(f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 2:.1f} {high:.1f}h4" for x, _, low, high in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>' for x, y, _, _ in places)
    return f'<path class="line" d="M{path}"/><path class="spread" d="{spreads}"/>{dots}'


def _tip(place: int, sizes: Sequence[int], lines: Mapping[str, Sequence[Point]], area: Area) -> str:
    size = sizes[place]
    left = math.log10(size * (sizes[place - 1] if place else size)) / 2 if place else area.left
    right = math.log10(size * sizes[place + 1]) / 2 if place + 1 < len(sizes) else area.right
    words = "".join(f"\n{name}: {one.words}" for name, line in lines.items() for one in line if one.frames == size)
    return hover(area, left, right, f"batches of {size}{words}")


def _description(lines: Mapping[str, Sequence[Point]]) -> str:
    def said(line: Sequence[Point]) -> str:
        return ", ".join(f"{figure(one.value)} at {one.frames}" for one in line)

    return "; ".join(f"{name}: {said(line)}" for name, line in lines.items())
