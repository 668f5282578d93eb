"""The file of a saved gallery: an .npz with a column for each fact, and a digest of all."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.files.arrays import open_arrays
from reid.runtime.files.storage import atomic_write
from reid.runtime.galleries.comparable import check_space
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import Kind
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.space import Space

__all__ = ["Saved", "damaged", "read_saved", "write_saved"]

logger = logging.getLogger(__name__)

_FORMAT_VERSION = 5
"""Version 1, of reid 0.1, did not record the precision; 2 had no digest, 3 no kind, and 4 neither times nor frames."""

_TEXTS = ("ids", "pictures", "cameras", "vehicles")
_NUMBERS = {"times": np.dtype(np.float64), "frames": np.dtype(np.int32)}
_FIELDS = ("format_version", "fingerprint", "precision", "embeddings", *_TEXTS, "kind", *_NUMBERS)
_DIGEST = "digest"


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """What a file says.

    Attributes:
        entries: the N entries.
        embeddings: float32 [N, D].
        space: the space of the embeddings.
        kind: "tracklets" where any of them was embedded from several frames; None where that is not known.
    """

    entries: tuple[Entry, ...]
    embeddings: NDArray[np.float32]
    space: Space
    kind: Kind | None


def write_saved(path: Path, content: Saved) -> None:
    """Write a gallery to one .npz file, whole or absent; pictures stay where they are, and their paths are stored.

    Raises:
        DataError: a text ends in NUL, which the file cannot hold.
        OSError: it cannot be written.
    """
    entries = content.entries
    fields: dict[str, Any] = {
        "format_version": np.array(_FORMAT_VERSION),
        "fingerprint": np.array(content.space.fingerprint),
        "precision": np.array(content.space.precision),
        "embeddings": content.embeddings,
        "ids": _texts([entry.id for entry in entries]),
        "cameras": _texts([entry.camera or "" for entry in entries]),
        "vehicles": _texts([entry.vehicle or "" for entry in entries]),
        "pictures": _texts([str(Path(entry.picture).absolute()) if entry.picture else "" for entry in entries]),
        "times": np.array([np.nan if entry.time_s is None else entry.time_s for entry in entries], np.float64),
        "frames": np.array([entry.frames for entry in entries], np.int32),
        **({"kind": np.array(content.kind)} if content.kind else {}),
    }
    file = io.BytesIO()
    np.savez(file, **fields, digest=np.array(_digest(fields)))
    atomic_write(path, file.getvalue())


def read_saved(path: Path, wanted: Space | None) -> Saved:
    """Read a saved gallery; whether entries and embeddings can be used is not looked at.

    Args:
        path: the file.
        wanted: the space that it has to be of; None for any.

    Raises:
        DataError: not a gallery, or damaged.
        ModelError: another model embedded it, or the same model in another precision.
    """
    fields, version = _read(path)
    space = _space_of(path, fields, version, wanted)
    if wanted is not None:
        check_space(path, space, wanted)
    entries = tuple(_entries(fields))
    return Saved(entries, fields["embeddings"], space, fields["kind"].item() if "kind" in fields else None)


def damaged(path: Path, reason: object) -> DataError:
    """Return the error for a file that is no gallery."""
    return DataError(f"{path} is not a readable gallery ({reason}); make it again from its folder")


def _texts(texts: Sequence[str]) -> NDArray[np.str_]:
    if cut := next((text for text in texts if text.endswith("\0")), ""):
        raise DataError(f"{cut!r} ends in NUL, which the file of a gallery cannot hold: rename it")
    return np.array(texts, np.str_)


def _entries(fields: Mapping[str, NDArray[Any]]) -> list[Entry]:
    texts = zip(*(fields[name].tolist() for name in ("ids", "cameras", "vehicles", "pictures")), strict=True)
    count = len(fields["ids"])
    times, frames = fields.get("times", np.full(count, np.nan)), fields.get("frames", np.zeros(count, np.int32))
    numbers = zip(times.tolist(), frames.tolist(), strict=True)
    return [
        Entry(identity, camera or None, vehicle or None, time_s if time_s == time_s else None, picture, made_of)
        for (identity, camera, vehicle, picture), (time_s, made_of) in zip(texts, numbers, strict=True)
    ]


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], int]:
    """Return the fields of a gallery's file, of the right types and sizes, and the version of its format."""
    try:
        with open_arrays(path) as arrays:
            version = int(_scalar(arrays.read("format_version"), "i"))
            if version > _FORMAT_VERSION:
                raise DataError(f"{path} has format version {version}, newer than {_FORMAT_VERSION}: update reid")
            if unknown := arrays.names - {*_FIELDS, _DIGEST} or (version < 5 and _NUMBERS.keys() & arrays.names):
                raise ValueError(f"it also holds {', '.join(sorted(unknown))}")
            fields = {name: arrays.read(name) for name in arrays.names}
        _check_fields(fields, version)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a folder of crops, or a gallery that was saved") from None
    except (ValueError, KeyError) as error:
        raise damaged(path, error) from None
    return fields, version


