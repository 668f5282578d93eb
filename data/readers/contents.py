"""What the folders of a data set hold; one that cannot be read is a problem among others."""

from __future__ import annotations

import os
from pathlib import Path

from reid.data.dataset import Problem
from reid.runtime.errors import DataError
from reid.runtime.folders import Contents, list_folder

__all__ = ["read_contents"]


def read_contents(folder: Path, root: Path, problems: list[Problem]) -> Contents:
    """List a folder within a data set; nothing if it is absent, or if it cannot be read, which becomes a problem."""
    if os.path.lexists(folder):
        try:
            return list_folder(folder)
        except DataError as error:
            detail = str(error).removeprefix(f"{folder}: ")
            problems.append(Problem("unreadable folder", str(folder.relative_to(root)), detail))
    return Contents((), ())
