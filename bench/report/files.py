"""The files of a result: for machines, for documents, for spreadsheets and for people."""

from __future__ import annotations

from pathlib import Path

from reid.bench.report.page import draw_page
from reid.bench.report.table import as_csv, as_markdown
from reid.bench.result import RESULT_FILE, BenchResult

__all__ = ["PAGE_FILE", "write_result"]

PAGE_FILE = "report.html"


def write_result(folder: Path, result: BenchResult, title: str) -> None:
    """Write bench.json, bench.md, bench.csv and report.html into a folder.

    Args:
        folder: the folder, which exists.
        result: the result.
        title: the page's title.
    """
    (folder / RESULT_FILE).write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(as_markdown(result), encoding="utf-8")
    (folder / "bench.csv").write_text(as_csv(result), encoding="utf-8")
    (folder / PAGE_FILE).write_text(draw_page(result, title), encoding="utf-8")
