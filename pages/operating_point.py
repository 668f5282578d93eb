"""The drawings of operating points: the scores of same and different vehicles, and true matches over false ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reid.evaluation.operating_points.distributions import ScoreDistributions
from reid.evaluation.operating_points.pair_scores import BINS, bin_edge
from reid.pages.charts import Area, Axes, chart, hover, legend, power_of_ten, series, ticks
from reid.pages.markup import section
from reid.runtime.operating_point import OperatingPoint, rate_name

__all__ = ["draw_distributions", "draw_rate_curves", "operating_point_drawings"]

_KINDS = ("same vehicle", "different vehicles")
_RAREST = -5
"""The logarithm of the share on the floor of a distribution; a rarer score cannot be seen."""


def operating_point_drawings(models: Mapping[str, Sequence[ScoreDistributions]]) -> str:
    """Return a section with the drawings of every protocol; empty where nothing is known.

    Args:
        models: a name such as "PyTorch" or "fp16" -> its distributions, one for each protocol.
    """
    protocols = dict.fromkeys(one.protocol for found in models.values() for one in found)
    groups = []
    for protocol in protocols:
        of_protocol = {name: one for name, found in models.items() for one in found if one.protocol == protocol}
        drawn = draw_rate_curves(protocol, of_protocol)
        drawn += "".join(draw_distributions(f"{protocol.upper()}, {name}", one) for name, one in of_protocol.items())
        groups.append(f'<div class="charts">\n{drawn}</div>')
    guide = """<p class="guide">The scores of all pairs that a protocol compares, and the share of pairs of the same
vehicle that match where a stated share of pairs of different vehicles does. Dots and dashed lines are the operating
points, with 95 % intervals by vehicle.</p>"""
    return section("Scores and thresholds", "\n".join([guide, *groups])) if groups else ""


def draw_distributions(title: str, scores: ScoreDistributions) -> str:
    """Return a <figure> of both distributions: the share of each in every bin, on a logarithmic axis."""
    shares = [_shares(counts) for counts in (scores.genuine, scores.impostor)]
    filled = [number for number in range(BINS) if any(kind[number] for kind in shares)]
    if not filled:
        return ""
    across = ticks(bin_edge(filled[0]), bin_edge(filled[-1] + 1))
    area = Area(across[0], across[-1], _RAREST, 0)
    content = _decades_up(area) + "".join(_outline(number, kind, filled, area) for number, kind in enumerate(shares))
    content += "".join(_threshold(point, area) for point in scores.points) + legend(_KINDS)
    content += "".join(_tip(number, shares, area) for number in filled)
    pairs = f"{sum(scores.genuine):,} pairs of the same vehicle, {sum(scores.impostor):,} of different vehicles"
    return chart(f"{title}: share of pairs", pairs, area, content, Axes(across, [], "cosine similarity"))


def draw_rate_curves(protocol: str, models: Mapping[str, ScoreDistributions]) -> str:
    """Return a <figure> of the true-match rate over the false-match rate, a line for each model."""
    drawn = {name: one for name, one in models.items() if len(one.curve) > 1}
    points = [point for one in drawn.values() for point in one.curve]
    if not points:
        return ""
    up = ticks(min(point.true_match_rate for point in points), max(point.true_match_rate for point in points))
    rates = [point.false_match_rate for point in points]
    area = Area(math.log10(min(rates)), math.log10(max(rates)), up[0], up[-1])
    content = _decades_across(area) + legend([*drawn])
    content += "".join(_curve(number, one, area) for number, one in enumerate(drawn.values()))
    title = f"{protocol.upper()}: true-match rate, %"
    description = f"{', '.join(drawn)}: pairs of the same vehicle that match, over pairs of different vehicles that do"
    return chart(title, description, area, content, Axes([], up, "false-match rate"))


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _outline(number: int, shares: Sequence[float], filled: Sequence[int], area: Area) -> str:
    floor = area.y(_RAREST)
    heights = (math.log10(shares[one]) if shares[one] > 0 else _RAREST for one in range(filled[0], filled[-1] + 1))
    steps = "".join(
        f"V{area.y(max(height, _RAREST)):.1f}H{area.x(bin_edge(one + 1)):.1f}"
        for one, height in enumerate(heights, start=filled[0])
    )
    outline = f"M{area.x(bin_edge(filled[0])):.1f} {floor:.1f}{steps}V{floor:.1f}"
    return f'<g class="{series(number)}"><path class="fill" d="{outline}Z"/><path class="line" d="{outline}"/></g>\n'


def _decades_up(area: Area) -> str:
    left, right = area.x(area.left), area.x(area.right)
    return "".join(
        f'<path class="grid" d="M{left} {area.y(decade):.1f}H{right}"/>'
        f'<text class="count" x="{left - 6}" y="{area.y(decade) + 4:.1f}">{power_of_ten(decade)}</text>\n'
        for decade in range(_RAREST, 1)
    )


def _decades_across(area: Area) -> str:
    floor, top = area.y(area.bottom), area.y(area.top)
    return "".join(
        f'<path class="grid" d="M{area.x(decade):.1f} {top}V{floor + 5}"/>'
        f'<text class="tick" x="{area.x(decade):.1f}" y="{floor + 18}">{power_of_ten(decade)}</text>\n'
        for decade in range(math.ceil(area.left), math.floor(area.right) + 1)
    )


def _threshold(point: OperatingPoint, area: Area) -> str:
    if point.threshold is None or not area.left < point.threshold.value < area.right:
        return ""
    x = area.x(point.threshold.value)
    words = f"false-match rate {rate_name(point.false_match_rate)}: from {point.threshold.value:.4f} on"
    path = f"M{x:.1f} {area.y(area.top)}V{area.y(area.bottom)}"
    return f'<path class="limit" d="{path}"><title>{words}</title></path>\n'


def _tip(number: int, shares: Sequence[Sequence[float]], area: Area) -> str:
    values = "".join(f"\n{name} {100 * kind[number]:.3g} %" for name, kind in zip(_KINDS, shares, strict=True))
    left, right = bin_edge(number), bin_edge(number + 1)
    return hover(area, left, right, f"{left:.2f} to {right:.2f}{values}")


def _curve(number: int, scores: ScoreDistributions, area: Area) -> str:
    line = "L".join(_place(point.false_match_rate, point.true_match_rate, area) for point in scores.curve)
    marks = "".join(_mark(point, area) for point in scores.points)
    return f'<g class="{series(number)}"><path class="line" d="M{line}"/>{marks}</g>\n'


def _place(false_match_rate: float, true_match_rate: float, area: Area) -> str:
    return f"{area.x(math.log10(false_match_rate)):.1f} {area.y(true_match_rate):.1f}"


def _mark(point: OperatingPoint, area: Area) -> str:
    """Return the dot of an operating point with its interval; nothing where it has none."""
    if point.true_match_rate is None or point.threshold is None:
        return ""
    rate, matches = point.false_match_rate, point.true_match_rate
    x, y = _place(rate, matches.value, area).split()
    low, high = (min(max(end, area.bottom), area.top) for end in matches.interval)
    interval = f'<path class="line" d="M{x} {area.y(low):.1f}V{area.y(high):.1f}"/>'
    words = f"{rate_name(rate)}: {matches.value:.1f} % [{matches.interval[0]:.1f}, {matches.interval[1]:.1f}]"
    words += f", from {point.threshold.value:.4f} on"
    return f'{interval}<circle cx="{x}" cy="{y}" r="3"><title>{words}</title></circle>'
