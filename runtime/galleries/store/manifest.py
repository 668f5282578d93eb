"""The manifest of a gallery's folder: what it is a gallery of, and which segments it consists of."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from reid.runtime.errors import DataError
from reid.runtime.files.reading import read_file
from reid.runtime.files.storage import atomic_write
from reid.runtime.files.validation import JSON_AT_MOST, first_problem, parse_object
from reid.runtime.precision import Precision
from reid.runtime.space import Space

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_FILE",
    "MOST_ROWS",
    "Manifest",
    "RemovedRecord",
    "SegmentRecord",
    "Storage",
    "TextSizes",
    "damaged",
    "read_manifest",
    "unreadable",
    "write_manifest",
]

FORMAT_VERSION = 1
MANIFEST_FILE = "gallery.json"

MOST_ROWS = 2**31 - 1
"""The most rows of a segment, which are numbered in int32."""

_MOST_TEXT = 2**40

Storage: TypeAlias = Literal["fp32", "fp16"]
"""How numbers of embeddings are stored."""

_Digest: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Size: TypeAlias = Annotated[int, Field(ge=0, le=_MOST_TEXT)]
_Rows: TypeAlias = Annotated[int, Field(ge=1, le=MOST_ROWS)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TextSizes(_Record):
    """The bytes of a segment's texts."""

    ids: _Size
    vehicles: _Size
    pictures: _Size
    cameras: _Size


class RemovedRecord(_Record):
    """The file with a segment's removed rows.

    Attributes:
        file: its name.
        rows: how many rows are removed.
        digest: the SHA-256 of the file.
    """

    file: Annotated[str, StringConstraints(pattern=r"^removed-[0-9a-f]{16}\.bits$")]
    rows: _Rows
    digest: _Digest


class SegmentRecord(_Record):
    """A segment: a file that is written once and never changed.

    Attributes:
        file: its name.
        rows: its entries, with those that were removed since.
        texts: the bytes of its texts, from which its layout follows.
        digest: the SHA-256 of its layout and of the checksums of its blocks.
        removed: what was removed of it; None for nothing.
    """

    file: Annotated[str, StringConstraints(pattern=r"^segment-[0-9a-f]{16}\.rows$")]
    rows: _Rows
    texts: TextSizes
    digest: _Digest
    removed: RemovedRecord | None = None

    @model_validator(mode="after")
    def _some_left(self) -> SegmentRecord:
        if self.left < 1:
            raise ValueError(f"{self.removed.rows if self.removed else 0} of {self.rows} rows are removed")
        return self

    @property
    def left(self) -> int:
        """The entries that are not removed."""
        return self.rows - (self.removed.rows if self.removed else 0)


class Manifest(_Record):
    """What a gallery is.

    Attributes:
        format_version: the version of the format of the whole folder.
        fingerprint: of the space: the model.
        precision: of the space.
        dimensions: of the space.
        storage: how numbers are stored.
        generation: how often the gallery was changed.
        segments: its segments, in the order in which their entries were added.
    """

    format_version: int
    fingerprint: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    precision: Precision
    dimensions: Annotated[int, Field(ge=1, le=2**16)]
    storage: Storage
    generation: Annotated[int, Field(ge=0, lt=2**63)] = 0
    segments: tuple[SegmentRecord, ...] = ()

    @field_validator("format_version")
    @classmethod
    def _known(cls, version: int) -> int:
        if not 1 <= version <= FORMAT_VERSION:
            raise ValueError(f"{version}, where this reid knows up to {FORMAT_VERSION}: update reid")
        return version

    @field_validator("segments", mode="before")
    @classmethod
    def _as_tuple(cls, segments: object) -> object:
        return tuple(segments) if isinstance(segments, list) else segments

    @field_validator("segments")
    @classmethod
    def _once_each(cls, segments: tuple[SegmentRecord, ...]) -> tuple[SegmentRecord, ...]:
        if len({segment.file for segment in segments}) < len(segments):
            raise ValueError("a segment is there twice")
        return segments

    @property
    def space(self) -> Space:
        """The space of its embeddings."""
        return Space(self.fingerprint, self.precision, self.dimensions)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its stored numbers."""
        return np.dtype({"fp32": "<f4", "fp16": "<f2"}[self.storage])

    @property
    def files(self) -> set[str]:
        """The names of all files that it needs."""
        removed = {segment.removed.file for segment in self.segments if segment.removed}
        return removed | {segment.file for segment in self.segments}

    def changed(self, segments: tuple[SegmentRecord, ...]) -> Manifest:
        """Return the manifest after a change."""
        return self.model_copy(update={"segments": segments, "generation": self.generation + 1})


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a gallery. Raises DataError where there is none, it cannot be read, or it is damaged."""
    path = folder / MANIFEST_FILE
    try:
        content = read_file(path, at_most=JSON_AT_MOST)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"{path}: {error.strerror}; give the folder of a gallery") from None
    except OSError as error:
        raise unreadable(path, error) from None
    facts = parse_object(content, path, what="manifest", remedy=_REMEDY, error=DataError)
    digest = facts.pop("digest", None)
    try:
        manifest = Manifest.model_validate(facts)
    except ValidationError as problem:
        raise damaged(path, first_problem(problem)) from None
    if digest != _digest(facts):
        raise damaged(path, "its digest differs")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, in one step."""
    facts = manifest.model_dump(mode="json")
    content = json.dumps({**facts, "digest": _digest(facts)}, indent=1)
    atomic_write(folder / MANIFEST_FILE, content.encode() + b"\n")


def damaged(path: Path, reason: object) -> DataError:
    """Return what to raise where a file of a gallery is not as it was written."""
    return DataError(f"{path} is damaged ({reason}); {_REMEDY}")


def unreadable(path: Path, error: OSError) -> DataError:
    """Return what to raise where a file of a gallery cannot be read: it may be sound all the same."""
    if error.errno in _DAMAGE:
        return damaged(path, error.strerror)
    remedy = _REMEDIES.get(error.errno or 0, "this says nothing of what it holds: try again")
    return DataError(f"{path} cannot be read ({error.strerror}); {remedy}")


_DAMAGE = {errno.EIO, errno.EISDIR, errno.EINVAL, errno.EFBIG}
"""The disk fails, or there is something else than the file; the rest is about who reads, and with what."""

_REMEDIES = {
    errno.EACCES: "ask its owner for the right to read it",
    errno.EMFILE: "raise the limit of open files with `ulimit -n`, or compact the gallery",
    errno.ENOMEM: "free memory, or raise the limit of `ulimit -v`",
}
_REMEDY = "restore the gallery from a copy, or embed it again"


def _digest(facts: dict[str, Any]) -> str:
    """Return the SHA-256 of what is said, however it is laid out, so that older files need no field of newer ones."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
