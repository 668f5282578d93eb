"""The page that says whether to ship: every produced precision beside PyTorch, in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from reid.evaluation.verification.drift import first_drift
from reid.evaluation.verification.origin import how_sentence, origin_sentence, threshold_of
from reid.evaluation.verification.records import (
    LayerDrift,
    LevelSimilarity,
    PrecisionVerification,
    ReferenceCrops,
    Tolerance,
    Verification,
    WorstQuery,
)
from reid.evaluation.verification.sentences import engine_sentence
from reid.evaluation.verification.similarity import Judged, furthest_level, judged_similarities
from reid.pages.base import CHARTS, SECTIONS, Pictures, head, mark, terms
from reid.pages.markup import scrolling, section, signed
from reid.pages.operating_point import operating_point_drawings
from reid.pages.verification.histogram import draw_histograms
from reid.pages.verification.retrieval import operating_point_section, retrieval_section, same_camera
from reid.pages.verification.verdict import bar, verdict_section

__all__ = ["write_verification_report"]

_STYLE = Path(__file__).with_name("report.css")


def write_verification_report(
    path: Path, verification: Verification, *, title: str, int8: str = "", styles: Sequence[Path] = ()
) -> None:
    """Write the page: the verdict in words, then what it rests on.

    Args:
        path: the .html file; its folder exists.
        verification: the record, from which every number on the page comes.
        title: the heading of the page.
        int8: the section, as HTML, on how the INT8 graph came about; empty where there is none.
        styles: the style sheets that this section needs.
    """
    before = (verdict_section, retrieval_section, operating_point_section, _scores, _similarity)
    after = (_in_fp32, _drift, _worst_queries, _facts)
    # A file name that is not valid UTF-8 is shown with escapes, and does not fail the page.
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(head(title, SECTIONS, CHARTS, _STYLE, *styles))
        file.write(bar(title, verification))
        file.write("<main>\n")
        file.writelines(part(verification) for part in before)
        file.write(int8)
        file.writelines(part(verification) for part in after)
        file.write("</main>\n</body>\n</html>\n")


# Scores


def _scores(verification: Verification) -> str:
    models = {verification.reference_name: verification.scores}
    models |= {str(precision.precision): precision.scores for precision in verification.precisions}
    return operating_point_drawings(models)


# Similarity


def _similarity(verification: Verification) -> str:
    if not verification.precisions:
        return ""
    groups = "".join(_levels(precision, verification.tolerance) for precision in verification.precisions)
    table = f"""<table class="similarity">
<thead><tr><td></td><th scope="col">smallest</th><th scope="col">1st percentile</th>
<th scope="col">median</th></tr></thead>
{groups}</table>"""
    name = verification.reference_name
    guide = f"Cosine similarity of each frame's embedding to that of {name}: all levels together, and each alone."
    histograms = draw_histograms(verification.precisions, verification.tolerance)
    content = f'<p class="guide">{guide}</p>\n<div class="beside">\n{scrolling(table)}\n{histograms}</div>'
    return section("Similarity of embeddings", content)


def _levels(precision: PrecisionVerification, tolerance: Tolerance) -> str:
    similarity = precision.similarity
    judged = judged_similarities(precision.precision, similarity, tolerance)
    needs = ", ".join(f"{_SHARES[one.share]} needs {one.required:.6f}" for one in judged)
    # Only all levels together decide; one alone may be further off.
    rows = "".join(_level(level, judged if level.level == "all" else ()) for level in similarity.levels)
    return f"""<tbody>
