"""A gallery: the embeddings that queries are ranked against, and the space that they are in."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from reid.runtime.embedding import Embedded
from reid.runtime.errors import DataError
from reid.runtime.files.arrays import open_arrays
from reid.runtime.files.storage import atomic_write
from reid.runtime.galleries.comparable import check_space
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing, top_k_of
from reid.runtime.galleries.ranked_lists import Match, Ranking
from reid.runtime.galleries.ranking import wrong_lengths
from reid.runtime.precision import Precision
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["Gallery", "Kind", "kind_of", "open_gallery", "ranked"]

logger = logging.getLogger(__name__)

_FORMAT_VERSION = 4
"""Version 1, of reid 0.1, did not record the precision; version 2 had no digest, and version 3 no kind."""

_PATIENCE_S = 0.1
"""How long a query waits for others to be ranked with, in seconds."""

_Item = TypeVar("_Item")

Kind: TypeAlias = Literal["images", "tracklets"]

_COLUMNS = ("ids", "pictures", "cameras", "vehicles")
_FIELDS = ("format_version", "fingerprint", "precision", "embeddings", *_COLUMNS, "kind")
_DIGEST = "digest"


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Tracklets and their embeddings.

    Attributes:
        tracklets: the T tracklets; in a loaded gallery, each holds the path of its middle frame only.
        embeddings: float32 [T, D], L2-normalized.
        space: the space of the embeddings.
        kind: "tracklets" where any of them was embedded from several frames; None where that is not known.
    """

    tracklets: tuple[Tracklet, ...]
    embeddings: NDArray[np.float32]
    space: Space
    kind: Kind | None = None

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.tracklets)

    @classmethod
    def collect(cls, embedded: Iterable[Embedded], space: Space) -> Gallery:
        """Gather embedded tracklets; those without a readable frame are left out.

        Raises:
            DataError: none is left.
        """
        kept, reason = [], ""
        for entry in embedded:
            if entry.embedding is not None:
                kept.append((entry.tracklet, entry.embedding))
            else:
                reason = reason or f": {entry.unreadable[0].reason}"
        if not kept:
            raise DataError(f"no image of the gallery can be read{reason}")
        tracklets, embeddings = zip(*kept, strict=True)
        return cls(tuple(tracklets), np.stack(embeddings), space, kind_of(tracklets))

    def rank(
        self, queries: Iterable[Embedded], k: int, post_processing: PostProcessing = PLAIN, *, block: int = 256
    ) -> Iterator[Ranking]:
        """Yield the best `k` entries for each query that has an embedding, in order, the first one at once.

        Args:
            queries: the embedded queries.
            k: matches per query.
            post_processing: what is done before the ranking.
            block: the most queries at a time: a few come first, and fewer where they come slowly. Re-ranking takes all
                together, since each query's result depends on the others.
        """

        def search(asked: NDArray[np.float32]) -> Iterator[tuple[Match, ...]]:
            indices, scores = top_k_of(asked, self.embeddings, k, post_processing)
            return map(self._matches, indices.tolist(), scores.tolist())

        return ranked(queries, search, None if post_processing.rerank else block)

    def _matches(self, indices: Sequence[int], scores: Sequence[float]) -> tuple[Match, ...]:
        pairs = zip(indices, scores, strict=True)
        return tuple(Match(self.tracklets[index], score) for index, score in pairs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the gallery to one .npz file, whole or absent. Pictures stay where they are; their paths are stored."""
        middle = [tracklet.frames[len(tracklet.frames) // 2] for tracklet in self.tracklets]
        fields: dict[str, Any] = {
            "format_version": np.array(_FORMAT_VERSION),
            "fingerprint": np.array(self.space.fingerprint),
            "precision": np.array(self.space.precision),
            "embeddings": self.embeddings,
            "ids": np.array([tracklet.id for tracklet in self.tracklets]),
            "cameras": np.array([tracklet.camera or "" for tracklet in self.tracklets]),
            "vehicles": np.array([tracklet.vehicle or "" for tracklet in self.tracklets]),
            "pictures": np.array([str(f.absolute()) if isinstance(f, Path) else "" for f in middle]),
            **({"kind": np.array(self.kind)} if self.kind else {}),
        }
        content = io.BytesIO()
        np.savez(content, **fields, digest=np.array(_digest(fields)))
        atomic_write(Path(path), content.getvalue())


def ranked(
    queries: Iterable[Embedded], search: Callable[[NDArray[np.float32]], Iterable[tuple[Match, ...]]], most: int | None
) -> Iterator[Ranking]:
    """Yield a ranking for each query that has an embedding, in order, the first one at once.

    Args:
        queries: the embedded queries.
        search: returns the matches of each of some embeddings, float32 [Q, D].
        most: the most queries that are searched for at a time; None for all together.
    """
    answerable = ((entry.tracklet, entry.embedding) for entry in queries if entry.embedding is not None)
    for chunk in _growing(answerable, most) if most else filter(None, [list(answerable)]):
        asked = np.stack([embedding for _, embedding in chunk])
        for (query, _), matches in zip(chunk, search(asked), strict=True):
            yield Ranking(query, matches)


def _growing(items: Iterable[_Item], most: int) -> Iterator[list[_Item]]:
    """Group items: the first alone, then twice as many each time, and no more than come within `_PATIENCE_S`."""
    chunk: list[_Item] = []
    size, began = 1, time.monotonic()
    for item in items:
        chunk.append(item)
        if len(chunk) == size or time.monotonic() - began > _PATIENCE_S:
            yield chunk
            chunk, size, began = [], min(2 * size, most), time.monotonic()
    if chunk:
        yield chunk


def kind_of(tracklets: Iterable[Tracklet]) -> Kind:
    """Return "tracklets" where any has several frames, else "images"."""
    return "tracklets" if any(len(tracklet.frames) > 1 for tracklet in tracklets) else "images"


def open_gallery(source: str | os.PathLike[str], space: Space) -> Gallery:
    """Open a saved gallery to rank it for queries of a space.

    Raises:
        DataError: not a gallery, or damaged.
        ModelError: another model embedded it, or the same model in another precision.
    """
    path = Path(source)
    fields, version = _read(path)
    check_space(path, _space_of(path, fields, version, space), space)
    embeddings, columns = fields["embeddings"], [fields[name] for name in _COLUMNS]
    tracklets = (
        Tracklet(identity, (Path(picture),), camera or None, vehicle or None)
        for identity, picture, camera, vehicle in zip(*(column.tolist() for column in columns), strict=True)
    )
    return Gallery(tuple(tracklets), embeddings, space, fields["kind"].item() if "kind" in fields else None)


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], int]:
    """Return the fields of a gallery's file, of the right types and sizes, and the version of its format."""
    try:
        with open_arrays(path) as arrays:
            version = int(_scalar(arrays.read("format_version"), "i"))
            if version > _FORMAT_VERSION:
                raise DataError(f"{path} has format version {version}, newer than {_FORMAT_VERSION}: update reid")
            if unknown := arrays.names - {*_FIELDS, _DIGEST}:
                raise ValueError(f"it also holds {', '.join(sorted(unknown))}")
            fields = {name: arrays.read(name) for name in arrays.names}
        _check_fields(fields, version)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a folder of crops, or a gallery that was saved") from None
    except (ValueError, KeyError) as error:
        raise _damaged(path, error) from None
    return fields, version


def _check_fields(fields: Mapping[str, NDArray[Any]], version: int) -> None:
    """Raise ValueError or KeyError where fields do not fit one another, or the digest."""
    if version < 1:
        raise ValueError(f"format version {version}")
    for name in ("fingerprint", *(["precision"] if version > 1 else [])):
        _scalar(fields[name], "U")
    if "kind" in fields and (kind := _scalar(fields["kind"], "U")) not in get_args(Kind):
        raise ValueError(f"it is of {kind[:20]!r}")
    embeddings, columns = fields["embeddings"], [fields[name] for name in _COLUMNS]
    if embeddings.dtype != np.float32 or embeddings.ndim != 2 or not len(embeddings):
        raise ValueError(f"embeddings are {embeddings.dtype} {embeddings.shape}")
    if any(column.dtype.kind != "U" or column.shape != (len(embeddings),) for column in columns):
        raise ValueError("not every embedding has its texts")
    if not all(picture == "" or (os.path.isabs(picture) and "\0" not in picture) for picture in fields["pictures"]):
        raise ValueError("pictures are not absolute paths")
    if wrong := wrong_lengths(embeddings):
        raise ValueError(wrong)
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


def _damaged(path: Path, reason: object) -> DataError:
    return DataError(f"{path} is not a readable gallery ({reason}); make it again from its folder")


def _space_of(path: Path, fields: Mapping[str, NDArray[Any]], version: int, wanted: Space) -> Space:
    """Return the space of a gallery; a file of version 1 does not state all of it."""
    if version == 1:
        logger.warning("%s does not state its precision; assuming %s", path, wanted.precision)
    # a precision that nobody knows is another than the wanted one, and refused as that
    precision = cast("Precision", str(fields["precision"])) if version > 1 else wanted.precision
    return Space(str(fields["fingerprint"]), precision, fields["embeddings"].shape[1])
