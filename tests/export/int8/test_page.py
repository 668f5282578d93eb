"""What a bundle's page and that of `reid-calibrate` say of INT8, read as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from reid.calibration.amax import METHODS, Amax, TensorAmax
from reid.calibration.scales import ScaleFile
from reid.calibration.search import Evaluation
from reid.calibration.selection import CalibrationFacts
from reid.calibration.sensitivity import LayerEffect, Sensitivity
from reid.evaluation.verification.records import (
    LevelSimilarity,
    PrecisionVerification,
    ReferenceCrops,
    ReferenceData,
    Similarity,
    Tolerance,
    Verification,
)
from reid.evaluation.verification.similarity import EDGES
from reid.export.int8.page import section_of, write_sensitivity_page
from reid.export.int8.record import EngineTimes, Int8Record
from reid.pages.verification.report import write_verification_report


def effect(name: str, error: float, op: str = "Conv", fraction: float = 0.2) -> LayerEffect:
    return LayerEffect(
        layer=name,
        op=op,
        fraction=fraction,
        error=error,
        worst=3 * error,
        map_change=-100 * error,
        tensor=f"read by {name}",
        method="mse",
    )


LAYERS = (
    effect("backbone.conv1", 1e-5, fraction=0.1),
    effect("backbone.layer1.0.conv1", 1e-2, fraction=0.5),
    effect("backbone.layer1.0.conv1 residual", 1e-3, "Add", fraction=0),
    effect("pooling of relu_7", 1e-4, "ReduceMax", fraction=0),
    effect("backbone.layer2.0.conv1", 0.0, fraction=0.3),
)


def sensitivity(*layers: LayerEffect) -> Sensitivity:
    return Sensitivity(
        layers=layers,
        method_errors={"max": 0.25, "mse": 0.0125},
        amax={layer.tensor: 1.0 for layer in layers},
    )


def scales(*layers: LayerEffect) -> ScaleFile:
    by_method = {method: Amax(value=1, clipped=0.0625, error=0.03) for method in METHODS}
    facts = CalibrationFacts(
        split="train",
        requested=64,
        count=60,
        seed=5,
        cameras={"c001": 40, "c002": 20},
        vehicles=17,
        unreadable=1,
        names_sha256="ab" * 32,
    )
    tensors = {layer.tensor: TensorAmax(largest=1, zeros=0, by_method=by_method) for layer in layers}
    return ScaleFile(
        format_version=1, graph_sha256="cd" * 32, fingerprint="ef" * 32, calibration=facts, tensors=tensors
    )


def record() -> Int8Record:
    def evaluation(*in_fp16: str, fall: float, failed: bool) -> Evaluation:
        changes = {"i2i mAP": fall, "i2i R-1": 0.3}
        return Evaluation(in_fp16=in_fp16, failures=("i2i: mAP fell",) * failed, changes=changes, similarity=0.91)

    worst, addition = "backbone.layer1.0.conv1", "backbone.layer1.0.conv1 residual"
    return Int8Record(
        judged_on=ReferenceData(
            name="data", layout="veri", held_out=True, query_images=17, gallery_images=40, unreadable=0
        ),
        in_fp16=(worst,),
        int8_percent=40.0,
        predicted_speedup=1.25,
        evaluations=(
            evaluation(fall=-7.5, failed=True),
            evaluation(worst, addition, fall=-0.1, failed=False),
            evaluation(worst, fall=-0.2, failed=False),
        ),
        sensitivity=sensitivity(*LAYERS),
    )


class Reader(HTMLParser):
    """Text, rows of cells and tags; fails where a tag is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not [tag for tag in self._open if tag != "meta"]
        self.text = " ".join(self.text.split())
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.text += " " * (tag in ("dt", "dd"))

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data


def test_the_section_holds_the_numbers_of_the_record() -> None:
    page = Reader(section_of(record(), scales(*LAYERS)))
    for fact in (
        "multiply-accumulates in INT8 40.0 %",
        "layers in INT8 4 of 5",
        "predicted speed-up over FP16 at most 1.25",
        "upper bound",
        "judged on 17 queries of data (veri, held-out training vehicles)",
        "frames 60 of the training split",
        "vehicles 17",
        "cameras c001 40, c002 20",
        "seed 5",
        "unreadable 1",
    ):
        assert fact in page.text
    in_fp16 = ["backbone.layer1.0.conv1 Conv", "50.0 %", "1.00e-02", "3.00e-02", "\N{MINUS SIGN}1.00", "mse"]
    assert in_fp16 in page.rows
    assert ["max", "2.50e-01", "6.2 %", "3 %", "0 of 5 tensors"] in page.rows
    assert ["mse", "1.25e-02", "6.2 %", "3 %", "5 of 5 tensors"] in page.rows


