"""Retrieval metrics of a model on a data set, by the protocols of the field.

I2I ranks gallery images for a query image, I2T gallery tracklets for a query image, T2T gallery tracklets for the
query's own tracklet. An image is a tracklet of one frame, so they differ only in what is ranked for what.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Split
from reid.evaluation.metrics import Labels, Metrics, evaluate
from reid.evaluation.same_camera import (
    OwnView,
    SameCamera,
    copies_of_queries,
    elsewhere,
    kept_labels,
    own_view,
    same_camera_of,
)
from reid.runtime.embedding import embed
from reid.runtime.errors import DataError
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing, distance_blocks
from reid.runtime.galleries.ranking import DistanceBlock
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Frame, Tracklet

__all__ = [
    "PROTOCOLS",
    "EmbeddedData",
    "Protocol",
    "available_protocols",
    "embed_data",
    "evaluate_protocol",
    "find_protocols",
    "parse_protocols",
    "protocol_blocks",
    "protocols_of",
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


def available_protocols(query: Split, gallery: Split) -> tuple[Protocol, ...]:
    """Return the protocols for which there are queries and gallery entries."""
    return tuple(one for one in PROTOCOLS.values() if getattr(query, one.query) and getattr(gallery, one.gallery))


def protocols_of(query: Split, gallery: Split, named: Sequence[Protocol] | None) -> tuple[Protocol, ...]:
    """Return the protocols to score two splits by.

    Args:
        query: the queries and their own tracklets.
        gallery: the gallery's images and tracklets.
        named: the protocols that were asked for; None for those that are available, or I2I if none is.

    Raises:
        DataError: there are no entries for a protocol that was asked for.
    """
    available = available_protocols(query, gallery)
    if named is None:
        return available or (PROTOCOLS["i2i"],)
    for one in named:
        if one not in available:
            raise _nothing_to_rank(query, gallery, one)
    return tuple(named)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedData:
    """Embeddings of a query and a gallery split, each frame embedded once.

    Attributes:
        query: the queries that can be read, each with its own tracklet; the same in every protocol.
        gallery: the entries of which at least one frame can be read.
        embeddings: files of an entry -> its embedding, float32 [D], for every entry of both splits.
        unreadable: the names of the frames that were left out.
        queries_left_out: the names of the queries that cannot be read, or whose own tracklets cannot.
        own_view: what of the query's vehicle is left out of its ranking.
        copies: the files of the same picture, where that is not the camera; see copies_of_queries.
    """

    query: Split
    gallery: Split
    embeddings: dict[tuple[Frame, ...], NDArray[np.float32]]
    unreadable: tuple[str, ...]
    queries_left_out: tuple[str, ...] = ()
    own_view: OwnView = "camera"
    copies: Mapping[Frame, Frame] = field(default_factory=dict)

    @property
    def same_camera(self) -> SameCamera:
        """What happens to gallery entries of the query's vehicle and camera."""
        return same_camera_of(self.own_view)

    def leaving_out(self, view: OwnView) -> EmbeddedData:
        """Return the same data with another rule of what is left out of rankings."""
        copies = {} if view == "camera" else copies_of_queries(self.query, self.gallery)
        return replace(self, own_view=view, copies=copies)

    def restricted(self, query: Split, gallery: Split, view: OwnView) -> EmbeddedData:
        """Return the part of the data that these splits consist of, with a rule of its own.

        Args:
            query: some of the queries that were embedded, or other images that were.
            gallery: some of the gallery entries that were embedded.
            view: what is left out of rankings.
        """
        pairs = list(zip(query.images, query.tracklets or query.images, strict=True))
        read = [pair for pair in pairs if self._has(*pair)]
        part = replace(
            self,
            query=Split(tuple(image for image, _ in read), tuple(own for _, own in read)),
            gallery=Split(tuple(filter(self._has, gallery.images)), tuple(filter(self._has, gallery.tracklets))),
            queries_left_out=tuple(dict.fromkeys(image.id for image, own in pairs if not self._has(image, own))),
        )
        return part.leaving_out(view)

    def _has(self, *entries: Tracklet) -> bool:
        return all(entry.frames in self.embeddings for entry in entries)

    def labels(self, protocol: Protocol) -> tuple[Labels, Labels]:
        """Return the labels of a protocol's queries and gallery entries."""
        if self.own_view != "camera":
            return kept_labels(self.query, self.gallery, (protocol.query, protocol.gallery), self.own_view, self.copies)
        return _labels(getattr(self.query, protocol.query)), _labels(getattr(self.gallery, protocol.gallery))

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
    view: OwnView | None = None,
    stage: str = "embedding",
    progress: Progress = SILENT,
) -> EmbeddedData:
    """Embed all images and tracklets of two splits.

    Args:
        session: the model.
        query: the queries and their own tracklets.
        gallery: the gallery's images and tracklets.
        view: what of a query's vehicle is left out of its ranking; None for its camera if cameras can tell a right
            answer, and else for the query itself.
        stage: the name of the stage that begins, for people.
        progress: follows the frames.
    """
    plan = _distinct((*gallery.tracklets, *query.tracklets), (*gallery.images, *query.images))
    progress.begin(stage, sum(len(tracklet.frames) for tracklet in plan))
    embeddings: dict[tuple[Frame, ...], NDArray[np.float32]] = {}
    unreadable: list[str] = []
    for entry in embed(session, plan, keep_frames=True, progress=progress):
        frames = entry.tracklet.frames
        embeddings |= {(frames[index],): embedding for index, embedding in entry.frames.items()}
        if entry.embedding is not None:
            embeddings[frames] = entry.embedding
        unreadable += [str(frames[failure.frame_index]) for failure in entry.unreadable]
    everything = EmbeddedData(query, gallery, embeddings, tuple(dict.fromkeys(unreadable)))
    return everything.restricted(query, gallery, view or own_view(query, gallery))


