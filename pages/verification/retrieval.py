"""The measures of every precision beside the reference's, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from reid.evaluation.metrics import METRICS
from reid.evaluation.verification.failures import Verdict
from reid.evaluation.verification.records import Change, ProtocolComparison, ReferenceData, Verification
from reid.evaluation.verification.sentences import ranking_name
from reid.pages.base import mark
from reid.pages.markup import number, scrolling, section, signed
from reid.pages.verification.verdict import MARKS

__all__ = ["operating_point_section", "retrieval_section", "same_camera"]

_MARKED: dict[Verdict, str] = {"outside": "outside tolerance", "undecided": "undecided"}


def retrieval_section(verification: Verification) -> str:
    """Return mAP and Rank-k of each protocol; nothing where retrieval was not compared."""
    rule = f"; same camera: {same_camera(verification)}" if verification.retrieval else ""
    guide = f"""<p class="guide">In percent{rule}. Beside each: the difference from the first row in points
and, in brackets, its 95 % interval, of mAP by bootstrap over queries, of Rank-k from the queries that flipped.
{_legend()}</p>"""
    return _section("Retrieval", guide, verification, METRICS, with_first_match=True)


def operating_point_section(verification: Verification) -> str:
    """Return true-match and false-match rates of each protocol; nothing where they were not compared."""
    measures = dict.fromkeys(
        change.measure
        for precision in verification.precisions
        for comparison in precision.protocols
        for change in comparison.changes
        if change.measure not in METRICS
    )
    guide = f"""<p class="guide">In percent. TMR: the true-match rate at a false-match rate, each model at its own
threshold. FMR: the false-match rate at the first row's threshold. Intervals are by vehicle. {_legend()}</p>"""
    return _section("Operating points", guide, verification, tuple(measures), with_first_match=False)


def _legend() -> str:
    marks = (f'<span class="{MARKS[one]}">{mark(MARKS[one], said)}</span> {said}' for one, said in _MARKED.items())
    return ", ".join(marks) + "."


def _section(
    heading: str, guide: str, verification: Verification, names: Sequence[str], *, with_first_match: bool
) -> str:
    found = [
        comparison
        for precision in verification.precisions
        for comparison in precision.protocols
        if any(change.measure in names for change in comparison.changes)
    ]
    if not found:
        return ""
    changed: Callable[[ProtocolComparison], str] = _first_match if with_first_match else _nothing
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    head += '<th class="changed" scope="col">first match changed</th>' if with_first_match else ""
    rankings = dict.fromkeys((comparison.protocol, comparison.post_processing) for comparison in found)
    groups = "".join(_ranking(verification, ranking, names, changed) for ranking in rankings)
    table = f"""<table class="metrics">
<thead><tr><td></td>{head}</tr></thead>
{groups}</table>"""
    return section(heading, f"{guide}\n{scrolling(table)}")


def _ranking(
    verification: Verification,
    ranking: tuple[str, str],
    names: Sequence[str],
    last: Callable[[ProtocolComparison], str],
) -> str:
    """Return the reference's row of a protocol with its post-processing, and under it a row for each precision."""
    compared = [
        (precision.precision, comparison)
        for precision in verification.precisions
        for comparison in precision.protocols
        if (comparison.protocol, comparison.post_processing) == ranking
    ]
    first = compared[0][1]
    values = {change.measure: change.reference for change in first.changes}
    reference = "".join(f"<td><b>{number(values.get(name))}</b></td>" for name in names)
    end = '<td class="changed"></td>' if last(first) else ""
    rows = "".join(_row(precision, comparison, names, last) for precision, comparison in compared)
    return f"""<tbody>
<tr><th class="group" scope="rowgroup" colspan="{len(names) + 2}">{escape(ranking_name(first))}
<i>{first.queries:,} queries</i></th></tr>
<tr><th scope="row">{verification.reference_name}</th>{reference}{end}</tr>
{rows}</tbody>
"""


def _row(
    precision: str, comparison: ProtocolComparison, names: Sequence[str], last: Callable[[ProtocolComparison], str]
) -> str:
    changes = {change.measure: change for change in comparison.changes}
    cells = "".join(_cell(changes.get(name)) for name in names)
    return f'<tr><th scope="row">{escape(precision)}</th>{cells}{last(comparison)}</tr>\n'


def _cell(change: Change | None) -> str:
    if change is None:
        return f"<td><b>{number(None)}</b></td>"
    low, high = map(signed, change.interval)
    judged, sign = "", ""
    if said := _MARKED.get(change.verdict):
        name = MARKS[change.verdict]
        judged, sign = f' class="{name}"', " " + mark(name, said)
    difference = f" <span>{signed(change.difference)}</span>"
    return f"<td{judged}><b>{number(change.candidate)}</b>{difference}{sign} <i>[{low}, {high}]</i></td>"


def _first_match(comparison: ProtocolComparison) -> str:
    return f'<td class="changed">{comparison.first_match_changed:.2f} %</td>'


def _nothing(_: ProtocolComparison) -> str:
    return ""


def same_camera(verification: Verification) -> str:
    """Return what happened to gallery entries of the query's vehicle and camera."""
    data = verification.judged_on
    return "kept" if isinstance(data, ReferenceData) and data.same_camera == "keep" else "dropped"