def test_every_evaluation_is_a_row_with_what_it_changed_and_its_verdict() -> None:
    rows = [row for row in Reader(section_of(record(), scales(*LAYERS))).rows if row[0] in ("1", "2", "3")]
    worst, minus = "backbone.layer1.0.conv1", "\N{MINUS SIGN}"
    assert rows == [
        ["1", "0", "90.0 %", f"i2i mAP {minus}7.50", "0.9100", "OUTSIDE tolerance"],
        ["2", f"2 +{worst}, {worst} residual", "40.0 %", f"i2i mAP {minus}0.10", "0.9100", "within tolerance"],
        ["3", f"1 {minus}{worst} residual", "40.0 %", f"i2i mAP {minus}0.20", "0.9100", "within tolerance"],
    ]


def test_what_judged_and_the_measured_times_are_shown() -> None:
    found = record()
    first, *others, last = found.evaluations
    judged = [one.model_copy(update={"session": "fast"}) for one in (first, *others)]
    confirmed = last.model_copy(update={"session": "usual"})
    times = EngineTimes(int8=2.5, fp16=2.25)
    facts = {"judged_by": "fast", "budget": 15, "objective": "latency", "times": times}
    page = Reader(section_of(found.model_copy(update=facts | {"evaluations": (*judged, confirmed)}), scales(*LAYERS)))
    for fact in ("evaluations 3 of at most 15", "judged by fast", "a batch 2.50 ms, FP16 2.25 ms; INT8 is not faster"):
        assert fact in page.text
    verdicts = [row[-1] for row in page.rows if row[0] in ("1", "2", "3")]
    assert verdicts == ["OUTSIDE tolerance", "within tolerance", "within tolerance by usual"]


def test_the_data_that_judged_is_named_also_if_it_is_crops_or_the_sentence_of_before() -> None:
    for judged_on, sentence in ((ReferenceCrops(crops=32), "32 reference crops"), ("9 queries of x", "9 queries of x")):
        page = Reader(section_of(record().model_copy(update={"judged_on": judged_on}), scales(*LAYERS)))
        assert f"judged on {sentence}" in page.text


def test_all_in_int8_is_said() -> None:
    everything = record().model_copy(update={"in_fp16": ()})
    assert "None: with every layer in INT8" in Reader(section_of(everything, scales(*LAYERS))).text


def test_the_page_lists_all_layers_worst_first_and_asks_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_sensitivity_page(path, scales(*LAYERS), sensitivity(*LAYERS))
    html = path.read_text()
    page = Reader(html)
    names = [row[0].rpartition(" ")[0] for row in page.rows if len(row) == 6 and row[0] != "layer"]
    assert names == [layer.layer for layer in sorted(LAYERS, key=lambda one: -one.error)]
    assert "FP32 graph cdcdcdcdcdcd" in page.text
    assert not re.search(r"https?:|<script|@import|url\(", html)


def test_whatever_the_names_the_page_keeps_its_structure(tmp_path: Path) -> None:
    def tags(name: str) -> list[str]:
        layers = (effect(name, 0.1), *LAYERS)
        write_sensitivity_page(tmp_path / "report.html", scales(*layers), sensitivity(*layers))
        return Reader((tmp_path / "report.html").read_text()).tags

    assert tags('"><script>alert(1)</script>') == tags("a layer with a long name")


def test_the_bundles_page_has_the_section_and_int8s_own_tolerance(tmp_path: Path) -> None:
    level = LevelSimilarity(level="all", minimum=0.95, first_percentile=0.96, median=0.99)
    similarity = Similarity(frames=9, levels=(level,), counts=(9, *[0] * len(EDGES)), edges=EDGES)
    verification = Verification(
        fingerprint="f" * 64,
        reference="torch CPU",
        judged_on=ReferenceCrops(crops=9),
        tolerance=Tolerance(),
        precisions=(PrecisionVerification(precision="int8", session="cpu", similarity=similarity),),
    )
    path = tmp_path / "report.html"
    write_verification_report(path, verification, title="t", int8=section_of(record(), scales(*LAYERS)))
    html = path.read_text()
    assert "<h2>INT8</h2>" in html
    assert "smallest needs 0.900000" in Reader(html).text
    assert 'aria-label="outside tolerance"' not in html
    write_verification_report(path, verification, title="t")
    assert "<h2>INT8</h2>" not in path.read_text()
