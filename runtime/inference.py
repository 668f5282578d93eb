"""From folders of crops to ranked lists on disk: what `reid-infer` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.datasets.plain import read_plain_folder
from reid.runtime.embedding import DEFAULT_BATCH_SIZE, Embedded, embed, watched
from reid.runtime.errors import DataError
from reid.runtime.gallery import Gallery
from reid.runtime.rankings import Ranking, write_csv, write_json
from reid.runtime.report import write_report
from reid.runtime.sessions.session import Session
from reid.runtime.storage import atomic_directory
from reid.runtime.tracklet import Tracklet

__all__ = ["Inference", "infer", "write_results"]

RANKINGS_FILE = "rankings.json"


@dataclass(frozen=True, slots=True)
class Inference:
    """What came out.

    Attributes:
        rankings: one for each query of which something could be read, in order.
        gallery: that was ranked.
        unreadable: names of the frames that were left out, with the reason.
        frames: how many went through the session.
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
    on_frames: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Inference:
    """Rank the gallery's tracklets for each query tracklet.

    Args:
        session: the model.
        gallery: a folder (see read_plain_folder), or a gallery that an earlier inference saved.
        query: a folder.
        k: matches per query.
        batch_size: frames per run of the session.
        on_frames: called with ("gallery" or "query", frames done, frames in all).

    Raises:
        DataError: a folder is absent or holds no readable image.
        ModelError: the saved gallery was made by another model.
    """
    queries = read_plain_folder(query)
    unreadable: list[str] = []

    def embedded(what: str, tracklets: Sequence[Tracklet]) -> list[Embedded]:
        total = sum(len(tracklet.frames) for tracklet in tracklets)
        stream = embed(session, tracklets, batch_size=batch_size)
        entries = list(watched(stream, total, lambda done, total: on_frames(what, done, total)))
        unreadable.extend(failure.reason for entry in entries for failure in entry.unreadable)
        return entries

    if gallery.is_file():
        members = Gallery.load(gallery, session.card.fingerprint)
        frames = 0
    else:
        tracklets = read_plain_folder(gallery)
        frames = sum(len(tracklet.frames) for tracklet in tracklets)
        members = Gallery.collect(embedded("gallery", tracklets), session.card.fingerprint)
    rankings = tuple(members.rank(embedded("query", queries), k))
    if not rankings:
        raise DataError(f"no image of {query} can be read: {unreadable[-1]}")
    frames += sum(len(tracklet.frames) for tracklet in queries)
    return Inference(rankings, members, tuple(unreadable), frames)


def write_results(output: Path, inference: Inference, session: Session) -> None:
    """Write rankings.json, rankings.csv, report.html and gallery.npz into a folder that is whole or absent.

    Raises:
        ReidError: the folder exists and holds something else.
    """
    facts = {
        "model": inference.gallery.fingerprint[:12],
        "session": session.device,
        "queries": f"{len(inference.rankings):,}",
        "gallery": f"{len(inference.gallery.tracklets):,} tracklets",
        "frames": f"{inference.frames:,}",
    }
    with atomic_directory(output, replaces=RANKINGS_FILE) as folder:
        write_json(
            folder / RANKINGS_FILE,
            inference.rankings,
            fingerprint=inference.gallery.fingerprint,
            unreadable=inference.unreadable,
        )
        write_csv(folder / "rankings.csv", inference.rankings)
        inference.gallery.save(folder / "gallery.npz")
        write_report(
            folder / "report.html",
            inference.rankings,
            title="Ranked gallery",
            facts=facts,
            unreadable=inference.unreadable,
        )
