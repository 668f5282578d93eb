"""From folders of crops to ranked lists: what `reid-infer` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import DataError, ModelError
from reid.runtime.files.archives import is_archive
from reid.runtime.folders import tracklets_in, what_is_left_out
from reid.runtime.galleries.gallery import Gallery, Kind, kind_of, open_gallery
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.ranked_lists import Ranking
from reid.runtime.galleries.store_folder import is_stored
from reid.runtime.galleries.stored import StoredGallery
from reid.runtime.left_out import LeftOut
from reid.runtime.listing import list_tree
from reid.runtime.operating_point import OperatingPoint, choose_operating_point, protocol_of
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import BatchLimits, Session
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["Inference", "infer"]


@dataclass(frozen=True, slots=True)
class Inference:
    """The result of ranking a gallery for queries.

    Attributes:
        rankings: one for each query of which something could be read, in order.
        gallery: the gallery that was ranked.
        unreadable: the names of the frames that were left out, with the reason.
        frames: the number of frames, the unreadable ones included.
        left_out: the folder -> the files in it that are no frames, with the reason.
        post_processing: what was done before the ranking.
        operating_point: what decided whether a match is the same vehicle; None where nothing did.
    """

    rankings: tuple[Ranking, ...]
    gallery: Gallery | StoredGallery
    unreadable: tuple[str, ...]
    frames: int
    left_out: Mapping[Path, tuple[LeftOut, ...]] = field(default_factory=dict)
    post_processing: PostProcessing = PLAIN
    operating_point: OperatingPoint | None = None


def infer(
    session: Session,
    gallery: Path,
    query: Path,
    *,
    k: int,
    expand_queries: int = 0,
    rerank: bool = False,
    false_match_rate: float | None = None,
    limits: BatchLimits | None = None,
    progress: Progress = SILENT,
) -> Inference:
    """Rank the gallery's tracklets for each query tracklet.

    Args:
        session: the model.
        gallery: a folder or an archive (see read_folder), or a gallery that was embedded before: the folder of a store,
            or a file that an earlier inference saved.
        query: a folder or an archive.
        k: matches per query.
        expand_queries: the number of gallery entries that each query is averaged with first; 0 for none.
        rerank: whether to re-rank by k-reciprocal neighbors, which holds the embeddings of all queries.
        false_match_rate: the rate at which the model's card decides whether a match is the same vehicle: with the
            threshold for images in images (i2i), for images in tracklets (i2t) or, where a query has several frames,
            for tracklets in tracklets (t2t). None for no decision.
        limits: a smaller batch than the largest that the session takes.
        progress: follows one stage, the frames of gallery and query together.

    Raises:
        DataError: a folder is absent or holds no readable image.
        ModelError: the saved gallery was embedded by another model, or in another precision; or the card has no
            threshold for the rate.
    """
    post_processing = PostProcessing(expand_queries, rerank)
    is_saved = is_stored(gallery) or (gallery.is_file() and not is_archive(gallery))
    listings = [list_tree(query), *([] if is_saved else [list_tree(gallery)])]
    queries = tracklets_in(listings[0])
    saved = _open_saved(gallery, session.info.space) if is_saved else None
    tracklets = [] if saved else tracklets_in(listings[1])
    point = None
    if false_match_rate is not None:
        kinds = kind_of(queries), saved.kind if saved else kind_of(tracklets)
        point = _operating_point(session, kinds, false_match_rate, post_processing)
    frames = sum(len(tracklet.frames) for tracklet in (*tracklets, *queries))
    unreadable: list[str] = []

    def embedded(part: Iterable[Tracklet]) -> Iterator[Embedded]:
        for entry in embed(session, part, limits=limits, progress=progress):
            unreadable.extend(failure.reason for failure in entry.unreadable)
            yield entry

    # Gallery and queries share no batch, so that a query's embedding is the same, bit for bit, whatever the gallery.
    progress.begin("embedding", frames)
    members = saved or Gallery.collect(embedded(tracklets), session.info.space)
    rankings = tuple(members.rank(embedded(queries), k, post_processing))
    if not rankings:
        raise DataError(f"no image of {query} can be read: {unreadable[-1]}")
    if point is not None and point.threshold is not None:
        rankings = tuple(ranking.decided(point.threshold.value) for ranking in rankings)
    left_out = {listing.root: what_is_left_out(listing) for listing in listings}
    return Inference(rankings, members, tuple(unreadable), frames, left_out, post_processing, point)


def _open_saved(gallery: Path, space: Space) -> Gallery | StoredGallery:
    return StoredGallery.open(gallery, space) if is_stored(gallery) else open_gallery(gallery, space)


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
