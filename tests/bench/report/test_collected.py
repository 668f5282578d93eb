"""The page of the documents that is made from the stored results."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_results import sample

from reid.bench.report.collected import CONTRIBUTE, collect, collected_page
from reid.runtime.errors import DataError

ROOT = Path(__file__).parents[3]


def test_the_page_is_what_the_stored_results_say() -> None:
    expected = collected_page(collect(ROOT / "benchmarks" / "results" / "bench"))
    stored = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
    assert stored == expected, "run: python -m reid.bench.report.collected"


def test_every_device_has_a_section(tmp_path: Path) -> None:
    for name in ("orin-nx", "epyc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bench.json").write_text(sample().model_dump_json())
    page = collected_page(collect(tmp_path))
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings[1:] == ["## epyc: AMD EPYC, 2 CPUs", "## orin-nx: AMD EPYC, 2 CPUs"]
    assert page.count("| openvino int8 | 142 ± 4 |") == 2


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "t4").mkdir()
    (tmp_path / "t4" / "bench.json").write_text("{")
    with pytest.raises(DataError, match=r"t4/bench\.json: the benchmark result is not valid"):
        collect(tmp_path)


def test_to_contribute_takes_four_lines() -> None:
    assert len(CONTRIBUTE.splitlines()) == 4
