"""Retrieval metrics of a model on a data set, over the protocols of the field.

I2I ranks gallery images for a query image, I2T gallery tracklets for a query image, T2T gallery tracklets for the
query's own tracklet. An image is a tracklet of one frame, so they differ only in what is ranked for what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Split
from reid.evaluation.metrics import Labels, Metrics, evaluate
from reid.evaluation.reranking import reranked_rows
from reid.runtime.embedding import DEFAULT_BATCH_SIZE, embed, watched
from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import distance_rows
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Frame, Tracklet

__all__ = ["PROTOCOLS", "EmbeddedData", "Protocol", "embed_data", "evaluate_protocol", "parse_protocols"]

Kind = Literal["images", "tracklets"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is ranked for what."""

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
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in PROTOCOLS]
    if unknown:
        raise DataError(f"unknown protocol {unknown[0]!r}; choose one of: {', '.join(PROTOCOLS)}")
    return tuple(PROTOCOLS[name] for name in wanted)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedData:
    """Embeddings of a query and a gallery split, each frame embedded once.

    Attributes:
        query: the queries that can be read, each with its own tracklet; the same in every protocol.
        gallery: the entries of which something can be read.
        embeddings: of every entry of both, by its files, float32 [D].
        unreadable: names of the frames that were left out.
        queries_left_out: names of the queries that cannot be read, or whose own tracklets cannot.
    """

    query: Split
    gallery: Split
    embeddings: dict[tuple[Frame, ...], NDArray[np.float32]]
    unreadable: tuple[str, ...]
    queries_left_out: tuple[str, ...] = ()

    def matrix(self, entries: Sequence[Tracklet]) -> NDArray[np.float32]:
        """Stack the entries' embeddings, float32 [n, D]."""
        return np.stack([self.embeddings[entry.frames] for entry in entries])


def embed_data(
    session: Session,
    query: Split,
    gallery: Split,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> EmbeddedData:
    """Embed all images and tracklets of two splits.

    Args:
        session: the model.
        query: queries and their own tracklets.
        gallery: gallery images and tracklets.
        batch_size: frames per run of the session.
        on_frames: called with (frames done, frames in all).
    """
    plan = _distinct((*gallery.tracklets, *query.tracklets), (*gallery.images, *query.images))
    total = sum(len(tracklet.frames) for tracklet in plan)
    embeddings: dict[tuple[Frame, ...], NDArray[np.float32]] = {}
    unreadable: list[str] = []
    for entry in watched(embed(session, plan, batch_size=batch_size, keep_frames=True), total, on_frames):
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
    """Plan what to run: every tracklet once, and the images that are in none."""
    plan = {tracklet.frames: tracklet for tracklet in tracklets}
    covered = {frame for frames in plan for frame in frames}
    plan |= {image.frames: image for image in images if image.frames[0] not in covered}
    return list(plan.values())


def evaluate_protocol(data: EmbeddedData, protocol: Protocol, *, rerank: bool = False) -> Metrics:
    """Rank and score by one protocol.

    Args:
        data: of embed_data.
        protocol: what is ranked for what.
        rerank: use k-reciprocal re-ranking; the method itself does without.

    Raises:
        DataError: no query or no gallery entry is left, or none of the queries has a right answer.
    """
    query: tuple[Tracklet, ...] = getattr(data.query, protocol.query)
    gallery: tuple[Tracklet, ...] = getattr(data.gallery, protocol.gallery)
    if not query or not gallery:
        raise DataError(
            f"{protocol.name}: {len(query)} queries and {len(gallery)} gallery {protocol.gallery}; "
            "`reid-data inspect` says what the data lacks"
        )
    rows = (reranked_rows if rerank else distance_rows)(data.matrix(query), data.matrix(gallery))
    return evaluate(rows, _labels(query), _labels(gallery))


def _labels(entries: Sequence[Tracklet]) -> Labels:
    return Labels([str(entry.vehicle) for entry in entries], [str(entry.camera) for entry in entries])
