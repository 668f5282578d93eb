"""The AI City challenge's submission file (track 2)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from reid.runtime.datasets.dataset import Dataset
from reid.runtime.embedding import embed, watched
from reid.runtime.errors import DataError
from reid.runtime.gallery import Gallery
from reid.runtime.sessions.session import Session
from reid.runtime.storage import atomic_write

__all__ = ["RANKS", "write_submission"]

RANKS = 100


def write_submission(
    session: Session,
    dataset: Dataset,
    path: Path,
    *,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write one line a query, in the order of the queries' numbers: its best 100 test images' numbers.

    Args:
        session: the model.
        dataset: in the CityFlow layout.
        path: the file to write.
        on_frames: called with (images done, images in all).

    Raises:
        DataError: the data set has no challenge images, or a query cannot be read (the file needs a line for each).
    """
    challenge = dataset.challenge
    if challenge is None or not challenge.query or not challenge.gallery:
        raise DataError(
            f"{dataset.root} has no challenge images (image_query, image_test): --submission is for CityFlow"
        )
    entries = embed(session, (*challenge.gallery, *challenge.query))
    entries = watched(entries, len(challenge.gallery) + len(challenge.query), on_frames)
    gallery = Gallery.collect(islice(entries, len(challenge.gallery)), session.card.fingerprint)
    queries = list(entries)
    for entry in queries:
        if entry.embedding is None:
            raise DataError(f"query {entry.tracklet.id} cannot be read, and the submission needs a line for it")
    lines = (
        " ".join(str(int(match.tracklet.id)) for match in ranking.matches) for ranking in gallery.rank(queries, RANKS)
    )
    atomic_write(path, "".join(f"{line}\n" for line in lines).encode())