<tr><th class="group" scope="rowgroup" colspan="4">{escape(precision.precision)}
<i>{similarity.frames:,} frames, {needs}</i></th></tr>
{rows}</tbody>
"""


_SHARES = {1.0: "smallest", 0.99: "1st percentile"}
"""The share of the embeddings that is judged -> its column of the table."""


def _level(level: LevelSimilarity, judged: Sequence[Judged]) -> str:
    outside = {_SHARES[one.share] for one in judged if one.value < one.required}
    cells = (("smallest", level.minimum), ("1st percentile", level.first_percentile), ("median", level.median))
    columns = "".join(_similarity_cell(value, is_outside=column in outside) for column, value in cells)
    return f'<tr><th scope="row">{escape(level.level)}</th>\n{columns}</tr>\n'


def _similarity_cell(value: float, *, is_outside: bool) -> str:
    if not is_outside:
        return f"<td><span>{value:.6f}</span></td>\n"
    return f'<td class="wrong">{mark("wrong", "outside tolerance")} <span>{value:.6f}</span></td>\n'


# Layers


def _in_fp32(verification: Verification) -> str:
    reduced = [precision for precision in verification.precisions if precision.precision != "fp32"]
    if not reduced:
        return ""
    return section("Layers kept in FP32", "".join(_layers_in_fp32(precision) for precision in reduced))


def _layers_in_fp32(precision: PrecisionVerification) -> str:
    name = escape(precision.precision)
    if not precision.in_fp32:
        return f"<p><b>{name}</b> <i>none: no layer would overflow</i></p>\n"
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(one.layer)}</code></th><td>{one.amax:,.0f}</td></tr>\n'
        for one in sorted(precision.in_fp32, key=lambda one: -one.amax)
    )
    table = f"""<table>
<thead><tr><th scope="col">layer</th><th scope="col">peak value</th></tr></thead>
<tbody>
{rows}</tbody>
</table>"""
    return (
        f"<p><b>{name}</b> <i>these would overflow or come near it; FP16 ends at 65,504</i></p>\n{scrolling(table)}\n"
    )


def _drift(verification: Verification) -> str:
    drifted = [precision for precision in verification.precisions if precision.drift or precision.drift_search]
    if not drifted:
        return ""
    return section("Where it drifted", "".join(_drifted(precision) for precision in drifted))


def _drifted(precision: PrecisionVerification) -> str:
    engine, name = precision.drift_search, f"<b>{escape(precision.precision)}</b>"
    how = f'<p class="guide">{escape(how_sentence(engine))}</p>\n' if engine and not engine.reason else ""
    if not precision.drift:
        return f"<p>{name} <i>{escape(origin_sentence(precision))}</i></p>\n{how}"
    largest = max(layer.relative_error for layer in precision.drift)
    peak = "peak in the graph" if engine and engine.place != "graph" else "peak in FP32"
    rows = "".join(_layer(layer, largest) for layer in precision.drift)
    table = f"""<table class="drift">
<thead><tr><th scope="col">position</th><th scope="col">layer</th><th scope="col" colspan="2">relative error</th>
<th scope="col">largest error</th><th scope="col">{peak}</th></tr></thead>
<tbody>
{rows}</tbody>
</table>"""
    origin = f"{_first_layer(precision)}{_furthest_level(precision)}"
    return f"<p>{name} {origin}</p>\n{how}{scrolling(table)}\n"


def _first_layer(precision: PrecisionVerification) -> str:
    threshold = threshold_of(precision)
    above, first = f"above {100 * threshold:g} %", first_drift(precision.drift, threshold)
    if first is None:
        return f"<i>no layer is {above}</i>"
    place = f"{escape(first.op)} at position {first.position:,}"
    return f"<i>first layer {above}:</i> <code>{escape(first.layer)}</code> <i>({place})</i>"


def _furthest_level(precision: PrecisionVerification) -> str:
    if len(precision.similarity.levels) < 2:
        return ""
    level = furthest_level(precision.similarity)
    return f"<i>; level furthest off:</i> {escape(level.level)} <i>(smallest similarity {level.minimum:.6f})</i>"


def _layer(layer: LayerDrift, largest: float) -> str:
    share = 1.0 if layer.not_finite else layer.relative_error / (largest or 1.0)
    error = f"{layer.not_finite:,} not finite" if layer.not_finite else f"{100 * layer.relative_error:.3g} %"
    return f"""<tr><td>{layer.position:,}</td>
