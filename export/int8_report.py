"""What people see of INT8: a section of a bundle's report, and the page of `reid-calibrate --sensitivity`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from reid.calibration.ranges import Method
from reid.calibration.scales import ScaleFile
from reid.calibration.search import Evaluation
from reid.calibration.selection import CalibrationFacts
from reid.calibration.sensitivity import LayerEffect, Sensitivity
from reid.export.verification.sensitivity_plot import draw_sensitivity
from reid.pages.base import SECTIONS, head, mark, terms
from reid.pages.markup import number, scrolling, section, signed

if TYPE_CHECKING:
    from reid.export.int8 import Int8Record

__all__ = ["INT8_STYLE", "int8_section", "write_sensitivity_report"]

INT8_STYLE = Path(__file__).with_name("int8_report.css")
"""Style sheet of what is shown here."""

_ERROR_GUIDE = """<p class="guide">What INT8 in this layer alone does to embeddings of training vehicles that nothing
was calibrated on: the error is the mean of 1 \N{MINUS SIGN} cosine similarity to the FP32 graph's, worst the largest;
mAP is in points, each image a query.</p>
"""


def int8_section(record: Int8Record, scales: ScaleFile) -> str:
    """Return the section of a bundle's report that says how its INT8 graph came about.

    Args:
        record: of the search.
        scales: the ranges that it chose among.
    """
    plot = draw_sensitivity(record.sensitivity.layers, record.kept_in_fp16)
    parts = (
        terms(_facts(record)),
        '<p class="guide">The speed-up is an upper bound: it takes multiply-accumulates for all that takes time, and '
        "INT8 for twice as fast as FP16. Measure it on your device.</p>\n",
        f"<h3>Layers kept in FP16</h3>\n{_kept(record)}",
        f"<h3>The search</h3>\n{_search(record)}",
        f"<h3>Sensitivity</h3>\n{_ERROR_GUIDE}{plot}",
        f"<h3>Ranges</h3>\n{_ranges(record.sensitivity, scales)}",
        f"<h3>Calibration</h3>\n{terms(_calibration(scales.calibration))}",
    )
    return section("INT8", "\n".join(parts))


def write_sensitivity_report(path: Path, scales: ScaleFile, sensitivity: Sensitivity) -> None:
    """Write the page of `reid-calibrate --sensitivity`.

    Args:
        path: the .html file; its folder exists.
        scales: the ranges.
        sensitivity: of every layer, measured with them.
    """
    worst_first = sorted(sensitivity.layers, key=lambda layer: -layer.error)
    facts = {"model": scales.fingerprint[:12], "FP32 graph": scales.graph_sha256[:12]}
    title = "Sensitivity to INT8"
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(head(title, SECTIONS, INT8_STYLE))
        file.write(f"<header>\n<h1>{title}</h1>\n</header>\n<main>\n")
        file.write(section("In the order of execution", f"{_ERROR_GUIDE}{draw_sensitivity(sensitivity.layers)}"))
        file.write(section("Layers, worst first", _layers(worst_first)))
        file.write(section("Ranges", _ranges(sensitivity, scales)))
        file.write(section("Facts", terms(facts | _calibration(scales.calibration))))
        file.write("</main>\n</body>\n</html>\n")


def _facts(record: Int8Record) -> dict[str, str]:
    layers = len(record.sensitivity.layers)
    return {
        "multiply-accumulates in INT8": f"{record.int8_share:.1f} %",
        "layers in INT8": f"{layers - len(record.kept_in_fp16)} of {layers}",
        "predicted speed-up over FP16": f"at most {record.predicted_speedup:.2f}",
        "evaluations": f"{len(record.evaluations)}",
        "judged on": record.judged_on,
    }


def _kept(record: Int8Record) -> str:
    if not record.kept_in_fp16:
        return "<p>None: with every layer in INT8, all is within tolerance.</p>\n"
    kept = [layer for layer in record.sensitivity.layers if layer.layer in record.kept_in_fp16]
    guide = '<p class="guide">Of all layers, these take most error with them for the work that they slow down.</p>\n'
    return guide + _layers(sorted(kept, key=lambda layer: -layer.error))


def _layers(layers: Iterable[LayerEffect]) -> str:
    rows = "".join(_layer(layer) for layer in layers)
    return scrolling(f"""<table class="layers">
