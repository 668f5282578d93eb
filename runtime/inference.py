"""From folders of crops to ranked lists: what `reid-infer` does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from reid.runtime.data_drift.looks import look
from reid.runtime.data_drift.observing import Observer
from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import DataError, ModelError
from reid.runtime.folders import tracklets_in, what_is_left_out
from reid.runtime.galleries.entry import Entry, entry_of
from reid.runtime.galleries.filters import Filters
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.opening import is_gallery, open_gallery
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.protocol import Gallery, Kind
from reid.runtime.galleries.queries import rank
from reid.runtime.galleries.ranked_lists import Ranking
from reid.runtime.left_out import LeftOut
from reid.runtime.listing import Listing, list_tree
from reid.runtime.operating_point import OperatingPoint, choose_operating_point, protocol_of
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import BatchLimits, Session
from reid.runtime.shards import Shard, part_of
from reid.runtime.sightings import Seen, check_named
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["Inference", "infer"]


@dataclass(frozen=True, slots=True)
class Inference:
    """The result of ranking a gallery for queries.

    Attributes:
        rankings: one for each query of which something could be read, in order.
        gallery: the gallery that was ranked; it is the caller's to close.
        unreadable: the names of the frames that were left out, with the reason.
        frames: the number of frames, the unreadable ones included.
        left_out: the folder -> the files in it that are no frames, with the reason.
        post_processing: what was done before the ranking.
        operating_point: what decided whether a match is the same vehicle; None where nothing did.
        filters: what the matches had to be.
    """

    rankings: tuple[Ranking, ...]
    gallery: Gallery
    unreadable: tuple[str, ...]
    frames: int
    left_out: Mapping[Path, tuple[LeftOut, ...]] = field(default_factory=dict)
    post_processing: PostProcessing = PLAIN
    operating_point: OperatingPoint | None = None
    filters: Filters = field(default_factory=Filters)

    @property
    def unmatched(self) -> int:
        """The number of queries without a match, since nothing passes the filters."""
        return sum(not ranking.matches for ranking in self.rankings)


def infer(
    session: Session,
    gallery: str | os.PathLike[str],
    query: Path,
    *,
    k: int,
    expand_queries: int = 0,
    rerank: bool = False,
    false_match_rate: float | None = None,
    filters: Filters | None = None,
    sightings: Mapping[str, Seen] | None = None,
    shard: Shard | None = None,
    limits: BatchLimits | None = None,
    observer: Observer | None = None,
    progress: Progress = SILENT,
) -> Inference:
    """Rank the gallery's tracklets for each query tracklet.

    Args:
        session: the model.
        gallery: a folder or an archive (see read_folder), or a gallery that was embedded before (see open_gallery).
        query: a folder or an archive.
        k: matches per query.
        expand_queries: the number of gallery entries that each query is averaged with first; 0 for none.
        rerank: whether to re-rank by k-reciprocal neighbors, which holds the embeddings of all queries.
        false_match_rate: the rate at which the model's card decides whether a match is the same vehicle: with the
            threshold for images in images (i2i), for images in tracklets (i2t) or, where a query has several frames,
            for tracklets in tracklets (t2t). None for no decision.
        filters: what the matches must be. Post-processing takes the whole gallery, and they leave out of its result.
        sightings: the id of a query -> where and when it was seen. Its camera goes before that of the query's names.
        shard: the part of the queries to take; None for all.
        limits: a smaller batch than the largest that the session takes.
        observer: measures the tracklets that are embedded, and plain rankings.
        progress: follows one stage, the frames of gallery and query together.

    Raises:
        DataError: a folder is absent or holds no readable image, which a shard may; the gallery is empty; or the
            filters need what is not known of a query, or of any entry.
        ModelError: the saved gallery was embedded by another model, or in another precision; or the card has no
            threshold for the rate.
    """
    post_processing = PostProcessing(expand_queries, rerank)
    listing = list_tree(query)
    everyone = _seen(tracklets_in(listing), query, sightings)
    filters = replace(filters or Filters(), times=_times(sightings))
    filters.check_queries(everyone)
    queries = part_of(everyone, shard, query)
    with ExitStack() as stack:
        source = _Source.open(gallery, session.info.space, stack)
        filters.check_gallery(gallery, source.entries())
        point = None
        if false_match_rate is not None:
            kinds = _kind_of(everyone), source.kind
            point = _operating_point(session, kinds, false_match_rate, post_processing)
        frames = sum(len(tracklet.frames) for tracklet in (*source.tracklets, *queries))
        unreadable: list[str] = []

        def embedded(part: Iterable[Tracklet]) -> Iterator[Embedded]:
            for entry in embed(session, part, limits=limits, look=look if observer else None, progress=progress):
                unreadable.extend(failure.reason for failure in entry.unreadable)
                if observer:
                    observer.take(entry)
                yield entry

        # Gallery and queries share no batch, so that a query's embedding is the same, bit for bit, in any gallery.
        progress.begin("embedding", frames)
        members = source.gallery
        if members is None:
            members = MemoryGallery.collect(embedded(source.tracklets), session.info.space)
        conditions = filters.condition if filters else None
        rankings = tuple(rank(members, embedded(queries), k, post_processing, conditions))
        if queries and not rankings and shard is None:  # other machines may have queries that can be read
            raise DataError(f"no image of {query} can be read: {unreadable[-1]}")
        stack.pop_all()  # from here on, the gallery is the caller's
    if observer and post_processing == PLAIN:
        for ranking in rankings:
            observer.take_ranking(ranking)
    if point is not None and point.threshold is not None:
        rankings = tuple(ranking.decided(point.threshold.value) for ranking in rankings)
    left_out = {one.root: what_is_left_out(one) for one in (listing, *source.listings)}
    return Inference(rankings, members, tuple(unreadable), frames, left_out, post_processing, point, filters)


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """What is ranked, before anything is embedded.

    Attributes:
        gallery: a gallery that was embedded before; None for crops.
        tracklets: the tracklets of the crops; else none.
        listings: the listing of the crops; else none.
    """

    gallery: Gallery | None
    tracklets: Sequence[Tracklet] = ()
    listings: Sequence[Listing] = ()

    @classmethod
    def open(cls, source: str | os.PathLike[str], space: Space, stack: ExitStack) -> _Source:
        """Open it; the stack closes it."""
        if not is_gallery(source):
            listing = list_tree(Path(source))
            return cls(None, tracklets_in(listing), [listing])
        gallery = stack.enter_context(closing(open_gallery(source, space)))
        if not len(gallery):
            raise DataError(f"{source} is empty; add crops to it with `reid-gallery append`")
        return cls(gallery)

    @property
    def kind(self) -> Kind | None:
        """What it holds."""
        return _kind_of(self.tracklets) if self.gallery is None else self.gallery.kind

    def entries(self) -> Iterator[Entry]:
        """Yield what is known of all entries."""
        if self.gallery is None:
            return map(entry_of, self.tracklets)
        return chain.from_iterable(self.gallery.entries())


def _kind_of(tracklets: Iterable[Tracklet]) -> Kind:
    return "tracklets" if any(len(tracklet.frames) > 1 for tracklet in tracklets) else "images"


def _seen(queries: list[Tracklet], folder: Path, sightings: Mapping[str, Seen] | None) -> list[Tracklet]:
    """Return queries with the cameras of sightings. Raises DataError if these know none of them."""
    if sightings is None:
        return queries
    check_named(sightings, queries, folder)
    cameras = {name: seen.camera for name, seen in sightings.items() if seen.camera is not None}
    return [replace(query, camera=cameras.get(query.id, query.camera)) for query in queries]


def _times(sightings: Mapping[str, Seen] | None) -> Mapping[str, float]:
    return {name: seen.time_s for name, seen in (sightings or {}).items() if seen.time_s is not None}


def _operating_point(
    session: Session, kinds: tuple[Kind, Kind | None], false_match_rate: float, post_processing: PostProcessing
) -> OperatingPoint:
    """Return the point that decides for queries and a gallery of these kinds. Raises ReidError, before the work."""
    queries, gallery = kinds
    if post_processing != PLAIN:
        raise ModelError(
            f"thresholds are for plain rankings, and scores after {post_processing.name} are others: "
            "leave out the false-match rate or the post-processing"
        )
    if gallery is None:
        raise DataError(
            "the gallery does not say whether it holds images or tracklets, which have thresholds of their own: "
            "embed it again from its folder"
        )
    info = session.info
    return choose_operating_point(
        info.card.operating_points, info.precision, protocol_of(queries, gallery), false_match_rate
    )
