"""Pages about INT8: a section of a bundle's page, and the page of `reid-calibrate --sensitivity`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from reid.pages.base import SECTIONS, head, mark, terms
from reid.pages.markup import number, scrolling, section, signed
from reid.pages.sensitivity import LayerRow, draw_sensitivity

__all__ = ["INT8_STYLE", "MethodRow", "MixRow", "SearchView", "SensitivityView", "int8_section", "sensitivity_page"]

INT8_STYLE = Path(__file__).with_name("int8.css")
"""Style sheet of the section and of the page."""

_ERROR_GUIDE = """<p class="guide">The effect of INT8 in this layer alone on embeddings of training vehicles that were
not calibrated on: the error is the mean of 1 \N{MINUS SIGN} cosine similarity to the FP32 graph's embeddings, worst the
largest; mAP is in points, with each image as a query.</p>
"""


@dataclass(frozen=True, slots=True)
class MixRow:
    """A mix of precisions that the search tried.

    Attributes:
        in_fp16: the names of the layers in FP16.
        int8_fraction: the fraction of all multiply-accumulates in INT8, 0 to 1.
        largest_fall: the metric that fell the most, and its change in points; None if none was compared.
        similarity: the smallest cosine similarity of an embedding to PyTorch's.
        passed: whether everything is within tolerance.
        session: the session that ran it, where that is not the one that judged the search.
    """

    in_fp16: tuple[str, ...]
    int8_fraction: float
    largest_fall: tuple[str, float] | None
    similarity: float
    passed: bool
    session: str = ""


@dataclass(frozen=True, slots=True)
class MethodRow:
    """A method to choose ranges.

    Attributes:
        method: the method's name.
        error: the error of the embeddings with every layer in INT8 and every range by this method.
        clipped: the median over tensors of the fraction of values that are clipped, 0 to 1.
        tensor_error: the median over tensors of the error of INT8, relative to the tensor's root mean square.
        chosen_for: the number of tensors whose range is by this method.
        tensors: the number of tensors.
    """

    method: str
    error: float
    clipped: float
    tensor_error: float
    chosen_for: int
    tensors: int


@dataclass(frozen=True, slots=True)
class SensitivityView:
    """The facts of a measurement that a page shows.

    Attributes:
        layers: the layers in the order of execution.
        methods: the methods to choose ranges.
        calibration: facts about the calibration set, by their names.
    """

    layers: tuple[LayerRow, ...]
    methods: tuple[MethodRow, ...]
    calibration: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SearchView:
    """The facts of a search that a page shows.

    Attributes:
        facts: facts about the result, by their names.
        in_fp16: the names of the layers that are in FP16 in the end.
        mixes: every mix that was tried, in order.
    """

    facts: Mapping[str, str]
    in_fp16: tuple[str, ...]
    mixes: tuple[MixRow, ...]


def int8_section(search: SearchView, sensitivity: SensitivityView) -> str:
    """Return the section of a bundle's page that shows how its INT8 graph was found."""
    parts = (
        terms(search.facts),
        '<p class="guide">The speed-up is an upper bound: it assumes that only multiply-accumulates take time, and '
        "that INT8 is twice as fast as FP16. Measure it on your device.</p>\n",
        f"<h3>Layers in FP16</h3>\n{_in_fp16(search, sensitivity)}",
        f"<h3>The search</h3>\n{_search(search.mixes)}",
        f"<h3>Sensitivity</h3>\n{_ERROR_GUIDE}{draw_sensitivity(sensitivity.layers, search.in_fp16)}",
        f"<h3>Ranges</h3>\n{_methods(sensitivity.methods)}",
        f"<h3>Calibration</h3>\n{terms(sensitivity.calibration)}",
    )
    return section("INT8", "\n".join(parts))


def sensitivity_page(sensitivity: SensitivityView, facts: Mapping[str, str]) -> str:
    """Return the page of `reid-calibrate --sensitivity`.

    Args:
        sensitivity: the measurement.
        facts: facts about the model, by their names.
    """
    title = "Sensitivity to INT8"
    worst_first = sorted(sensitivity.layers, key=lambda layer: -layer.error)
    parts = (
        head(title, SECTIONS, INT8_STYLE),
        f"<header>\n<h1>{title}</h1>\n</header>\n<main>\n",
        section("In the order of execution", f"{_ERROR_GUIDE}{draw_sensitivity(sensitivity.layers)}"),
        section("Layers, worst first", _layers(worst_first)),
        section("Ranges", _methods(sensitivity.methods)),
        section("Facts", terms({**facts, **sensitivity.calibration})),
        "</main>\n</body>\n</html>\n",
    )
    return "".join(parts)


