"""From folders of crops to ranked lists: what `reid-infer` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from reid.runtime.embedding import DEFAULT_BATCH_SIZE, Embedded, embed, watched
from reid.runtime.errors import DataError
from reid.runtime.folders import read_folder
from reid.runtime.galleries.gallery import Gallery
from reid.runtime.galleries.ranked_lists import Ranking
from reid.runtime.sessions.session import Session

__all__ = ["Inference", "infer"]


@dataclass(frozen=True, slots=True)
class Inference:
    """What came out.

    Attributes:
        rankings: one for each query of which something could be read, in order.
        gallery: that was ranked.
        unreadable: names of the frames that were left out, with the reason.
        frames: how many there were, the unreadable ones included.
    """

    rankings: tuple[Ranking, ...]
    gallery: Gallery
    unreadable: tuple[str, ...]
    frames: int


def infer(
    session: Session,
    gallery: Path,
    query: Path,
    *,
    k: int,
    batch_size: int = DEFAULT_BATCH_SIZE,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> Inference:
    """Rank the gallery's tracklets for each query tracklet.

    Args:
        session: the model.
        gallery: a folder (see read_folder), or a gallery that an earlier inference saved.
        query: a folder.
        k: matches per query.
        batch_size: frames per run of the session.
        on_frames: called with (frames done, frames in all), of gallery and query together.

    Raises:
        DataError: a folder is absent or holds no readable image.
        ModelError: the saved gallery was made by another model.
    """
    queries = read_folder(query)
    saved = Gallery.load(gallery, session.card.fingerprint) if gallery.is_file() else None
    tracklets = [] if saved else read_folder(gallery)
    frames = sum(len(tracklet.frames) for tracklet in (*tracklets, *queries))
    # Not in one go: in batches of their own, queries are embedded to the same bits whatever the gallery is.
    parts = (embed(session, part, batch_size=batch_size) for part in (tracklets, queries))
    unreadable: list[str] = []
    stream = _noting_unreadable(watched(chain.from_iterable(parts), frames, on_frames), unreadable)
    members = saved or Gallery.collect(islice(stream, len(tracklets)), session.card.fingerprint)
    rankings = tuple(members.rank(stream, k))
    if not rankings:
        raise DataError(f"no image of {query} can be read: {unreadable[-1]}")
    return Inference(rankings, members, tuple(unreadable), frames)


def _noting_unreadable(entries: Iterable[Embedded], unreadable: list[str]) -> Iterator[Embedded]:
    for entry in entries:
        unreadable.extend(failure.reason for failure in entry.unreadable)
        yield entry