<thead><tr><th scope="col">layer</th><th scope="col">multiply-accumulates</th><th scope="col">error</th>
<th scope="col">worst</th><th scope="col">mAP</th><th scope="col">range</th></tr></thead>
<tbody>
{rows}</tbody>
</table>""")


def _layer(layer: LayerEffect) -> str:
    share = f"{100 * layer.share:.1f} %" if layer.share else ""
    change = number(None) if layer.map_change is None else signed(layer.map_change)
    return f"""<tr><th scope="row"><code>{escape(layer.layer)}</code> <i>{escape(layer.op)}</i></th>
<td>{share}</td><td>{layer.error:.2e}</td><td>{layer.worst:.2e}</td><td>{change}</td><td>{layer.method}</td></tr>
"""


def _search(record: Int8Record) -> str:
    shares = {layer.layer: layer.share for layer in record.sensitivity.layers}
    before: Collection[str] = ()
    rows = ""
    for step, evaluation in enumerate(record.evaluations, start=1):
        int8 = sum(share for layer, share in shares.items() if layer not in evaluation.kept)
        rows += _evaluation(step, evaluation, 100 * int8, before)
        before = evaluation.kept
    return scrolling(f"""<table class="search">
<thead><tr><th scope="col">step</th><th scope="col">layers in FP16</th><th scope="col">in INT8</th>
<th scope="col">largest fall</th><th scope="col">smallest similarity</th><th scope="col">verdict</th></tr></thead>
<tbody>
{rows}</tbody>
</table>""")


def _evaluation(step: int, evaluation: Evaluation, share: float, before: Collection[str]) -> str:
    name, verdict = ("right", "within tolerance") if evaluation.passed else ("wrong", "OUTSIDE tolerance")
    worst = min(evaluation.changes.items(), key=lambda change: change[1], default=None)
    fall = f"{escape(worst[0])} {signed(worst[1])}" if worst else number(None)
    return f"""<tr><td>{step}</td><th scope="row">{_difference(evaluation.kept, before)}</th><td>{share:.1f} %</td>
<td>{fall}</td><td>{evaluation.similarity:.4f}</td>
<td class="{name}">{mark(name, verdict)} <span>{verdict}</span></td></tr>
"""


def _difference(kept: Sequence[str], before: Collection[str]) -> str:
    """Say how many layers are in FP16, and which of them are so other than one step before."""
    to_fp16 = [layer for layer in kept if layer not in before]
    to_int8 = [layer for layer in before if layer not in kept]
    changes = "".join(
        f" <i>{sign}{', '.join(f'<code>{escape(layer)}</code>' for layer in layers)}</i>"
        for sign, layers in (("+", to_fp16), ("\N{MINUS SIGN}", to_int8))
        if layers
    )
    return f"{len(kept)}{changes}"


def _ranges(sensitivity: Sensitivity, scales: ScaleFile) -> str:
    methods = {layer.tensor: layer.method for layer in sensitivity.layers}
    taken = Counter(methods.values())
    rows = "".join(
        _range(method, error, taken[method], scales, methods) for method, error in sensitivity.method_errors.items()
    )
    guide = """<p class="guide">With every layer in INT8 and all ranges by one method: the error of the embeddings. Of
the tensors: the median of what the range clips and of INT8's error, relative to the tensor's root mean square.</p>
"""
    return guide + scrolling(f"""<table class="layers">
<thead><tr><th scope="col">method</th><th scope="col">error, all in INT8</th><th scope="col">clipped</th>
<th scope="col">error of a tensor</th><th scope="col">taken for</th></tr></thead>
<tbody>
{rows}</tbody>
</table>""")


def _range(method: Method, error: float, taken: int, scales: ScaleFile, tensors: Collection[str]) -> str:
    found = [scales.tensors[tensor].thresholds[method] for tensor in tensors]
    clipped = statistics.median(one.clipped for one in found)
    of_tensor = statistics.median(one.error for one in found)
    return f"""<tr><th scope="row">{method}</th><td>{error:.2e}</td><td>{100 * clipped:.2g} %</td>
<td>{100 * of_tensor:.2g} %</td><td>{taken} of {len(found)} tensors</td></tr>
"""


def _calibration(facts: CalibrationFacts) -> dict[str, str]:
    split = {"train": "training", "evaluation": "EVALUATION"}[facts.split]
    shown = {
        "frames": f"{facts.count:,} of the {split} split",
        "vehicles": f"{facts.vehicles:,}",
        "cameras": ", ".join(f"{camera} {count:,}" for camera, count in facts.cameras.items()),
        "seed": str(facts.seed),
        "names' SHA-256": facts.names_sha256[:12],
    }
    return shown | ({"unreadable": f"{facts.unreadable:,}"} if facts.unreadable else {})
