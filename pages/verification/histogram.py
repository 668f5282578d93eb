"""Histograms of how far embeddings are from PyTorch's: one SVG, a panel for each precision, one logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from reid.evaluation.verification.records import PrecisionVerification, Similarity, Tolerance
from reid.evaluation.verification.similarity import judged_similarities
from reid.pages.charts import LogAxis, power_of_ten

__all__ = ["draw_histograms"]

_WIDTH, _LEFT, _RIGHT = 480, 52, 472
_LABEL, _PANEL = 26, 64
_AXIS = 44


def draw_histograms(precisions: Sequence[PrecisionVerification], tolerance: Tolerance) -> str:
    """Draw `1 - cosine similarity` of every precision, with what is required of it as a dashed line.

    Returns:
        An <svg>, empty where no precision has a histogram.
    """
    drawn = [precision for precision in precisions if _is_drawable(precision.similarity)]
    if not drawn:
        return ""
    edges = sorted({edge for precision in drawn for edge in precision.similarity.edges})
    axis = _axis(edges)
    panels = "".join(_panel(number, precision, axis, tolerance) for number, precision in enumerate(drawn))
    bottom = len(drawn) * (_LABEL + _PANEL)
    names = ", ".join(precision.precision for precision in drawn)
    return f"""<svg class="histogram" viewBox="0 0 {_WIDTH} {bottom + _AXIS}" role="img"
aria-label="{escape(f"histogram of 1 - cosine similarity: {names}")}">
{_ticks(axis, edges, bottom)}{panels}</svg>
"""


def _is_drawable(similarity: Similarity) -> bool:
    return len(similarity.edges) > 1 and similarity.edges[0] > 0 and sum(similarity.counts) > 0


def _axis(edges: Sequence[float]) -> LogAxis:
    """Make the axis of the values, with room for one bin below the first edge and one above the last."""
    first, last = math.log10(edges[0]), math.log10(edges[-1])
    bin_width = (last - first) / (len(edges) - 1)
    return LogAxis(first - bin_width, last + bin_width, _LEFT, _RIGHT)


def _panel(number: int, precision: PrecisionVerification, axis: LogAxis, tolerance: Tolerance) -> str:
    similarity = precision.similarity
    top = number * (_LABEL + _PANEL) + _LABEL
    floor, highest = top + _PANEL, max(similarity.counts)
    places = [_LEFT, *map(axis.place, similarity.edges), _RIGHT]
    bars = "".join(
        _bar(left, right, floor, count, highest)
        for (left, right), count in zip(pairwise(places), similarity.counts, strict=True)
        if count
    )
    required = judged_similarities(precision.precision, similarity, tolerance)[-1].required
    return f"""<g class="series-{number % 4}">
<text class="series" x="{_LEFT}" y="{top - 7}">{escape(precision.precision)}</text>
<path class="grid" d="M{_LEFT} {top}H{_RIGHT}"/>
<text class="count" x="{_LEFT - 6}" y="{top + 4}">{highest:,}</text>
<text class="count" x="{_LEFT - 6}" y="{floor + 4}">0</text>
{bars}<path class="axis" d="M{_LEFT} {floor}H{_RIGHT}"/>
{_limit(1 - required, similarity.edges, axis, top)}</g>
"""


def _bar(left: float, right: float, floor: int, count: int, highest: int) -> str:
    # A reader looks for the single frame among thousands: no bar is too low to be seen.
    height = max(2.0, _PANEL * count / highest)
    size = f'width="{right - left - 1:.1f}" height="{height:.1f}"'
    return f'<rect x="{left + 0.5:.1f}" y="{floor - height:.1f}" {size}><title>frames: {count:,}</title></rect>\n'


def _ticks(axis: LogAxis, edges: Sequence[float], bottom: int) -> str:
    within = LogAxis(math.log10(edges[0]), math.log10(edges[-1]), _LEFT, _RIGHT).decades()  # outer bins have none
    marks = "".join(
        f'<path class="grid" d="M{axis.place(10.0**n):.1f} {_LABEL}V{bottom + 5}"/>\n'
        f'<text class="tick" x="{axis.place(10.0**n):.1f}" y="{bottom + 18}">{power_of_ten(n)}</text>\n'
        for n in within
    )
    middle = _LABEL + (bottom - _LABEL) / 2
    center = (_LEFT + _RIGHT) / 2
    return f"""{marks}<text class="tick" x="{center}" y="{bottom + 38}">1 \N{MINUS SIGN} cosine similarity</text>
<text class="tick" transform="translate(11 {middle}) rotate(-90)">frames</text>
"""


def _limit(distance: float, edges: Sequence[float], axis: LogAxis, top: int) -> str:
    if not edges[0] <= distance <= edges[-1]:
        return ""
    x = axis.place(distance)
    return f"""<path class="limit" d="M{x:.1f} {top - 14}V{top + _PANEL}"/>
<text class="limit-label" x="{x + 5:.1f}" y="{top - 7}">tolerance</text>
"""
