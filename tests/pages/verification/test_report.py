"""The page of a verification: read as text, and rendered by a real browser."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from headless_browser import Browser
from html_page import Page, assert_asks_nothing_of_the_network, assert_can_be_heard
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.evaluation.verification.failures import Defect, Dissimilar, Fallen, LevelMinimum, Told, Unusable
from reid.evaluation.verification.records import (
    Change,
    DriftSearch,
    EngineFacts,
    LayerDrift,
    LayerInFp32,
    LevelSimilarity,
    PrecisionVerification,
    ProtocolComparison,
    ReferenceCrops,
    ReferenceData,
    Similarity,
    Tolerance,
    Verification,
    WorstQuery,
)
from reid.evaluation.verification.similarity import EDGES
from reid.evaluation.verification.tolerance_checks import check_changes
from reid.pages.verification.report import write_verification_report
from reid.runtime.engine_judgment import EngineJudgment
from reid.runtime.precision import PRECISIONS

METRICS = ("mAP", "R-1", "R-5", "R-10")


# Records


def similarity(smallest: float = 0.999876, frames: int = 1678) -> Similarity:
    names = ("all", "level3", "level4")
    levels = tuple(
        LevelSimilarity(level=name, minimum=smallest - 0.01 * i, first_percentile=0.99991 - 0.01 * i, median=0.999987)
        for i, name in enumerate(names)
    )
    counts = [0] * (len(EDGES) + 1)
    counts[0], counts[6], counts[-1] = frames - 8, 7, 1
    return Similarity(frames=frames, levels=levels, counts=tuple(counts), edges=EDGES)


def comparison(protocol: str = "i2i", falls: tuple[float, ...] = (0.02, 0.0, -0.04, 0.011)) -> ProtocolComparison:
    reference = dict(zip(METRICS, (62.48, 88.64, 94.75, 96.9), strict=True))
    changes = tuple(
        Change(
            measure=name,
            reference=reference[name],
            candidate=reference[name] - fall,
            interval=(-fall - 0.21, -fall + 0.34),
            p_value=0.01,
            allowed=0.5,
            verdict="outside" if fall > 0.5 else "within",
        )
        for name, fall in zip(METRICS, falls, strict=True)
    )
    return ProtocolComparison(protocol=protocol, changes=changes, first_match_changed=3.21, queries=1678)


def precision(name: str = "fp16", **fields: Any) -> PrecisionVerification:  # noqa: ANN401 - the record's own
    return PrecisionVerification(
        **{"precision": name, "session": "onnxruntime CPU", "similarity": similarity(), **fields}
    )


DATA = ReferenceData(name="VeRi", layout="veri", held_out=False, query_images=1678, gallery_images=11579, unreadable=0)


def verification(*precisions: PrecisionVerification, **fields: Any) -> Verification:  # noqa: ANN401 - the record's own
    facts = {"fingerprint": "3f9c2a7be01d" + "5" * 52, "reference": "torch CPU", "judged_on": DATA}
    return Verification(**{**facts, "tolerance": Tolerance(), "precisions": precisions, **fields})


FALL = Fallen(
    precision="fp16",
    protocol="i2i",
    metric="mAP",
    reference=62.48,
    candidate=61.28,
    allowed=0.5,
    interval=(-1.4, -1.0),
    queries=1678,
    p_value=0.0004,
)
FAR = Dissimilar(
    precision="fp16",
    frames=1678,
    minimum=0.95,
    required=0.99,
    tolerance=0.99,
    spread=1.0,
    furthest=LevelMinimum(level="level4", minimum=0.93),
    first=LevelMinimum(level="level3", minimum=0.94),
)


def told(text: str) -> Told:
    return Told(precision="fp16", text=text)


def layer(name: str, position: int, error: float, not_finite: int = 0) -> LayerDrift:
    return LayerDrift(
        layer=name,
        op="Conv",
        position=position,
        relative_error=error,
        largest_error=0.123,
        peak=4321,
        not_finite=not_finite,
        weight=f"{name}.weight",
    )


def picture(folder: Path, name: str) -> str:
    cv2.imwrite(str(folder / name), np.full((40, 60, 3), 99, np.uint8))
    return str(folder / name)


def worst_query(folder: Path) -> WorstQuery:
    query, same, other = (picture(folder, name) for name in ("query.jpg", "same.jpg", "other.jpg"))
    return WorstQuery(
        protocol="i2t",
        query=query,
        average_precision=(92.34, 41.87),
        before=((same, True), (other, False)),
        after=((other, False), (same, True), (other, False)),
    )


def failing(folder: Path) -> Verification:
    """Three precisions, of which fp16 has everything that a page can show."""
    bad = precision(
        similarity=similarity(0.95),
        protocols=(comparison(falls=(1.2, 0.83, 0.1, 0)), comparison("i2t")),
        worst_queries=(worst_query(folder),),
        drift=(layer("late", 90, 0.42), layer("early", 7, 0.013), layer("first", 1, 0.0004)),
        in_fp32=(LayerInFp32(layer="small", amax=17000.0), LayerInFp32(layer="large", amax=48211.4)),
        failures=(FALL, FAR),
    )
    fine = (comparison(), comparison("i2t"))
    return verification(precision("fp32", protocols=fine), bad, precision("int8", protocols=fine))


# The page as text


def write(folder: Path, record: Verification, title: str = "Verification") -> str:
    path = folder / "report.html"
    write_verification_report(path, record, title=title)
    return path.read_text(encoding="utf-8")


def page_of(folder: Path, record: Verification) -> Page:
    return Page(write(folder, record))


def points(value: float) -> str:
    """A number with sign and true minus, none where it is zero."""
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def test_the_verdict_is_in_words(tmp_path: Path) -> None:
    text = page_of(tmp_path, failing(tmp_path)).words
    assert text.startswith("Verification OUTSIDE tolerance fp32 is within tolerance on all protocols: I2I, I2T")
    assert "fp16 is OUTSIDE tolerance: I2I mAP fell 1.20 points (tolerance 0.50)" in text
    fall = "i2i mAP fell by 1.20 points, from 62.48 to 61.28, tolerance 0.5; not chance, p = 0.0004"
    assert (
        f"(tolerance 0.50) {fall} (95 % interval -1.40 to -1.00, 1,678 queries) the least similar of 1678 embeddings"
        in text
    )
    assert "level4 is the furthest off, 0.930000, and level3 the first, 0.940000" in text
    assert "int8 is within tolerance on all protocols" in text


def test_what_passed_says_how_near_it_came(tmp_path: Path) -> None:
    text = page_of(tmp_path, verification(precision(protocols=(comparison(),)))).words
    assert text.startswith("Verification within tolerance fp16 is within tolerance on I2I")
    assert "largest fall: I2I mAP by 0.02 points (tolerance 0.50)" in text
    assert "smallest cosine similarity: 0.999876 (needs 0.990000)" in text
    risen = precision(protocols=(comparison(falls=(-0.1, -0.2, 0.001, 0)),))
    assert "no metric fell" in page_of(tmp_path, verification(risen)).words


def test_what_was_not_verified_is_said(tmp_path: Path) -> None:
    crops = precision(similarity=similarity(frames=32))
    page = page_of(tmp_path, verification(crops, judged_on=ReferenceCrops(crops=32)))
    note = "mAP and Rank-k were not verified: embeddings of 32 reference crops only; give --verify DATA"
    assert note in page.words
    assert page.words.startswith(f"Verification embeddings within tolerance {note} fp16 is within tolerance on")
    assert "Retrieval" not in page.words
    assert "not verified" not in page_of(tmp_path, failing(tmp_path)).words


def test_metrics_are_those_of_the_records(tmp_path: Path) -> None:
    record = failing(tmp_path)
    page = page_of(tmp_path, record)
    first = record.precisions[0].protocols[0]
    assert page.named("PyTorch") == [[*(f"{change.reference:.2f}" for change in first.changes), ""]] * 2
    for one in record.precisions:
        expected = [
            [
                *(
                    f"{change.candidate:.2f} {points(change.difference)} "
                    f"[{points(change.interval[0])}, {points(change.interval[1])}]"
                    for change in found.changes
                ),
                "3.21 %",
            ]
            for found in one.protocols
        ]
        assert page.named(one.precision) == expected


def test_exceeded_metrics_are_marked_and_no_others(tmp_path: Path) -> None:
    page = page_of(tmp_path, failing(tmp_path))
    # mAP and R-1 of I2I, and the smallest similarity.
    assert [cell.get("class") for cell in page.all("td")].count("wrong") == 3
    labels = [svg.get("aria-label") for svg in page.all("svg")]
    assert labels.count("outside tolerance") == 3 + 1  # and in the legend
    assert labels.count("OUTSIDE tolerance") == 2  # the strip, and fp16


def test_what_is_undecided_is_marked_and_says_how_many_queries_would_settle_it(tmp_path: Path) -> None:
    open_one = comparison().changes[1].model_copy(update={"verdict": "undecided", "settled_by": 2433})
    changes = (comparison().changes[0], open_one, *comparison().changes[2:])
    found = comparison().model_copy(update={"changes": changes})
    page = page_of(tmp_path, verification(precision(protocols=(found,))))
    start = "Verification not outside tolerance, in part undecided fp16 is not outside tolerance on I2I, and in part"
    assert page.words.startswith(start)
    assert "1,678 queries cannot decide on I2I R-1" in page.words
    assert "; about 2,433 would" in page.words
    assert [cell.get("class") for cell in page.all("td")].count("open") == 1
    (refused,) = check_changes("fp16", found, Tolerance(strict=True))
    strict = precision(protocols=(found,), failures=(refused,))
    words = page_of(tmp_path, verification(strict, tolerance=Tolerance(strict=True))).words
    assert "fp16 is undecided, and REFUSED" in words
    assert "--strict lets nothing pass that is undecided" in words


def test_operating_points_and_post_processing_have_rows_of_their_own(tmp_path: Path) -> None:
    rate = comparison().changes[0].model_copy(update={"measure": "TMR@1e-3", "reference": 81.5, "candidate": 80.0})
    plain = comparison().model_copy(update={"changes": (*comparison().changes, rate)})
    reranked = comparison().model_copy(update={"post_processing": "re-ranking"})
    page = page_of(tmp_path, verification(precision(protocols=(plain, reranked))))
    assert "I2I with re-ranking 1,678 queries" in page.words
    assert len(page.named("fp16")) == 3
    assert page.words.index("Retrieval") < page.words.index("Operating points")
    assert page.named("fp16")[2][0].startswith("80.00 ")
    assert [row for row in page.named("PyTorch") if len(row) == 1] == [["81.50"]]


def test_a_precision_without_a_protocol_or_a_metric_is_shown(tmp_path: Path) -> None:
    whole = comparison()
    partial = whole.model_copy(update={"changes": whole.changes[:1]})
    page = page_of(tmp_path, verification(precision("fp32", protocols=(whole,)), precision(protocols=(partial,))))
    assert page.named("fp16")[0][1:] == ["\N{EN DASH}"] * 3 + ["3.21 %"]
    broken = precision(failures=(Unusable(precision="fp16", defect=Defect(frames=9, defective=2)),))
    page = page_of(
        tmp_path,
        verification(
            precision("fp32", protocols=(whole,)),
            broken,
        ),
    )
    assert len(page.named("fp32")) == 1
    assert not page.named("fp16")
    assert "fp16 is OUTSIDE tolerance 2 of 9 embeddings are NaN or infinite" in page.words


def test_similarities_are_those_of_the_records(tmp_path: Path) -> None:
    page = page_of(tmp_path, verification(precision()))
    for level in similarity().levels:
        values = (level.minimum, level.first_percentile, level.median)
        assert page.named(level.level) == [[f"{value:.6f}" for value in values]]
    assert "fp16 1,678 frames, smallest needs 0.990000" in page.words


def test_the_histogram_draws_every_count(tmp_path: Path) -> None:
    page = page_of(tmp_path, verification(precision("fp32"), precision()))
    bars = [rect for rect in page.all("rect") if "y" in rect and "rx" not in rect]
    assert len(bars) == 2 * 3
    heights = [float(bar["height"] or 0) for bar in bars[:3]]
    assert heights == [64.0, 2.0, 2.0]  # the highest fills its panel, and a single frame is still seen
    places = [float(bar["x"] or 0) for bar in bars[:3]]
    assert places == sorted(places)
    assert places[0] >= 52
    assert all(float(bar["x"] or 0) + float(bar["width"] or 0) <= 472 for bar in bars)
    assert "frames: 1,670" in page.words
    for words in ("frames", "1 \N{MINUS SIGN} cosine similarity", "10⁻⁷", "10⁻¹"):
        assert words in page.words


def test_the_tolerance_is_a_line_among_the_counts(tmp_path: Path) -> None:
    record = verification(precision(similarity=similarity().model_copy(update={"spread": 0.1})))
    page = page_of(tmp_path, record)
    (line,) = [path["d"] or "" for path in page.all("path") if path.get("class") == "limit"]
    # 0.01 of a spread of 0.1: at 1e-3. The axis has seven decades and half a one, which is a bin, on either side.
    assert float(line[1:].split()[0]) == pytest.approx(52 + 420 * 4.5 / 8, abs=0.1)
    exact = record.model_copy(update={"tolerance": Tolerance(similarity=1)})
    assert not [path for path in page_of(tmp_path, exact).all("path") if path.get("class") == "limit"]


def test_without_counts_there_is_no_histogram(tmp_path: Path) -> None:
    empty = similarity().model_copy(update={"counts": (), "edges": ()})
    page = page_of(tmp_path, verification(precision(similarity=empty)))
    assert not [svg for svg in page.all("svg") if svg.get("class") == "histogram"]
    assert "0.999876" in page.words


def test_layers_kept_in_fp32_are_named_with_the_largest_peak_first(tmp_path: Path) -> None:
    page = page_of(tmp_path, failing(tmp_path))
    assert [row for row in page.rows if row[0] in ("large", "small")] == [["large", "48,211"], ["small", "17,000"]]
    assert "int8 none" in page.words
    assert "fp32 none" not in page.words


def test_drift_names_the_first_layer_and_the_level(tmp_path: Path) -> None:
    page = page_of(tmp_path, failing(tmp_path))
    assert "fp16 first layer above 1 %: early (Conv at position 7); level furthest off: level4" in page.words
    drawn = [row for row in page.rows if row[0] in ("90", "7", "1")]
    assert drawn[0] == ["90", "late Conv late.weight", "", "42 %", "0.123", "4,321"]
    assert [row[1].split()[0] for row in drawn] == ["late", "early", "first"]
    widths = [rect["width"] for rect in page.all("rect") if (rect["width"] or "").endswith("%")]
    assert widths == ["100.0%", "3.1%", "0.1%"]
    assert "drifted" not in page_of(tmp_path, verification(precision())).words


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([layer("overflows", 5, 0.0, not_finite=12345), layer("other", 2, 0.001)], "above 1 %: overflows (Conv"),
        ([layer("small", 5, 0.004)], "no layer is above 1 %"),
        ([layer("same", 5, 0.0)], "no layer is above 1 %"),
    ],
)
def test_drift_of_any_kind_is_shown(tmp_path: Path, layers: list[LayerDrift], said: str) -> None:
    page = page_of(tmp_path, verification(precision(drift=layers)))
    assert said in page.words
    assert ("12,345 not finite" in page.words) == (layers[0].not_finite > 0)


ENGINE = {"threshold": 0.1, "marked": 52, "builds": 9}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "first layer above 10 %: late (Conv at position 90)"),
        ({"place": "fusion", "fused": ("a", "b")}, "those of 2 layers are not given (9 builds): a, b."),
        ({"place": "build"}, "so is one that gives no tensors of layers"),
        ({"place": "graph"}, "the graph's layers beside those of the FP32 graph"),
    ],
)
def test_how_the_drift_of_an_engine_was_found_is_said(tmp_path: Path, how: dict[str, Any], said: str) -> None:
    layers = (layer("late", 90, 0.42), layer("early", 7, 0.013))
    found = precision(drift=layers, drift_search=DriftSearch(**{**ENGINE, **how}))
    page = page_of(tmp_path, verification(found))
    assert said in page.words
    assert ("peak in FP32" in page.words) == (how.get("place") == "graph")


def test_where_no_drift_was_found_the_page_says_why(tmp_path: Path) -> None:
    found = precision(drift_search=DriftSearch(reason="no <GPU> here"))
    assert "fp16 where it departs was not found: no <GPU> here" in page_of(tmp_path, verification(found)).words


def test_worst_queries_show_right_and_wrong_before_and_after(tmp_path: Path) -> None:
    page = page_of(tmp_path, failing(tmp_path))
    cards = [item["class"] for item in page.all("li") if "card" in (item.get("class") or "")]
    assert cards == [f"card {judged}" for judged in ("right", "wrong", "wrong", "right", "wrong")]
    assert "PyTorch, AP 92.3" in page.words
    assert "fp16, AP 41.9" in page.words
    assert "I2T \N{MINUS SIGN}50.5 AP".replace(" ", "") in page.words.replace(" ", "")
    # Each of three files is embedded once, and drawn six times.
    images = page.all("image")
    assert len(images) == 3
    for image in images:
        kind, _, data = (image["href"] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape == (40, 60, 3)
    assert sum((use["href"] or "").startswith("#picture") for use in page.all("use")) == 6


def test_a_picture_that_is_gone_has_a_placeholder(tmp_path: Path) -> None:
    gone = WorstQuery(protocol="i2i", query="gone.jpg", average_precision=(50, 0), before=(), after=())
    page = page_of(tmp_path, verification(precision(worst_queries=(gone,))))
    assert not page.all("image")
    assert "#no-picture" in [use["href"] for use in page.all("use")]
    assert page.words.count("no matches") == 2


def test_facts_are_those_of_the_record(tmp_path: Path) -> None:
    text = page_of(tmp_path, failing(tmp_path)).words
    for fact in ("model 3f9c2a7be01d", "compared with torch CPU", "fp16 onnxruntime CPU", "gallery images 11,579"):
        assert fact in text
    assert "mAP 0.5, Rank-k 0.5 points; similarity 0.99" in text
    assert "name VeRi layout veri query images 1,678" in text


def test_engines_and_held_out_vehicles_are_said(tmp_path: Path) -> None:
    engine = EngineFacts(
        precision="fp16",
        flavor="tensorrt-rtx",
        version="1.7",
        device="sm89",
        layers={"fp16": 50, "fp32": 2},
        source="build log",
        reason="no GPU here",
    )
    held_out = DATA.model_copy(update={"held_out": True})
    record = verification(precision(), judged_on=held_out, engines=(engine, "a sentence of version 1"))
    text = page_of(tmp_path, record).words
    said = "fp16 for sm89 by tensorrt-rtx 1.7; layers 50 in fp16, 2 in fp32, by the build log; not run: no GPU here"
    assert f"engine 1 {said}; not verified on data engine 2 a sentence of version 1" in text
    assert "layout veri, held-out training vehicles" in text


def test_an_engine_that_was_not_run_on_data_is_said_first(tmp_path: Path) -> None:
    facts = {"precision": "fp16", "flavor": "tensorrt", "version": "10.3", "layers": {"fp16": 50}, "source": "engine"}
    judged = EngineJudgment(verdict="within", data="1678 queries of VeRi (veri)", reference="torch CPU")
    engines = (EngineFacts(device="Orin", **facts), EngineFacts(device="L4", judged=judged, **facts))
    text = page_of(tmp_path, verification(precision(), engines=engines)).words
    first = "fp16 engine for Orin: not verified on data fp16 engine for L4: within tolerance on 1678 queries of VeRi"
    assert text.startswith(f"Verification within tolerance {first}")


def test_what_stands_in_for_pytorch_is_said(tmp_path: Path) -> None:
    graph = "the bundle's FP32 graph by ONNX Runtime 1.31 on CPU"
    record = verification(precision("int8", protocols=(comparison(),)), reference=graph, stand_in=True)
    page = page_of(tmp_path, record)
    assert page.words.startswith(f"Verification within tolerance Compared with {graph}, which stands in for PyTorch")
    assert page.named("FP32 graph")
    assert not page.named("PyTorch")


def test_the_section_on_int8_is_shown_as_it_is_given(tmp_path: Path) -> None:
    path, style = tmp_path / "report.html", tmp_path / "int8.css"
    style.write_text(".int8 { color: red }")
    section = '<section class="int8"><h2>INT8</h2></section>'
    write_verification_report(path, verification(precision("int8")), title="t", int8=section, styles=[style])
    html = path.read_text()
    assert html.index("Similarity of embeddings") < html.index(section) < html.index("Layers kept in FP32")
    assert ".int8 { color: red }" in html


def test_nothing_verified_is_no_pass(tmp_path: Path) -> None:
    text = page_of(tmp_path, verification()).words
    assert text.startswith("Verification No precision was verified.")
    assert "within tolerance" not in text


def test_all_precisions_stand_side_by_side(tmp_path: Path) -> None:
    record = verification(*(precision(name, protocols=(comparison(),)) for name in PRECISIONS))
    page = page_of(tmp_path, record)
    shown = [row[0] for row in page.rows if row[0] in PRECISIONS and len(row) == len(METRICS) + 2]
    assert shown == list(PRECISIONS)
    assert [group["class"] for group in page.all("g")] == [f"series-{number}" for number in range(3)]


hostile = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    ['"><script>alert(1)</script>', "</table></main>", "'&amp;", "]]>", "<!--", "{0}"]
)


@settings(max_examples=40)
@given(name=hostile, other=hostile)
def test_whatever_the_names_the_page_keeps_its_structure(
    tmp_path_factory: pytest.TempPathFactory, name: str, other: str
) -> None:
    folder = tmp_path_factory.getbasetemp()

    def structure(name: str, other: str) -> list[str]:
        levels = (*similarity().levels, LevelSimilarity(level=name, minimum=1, first_percentile=1, median=1))
        query = WorstQuery(
            protocol=name,
            query=f"gone/{name}",
            average_precision=(50, 0),
            before=((f"gone/{other}", True),),
            after=(),
        )
        record = precision(
            session=other,
            similarity=similarity().model_copy(update={"levels": levels}),
            protocols=(comparison(name),),
            worst_queries=(query,),
            drift=(layer(name, 1, 0.5),),
            in_fp32=(LayerInFp32(layer=other, amax=1.0),),
            failures=(told(name), FALL.model_copy(update={"metric": other})),
        )
        data = DATA.model_copy(update={"name": name, "layout": other})
        whole = verification(record, judged_on=data, fingerprint=other, reference=name, engines=(name,))
        return [tag for tag, _ in Page(write(folder, whole, title=name)).tags]

    assert structure(name, other) == structure("n", "o")


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    name = '"><img src=x onerror=alert(1)> & "quotes"'
    record = verification(precision(drift=(layer(name, 1, 0.5),), failures=(told(name),)))
    page = Page(write(tmp_path, record, title=name))
    assert page.words.count(name) == 5  # the heading, the failure, the first layer, the layer, its weight


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    assert_asks_nothing_of_the_network(write(tmp_path, failing(tmp_path)))


def test_the_page_can_be_heard(tmp_path: Path) -> None:
    assert_can_be_heard(write(tmp_path, failing(tmp_path)))


# In a real browser


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_renders_all_of_it(browser: Browser, tmp_path: Path, width: int) -> None:
    record = failing(tmp_path)
    long = precision(session="s" * 300, drift=(layer("n" * 300, 1, 0.5),), failures=(told("f" * 300),))
    html = write(tmp_path, verification(*record.precisions, long), title="t" * 200)
    found = browser.probe(
        html,
        tmp_path / "probe.html",
        width,
        outside='outside(all(".histogram")[0])',
        verdictInSight='box(all(".verdict")[0]).bottom < innerHeight',
    )
    assert found == {
        "images": 3,
        "decoded": 3,
        "dangling": 0,
        "overflow": 0,
        "outside": 0,
        "verdictInSight": True,
        "errors": [],
    }
