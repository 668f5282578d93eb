"""A gallery: the embeddings that queries are ranked against, and the space that they are in."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.embedding import Embedded
from reid.runtime.errors import DataError, ModelError
from reid.runtime.galleries.ranked_lists import Match, Ranking
from reid.runtime.galleries.ranking import top_k
from reid.runtime.space import Space
from reid.runtime.storage import atomic_write
from reid.runtime.tracklet import Tracklet

__all__ = ["Gallery", "open_gallery"]

logger = logging.getLogger(__name__)

_FORMAT_VERSION = 2
"""Version 1, of reid 0.1, did not record the precision."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Tracklets and their embeddings.

    Attributes:
        tracklets: the T tracklets; in a loaded gallery, each holds the path of its middle frame only.
        embeddings: float32 [T, D], L2-normalized.
        space: the space of the embeddings.
    """

    tracklets: tuple[Tracklet, ...]
    embeddings: NDArray[np.float32]
    space: Space

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
        return cls(tuple(tracklets), np.stack(embeddings), space)

    def rank(self, queries: Iterable[Embedded], k: int, *, block: int = 256) -> Iterator[Ranking]:
        """Yield the best `k` entries for each query that has an embedding, in order; `block` queries at a time."""
        answerable = ((entry.tracklet, entry.embedding) for entry in queries if entry.embedding is not None)
        while chunk := list(islice(answerable, block)):
            indices, scores = top_k(np.stack([embedding for _, embedding in chunk]), self.embeddings, k)
            for (query, _), row, row_scores in zip(chunk, indices.tolist(), scores.tolist(), strict=True):
                yield Ranking(query, self._matches(row, row_scores))

    def _matches(self, indices: Sequence[int], scores: Sequence[float]) -> tuple[Match, ...]:
        pairs = zip(indices, scores, strict=True)
        return tuple(Match(self.tracklets[index], score) for index, score in pairs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the gallery to one .npz file, whole or absent. Pictures stay where they are; their paths are stored."""
        middle = [tracklet.frames[len(tracklet.frames) // 2] for tracklet in self.tracklets]
        content = io.BytesIO()
        np.savez(
            content,
            format_version=np.array(_FORMAT_VERSION),
            fingerprint=np.array(self.space.fingerprint),
            precision=np.array(self.space.precision),
            embeddings=self.embeddings,
            ids=np.array([tracklet.id for tracklet in self.tracklets]),
            cameras=np.array([tracklet.camera or "" for tracklet in self.tracklets]),
            vehicles=np.array([tracklet.vehicle or "" for tracklet in self.tracklets]),
            pictures=np.array([str(f.absolute()) if isinstance(f, Path) else "" for f in middle]),
        )
        atomic_write(Path(path), content.getvalue())


def open_gallery(source: str | os.PathLike[str], space: Space) -> Gallery:
    """Open a saved gallery to rank it for queries of a space.

    Raises:
        DataError: not a gallery, or damaged.
        ModelError: another model embedded it, or the same model in another precision.
    """
    path = Path(source)
    damaged = DataError(f"{path} is not a readable gallery; make it again from its folder")
    try:  # damage to a zip file of arrays shows as any of a dozen exceptions
        with np.load(path, allow_pickle=False) as stored:
            fields = {name: stored[name] for name in stored.files}
        version = int(fields["format_version"])
    except Exception:
        raise damaged from None
    if version > _FORMAT_VERSION:
        raise DataError(f"{path} has format version {version}, newer than {_FORMAT_VERSION}: update reid")
    try:
        fingerprint = str(fields["fingerprint"])
        precision = str(fields["precision"]) if version > 1 else None
        embeddings = np.asarray(fields["embeddings"], np.float32)
        columns = (fields[name].tolist() for name in ("ids", "pictures", "cameras", "vehicles"))
        rows = [row for *row, _ in zip(*columns, embeddings, strict=True)]
    except Exception:
        raise damaged from None
    _check_space(path, fingerprint, precision, space)
    if embeddings.shape != (len(rows), space.dimensions):
        raise damaged
    tracklets = (
        Tracklet(identity, (Path(picture),), camera or None, vehicle or None)
        for identity, picture, camera, vehicle in rows
    )
    return Gallery(tuple(tracklets), embeddings, space)


def _check_space(path: Path, fingerprint: str, precision: str | None, space: Space) -> None:
    if fingerprint != space.fingerprint:
        raise ModelError(
            f"{path} was made by model {fingerprint[:12]}, this one is {space.fingerprint[:12]}: "
            "embed the gallery again with this model"
        )
    if precision is None:
        logger.warning("%s does not state its precision; assuming %s", path, space.precision)
    elif precision != space.precision:
        raise ModelError(
            f"{path} was embedded in {precision}, and the queries are in {space.precision}: "
            f"use --precision {precision}, or embed the gallery again"
        )
