"""What this machine's peaks permit a graph (Williams et al., *Roofline*, Communications of the ACM 2009)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reid.bench.costs.record import GraphCost, Roofline
from reid.bench.recommendation import best_batch
from reid.bench.report.labels import Box, Labeled, draw_labeled
from reid.bench.report.numbers import estimated, figure
from reid.bench.result import BenchResult, SubjectResult
from reid.pages.charts import Area, Axes, across_at, chart, log_ticks, power_of_ten, up_at

__all__ = ["draw_roofline", "intensity"]


def intensity(cost: GraphCost, frames: int) -> float:
    """Return the operations for each byte to or from memory, with the weights read once a batch."""
    return cost.flops * frames / (cost.weight_bytes + cost.activation_bytes * frames)


def draw_roofline(result: BenchResult, kinds: Mapping[str, str]) -> str:
    """Return a <figure> of the peaks and of each subject at its best batch; empty where either is not known."""
    peaks = result.roofline
    drawn = [one for one in result.subjects if one.batches and one.roofline_percent and one.precision in result.costs]
    if peaks is None or not drawn:
        return ""
    points = [_point(one, result.costs[one.precision], kinds) for one in drawn]
    area, across, up = _area(points, peaks)
    content = up_at({decade: power_of_ten(round(decade)) for decade in up}, area)
    content += across_at({math.log10(value): f"{value:,g}" for value in across}, area)
    content += "".join(_roof(precision, peak, peaks, area) for precision, peak in peaks.operations_per_s.items())
    content += draw_labeled(points, area, avoid=[_name_box(peak, area) for peak in peaks.operations_per_s.values()])
    description = f"{_peaks(peaks)}; " + "; ".join(point.words for point in points)
    title = f"Operations/s, with the peaks {peaks.source}"
    return chart(title, description, area, content, Axes([], [], "operations per byte"))


def _point(subject: SubjectResult, cost: GraphCost, kinds: Mapping[str, str]) -> Labeled:
    best = best_batch(subject)
    operations, ratio = cost.flops * best.frames_per_s.value, intensity(cost, best.frames)
    share = f", {estimated(subject.roofline_percent)} % of what the peaks permit" if subject.roofline_percent else ""
    words = f"{subject.name}: {figure(operations / 1e9)} billion operations/s at {figure(ratio)} per byte{share}"
    return Labeled(subject.name, math.log10(ratio), math.log10(operations), kinds[subject.name], words)


def _area(points: Sequence[Labeled], peaks: Roofline) -> tuple[Area, list[float], list[int]]:
    """Return an area that holds the points and the ridge of every roof, and the ticks of both axes."""
    ridges = [math.log10(peak / peaks.bytes_per_s) for peak in peaks.operations_per_s.values()]
    sides = [*(point.x for point in points), *ridges]
    across = log_ticks(10 ** (min(sides) - 0.5), 10 ** (max(sides) + 0.3))
    heights = [*(point.y for point in points), *(math.log10(peak) for peak in peaks.operations_per_s.values())]
    bottom, top = math.floor(min(heights) - 0.1), math.ceil(max(heights) + 0.1)
    return Area(math.log10(across[0]), math.log10(across[-1]), bottom, top), across, [*range(bottom, top + 1)]


def _roof(precision: str, highest: float, peaks: Roofline, area: Area) -> str:
    """Return a roof: as high as the memory feeds it, and no higher than its precision's peak."""
    peak, slope = math.log10(highest), math.log10(peaks.bytes_per_s)
    start = max(area.left, area.bottom - slope)
    ridge = min(max(peak - slope, start), area.right)
    path = f"M{area.x(start):.1f} {area.y(min(start + slope, peak)):.1f}L{area.x(ridge):.1f} {area.y(peak):.1f}"
    box = _name_box(highest, area)
    name = f'<text class="count" x="{box.right:.1f}" y="{box.middle + 4:.1f}">{precision} peak</text>'
    return f'<path class="roof" d="{path}H{area.x(area.right):.1f}"/>{name}\n'


def _name_box(peak: float, area: Area) -> Box:
    """Return where the name of a roof stands: above its right end."""
    right = area.x(area.right)
    return Box(right - 60, right, area.y(math.log10(peak)) - 8)


def _peaks(peaks: Roofline) -> str:
    compute = ", ".join(f"{name} {figure(peak / 1e9)}" for name, peak in peaks.operations_per_s.items())
    return f"peaks in billions of operations/s: {compute}; memory {figure(peaks.bytes_per_s / 1e9)} GB/s"