def _check_fields(fields: Mapping[str, NDArray[Any]], version: int) -> None:
    """Raise ValueError or KeyError where fields do not fit one another, or the digest."""
    if version < 1:
        raise ValueError(f"format version {version}")
    for name in ("fingerprint", *(["precision"] if version > 1 else [])):
        _scalar(fields[name], "U")
    if "kind" in fields and (kind := _scalar(fields["kind"], "U")) not in get_args(Kind):
        raise ValueError(f"it is of {kind[:20]!r}")
    embeddings, texts = fields["embeddings"], [fields[name] for name in _TEXTS]
    if embeddings.dtype != np.float32 or embeddings.ndim != 2 or not len(embeddings):
        raise ValueError(f"embeddings are {embeddings.dtype} {embeddings.shape}")
    if any(column.dtype.kind != "U" or column.shape != (len(embeddings),) for column in texts):
        raise ValueError("not every embedding has its texts")
    for name in _NUMBERS if version > 4 else ():
        if fields[name].dtype != _NUMBERS[name] or fields[name].shape != (len(embeddings),):
            raise ValueError(f"{name} are {fields[name].dtype} {fields[name].shape}")
    if not all(picture == "" or (os.path.isabs(picture) and "\0" not in picture) for picture in fields["pictures"]):
        raise ValueError("pictures are not absolute paths")
    if (version > 2 or _DIGEST in fields) and str(_scalar(fields[_DIGEST], "U")) != _digest(fields):
        raise ValueError("its digest differs")


def _scalar(value: NDArray[Any], kind: str) -> Any:  # noqa: ANN401 - a number or a text
    if value.shape != () or value.dtype.kind != kind:
        raise ValueError(f"{value.dtype} {value.shape} where one value is expected")
    return value.item()


def _digest(fields: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of everything that a gallery's file says."""
    digest = hashlib.sha256()
    for name in _FIELDS:
        if name in fields:
            value = fields[name]
            digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _space_of(path: Path, fields: Mapping[str, NDArray[Any]], version: int, wanted: Space | None) -> Space:
    """Return the space of a gallery; a file of version 1 does not state all of it."""
    if version > 1:
        # a precision that nobody knows is another than any wanted one, and refused as that
        precision = cast("Precision", str(fields["precision"]))
        if wanted is None and precision not in PRECISIONS:
            raise damaged(path, f"it is of precision {precision[:20]!r}")
    elif wanted is not None:
        precision = wanted.precision
        logger.warning("%s does not state its precision; assuming %s", path, precision)
    else:
        raise DataError(f"{path} does not state its precision: say what space it is of, or embed the gallery again")
    return Space(str(fields["fingerprint"]), precision, fields["embeddings"].shape[1])
