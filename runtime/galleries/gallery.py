"""A gallery: the embeddings that queries are ranked against, with the fingerprint of the model that made them."""

from __future__ import annotations

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
from reid.runtime.tracklet import Tracklet

__all__ = ["Gallery"]

_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Tracklets and their embeddings.

    Attributes:
        tracklets: [T]; of a loaded gallery, each holds the path of its middle frame only.
        embeddings: float32 [T, D], L2-normalized.
        fingerprint: of the model.
    """

    tracklets: tuple[Tracklet, ...]
    embeddings: NDArray[np.float32]
    fingerprint: str

    @classmethod
    def collect(cls, embedded: Iterable[Embedded], fingerprint: str) -> Gallery:
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
        return cls(tuple(tracklets), np.stack(embeddings), fingerprint)

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

    def save(self, path: Path) -> None:
        """Write the gallery to one .npz file. Pictures stay where they are; their paths are stored."""
        middle = [tracklet.frames[len(tracklet.frames) // 2] for tracklet in self.tracklets]
        with path.open("wb") as file:
            np.savez(
                file,
                format_version=np.array(_FORMAT_VERSION),
                fingerprint=np.array(self.fingerprint),
                embeddings=self.embeddings,
                ids=np.array([tracklet.id for tracklet in self.tracklets]),
                cameras=np.array([tracklet.camera or "" for tracklet in self.tracklets]),
                vehicles=np.array([tracklet.vehicle or "" for tracklet in self.tracklets]),
                pictures=np.array([str(f.absolute()) if isinstance(f, Path) else "" for f in middle]),
            )

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> Gallery:
        """Read a gallery for use with the model of this fingerprint.

        Raises:
            DataError: not a gallery, or damaged.
            ModelError: another model made it; its embeddings mean nothing to this one.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                fields = {name: stored[name] for name in stored.files}
            version, made_by = int(fields["format_version"]), str(fields["fingerprint"])
            embeddings = np.asarray(fields["embeddings"], np.float32)
            columns = (fields[name].tolist() for name in ("ids", "pictures", "cameras", "vehicles"))
            rows = [row for *row, _ in zip(*columns, embeddings, strict=True)]
        except Exception:  # damage to a zip file of arrays shows as any of a dozen exceptions
            raise DataError(f"{path} is not a readable gallery; make it anew from its folder") from None
        if version > _FORMAT_VERSION:
            raise DataError(f"{path} has format version {version}, newer than {_FORMAT_VERSION}: update reid")
        if made_by != fingerprint:
            raise ModelError(
                f"{path} was made by model {made_by[:12]}, this one is {fingerprint[:12]}: "
                "embed the gallery anew with this model"
            )
        tracklets = (
            Tracklet(identity, (Path(picture),), camera or None, vehicle or None)
            for identity, picture, camera, vehicle in rows
        )
        return cls(tuple(tracklets), embeddings, made_by)
