"""What charts share: the area between two axes, its ticks, logarithmic axes, legends, and what a pointer is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "Area",
    "Axes",
    "LogAxis",
    "across_at",
    "chart",
    "hover",
    "legend",
    "log_ticks",
    "power_of_ten",
    "series",
    "ticks",
    "up_at",
]

_WIDTH, _HEIGHT = 420, 226
_LEFT, _RIGHT, _TOP, _FLOOR = 56, 408, 32, 186
_CHARACTER = 6.3  # widest that one is on average, in the unit of the drawing
_SERIES = 4  # colors of the style sheet
_MOST_TICKS = 7
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Area:
    """The rectangle in which values are drawn.

    Attributes:
        left: value at the left end.
        right: value at the right end, greater.
        bottom: value on the floor.
        top: value at the upper end, greater.
    """

    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        """Place of a value on the horizontal axis."""
        return _LEFT + (value - self.left) / (self.right - self.left) * (_RIGHT - _LEFT)

    def y(self, value: float) -> float:
        """Place of a value on the vertical axis."""
        return _FLOOR - (value - self.bottom) / (self.top - self.bottom) * (_FLOOR - _TOP)


@dataclass(frozen=True, slots=True)
class Axes:
    """The ticks of a chart.

    Attributes:
        across: the values of the ticks on the horizontal axis.
        up: the values of the ticks on the vertical axis.
        title: the quantity on the horizontal axis.
    """

    across: Sequence[float]
    up: Sequence[float]
    title: str


@dataclass(frozen=True, slots=True)
class LogAxis:
    """A logarithmic axis of a drawing, in any direction.

    Attributes:
        first: the logarithm to base 10 of the value at `start`.
        last: the logarithm to base 10 of the value at `end`, greater.
        start: the coordinate where the axis begins, in the unit of the drawing.
        end: the coordinate where it ends.
    """

    first: float
    last: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return the coordinate of a positive value; one beyond an end of the axis lies beyond that end."""
        return self.start + (math.log10(value) - self.first) / (self.last - self.first) * (self.end - self.start)

    def decades(self) -> range:
        """Return the exponents of the powers of ten on the axis, ascending."""
        return range(math.ceil(self.first - 1e-9), math.floor(self.last + 1e-9) + 1)


def power_of_ten(exponent: int) -> str:
    """Return a power of ten as people write it: "10⁻³"; "1" for the exponent 0."""
    return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPT)


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return two to seven round numbers, evenly spaced: the first not above `low`, the last not below `high`.

    Args:
        low: the smallest value to cover, finite.
        high: the largest value to cover, finite, not below `low`.
        whole: whether to give whole numbers only.
    """
    span = (high - low) or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 4))
    step = next(magnitude * nice for nice in (1, 2, 2.5, 5, 10) if span / (magnitude * nice) <= 5)
    if whole:
        step = max(1, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers for a logarithmic axis, at most seven unless there are more powers of ten.

    Args:
        low: the smallest value to cover, positive; the first number is not above it.
        high: the largest value to cover, not below `low`; the last number is not below it.
    """
    for steps in ((1, 2, 5), (1, 3), (1,)):
        numbers = [
            step * 10.0**decade
            for decade in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
            for step in steps
        ]
        first = max(place for place, number in enumerate(numbers) if number <= low * (1 + 1e-9))
        last = min(place for place, number in enumerate(numbers) if number >= high * (1 - 1e-9))
        found = numbers[first : max(last, first + 1) + 1]
        if len(found) <= _MOST_TICKS:
            break
    return found


def chart(title: str, description: str, area: Area, content: str, axes: Axes) -> str:
    """Return a <figure> with its axes around the content.

    Args:
        title: the heading above it, and its name for those who cannot see it.
        description: a sentence that says what it shows, with its numbers.
        area: the area that the content was placed in.
        content: the content, as SVG.
        axes: the ticks of both axes, and what the horizontal one measures.
    """
    rows = up_at({value: f"{value:,g}" for value in axes.up}, area)
    columns = across_at({value: f"{value:,g}" for value in axes.across}, area)
    return f"""<figure>
<figcaption>{escape(title)}</figcaption>
<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">
<desc>{escape(description)}</desc>
{rows}{columns}{content}<path class="axis" d="M{_LEFT} {_FLOOR}H{_RIGHT}"/>
<text class="tick" x="{(_LEFT + _RIGHT) / 2}" y="{_FLOOR + 36}">{escape(axes.title)}</text>
</svg>
</figure>
"""


def up_at(labels: Mapping[float, str], area: Area) -> str:
    """Return the ticks of the vertical axis, by their values in the area: a logarithmic axis has logarithms there."""
    return "".join(
        f'<path class="grid" d="M{_LEFT} {area.y(value):.1f}H{_RIGHT}"/>'
        f'<text class="count" x="{_LEFT - 6}" y="{area.y(value) + 4:.1f}">{label}</text>\n'
        for value, label in labels.items()
    )


def across_at(labels: Mapping[float, str], area: Area) -> str:
    """Return the ticks of the horizontal axis, by their values in the area."""
    return "".join(
        f'<path class="grid" d="M{area.x(value):.1f} {_FLOOR}v5"/>'
        f'<text class="tick" x="{_inside(area.x(value), label):.1f}" y="{_FLOOR + 18}">{label}</text>\n'
        for value, label in labels.items()
    )


def _inside(x: float, label: str) -> float:
    """Return where the middle of a label is, so that one at the right end stays in the drawing."""
    return min(x, _WIDTH - _CHARACTER * len(label) / 2)


def legend(names: Sequence[str]) -> str:
    """Return the names of series with samples of their lines, side by side above the area."""
    entries, x = "", float(_LEFT)
    for number, name in enumerate(names):
        entries += (
            f'<g class="{series(number)}"><path class="line" d="M{x:.1f} 14h18"/>'
            f'<text class="series" x="{x + 23:.1f}" y="18">{escape(name)}</text></g>\n'
        )
        x += 23 + _CHARACTER * len(name) + 12
    return entries


def series(number: int) -> str:
    """Return the class of a series, which gives it a color and a kind of line."""
    return f"series-{number % _SERIES} line-{number % (_SERIES + 1)}"


def hover(area: Area, left: float, right: float, words: str) -> str:
    """Return an invisible strip, as high as the area, with a tooltip."""
    start, end = max(area.x(left), _LEFT), min(area.x(right), _RIGHT)
    size = f'x="{start:.1f}" y="{_TOP}" width="{max(end - start, 1):.1f}" height="{_FLOOR - _TOP}"'
    return f'<rect class="hover" {size}><title>{escape(words)}</title></rect>\n'
