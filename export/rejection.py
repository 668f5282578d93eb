"""The report on a bundle or an engine that was refused: it lies beside the bundle, which is as it was before."""

from __future__ import annotations

import os
from pathlib import Path

from reid.evaluation.verification.records import Verification
from reid.pages.verification.files import REPORT_FILE, write_verification
from reid.runtime.files.manifest import replaceable_directory

__all__ = ["leave_report", "rejected_folder"]


def rejected_folder(output: Path) -> Path:
    """Return the folder of the report on what was refused in making the bundle `output`, or an engine of it."""
    named = output if output.name not in ("", "..") else Path(os.path.realpath(output))
    return named.with_name(f"{named.name}.rejected")


def leave_report(output: Path, verification: Verification, int8_section: str = "") -> Path:
    """Write the report on what was refused, in the place of a former one; return the page's path."""
    folder = rejected_folder(output)
    with replaceable_directory(folder) as partial:
        write_verification(partial, verification, int8_section)
    return folder / REPORT_FILE
