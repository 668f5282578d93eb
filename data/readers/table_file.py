"""The cells of a table's file, all as text: CSV, with whatever separates its cells, and Parquet."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from reid.data.dataset import Problem
from reid.data.readers.lists import decode_text
from reid.runtime.errors import DataError
from reid.runtime.files.reading import MEBIBYTE, read_file
from reid.runtime.installs import how_to_install
from reid.runtime.listing import why_unreadable

__all__ = ["TABLE_SUFFIXES", "TableFile", "open_table"]

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")

_AT_MOST = 256 * MEBIBYTE
"""The largest file that is read; it labels some three million images."""

_MOST_BYTES = 4 * _AT_MOST
"""The most that all columns of a Parquet file may have uncompressed, by what the file says."""

_MOST_ROWS = 4_000_000
_LONGEST_LINE = MEBIBYTE
_BATCH = 1 << 16

_DELIMITERS = (",", ";", "\t")
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_EXCEL_DELIMITER = re.compile(r"sep=(.)\s*", re.IGNORECASE)

Rows: TypeAlias = Iterator[tuple[int, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table whose header was read.

    Attributes:
        columns: the names of its columns, as they are written.
        rows: yields the number of each row, from 1, and its cells in the columns at the given places, once; rows that
            are damaged become problems instead. Raises DataError where the rest of the file cannot be read.
    """

    columns: tuple[str, ...]
    rows: Callable[[Sequence[int], list[Problem]], Rows]


def open_table(path: Path) -> TableFile:
    """Read the header of a table.

    Raises:
        DataError: the file cannot be read, or is damaged or too large; or it is Parquet, and pyarrow is not installed.
    """
    try:
        content = read_file(path, at_most=_AT_MOST)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: {why_unreadable(error)}") from None
    return _open_parquet(path, content) if path.suffix.lower() == ".parquet" else _open_text(path, content)


# ---- text ----


def _open_text(path: Path, content: bytes) -> TableFile:
    lines = _lines(path, decode_text(content))
    above, first = 1, next(lines, "")
    delimiter = None
    if is_told := _EXCEL_DELIMITER.fullmatch(first):
        above, first, delimiter = 2, next(lines, ""), is_told[1]
    delimiter = delimiter or max(_DELIMITERS, key=first.count)
    try:
        columns = next(csv.reader([first], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise DataError(f"{path}: its first line is not that of a table ({error})") from None

    def rows(places: Sequence[int], problems: list[Problem]) -> Rows:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                problems.append(Problem("damaged list", path.name, f"line {above + reader.line_num}: {error}"))
                continue
            if not any(map(str.strip, cells)):
                continue
            while len(cells) > len(columns) and not cells[-1].strip():  # spreadsheets write these
                cells.pop()
            if len(cells) == len(columns):
                yield above + reader.line_num, [cells[place] for place in places]
            else:
                detail = f"line {above + reader.line_num} has {len(cells)} cells, not {len(columns)}; not used"
                problems.append(Problem("damaged list", path.name, detail))

    return TableFile(tuple(columns), rows)


def _lines(path: Path, text: str) -> Iterator[str]:
    """Yield the lines of a text with their ends."""
    for number, line in enumerate(_LINE.finditer(text), start=1):
        if number > _MOST_ROWS:
            raise DataError(f"{path} has more than {_MOST_ROWS:,} lines; divide the data set")
        if line.end() - line.start() > _LONGEST_LINE:
            raise DataError(f"{path}: line {number} has more than {_LONGEST_LINE:,} characters; this is no table")
        yield line[0]


# ---- Parquet ----


def _open_parquet(path: Path, content: bytes) -> TableFile:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        install = how_to_install("pyarrow")
        raise DataError(f"{path}: Parquet needs pyarrow, which is not installed: {install}") from None
    errors = (pyarrow.ArrowException, OSError, ValueError, KeyError, MemoryError)
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        facts, schema = file.metadata, file.schema_arrow
        # pyarrow ends the process where the facts of a column are damaged and one asks for these.
        size = sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups))
    except errors as error:
        raise _damaged(path, error) from None
    if facts.num_rows > _MOST_ROWS:
        raise DataError(f"{path} has {facts.num_rows:,} rows, more than {_MOST_ROWS:,}; divide the data set")
    if size > _MOST_BYTES:
        raise DataError(f"{path}: its columns are {size:,} bytes, more than the {_MOST_BYTES:,} they may have")

    def rows(places: Sequence[int], problems: list[Problem]) -> Rows:
        names = [schema.names[place] for place in places]
        for name in names:
            _check_type(path, name, schema.field(name).type, pyarrow.types)
        # As dictionaries, cells that repeat stay small, whatever their length.
        repeated = [name for name in names if _is_text(schema.field(name).type, pyarrow.types)]
        try:
            reader = parquet.ParquetFile(pyarrow.BufferReader(content), metadata=facts, read_dictionary=repeated)
            number = 0
            for batch in reader.iter_batches(batch_size=_BATCH, columns=names):
                batch.validate(full=True)
                columns = [_texts(batch.column(name), pyarrow) for name in names]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, cells
        except errors as error:
            raise _damaged(path, error) from None

    return TableFile(tuple(schema.names), rows)


def _damaged(path: Path, error: BaseException) -> DataError:
    reason = "".join(islice(filter(str.isprintable, str(error).partition("\n")[0]), 200))
    return DataError(f"{path} is not a Parquet file that can be read ({reason}); write it again")


def _is_text(kind: Any, types: Any) -> bool:  # noqa: ANN401 - pyarrow has no type hints
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _check_type(path: Path, name: str, kind: Any, types: Any) -> None:  # noqa: ANN401
    inner = kind.value_type if types.is_dictionary(kind) else kind
    known = (types.is_integer, types.is_floating, types.is_date, types.is_time, types.is_timestamp, types.is_null)
    if not _is_text(inner, types) and not any(is_kind(inner) for is_kind in known):
        raise DataError(f"{path}: column {name} holds {str(kind)[:80]!a}; write it as text or as a number")


def _texts(column: Any, pyarrow: Any) -> list[str]:  # noqa: ANN401
    """Return the cells of a column as text; a point in time as a number, in the unit of its column."""
    kind, types = column.type, pyarrow.types
    if types.is_dictionary(kind):
        values = [*_texts(column.dictionary, pyarrow), ""]
        return [values[-1 if index is None else index] for index in column.indices.to_pylist()]
    if types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind):
        column = column.cast(pyarrow.int64() if kind.bit_width == 64 else pyarrow.int32())
    elif types.is_floating(kind):
        return ["" if value is None or value != value else repr(value) for value in column.to_pylist()]
    return [text or "" for text in column.cast(pyarrow.string()).to_pylist()]