<th scope="row"><code>{escape(layer.layer)}</code> <i>{escape(f"{layer.op} {layer.weight}")}</i></th>
<td class="bar"><svg aria-hidden="true"><rect width="{100 * share:.1f}%" height="100%"/></svg></td>
<td>{error}</td><td>{layer.largest_error:.3g}</td><td>{layer.peak:,.4g}</td></tr>
"""


# Queries


def _worst_queries(verification: Verification) -> str:
    pictures = Pictures()
    content = ""
    for precision in verification.precisions:
        if precision.worst_queries:
            names = (verification.reference_name, precision.precision)
            queries = "".join(_query(query, names, pictures) for query in precision.worst_queries)
            content += f"<h3>{escape(precision.precision)}</h3>\n{queries}"
    if not content:
        return ""
    guide = """<p class="guide">The queries that lost the most average precision (AP), and their first matches
before and after: {right} the same vehicle, {wrong} another vehicle.</p>"""
    right, wrong = (f'<span class="{name}">{mark(name)}</span>' for name in ("right", "wrong"))
    return section("Worst queries", guide.format(right=right, wrong=wrong) + f"\n{content}")


def _query(query: WorstQuery, names: tuple[str, str], pictures: Pictures) -> str:
    before, after = query.average_precision
    name = Path(query.query).name
    return f"""<article class="query" aria-label="{escape(f"{query.protocol.upper()} query {name}")}">
<div class="card">
<div class="frame">{pictures.draw(query.query, Path(query.query), f"query: {name}")}</div>
<p class="rank"><b>{escape(query.protocol.upper())}</b><span>{signed(after - before, 1)} AP</span></p>
<p class="name" title="{escape(query.query)}">{escape(name)}</p>
</div>
<div class="rankings">
{_ranking(f"{names[0]}, AP {before:.1f}", query.before, pictures)}
{_ranking(f"{names[1]}, AP {after:.1f}", query.after, pictures)}
</div>
</article>
"""


def _ranking(heading: str, matches: Sequence[tuple[str, bool]], pictures: Pictures) -> str:
    cards = "".join(_match(rank, *match, pictures) for rank, match in enumerate(matches, start=1))
    ranked = f"<ol>\n{cards}</ol>" if cards else "<p><i>no matches</i></p>"
    return f"<div>\n<h4>{escape(heading)}</h4>\n{ranked}\n</div>"


def _match(rank: int, picture: str, is_right: bool, pictures: Pictures) -> str:
    judged, name = "right" if is_right else "wrong", Path(picture).name
    drawn = pictures.draw(picture, Path(picture), f"match {rank}: {name}")
    return f"""<li class="card {judged}">
<div class="frame">{drawn}{mark(judged)}</div>
<p class="name" title="{escape(picture)}"><b>{rank}</b> {escape(name)}</p>
</li>
"""


# Facts and what all sections share


def _facts(verification: Verification) -> str:
    tolerance = verification.tolerance
    facts: dict[str, str] = {
        "model": verification.fingerprint[:12],
        "compared with": verification.reference,
        **{str(precision.precision): precision.session for precision in verification.precisions},
        "tolerance": f"mAP {tolerance.map:g}, Rank-k {tolerance.rank:g} points; similarity {tolerance.similarity:g}",
    }
    if any(precision.precision == "int8" for precision in verification.precisions):
        facts["tolerance"] += f", of INT8 {tolerance.int8_similarity:g}"
    facts |= {f"engine {place}": engine_sentence(one) for place, one in enumerate(verification.engines, start=1)}
    return section("Facts", f"{terms(facts)}\n{terms(_data(verification))}")


def _data(verification: Verification) -> dict[str, str]:
    data = verification.judged_on
    if isinstance(data, ReferenceCrops):
        return {"reference crops": f"{data.crops:,}"}
    return {
        "name": data.name,
        "layout": f"{data.layout}, held-out training vehicles" if data.held_out else data.layout,
        "query images": f"{data.query_images:,}",
        "gallery images": f"{data.gallery_images:,}",
        "unreadable frames, left out": f"{data.unreadable:,}",
        "same camera": same_camera(verification),
    }
