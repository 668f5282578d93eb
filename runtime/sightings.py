"""When and by which camera tracklets were seen: a CSV file for what the names of crops do not say."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.files.reading import MEBIBYTE, read_file
from reid.runtime.tracklet import Tracklet

__all__ = ["Seen", "check_named", "read_sightings"]

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
        where = f"{path}, line {line}"
        found[identity] = Seen(_camera(row.get("camera", ""), where), _seconds(row.get("time_s", ""), where))
    return found


def check_named(sightings: Mapping[str, Seen], tracklets: Sequence[Tracklet], crops: Path) -> None:
    """Raise DataError if sightings name none of the tracklets of some crops."""
    if not any(tracklet.id in sightings for tracklet in tracklets):
        first = tracklets[0].id
        raise DataError(f"the sightings name no tracklet of {crops}; write ids as they are there, such as {first!r}")


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line and the cells of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if "id" not in header or not set(header) <= set(_COLUMNS) or len(set(header)) < max(2, len(header)):
            raise DataError(f"{path} has the columns {header}; {_HEADER}")
        for cells in filter(None, reader):
            if len(cells) != len(header):
                raise DataError(f"{path}, line {reader.line_num}: {len(cells)} cells, expected {len(header)}")
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; write it as CSV, {_HEADER}") from None


def _camera(text: str, where: str) -> str | None:
    if text != text.strip():  # would be another camera than that without blanks
        raise DataError(f"{where}: the camera is {text[:80]!r}; write it without blanks around it")
    return text or None


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
