"""Throughput against quality: what a frame per second costs in mAP, and the front beyond which nothing lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reid.bench.recommendation import Choice, Standing
from reid.bench.report.labels import Labeled, draw_labeled
from reid.bench.report.numbers import estimated
from reid.bench.report.sentences import quality_name, quality_text
from reid.pages.charts import Area, Axes, across_at, chart, log_ticks, ticks

__all__ = ["draw_tradeoff"]


def draw_tradeoff(choice: Choice, kinds: Mapping[str, str]) -> str:
    """Return a <figure> of all standings whose quality is known; `kinds` has each subject's class of color."""
    known = [one for one in choice.standings if one.quality is not None]
    if not known:
        return ""
    rates = [one.batch.frames_per_s.value for one in known]
    across, up = log_ticks(min(rates), max(rates)), ticks(*_ends([one.quality or 0.0 for one in known]))
    area = Area(math.log10(across[0]), math.log10(across[-1]), up[0], up[-1])
    content = across_at({math.log10(value): f"{value:,g}" for value in across}, area)
    content += _front(choice.front, area)
    content += draw_labeled([_labeled(one, choice, kinds) for one in known], area)
    description = "; ".join(_words(one, choice) for one in known)
    return chart(quality_name(choice), description, area, content, Axes([], up, "frames/s"))


def _ends(qualities: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis: with some room, since a front that hugs the frame is not seen."""
    low, high = min(qualities), max(qualities)
    room = max(0.15 * (high - low), 1e-3 * abs(high), 1e-6)  # qualities may differ by rounding alone
    return low - room, high + room


def _front(front: Sequence[Standing], area: Area) -> str:
    """Return the border of what can be had: at each throughput, the best quality among those at least as fast."""
    left = area.x(area.left)
    path, last = "", None
    for one in front:  # the fastest first, so quality rises
        x, y = _place(one, area)
        path += f"M{x:.1f} {area.y(area.bottom):.1f}V{y:.1f}" if last is None else f"H{x:.1f}V{y:.1f}"
        last = y
    return f'<path class="front" d="{path}H{left:.1f}"/>\n' if path else ""


def _place(one: Standing, area: Area) -> tuple[float, float]:
    return area.x(math.log10(one.batch.frames_per_s.value)), area.y(one.quality or 0.0)


def _labeled(one: Standing, choice: Choice, kinds: Mapping[str, str]) -> Labeled:
    rate, name = math.log10(one.batch.frames_per_s.value), one.subject.name
    words, is_taken = _words(one, choice), one is choice.taken
    return Labeled(name, rate, one.quality or 0.0, kinds[name], words, stands_out=is_taken)


def _words(one: Standing, choice: Choice) -> str:
    rate = f"{estimated(one.batch.frames_per_s)} frames/s in batches of {one.batch.frames}"
    slow = "" if one.keeps_limit else ", beyond the latency limit"
    return f"{one.subject.name}: {rate}{slow}, {quality_text(choice, one.quality)}"
