"""Histograms of distances and norms on held-out vehicles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.pairs import ALL_LEVELS, BINS_PER_UNIT, PairDistances
from reid.pages.charts import Area, Axes, chart, hover, legend, series, ticks

__all__ = ["draw_norms", "draw_pairs"]

_BARS = 50


def draw_pairs(pairs: Sequence[PairDistances], boundaries: Sequence[float]) -> str:
    """Draw the distances of positive and negative pairs, one chart per level, all over the same range.

    Args:
        pairs: the distances, one entry per level.
        boundaries: distances that the loss wants positives within and negatives beyond; they apply to single levels.
    """
    found = np.flatnonzero(sum(of_level.positive + of_level.negative for of_level in pairs))
    first, last = int(found[0]), int(found[-1]) + 1
    merged = math.ceil((last - first) / _BARS)
    start = first // merged * merged
    edges = np.arange(start, last + merged, merged)
    return "".join(
        _pairs_chart(of_level, edges, () if of_level.level == ALL_LEVELS else boundaries) for of_level in pairs
    )


def _pairs_chart(pairs: PairDistances, edges: NDArray[np.int64], boundaries: Sequence[float]) -> str:
    shares = {
        "same vehicle": _shares(pairs.positive, edges),
        "other vehicles": _shares(pairs.negative, edges),
    }
    title = f"{pairs.level}: AUC {100 * pairs.auc:.2f} %"
    described = (
        f"Of a positive and a negative pair, the positive one is closer in {100 * pairs.auc:.2f} % of cases. "
        f"Median distance of {pairs.positive.sum():,} positive pairs {_median(pairs.positive):.3f}, "
        f"of {pairs.negative.sum():,} negative pairs {_median(pairs.negative):.3f}."
    )
    return _histogram(title, described, shares, edges / BINS_PER_UNIT, "distance", boundaries)


def _shares(counts: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Merge the bins between the edges, the last of which may lie beyond the bins; in percent of all counts."""
    upto = np.concatenate(([0], np.cumsum(counts)))[np.minimum(edges, len(counts))]
    return np.asarray(100 * np.diff(upto) / max(upto[-1], 1))


def _median(counts: NDArray[np.int64]) -> float:
    return float(np.searchsorted(np.cumsum(counts), counts.sum() / 2) + 0.5) / BINS_PER_UNIT


def draw_norms(level: str, norms: NDArray[np.float32]) -> str:
    """Draw the norms of a level's features, float32 [N]."""
    counts, edges = np.histogram(norms, _BARS)
    mean, spread = float(norms.mean()), float(norms.std())
    title = f"{level}: norm {mean:.3g} \N{PLUS-MINUS SIGN} {spread:.2g}"
    described = f"{len(norms):,} frames, from {norms.min():.3g} to {norms.max():.3g}"
    return _histogram(title, described, {"frames": 100 * counts / counts.sum()}, edges, "norm before L2", ())


def _histogram(
    title: str,
    described: str,
    shares: dict[str, NDArray[np.float64]],
    edges: NDArray[np.float64],
    axis: str,
    boundaries: Sequence[float],
) -> str:
    highest = max(float(share.max()) for share in shares.values())
    across, up = ticks(edges[0], edges[-1]), ticks(0, highest)
    area = Area(float(edges[0]), float(edges[-1]), 0, up[-1])
    content = legend([f"{name}, % of {'pairs' if len(shares) > 1 else 'all'}" for name in shares])
    content += "".join(_outline(number, share, edges, area) for number, share in enumerate(shares.values()))
    content += "".join(_boundary(value, area) for value in boundaries if area.left < value < area.right)
    for bar, (left, right) in enumerate(pairwise(edges)):
        values = "".join(f"\n{name} {share[bar]:.2f} %" for name, share in shares.items())
        content += hover(area, left, right, f"{left:.4g} to {right:.4g}{values}")
    inside = [tick for tick in across if area.left <= tick <= area.right]
    return chart(title, described, area, content, Axes(inside, up, axis))


def _outline(number: int, share: NDArray[np.float64], edges: NDArray[np.float64], area: Area) -> str:
    floor = area.y(0)
    steps = "".join(
        f"V{area.y(height):.1f}H{area.x(right):.1f}" for height, right in zip(share, edges[1:], strict=True)
    )
    outline = f"M{area.x(edges[0]):.1f} {floor:.1f}{steps}V{floor:.1f}"
    return f'<g class="{series(number)}"><path class="fill" d="{outline}Z"/><path class="line" d="{outline}"/></g>\n'


def _boundary(value: float, area: Area) -> str:
    return f'<path class="limit" d="M{area.x(value):.1f} {area.y(area.top):.1f}V{area.y(0):.1f}"/>\n'
