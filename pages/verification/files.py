"""The two files of a verification: its record, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

from reid.evaluation.verification.records import VERIFICATION_FILE, Verification
from reid.pages.int8 import INT8_STYLE
from reid.pages.verification.report import write_verification_report

__all__ = ["REPORT_FILE", "write_verification"]

REPORT_FILE = "report.html"


def write_verification(folder: Path, verification: Verification, int8_section: str = "") -> None:
    """Write a verification into a folder.

    Args:
        folder: the folder, which exists.
        verification: the record.
        int8_section: the section of the page on how the INT8 graph came about; empty where there is none.
    """
    (folder / VERIFICATION_FILE).write_text(verification.model_dump_json(indent=2) + "\n")
    write_verification_report(
        folder / REPORT_FILE, verification, title="Verification", int8=int8_section, styles=[INT8_STYLE]
    )