def _in_fp16(search: SearchView, sensitivity: SensitivityView) -> str:
    if not search.in_fp16:
        return "<p>None: with every layer in INT8, everything is within tolerance.</p>\n"
    layers = [layer for layer in sensitivity.layers if layer.name in search.in_fp16]
    guide = '<p class="guide">Of all mixes that were tried, the cheapest within tolerance has these in FP16.</p>\n'
    return guide + _layers(sorted(layers, key=lambda layer: -layer.error))


def _layers(layers: Iterable[LayerRow]) -> str:
    rows = "".join(_layer(layer) for layer in layers)
    return scrolling(f"""<table class="layers">
<thead><tr><th scope="col">layer</th><th scope="col">multiply-accumulates</th><th scope="col">error</th>
<th scope="col">worst</th><th scope="col">mAP</th><th scope="col">range</th></tr></thead>
<tbody>
{rows}</tbody>
</table>""")


def _layer(layer: LayerRow) -> str:
    work = f"{100 * layer.fraction:.1f} %" if layer.fraction else ""
    change = number(None) if layer.map_change is None else signed(layer.map_change)
    return f"""<tr><th scope="row"><code>{escape(layer.name)}</code> <i>{escape(layer.op)}</i></th>
<td>{work}</td><td>{layer.error:.2e}</td><td>{layer.worst:.2e}</td><td>{change}</td><td>{escape(layer.method)}</td></tr>
"""


def _search(mixes: Sequence[MixRow]) -> str:
    before: Collection[str] = ()
    rows = ""
    for step, mix in enumerate(mixes, start=1):
        rows += _mix(step, mix, before)
        before = mix.in_fp16
    return scrolling(f"""<table class="search">
<thead><tr><th scope="col">step</th><th scope="col">layers in FP16</th><th scope="col">in INT8</th>
<th scope="col">largest fall of mAP</th><th scope="col">smallest similarity</th>
<th scope="col">verdict</th></tr></thead>
<tbody>
{rows}</tbody>
</table>""")


def _mix(step: int, mix: MixRow, before: Collection[str]) -> str:
    name, verdict = ("right", "within tolerance") if mix.passed else ("wrong", "OUTSIDE tolerance")
    by = f" <i>by {escape(mix.session)}</i>" if mix.session else ""
    fall = f"{escape(mix.largest_fall[0])} {signed(mix.largest_fall[1])}" if mix.largest_fall else number(None)
    return f"""<tr><td>{step}</td><th scope="row">{_difference(mix.in_fp16, before)}</th>
<td>{100 * mix.int8_fraction:.1f} %</td><td>{fall}</td><td>{mix.similarity:.4f}</td>
<td class="{name}">{mark(name, verdict)} <span>{verdict}</span>{by}</td></tr>
"""


def _difference(in_fp16: Sequence[str], before: Collection[str]) -> str:
    """Return the number of layers in FP16, and those that were not one step before, or no longer are."""
    to_fp16 = [layer for layer in in_fp16 if layer not in before]
    to_int8 = [layer for layer in before if layer not in in_fp16]
    changes = "".join(
        f" <i>{sign}{', '.join(f'<code>{escape(layer)}</code>' for layer in layers)}</i>"
        for sign, layers in (("+", to_fp16), ("\N{MINUS SIGN}", to_int8))
        if layers
    )
    return f"{len(in_fp16)}{changes}"


def _methods(methods: Sequence[MethodRow]) -> str:
    rows = "".join(_method(method) for method in methods)
    guide = """<p class="guide">The error of the embeddings with every layer in INT8 and every range by one method.
Over all tensors: the median of the values clipped, and of the error of INT8 relative to the tensor's root mean
square.</p>
"""
    return guide + scrolling(f"""<table class="layers">
<thead><tr><th scope="col">method</th><th scope="col">error, all in INT8</th><th scope="col">clipped</th>
<th scope="col">error of a tensor</th><th scope="col">chosen for</th></tr></thead>
<tbody>
{rows}</tbody>
</table>""")


def _method(row: MethodRow) -> str:
    return f"""<tr><th scope="row">{escape(row.method)}</th><td>{row.error:.2e}</td><td>{100 * row.clipped:.2g} %</td>
<td>{100 * row.tensor_error:.2g} %</td><td>{row.chosen_for} of {row.tensors} tensors</td></tr>
"""
