"""A table, and the images that it names in the folders in which they were."""

from __future__ import annotations

import csv
import io
import os
from itertools import count

from reid.data.conversion.content import Content
from reid.data.conversion.labels import Labels
from reid.data.conversion.targets.target import Lists, Names
from reid.data.readers.table import COLUMNS
from reid.runtime.files.names import check_relative_name

__all__ = ["lists", "names"]

_LONGEST = 1000


def names(content: Content, labels: Labels) -> Names:
    """Return the names images/..., below which everything lies as it did; what no table can name is renamed."""
    sources = dict.fromkeys(shot.source for shot in content.shots)
    root = os.path.commonpath([source.parent for source in sources]) if sources else ""
    numbers = count(1)
    files = {}
    for source in sources:
        name = source.relative_to(root).as_posix()
        files[source] = f"images/{name}" if _fits(name) else f"renamed/{next(numbers):06d}{source.suffix}"
    return {shot: files[shot.source] for shot in content.shots}


def _fits(name: str) -> bool:
    try:
        check_relative_name(name)
    except ValueError:
        return False
    return name == name.strip() and len(name) <= _LONGEST


def lists(content: Content, labels: Labels, names: Names) -> Lists:
    """Return the table, with those of its columns that hold anything."""
    shots = [shot for shot in content.shots if shot in names]
    tracked = any(shot.track is not None for shot in shots)
    alone = count(1 + max((shot.track for shot in shots if shot.track is not None), default=-1))
    rows = []
    for shot in shots:
        number = next(alone) if shot.track is None and shot.part == "query" and tracked else shot.track
        track, time = ("", "") if number is None else (str(number), str(shot.place))
        split = "" if shot.part == "labeled" else shot.part
        vehicle, camera = labels.vehicles[shot.vehicle] or "", labels.cameras[shot.camera] or ""
        rows.append((names[shot], vehicle, camera, track, time, split))
    used = [place for place in range(len(COLUMNS)) if place < 2 or any(row[place] for row in rows)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([COLUMNS[place] for place in used])
    writer.writerows([row[place] for place in used] for row in rows)
    return {"table.csv": text.getvalue()}
