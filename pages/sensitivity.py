"""The plot of the effect of INT8 on the embeddings: one SVG, a bar for each layer, a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from reid.pages.charts import LogAxis, power_of_ten

__all__ = ["LayerRow", "draw_sensitivity"]

_WIDTH, _LEFT, _RIGHT = 960, 56, 952
_TOP, _PANEL, _AXIS = 34, 220, 44
_WIDEST = 28.0
_MOST_DECADES = 7
_CHARACTER = 6.2
"""Approximate width of a character on the axis."""
_NAMED_WORST = 3

_KINDS = {"Conv": "weighted", "Gemm": "weighted", "MatMul": "weighted", "Add": "addition"}
_LEGEND = {"weighted": "convolution, matrix product", "addition": "residual addition", "pooling": "pooling"}


@dataclass(frozen=True, slots=True)
class LayerRow:
    """What a page shows of a layer in INT8 alone.

    Attributes:
        name: the layer's name.
        op: the type of its node in the ONNX graph.
        fraction: its fraction of all multiply-accumulates, 0 to 1.
        error: the mean of `1 - cosine similarity` of the embeddings.
        worst: the largest of these.
        map_change: the change of mAP in points; None if it is not known.
        method: the method that chose the range of its input.
    """

    name: str
    op: str
    fraction: float
    error: float
    worst: float
    map_change: float | None
    method: str


def draw_sensitivity(layers: Sequence[LayerRow], in_fp16: Collection[str] = ()) -> str:
    """Draw each layer's error in the order of execution.

    Kinds of layers differ in width and outline as well as in color, so that they can be told apart in print.

    Args:
        layers: the layers in the order of execution.
        in_fp16: the names of the layers to mark.

    Returns:
        An <svg>; an empty text if no layer has an error.
    """
    if not any(layer.error > 0 for layer in layers):
        return ""
    axis = _error_axis([layer.error for layer in layers])
    slot = min((_RIGHT - _LEFT) / len(layers), 2 * _WIDEST)
    bars = "".join(_bar(layer, _LEFT + slot * index, slot, axis) for index, layer in enumerate(layers))
    marks = "".join(
        _mark(_LEFT + slot * (index + 0.5), _top(layer.error, axis) - 8)
        for index, layer in enumerate(layers)
        if layer.name in in_fp16
    )
    return f"""<svg class="sensitivity" viewBox="0 0 {_WIDTH} {_TOP + _PANEL + _AXIS}" role="img"
aria-label="{escape(_label(layers))}">
{_ticks(axis)}{_parts(layers, slot)}{bars}{marks}<path class="axis" d="M{_LEFT} {_TOP + _PANEL}H{_RIGHT}"/>
{_legend(layers, bool(marks))}</svg>
"""


def _label(layers: Sequence[LayerRow]) -> str:
    worst = sorted(layers, key=lambda layer: -layer.error)[:_NAMED_WORST]
    named = ", ".join(f"{layer.name} {layer.error:.2e}" for layer in worst)
    return f"error of each of {len(layers)} layers in INT8 alone, in the order of execution; largest: {named}"


def _error_axis(errors: Sequence[float]) -> LogAxis:
    """Return a vertical axis of whole decades, no more than can be told apart."""
    positive = [error for error in errors if error > 0]
    last = math.ceil(math.log10(max(positive)) - 1e-9)
    first = min(math.floor(math.log10(min(positive)) + 1e-9), last - 1)
    return LogAxis(max(first, last - _MOST_DECADES), last, start=_TOP + _PANEL, end=_TOP)


def _top(error: float, axis: LogAxis) -> float:
    """Return the vertical position of a bar's top."""
    lowest = axis.start - 2.0  # even the lowest bar can be seen
    return min(axis.place(error), lowest) if error > 0 else lowest


def _bar(layer: LayerRow, left: float, slot: float, axis: LogAxis) -> str:
    kind, top = _kind(layer), _top(layer.error, axis)
    width = min(slot * (0.4 if kind == "addition" else 0.8), _WIDEST)
    size = f'width="{width:.1f}" height="{_TOP + _PANEL - top:.1f}"'
    title = escape(f"{layer.name} ({layer.op}): {layer.error:.2e}")
    return (
        f'<rect class="{kind}" x="{left + (slot - width) / 2:.1f}" y="{top:.1f}" {size}><title>{title}</title></rect>\n'
    )


def _kind(layer: LayerRow) -> str:
    return _KINDS.get(layer.op, "pooling")


def _mark(x: float, y: float) -> str:
    return f'<path class="in-fp16" d="M{x - 4:.1f} {y - 6:.1f}h8l-4 7z"/>\n'


def _ticks(axis: LogAxis) -> str:
    ticks = "".join(
        f'<path class="grid" d="M{_LEFT} {axis.place(10.0**n):.1f}H{_RIGHT}"/>\n'
        f'<text class="tick" x="{_LEFT - 6}" y="{axis.place(10.0**n) + 4:.1f}">{power_of_ten(n)}</text>\n'
        for n in axis.decades()[1:]
    )
    middle = _TOP + _PANEL / 2
    title = "mean of 1 \N{MINUS SIGN} cosine similarity"
    return f'{ticks}<text class="title" transform="translate(11 {middle}) rotate(-90)">{title}</text>\n'


def _parts(layers: Sequence[LayerRow], slot: float) -> str:
    """Label neighboring layers with the part of the backbone that they belong to, if there is room."""
    drawn, first, bottom = "", 0, _TOP + _PANEL
    for part, members in groupby(_parts_of(layers)):
        count = len(list(members))
        left, width = _LEFT + slot * first, slot * count
        first += count
        drawn += f'<path class="grid" d="M{left:.1f} {bottom}v8"/>\n'
        if len(part) * _CHARACTER <= width:
            drawn += f'<text class="part" x="{left + width / 2:.1f}" y="{bottom + 18}">{escape(part)}</text>\n'
    return drawn


def _parts_of(layers: Sequence[LayerRow]) -> list[str]:
    """Return each layer's part, the first component of its name; a pooling belongs to the layer before it."""
    parts: list[str] = []
    for layer in layers:
        own = layer.name.removeprefix("backbone.").partition(".")[0]
        parts.append(parts[-1] if parts and _kind(layer) == "pooling" else own)
    return parts


def _legend(layers: Sequence[LayerRow], with_marks: bool) -> str:
    present = {_kind(layer) for layer in layers}
    entries = [
        (f'<rect class="{kind}" x="{{x}}" y="8" width="{6 if kind == "addition" else 12}" height="12"/>', words)
        for kind, words in _LEGEND.items()
        if kind in present
    ]
    if with_marks:
        entries.append(('<path class="in-fp16" d="M{x} 10h8l-4 7z"/>', "in FP16"))
    drawn, x = "", float(_LEFT)
    for symbol, words in entries:
        drawn += f'{symbol.format(x=f"{x:.1f}")}<text class="legend" x="{x + 18:.1f}" y="18">{words}</text>\n'
        x += 18 + len(words) * _CHARACTER + 22
    return drawn