def _distinct(tracklets: Iterable[Tracklet], images: Iterable[Tracklet]) -> list[Tracklet]:
    """Return the entries to embed: every tracklet once, and the images that are in none."""
    plan = {tracklet.frames: tracklet for tracklet in tracklets}
    covered = {frame for frames in plan for frame in frames}
    plan |= {image.frames: image for image in images if image.frames[0] not in covered}
    return list(plan.values())


def evaluate_protocol(data: EmbeddedData, protocol: Protocol, post_processing: PostProcessing = PLAIN) -> Metrics:
    """Rank and score by one protocol.

    Args:
        data: the result of embed_data.
        protocol: the protocol, which says what is ranked for what.
        post_processing: what is done before the ranking; the poster's figures are plain.

    Raises:
        DataError: no query or no gallery entry is left, or none of the queries has a right answer.
    """
    query: tuple[Tracklet, ...] = getattr(data.query, protocol.query)
    gallery: tuple[Tracklet, ...] = getattr(data.gallery, protocol.gallery)
    if not query or not gallery:
        raise _nothing_to_rank(data.query, data.gallery, protocol, data.unreadable)
    asked, found = data.labels(protocol)
    if not _any_right_answer(asked, found):
        raise _no_right_answer(data, protocol)
    return evaluate(protocol_blocks(data, protocol, post_processing), asked, found)


def protocol_blocks(
    data: EmbeddedData, protocol: Protocol, post_processing: PostProcessing = PLAIN
) -> Iterator[DistanceBlock]:
    """Yield the distances of a protocol's queries to its gallery, in blocks of consecutive queries.

    Post-processing sees no label: neighbors come from the whole gallery, as they do when deployed. What the rule of
    the same camera leaves out is still in the blocks.
    """
    query, gallery = getattr(data.query, protocol.query), getattr(data.gallery, protocol.gallery)
    return distance_blocks(data.matrix(query), data.matrix(gallery), post_processing)


def _nothing_to_rank(query: Split, gallery: Split, protocol: Protocol, unreadable: Sequence[str] = ()) -> DataError:
    asked, ranked = getattr(query, protocol.query), getattr(gallery, protocol.gallery)
    left = f"{protocol.name}: {len(asked)} queries and {len(ranked)} gallery {protocol.gallery}"
    if unreadable:
        return DataError(f"{left} can be read: {unreadable[0]}")
    others = ",".join(one.name for one in available_protocols(query, gallery))
    choice = f"choose --protocols {others}; " if others else ""
    return DataError(f"{left}; {choice}`reid-data inspect` says what the data lacks")


def _any_right_answer(query: Labels, gallery: Labels) -> bool:
    views: dict[str | None, set[Hashable]] = {None: set()}
    for vehicle, view in zip(gallery.vehicles, gallery.cameras, strict=True):
        if vehicle is not None:
            views.setdefault(vehicle, set()).add(view)
    asked = zip(query.vehicles, query.cameras, strict=True)
    return any(views.get(vehicle, set()) - {view} for vehicle, view in asked)


def _no_right_answer(data: EmbeddedData, protocol: Protocol) -> DataError:
    """Return the error for queries that all lack a right answer, with the remedy that gives them one."""
    asked, found = data.labels(protocol)
    shown = elsewhere(data.own_view)
    said = (
        f"{protocol.name}: none of {len(asked)} queries shows a vehicle that {len(found)} gallery entries show {shown}"
    )
    kept = data.leaving_out(own_view(data.query, data.gallery, "keep"))
    if data.own_view == "camera" and _any_right_answer(*kept.labels(protocol)):
        return DataError(f"{said}: rank entries of the query's camera, too, with --same-camera keep")
    return DataError(f"{said}: check that query and gallery belong together")


def _labels(entries: Sequence[Tracklet]) -> Labels:
    return Labels([entry.vehicle for entry in entries], [entry.camera for entry in entries])
