"""The table of a result: every cell against the record it comes from, whatever the names."""

from __future__ import annotations

import csv
import io
import re

import pytest
from bench_results import BATCHES, estimate, result, sample, subject
from rich.console import Console

from reid.bench.recommendation import choose
from reid.bench.report.numbers import estimated
from reid.bench.report.table import as_csv, as_markdown, as_renderables, result_table
from reid.bench.result import Absent, BenchResult, Quality

HOSTILE = 'a|b\n`c` \x1b[31m <img src=x onerror=1> [l](x) *"'


def cells(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def row(made: BenchResult, name: str) -> dict[str, str]:
    table = result_table(made, choose(made))
    return next(dict(zip(table.head, line, strict=True)) for line in table.rows if line[0] == name)


def test_the_cells_are_the_records() -> None:
    made = sample()
    int8 = made.subjects[1]
    assert row(made, "openvino int8") == {
        "subject": "openvino int8",
        "frames/s": estimated(int8.batches[1].frames_per_s),
        "batch": "4",
        "p50 at 1, ms": estimated(int8.batches[0].latency_ms.p50),
        "p99 at 1, ms": estimated(int8.batches[0].latency_ms.p99),
        "times torch-eager fp32": "7.10 ± 0.21",
        "mAP (I2I), %": "83.90",
        "cameras": "8",
        "J per 1,000 frames": "211 ± 6",
        "memory, MiB": "412",
        "start, s": "1.42",
    }


def test_columns_that_nobody_fills_are_left_out_and_other_gaps_are_dashes() -> None:
    made = result(subject("a fp32", 50, quality=Quality(least_similarity=0.99987)), subject("b fp32", 50, start=None))
    table = result_table(made.model_copy(update={"subjects": made.subjects[:1]}), choose(made))
    assert not [name for name in table.head if "J per" in name or "times" in name or name == "cameras"]
    assert row(made, "b fp32")["start, s"] == "\N{EN DASH}"


def test_similarity_takes_the_place_of_map() -> None:
    made = result(subject("a fp32", 50, quality=Quality(least_similarity=0.99987)))
    assert row(made, "a fp32")["least similarity"] == "0.9999"


def test_what_is_missing_stands_below_with_its_reason() -> None:
    markdown = as_markdown(sample())
    below = markdown.partition("another run would find.")[2].strip().splitlines()
    assert [line.removeprefix("- ")[:26] for line in below] == [
        "onnxruntime fp16 is wrong:",
        "onnxruntime int8 failed du",
        "tensorrt was not measured:",
        "72 of 432 turns disturbed:",
        "No meter for energy is rea",
    ]
    assert "18 because the device lowered its clocks" in below[3]
    assert "`reid-infer GALLERY QUERY --model bundle --session openvino --precision int8`" in markdown


@pytest.mark.parametrize("name", [HOSTILE, "=1+1 fp32"])
def test_markdown_keeps_its_columns_whatever_the_names(name: str) -> None:
    made = result(
        subject(name, 50, precision="fp32"), absent=(Absent(name=name, reason=name),), notes=(name,), peer=name
    )
    found = cells(as_markdown(made))
    assert len(found) == 3
    assert len({len(line) for line in found}) == 1
    assert "\x1b" not in as_markdown(made)
    assert "<img" not in as_markdown(made).replace("\\<img", "")


def test_csv_has_a_row_for_every_batch_with_plain_numbers() -> None:
    made = sample()
    rows = list(csv.DictReader(io.StringIO(as_csv(made))))
    assert len(rows) == 6 * len(BATCHES)
    first, batch = rows[3], made.subjects[1].batches[0]
    assert (first["subject"], first["batch"]) == ("openvino int8", "1")
    assert float(first["frames_per_s_high"]) == batch.frames_per_s.high
    assert float(first["p99_ms"]) == batch.latency_ms.p99.value
    assert float(first["i2i_map_percent"]) == 83.9
    assert first["t2t_map_percent"] == first["device_memory_mib"] == ""
    assert (first["turns"], first["disturbed_turns"]) == ("24", "4")


def test_a_result_without_any_figures_is_said_to_be_one() -> None:
    made = result(absent=(Absent(name="tensorrt", reason="no GPU"),))
    assert as_csv(made) == "subject\n"
    assert as_markdown(made).startswith("No session works here")
    assert "- tensorrt was not measured: no GPU" in as_markdown(made)


def test_a_terminal_gets_every_figure() -> None:
    made = sample()
    console = Console(file=io.StringIO(), width=80, record=True, markup=False)
    for part in as_renderables(made):
        console.print(part)
    text = console.export_text()
    for cell in row(made, "openvino int8").values():
        assert cell in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert text.rstrip().endswith("--precision int8")


def test_intervals_that_are_lopsided_show_both_ends() -> None:
    one = estimate(100).model_copy(update={"high": 140.0})
    batch = sample().subjects[0].batches[0].model_copy(update={"frames_per_s": one})
    made = result(subject("a fp32", 1, batches=(batch,)))
    assert row(made, "a fp32")["frames/s"] == "100 (97 to 140)"
