"""Retrieval metrics of a model on a data set, by the protocols of the field.

I2I ranks gallery images for a query image, I2T gallery tracklets for a query image, T2T gallery tracklets for the
query's own tracklet. An image is a tracklet of one frame, so they differ only in what is ranked for what.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Split
from reid.evaluation.metrics import Labels, Metrics, evaluate
from reid.evaluation.reranking import reranked_rows
from reid.runtime.embedding import embed, watched
from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import distance_rows
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Frame, Tracklet

__all__ = [
    "PROTOCOLS",
    "EmbeddedData",
    "Protocol",
    "embed_data",
    "evaluate_protocol",
    "find_protocols",
    "parse_protocols",
]

Kind = Literal["images", "tracklets"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol: the kind of its queries and the kind of its gallery entries."""

    name: str
    query: Kind
    gallery: Kind


PROTOCOLS = {
    "i2i": Protocol("i2i", "images", "images"),
    "i2t": Protocol("i2t", "images", "tracklets"),
    "t2t": Protocol("t2t", "tracklets", "tracklets"),
}


def parse_protocols(names: str) -> tuple[Protocol, ...]:
    """Read a comma-separated list of protocol names. Raises DataError on an unknown one."""
    return find_protocols([name.strip() for name in names.split(",")])


def find_protocols(names: Sequence[str]) -> tuple[Protocol, ...]:
    """Return the protocols with these names. Raises DataError on an unknown one."""
    if unknown := [name for name in names if name not in PROTOCOLS]:
        raise DataError(f"unknown protocol {unknown[0]!r}; choose one of: {', '.join(PROTOCOLS)}")
    return tuple(PROTOCOLS[name] for name in names)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedData:
    """Embeddings of a query and a gallery split, each frame embedded once.

    Attributes:
        query: the queries that can be read, each with its own tracklet; the same in every protocol.
        gallery: the entries of which at least one frame can be read.
        embeddings: files of an entry -> its embedding, float32 [D], for every entry of both splits.
        unreadable: the names of the frames that were left out.
        queries_left_out: the names of the queries that cannot be read, or whose own tracklets cannot.
    """

    query: Split
    gallery: Split
    embeddings: dict[tuple[Frame, ...], NDArray[np.float32]]
    unreadable: tuple[str, ...]
    queries_left_out: tuple[str, ...] = ()

    def matrix(self, entries: Sequence[Tracklet]) -> NDArray[np.float32]:
        """Return the entries' embeddings, float32 [n, D]."""
        return self.rows(entry.frames for entry in entries)

    def rows(self, files: Iterable[tuple[Frame, ...]]) -> NDArray[np.float32]:
        """Return the embeddings of entries, known by their files, float32 [n, D]."""
        return np.stack([self.embeddings[one] for one in files])


def embed_data(
    session: Session,
    query: Split,
    gallery: Split,
    *,
    stage: str = "embedding",
    progress: Progress = SILENT,
) -> EmbeddedData:
    """Embed all images and tracklets of two splits.

    Args:
        session: the model.
        query: the queries and their own tracklets.
        gallery: the gallery's images and tracklets.
        stage: the name of the stage that begins, for people.
        progress: follows the frames.
    """
    plan = _distinct((*gallery.tracklets, *query.tracklets), (*gallery.images, *query.images))
    progress.begin(stage, sum(len(tracklet.frames) for tracklet in plan))
    embeddings: dict[tuple[Frame, ...], NDArray[np.float32]] = {}
    unreadable: list[str] = []
    for entry in watched(embed(session, plan, keep_frames=True), progress):
        frames = entry.tracklet.frames
        embeddings |= {(frames[index],): embedding for index, embedding in entry.frames.items()}
        if entry.embedding is not None:
            embeddings[frames] = entry.embedding
        unreadable += [str(frames[failure.frame_index]) for failure in entry.unreadable]

    def readable(*entries: Tracklet) -> bool:
        return all(entry.frames in embeddings for entry in entries)

    pairs = list(zip(query.images, query.tracklets, strict=True))
    return EmbeddedData(
        query=Split(
            tuple(image for image, own in pairs if readable(image, own)),
            tuple(own for image, own in pairs if readable(image, own)),
        ),
        gallery=Split(tuple(filter(readable, gallery.images)), tuple(filter(readable, gallery.tracklets))),
        embeddings=embeddings,
        unreadable=tuple(dict.fromkeys(unreadable)),
        queries_left_out=tuple(image.id for image, own in pairs if not readable(image, own)),
    )


def _distinct(tracklets: Iterable[Tracklet], images: Iterable[Tracklet]) -> list[Tracklet]:
    """Return the entries to embed: every tracklet once, and the images that are in none."""
    plan = {tracklet.frames: tracklet for tracklet in tracklets}
    covered = {frame for frames in plan for frame in frames}
    plan |= {image.frames: image for image in images if image.frames[0] not in covered}
    return list(plan.values())


def evaluate_protocol(data: EmbeddedData, protocol: Protocol, *, rerank: bool = False) -> Metrics:
    """Rank and score by one protocol.

    Args:
        data: the result of embed_data.
        protocol: the protocol, which says what is ranked for what.
        rerank: whether to use k-reciprocal re-ranking; the poster's figures are without it.

    Raises:
        DataError: no query or no gallery entry is left, or none of the queries has a right answer.
    """
    query: tuple[Tracklet, ...] = getattr(data.query, protocol.query)
    gallery: tuple[Tracklet, ...] = getattr(data.gallery, protocol.gallery)
    if not query or not gallery:
        left = f"{protocol.name}: {len(query)} queries and {len(gallery)} gallery {protocol.gallery}"
        if data.unreadable:
            raise DataError(f"{left} can be read: {data.unreadable[0]}")
        raise DataError(f"{left}; `reid-data inspect` says what the data lacks")
    blocks = (reranked_rows if rerank else distance_rows)(data.matrix(query), data.matrix(gallery))
    return evaluate(blocks, _labels(query), _labels(gallery))


def _labels(entries: Sequence[Tracklet]) -> Labels:
    return Labels([entry.vehicle for entry in entries], [entry.camera for entry in entries])
