"""The table of a gallery: made, opened, and checked to be one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from reid.runtime.errors import DataError
from reid.runtime.files.validation import parse_stored
from reid.runtime.galleries.lance.library import import_lancedb, one_line_errors
from reid.runtime.galleries.lance.rows import schema_of
from reid.runtime.galleries.store.lock import LOCK_FILE
from reid.runtime.precision import Precision
from reid.runtime.space import Space

__all__ = ["REMEDY", "Card", "flush", "is_table", "make_table", "open_table", "path_of", "unmake"]

SCHEME = "lance://"
REMEDY = "restore the gallery from a copy, or embed it again"

_NAME = "entries"
_KEY = b"reid.gallery"


class Card(BaseModel):
    """What a table says of itself, in the metadata of its schema.

    Attributes:
        format_version: the version of the table's form.
        fingerprint: of the space: the model.
        precision: of the space.
        dimensions: of the space.
        crops: whether it holds the pictures themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: Literal[1] = 1
    fingerprint: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    precision: Precision
    dimensions: Annotated[int, Field(ge=1, le=2**16)]
    crops: bool

    @property
    def space(self) -> Space:
        """The space of its embeddings."""
        return Space(self.fingerprint, self.precision, self.dimensions)


def path_of(uri: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """Return the folder and the probes of `lance://FOLDER?probes=N`; None without them. A path stands for itself."""
    text = os.fspath(uri)
    if not text.startswith(SCHEME):
        return Path(text), None
    if not (found := re.fullmatch(r"([^?]+)(?:\?probes=([1-9][0-9]{0,5}))?", text.removeprefix(SCHEME), re.DOTALL)):
        raise DataError(f"{text!r} names no folder; expected {SCHEME}FOLDER, or {SCHEME}FOLDER?probes=20")
    return Path(found[1]), int(found[2]) if found[2] else None


def is_table(folder: Path) -> bool:
    """Return whether a folder has the table of a gallery, or what is left of one."""
    return (folder / f"{_NAME}.lance").is_dir()


def make_table(folder: Path, card: Card) -> None:
    """Make the empty table of a new gallery. Its rows are numbered as they are added, whatever moves them later."""
    metadata = {_KEY: card.model_dump_json().encode()}
    with one_line_errors(folder, "give a folder that can be written to"):
        import_lancedb().connect(os.fspath(folder)).create_table(
            _NAME,
            schema=schema_of(card.dimensions, crops=card.crops, metadata=metadata),
            storage_options={"new_table_enable_stable_row_ids": "true"},
        )


def unmake(folder: Path) -> None:
    """Remove the table that this process has locked, and its folder if nothing else is in there."""
    doomed = folder / f"{_NAME}.lance"
    gone = doomed.rename(folder / f".{_NAME}.gone")  # in one step: who takes the lock afterwards is to find no table
    shutil.rmtree(gone)
    with contextlib.suppress(OSError):  # what somebody else put there stays
        (folder / LOCK_FILE).unlink()
        folder.rmdir()


def open_table(folder: Path) -> tuple[Any, Card]:
    """Open the table of a gallery. Raises DataError where there is none, or one of other software."""
    if not is_table(folder):
        raise DataError(
            f"{folder} holds no gallery in LanceDB; make one with `reid-gallery append lance://{folder} CROPS`"
        )
    lancedb = import_lancedb()
    with one_line_errors(folder, REMEDY):
        table = lancedb.connect(os.fspath(folder)).open_table(_NAME)
        schema = table.schema
    content = (schema.metadata or {}).get(_KEY)
    if content is None:
        raise DataError(f"{folder} holds a table of other software; give the folder of a gallery")
    card = parse_stored(Card, content, folder, what="card of the table", remedy=REMEDY, error=DataError)
    if not schema.remove_metadata().equals(schema_of(card.dimensions, crops=card.crops)):
        raise DataError(f"{folder} has other columns than a gallery ({json.dumps(schema.names)}); {REMEDY}")
    return table, card


def flush(folder: Path, known: set[str]) -> None:
    """Flush the files of a table to disk, which LanceDB leaves to the system, but for those that are known to be there.

    Args:
        folder: the gallery's folder.
        known: the files that were flushed before; those of now are added.
    """
    for place, _, files in os.walk(folder / f"{_NAME}.lance"):
        new = [path for file in files if (path := os.path.join(place, file)) not in known]
        for path in (*new, place) if new else ():
            _flush_to_disk(path)
        known.update(path for path in new if not path.endswith(".json"))  # a hint, which is written again and again


def _flush_to_disk(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
