"""Reader for a table, a row an image: the way to bring data of one's own.

Columns, in any order: `path` and `vehicle`; and, if there are any, `camera`, `track`, `time` and `split`.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, TypeAlias

from reid.data.dataset import Dataset, Problem, Split
from reid.data.readers.lists import shown
from reid.data.readers.table_file import TABLE_SUFFIXES, TableFile, open_table
from reid.data.splitting import hold_out_for_evaluation
from reid.data.tracks import own_tracklets
from reid.runtime.errors import DataError
from reid.runtime.file_names import JUNK, parse_name
from reid.runtime.files.names import check_relative_name, is_name
from reid.runtime.imaging import is_image
from reid.runtime.labels import same_label
from reid.runtime.listing import Listing, joined
from reid.runtime.tracklet import Tracklet

__all__ = ["COLUMNS", "find_table", "has_table", "is_table_file", "read"]

COLUMNS = ("path", "vehicle", "camera", "track", "time", "split")
_REQUIRED = frozenset(COLUMNS[:2])

_SPLITS = {"": "", "train": "train", "query": "query", "gallery": "gallery", "test": "gallery", "track": "track"}
"""A cell in the column split -> the split."""

_LONGEST_PATH = 4096
_LONGEST_NUMBER = 40

_Key: TypeAlias = tuple[str | None, str | None, str]


class _Row(NamedTuple):
    """An image and what else its row says.

    Attributes:
        number: the row's number.
        where: the file, relative to the table.
        image: the image with its labels.
        track: the name of its track, unique for its vehicle and camera; "" if it has none.
        time: when it was taken, in any unit; None if that is not known.
        split: a value of _SPLITS.
    """

    number: int
    where: str
    image: Tracklet
    track: str
    time: float | None
    split: str

    @property
    def key(self) -> _Key:
        """What the images of a tracklet have in common."""
        return self.image.vehicle, self.image.camera, self.track


def is_table_file(path: Path) -> bool:
    """Return whether a path is named as a table and is not a folder's."""
    return path.name.lower().endswith(TABLE_SUFFIXES) and not path.is_dir()


def has_table(listing: Listing, folder: str) -> bool:
    """Return whether a folder holds exactly one table with the required columns."""
    try:
        return find_table(listing, folder) is not None
    except DataError:
        return False


def find_table(listing: Listing, folder: str = "") -> str | None:
    """Return the name of the only table in a folder that has the required columns; None if there is no such table.

    Raises:
        DataError: the folder's only table is Parquet, and cannot be read.
    """
    names = _table_files(listing, folder)
    found = [name for name in names if _has_columns(listing.path(joined(folder, name)), alone=len(names) == 1)]
    return found[0] if len(found) == 1 else None


def _table_files(listing: Listing, folder: str = "") -> list[str]:
    return [name for name in listing.folder(folder).files if name.lower().endswith(TABLE_SUFFIXES)]


def _has_columns(path: Path, *, alone: bool) -> bool:
    try:
        return _places(open_table(path)).keys() >= _REQUIRED
    except DataError:
        if alone and path.suffix.lower() == ".parquet":
            raise
        return False


def read(listing: Listing, name: str | None = None) -> Dataset:
    """Read a table and the images that it names; whatever is wrong with its rows is listed in `problems`.

    Args:
        listing: the table's folder.
        name: the table's file name; None to take the only one that is there.

    Raises:
        DataError: there are several tables, or it cannot be read, or it lacks a column.
    """
    problems: list[Problem] = []
    name = name or _only_table(listing)
    rows: list[_Row] = []
    notes: list[str] = []
    if name is None:
        problems.append(Problem("missing file", "table.csv", f"no table: none of *{', *'.join(TABLE_SUFFIXES)}"))
    else:
        table = open_table(listing.path(name))
        places = _checked_places(listing, name, table)
        reader = _RowReader(listing, name, problems)
        rows = [*reader.rows(table, places)]
        unused = [shown(column) for column in table.columns if column.strip().lower() not in COLUMNS]
        if unused:
            notes.append(f"{name} has columns that are not used: {', '.join(unused[:10])}")
        if reader.junk:
            notes.append(f"{reader.junk:,} rows of {name} are of vehicle {JUNK}, none in particular; they are not used")
    splits = _by_split(rows, name or "", problems)
    lists = (name,) if name else ()
    if "query" not in splits and "gallery" not in splits:
        usable = _with_vehicle(splits.get("train", splits.get("", [])), problems)
        labeled = _split(usable, _tracklets(usable), problems)
        held_out = hold_out_for_evaluation(labeled, ".", problems)
        return Dataset(
            "table",
            listing.root,
            held_out.train,
            held_out.query,
            held_out.gallery,
            tuple(problems),
            split_facts=held_out.facts,
            lists=lists,
            notes=tuple(notes),
        )
    training = _with_vehicle(splits.get("train", []), problems)
    train = _split(training, _tracklets(training), problems)
    tracklets = _tracklets(splits.get("gallery", []))
    gallery = _split(splits.get("gallery", []), tracklets, problems)
    query = _queries(_with_vehicle(splits.get("query", []), problems), splits.get("track", []), tracklets, problems)
    for part, split in (("train", train), ("query", query), ("gallery", gallery)):
        if not split.images:
            problems.append(Problem("empty split", part, "no usable row is of this split"))
    return Dataset("table", listing.root, train, query, gallery, tuple(problems), lists=lists, notes=tuple(notes))


