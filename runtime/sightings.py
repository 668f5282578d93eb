"""When and by which camera tracklets were seen: a CSV file for what the names of crops do not say."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.files.reading import MEBIBYTE, read_file

__all__ = ["Seen", "read_sightings"]

_AT_MOST = 1024 * MEBIBYTE
_COLUMNS = ("id", "camera", "time_s")
_HEADER = f"begin it with the header {','.join(_COLUMNS)}"


@dataclass(frozen=True, slots=True)
class Seen:
    """Where and when a tracklet was seen.

    Attributes:
        camera: the camera; None if the file does not say.
        time_s: the middle of the track, in seconds on the data's own clock; None if the file does not say.
    """

    camera: str | None
    time_s: float | None


def read_sightings(path: Path) -> Mapping[str, Seen]:
    """Read a CSV file with the header `id,camera,time_s`: id of a tracklet -> where and when it was seen.

    The columns may be in any order, and `camera` or `time_s` may be absent, or empty where it is not known.

    Raises:
        DataError: the file cannot be read, or is something else, or has an id twice.
    """
    try:
        text = read_file(path, at_most=_AT_MOST).decode("utf-8-sig", "surrogateescape")  # as names of files may be
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a CSV file, {_HEADER}") from None
    found: dict[str, Seen] = {}
    for line, row in _rows(path, text):
        if not (identity := row["id"]):
            raise DataError(f"{path}, line {line}: the id is empty; write the name of a tracklet")
        if identity in found:
            raise DataError(f"{path}, line {line}: {identity!r} is there twice; give each tracklet one line")
        found[identity] = Seen(row.get("camera") or None, _seconds(row.get("time_s", ""), f"{path}, line {line}"))
    return found


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line and the cells of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if "id" not in header or not set(header) <= set(_COLUMNS) or len(set(header)) < max(2, len(header)):
            raise DataError(f"{path} has the columns {header}; {_HEADER}")
        for cells in filter(None, reader):
            if len(cells) != len(header):
                raise DataError(f"{path}, line {reader.line_num}: {len(cells)} cells, expected {len(header)}")
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; write it as CSV, {_HEADER}") from None


def _seconds(text: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        time_s = float(text)
    except ValueError:
        time_s = math.nan
    if not math.isfinite(time_s):
        raise DataError(f"{where}: the time is {text[:80]!r}; write seconds, such as 12.5")
    return time_s
