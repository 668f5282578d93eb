"""Folders that reid replaces when a command is run again: a list in each tells what was written there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from reid.runtime.errors import ReidError
from reid.runtime.files.names import FileHashes
from reid.runtime.files.reading import sha256_of
from reid.runtime.files.storage import Records, atomic_directory, first_foreign
from reid.runtime.files.validation import read_stored

__all__ = ["MANIFEST_FILE", "remove_replaceable", "replaceable_directory"]

MANIFEST_FILE = ".reid-manifest.json"


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = Field(ge=1, le=1)
    files: FileHashes


@contextlib.contextmanager
def replaceable_directory(target: Path, *, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield a folder as `atomic_directory` does, and list in it what was written, so that it can be replaced later."""
    with atomic_directory(target, records=_RECORDS, inputs=inputs) as folder:
        yield folder
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
        manifest = _Manifest(format_version=1, files=hashes)
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")


def remove_replaceable(target: Path) -> None:
    """Remove a folder of an earlier try, if everything in it is as `replaceable_directory` left it."""
    if target.is_dir() and first_foreign(target, _RECORDS) is None:
        shutil.rmtree(target, ignore_errors=True)


def _read(folder: Path) -> Mapping[str, str]:
    remedy = "choose another --output"
    return read_stored(
        _Manifest, folder / MANIFEST_FILE, what="list of written files", remedy=remedy, error=ReidError
    ).files


_RECORDS = Records(MANIFEST_FILE, _read)