# ---- columns ----


def _only_table(listing: Listing) -> str | None:
    names = _table_files(listing)
    found = find_table(listing) if len(names) > 1 else next(iter(names), None)
    if names and not found:
        these = ", ".join(names[:4])
        raise DataError(f"{listing.root} holds {len(names)} tables ({these}); give the path of one of them")
    return found


def _places(table: TableFile) -> dict[str, int]:
    """Return the known columns that a table has -> their places."""
    columns = [column.strip().lower() for column in table.columns]
    return {column: columns.index(column) for column in COLUMNS if column in columns}


def _checked_places(listing: Listing, name: str, table: TableFile) -> dict[str, int]:
    places, where = _places(table), listing.path(name)
    columns = [column.strip().lower() for column in table.columns]
    if missing := [column for column in COLUMNS if column in _REQUIRED - places.keys()]:
        found = ", ".join(shown(column) for column in table.columns[:10])
        raise DataError(
            f"{where} has no column {' and none '.join(missing)}, but {found or 'no columns'}; name its columns "
            f"{', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
        )
    if twice := [column for column in places if columns.count(column) > 1]:
        raise DataError(f"{where} has two columns {twice[0]}; rename one of them")
    return places


# ---- rows ----


class _UnusedError(Exception):
    """A row is not used; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _RowReader:
    """Makes images of rows; what is wrong with a row becomes a problem.

    Args:
        listing: the table's folder.
        name: the table's file name.
        problems: the list to add problems to.

    Attributes:
        junk: the number of rows that were passed over because they show no vehicle in particular.
    """

    def __init__(self, listing: Listing, name: str, problems: list[Problem]) -> None:
        self.junk = 0
        self._listing = listing
        self._name = name
        self._problems = problems
        self._there = set(listing.files())
        roots = (os.path.abspath(listing.root), os.path.realpath(listing.root))
        self._roots = tuple(f"{root.rstrip('/')}/" for root in dict.fromkeys(roots))
        self._seen: dict[str, _Row] = {}
        self._seen_again: set[tuple[str, str]] = set()
        self._labels: dict[str, str | None] = {}  # cell -> label: a million rows have few

    def rows(self, table: TableFile, places: Mapping[str, int]) -> Iterator[_Row]:
        """Yield the rows that can be used."""
        order = [places.get(column) for column in COLUMNS]
        wanted = [place for place in order if place is not None]
        where_in = {place: index for index, place in enumerate(wanted)}
        indices = [None if place is None else where_in[place] for place in order]
        for number, cells in table.rows(wanted, self._problems):
            try:
                row = self._row(number, ["" if index is None else cells[index].strip() for index in indices])
            except _UnusedError as reason:
                self._problems.append(reason.problem)
                continue
            if row.image.vehicle == JUNK:
                self.junk += 1  # counts as neither right nor wrong, as in Market-1501
            elif self._is_new(row):
                yield row

    def _row(self, number: int, cells: Sequence[str]) -> _Row:
        """Return what a row says. Raises _UnusedError if it cannot be used."""
        path, vehicle, camera, track, time, split = cells
        where = self._where(path, number)
        labels = self._label(camera, number), self._label(vehicle, number)
        if track and not _is_relative(track):
            raise self._refusal(number, f"the track {shown(track)} is not a name")
        if (part := _SPLITS.get(split.lower())) is None:
            raise self._refusal(number, f"the split {shown(split)} is none of {', '.join(filter(None, _SPLITS))}")
        moment = _moment(time)
        if time and moment is None:
            detail = f"line {number}: the time {shown(time)} is neither a number nor an ISO timestamp; its row's place"
            self._problems.append(Problem("damaged list", self._name, f"{detail} in the table is used"))
        image = Tracklet(where.rpartition(".")[0], (self._listing.path(where),), *labels)
        self._compare_with_name(where, image)
        return _Row(number, where, image, track, moment, part)

    def _where(self, path: str, number: int) -> str:
        where = self._relative(path)
        if where not in self._there:
            if len(where) > _LONGEST_PATH or not _is_relative(where):
                raise self._refusal(number, f"{shown(path)} is not the path of a file within the table's folder")
            raise _UnusedError(Problem("missing file", where, f"is in line {number} of {self._name}"))
        if not is_image(where.rpartition("/")[2]):
            raise _UnusedError(Problem("unreadable image", where, "its suffix is not that of an image"))
        return where

    def _label(self, cell: str, number: int) -> str | None:
        """Return the label that a cell means; of all equal ones, the same text."""
        if cell not in self._labels:
            label = _label(cell)
            if label is not None and not is_name(label):
                raise self._refusal(number, f"{shown(label)} is not a name")
            self._labels[cell] = label
        return self._labels[cell]

    def _relative(self, path: str) -> str:
        path = path.replace("\\", "/")
        root = next((root for root in self._roots if path.startswith(root)), "./")
        return path.removeprefix(root)

    def _refusal(self, number: int, detail: str) -> _UnusedError:
        return _UnusedError(Problem("damaged list", self._name, f"line {number}: {detail}; not used"))

    def _is_new(self, row: _Row) -> bool:
        """Return whether an image is not in the split yet, and has the labels that it has in other splits."""
        first = self._seen.setdefault(row.where, row)
        if first is row:
            return True
        same = (first.image.vehicle, first.image.camera) == (row.image.vehicle, row.image.camera)
        if same and row.split != first.split and (row.where, row.split) not in self._seen_again:
            self._seen_again.add((row.where, row.split))
            return True
        detail = f"line {row.number} is about the image of line {first.number}{'' if same else ', with other labels'}"
        self._problems.append(Problem("duplicate", row.where, f"{detail}; not used"))
        return False

    def _compare_with_name(self, where: str, image: Tracklet) -> None:
        name = parse_name(where.rpartition("/")[2])
        if name is None or name.vehicle == JUNK:
            return
        by_name = ("vehicle", name.vehicle, image.vehicle), ("camera", name.camera, image.camera)
        for what, told, label in by_name:
            if label is not None and not same_label(told, label):
                detail = f"{what} {label} in the table, {told} by its name; the table is used"
                self._problems.append(Problem("label and name disagree", where, detail))


def _is_relative(text: str) -> bool:
    try:
        check_relative_name(text)
    except ValueError:
        return False
    return True


def _label(text: str) -> str | None:
    """Return a label as it is meant: where a cell of a column is empty, programs write its integers as 3.0."""
    return text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text or None


def _moment(text: str) -> float | None:
    """Return a time as a number: a number as it is, an ISO timestamp in seconds; None for anything else."""
    if not text or len(text) > _LONGEST_NUMBER:
        return None
    try:
        number = int(text) if text.isdecimal() else float(text)
        return number if math.isfinite(number) else None
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


# ---- splits ----


def _by_split(rows: Iterable[_Row], name: str, problems: list[Problem]) -> dict[str, list[_Row]]:
    splits: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        splits[row.split].append(row)
    if len(splits) > 1 and "" in splits:
        problems += [
            Problem("damaged list", name, f"line {row.number}: it tells no split; not used") for row in splits.pop("")
        ]
    return dict(splits)


def _with_vehicle(rows: Iterable[_Row], problems: list[Problem]) -> list[_Row]:
    found = []
    for row in rows:
        if row.image.vehicle is None:
            problems.append(Problem("unknown identity", row.where, "the table tells no vehicle; not used"))
        else:
            found.append(row)
    return found


def _split(rows: Sequence[_Row], tracklets: Mapping[_Key, Tracklet], problems: list[Problem]) -> Split:
    if tracklets:
        problems += [
            Problem("not in a track", row.where, "the table tells its track of other images only")
            for row in rows
            if not row.track
        ]
    return Split(tuple(row.image for row in rows), tuple(tracklets.values()))


def _tracklets(rows: Iterable[_Row]) -> dict[_Key, Tracklet]:
    groups: dict[_Key, list[_Row]] = defaultdict(list)
    for row in rows:
        if row.track:
            groups[row.key].append(row)
    return {key: _tracklet(key, members) for key, members in groups.items()}


def _tracklet(key: _Key, rows: list[_Row]) -> Tracklet:
    vehicle, camera, _ = key
    times = [row.time for row in rows if row.time is not None]
    if len(times) == len(rows):
        rows = [row for _, row in sorted(zip(times, rows, strict=True), key=lambda pair: pair[0])]
    frames = tuple(row.image.frames[0] for row in rows)
    return Tracklet("/".join(filter(None, key)), frames, camera, vehicle)


def _queries(
    rows: Sequence[_Row], others: Sequence[_Row], of_gallery: Mapping[_Key, Tracklet], problems: list[Problem]
) -> Split:
    """Return the queries with their own tracklets.

    Args:
        rows: the queries.
        others: the other images of the tracks of queries that are not in the gallery.
        of_gallery: the gallery's tracklets.
        problems: the list to add problems to.
    """
    of_queries = _tracklets((*rows, *others))
    asked = {row.key for row in rows}
    problems += [
        Problem("not in a track", row.where, "no query has its track; not used")
        for row in others
        if row.key not in asked or not row.track
    ]
    apart = {row.key for row in others if row.track}
    images = tuple(row.image for row in rows)
    found = own_tracklets(images, of_gallery.values())
    own = [
        by_name if not row.track else of_queries[row.key] if row.key in apart else of_gallery.get(row.key)
        for row, by_name in zip(rows, found, strict=True)
    ]
    return Split(images, tuple(one or of_queries[row.key] for row, one in zip(rows, own, strict=True)))
