"""Points of a drawing with their names beside them, none on top of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from reid.pages.charts import Area

__all__ = ["Box", "Labeled", "draw_labeled"]

_CHARACTER = 5.7  # width of one on average, in the unit of the drawing
_LINE = 12.0
_GAP = 7.0
_LONGEST = 28


@dataclass(frozen=True, slots=True)
class Labeled:
    """A point and its name.

    Attributes:
        name: what is written beside it.
        x: its value across, as the area has it.
        y: its value upward.
        kind: the class of its color and line.
        words: what the pointer is told.
        stands_out: whether it has a ring.
    """

    name: str
    x: float
    y: float
    kind: str
    words: str
    stands_out: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """Where a name stands: its ends, and the height of its middle, in the unit of the drawing."""

    left: float
    right: float
    middle: float

    def touches(self, other: Box) -> bool:
        """Return whether two names, or a name and a dot, cover one another."""
        return self.left < other.right and other.left < self.right and abs(self.middle - other.middle) < _LINE


def draw_labeled(points: Sequence[Labeled], area: Area, avoid: Sequence[Box] = ()) -> str:
    """Return the points with their names, each at the nearest height where it covers no other name and no dot.

    Args:
        points: the points.
        area: the area that they lie in.
        avoid: what else must not be covered.
    """
    dots = [Box(area.x(one.x) - 5, area.x(one.x) + 5, area.y(one.y)) for one in points]
    taken = [*avoid]
    drawn = ""
    for one, dot in zip(points, dots, strict=True):
        others = [*taken, *(other for other in dots if other is not dot)]
        box = _free_place(one, area, others)
        taken.append(box)
        drawn += _draw(one, area, box)
    return drawn


def _free_place(point: Labeled, area: Area, taken: Sequence[Box]) -> Box:
    width, x, y = _CHARACTER * min(len(point.name), _LONGEST), area.x(point.x), area.y(point.y)
    right_of, left_of = (x + _GAP, x + _GAP + width), (x - _GAP - width, x - _GAP)
    fits = [ends for ends in (right_of, left_of) if ends[0] >= area.x(area.left) and ends[1] <= area.x(area.right)]
    top, floor = area.y(area.top) + 5, area.y(area.bottom) - 5
    heights = [min(max(y + step * _LINE, top), floor) for n in range(12) for step in ({n, -n} if n else {0})]
    places = [Box(*ends, height) for height in heights for ends in fits or [left_of]]
    return next((box for box in places if not any(box.touches(other) for other in taken)), places[0])


def _draw(point: Labeled, area: Area, box: Box) -> str:
    x, y = area.x(point.x), area.y(point.y)
    ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="6.5"/>' if point.stands_out else ""
    is_left = box.right < x
    name = point.name if len(point.name) <= _LONGEST else f"{point.name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    end = f'class="series label{" before" if is_left else ""}" x="{box.right if is_left else box.left:.1f}"'
    return (
        f'<g class="{point.kind}">{ring}<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2">'
        f"<title>{escape(point.words)}</title></circle>"
        f'<text {end} y="{box.middle + 4:.1f}">{escape(name)}</text></g>\n'
    )
