"""The plot of the sensitivity, read from its SVG."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.pages.sensitivity import LayerRow, draw_sensitivity


def row(name: str, error: float, op: str = "Conv") -> LayerRow:
    return LayerRow(name, op, fraction=0.2, error=error, worst=3 * error, map_change=None, method="mse")


LAYERS = (
    row("backbone.conv1", 1e-5),
    row("backbone.layer1.0.conv1", 1e-2),
    row("backbone.layer1.0.conv1 residual", 1e-3, "Add"),
    row("pooling of relu_7", 1e-4, "ReduceMax"),
    row("backbone.layer2.0.conv1", 0.0),
)


def bars(svg: str) -> list[dict[str, float]]:
    """The bar of each layer, in the order in which they are drawn."""
    found = re.findall(r'<rect class="\w+" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"><title>', svg)
    return [dict(zip(("x", "y", "width", "height"), map(float, one), strict=True)) for one in found]


def test_bars_are_as_high_as_the_errors_logarithms() -> None:
    svg = draw_sensitivity(LAYERS, ("backbone.layer1.0.conv1",))
    drawn = bars(svg)
    heights = [bar["height"] for bar in drawn]
    # From 10^-5 at the bottom to 10^-2 at the top; what is at the bottom or is nothing can still be seen.
    assert heights == pytest.approx([2, 220, 220 * 2 / 3, 220 / 3, 2], abs=0.1)
    assert len({round(bar["y"] + bar["height"], 1) for bar in drawn}) == 1
    assert all(left["x"] + left["width"] < right["x"] for left, right in pairwise(drawn))
    assert svg.count('class="in-fp16"') == 2  # on the bar and in the legend
    assert 'class="in-fp16"' not in draw_sensitivity(LAYERS)
    assert "largest: backbone.layer1.0.conv1 1.00e-02, backbone.layer1.0.conv1 residual" in " ".join(svg.split())


def test_without_an_error_there_is_no_plot() -> None:
    assert draw_sensitivity([row("a", 0.0)]) == ""
    assert draw_sensitivity([]) == ""


@given(
    errors=st.lists(st.floats(0, 2), min_size=1, max_size=200),
    ops=st.lists(st.sampled_from(["Conv", "Add", "ReduceMax", "MatMul"]), min_size=200, max_size=200),
)
def test_every_layer_has_a_bar_within_the_plot(errors: list[float], ops: list[str]) -> None:
    layers = [row(f"backbone.l{n // 7}.{n}", error, op) for n, (error, op) in enumerate(zip(errors, ops, strict=False))]
    svg = draw_sensitivity(layers)
    drawn = bars(svg)
    assert len(drawn) == (len(layers) if any(errors) else 0)
    by_error = sorted(zip(errors, drawn, strict=False), key=lambda pair: pair[0])
    assert all(low["height"] <= high["height"] + 0.11 for (_, low), (_, high) in pairwise(by_error))
    assert all(bar["x"] >= 56 and bar["x"] + bar["width"] <= 952.1 and bar["y"] >= 34 for bar in drawn)
