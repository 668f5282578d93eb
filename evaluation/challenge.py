"""The AI City challenge's submission file (track 2)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from reid.data.dataset import Challenge, Dataset
from reid.runtime.embedding import embed
from reid.runtime.errors import DataError, ReidError
from reid.runtime.files.reading import MEBIBYTE, read_file
from reid.runtime.files.storage import atomic_write, check_apart
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.queries import rank
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Tracklet

__all__ = ["RANKS", "challenge_of", "check_submission_file", "write_submission"]

RANKS = 100

_AT_MOST = 64 * MEBIBYTE
"""The largest submission file: of some 100,000 queries."""


def challenge_of(dataset: Dataset) -> Challenge:
    """Return a data set's challenge images.

    Raises:
        DataError: the data set has none, or their names are not distinct numbers, which the file consists of.
    """
    challenge = dataset.challenge
    if challenge is None or not challenge.query or not challenge.gallery:
        raise DataError(
            f"{dataset.root} is not a CityFlow-ReID folder with the challenge's images; give one, or leave out "
            "--submission"
        )
    for images in (challenge.query, challenge.gallery):
        _check_numbers(images)
    return challenge


def _check_numbers(images: Sequence[Tracklet]) -> None:
    seen: dict[int, Tracklet] = {}
    for image in images:
        if not (image.id.isascii() and image.id.isdecimal()):
            raise DataError(
                f"{image.frames[0]}: the name of a challenge image must be its number; move this file elsewhere"
            )
        first = seen.setdefault(int(image.id), image)
        if first is not image:
            raise DataError(f"{image.frames[0]} has the same number as {first.frames[0]}; remove one of them")


def check_submission_file(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write a submission over something else, before any work.

    Args:
        path: the file to write. It may exist if it holds nothing but numbers, as an earlier submission does.
        inputs: the model and the data; the file must not be in them.

    Raises:
        ReidError: the file exists and is something else, or is in an input.
    """
    check_apart(path, inputs)
    if not os.path.lexists(path):
        return
    remedy = "move it elsewhere, or choose another file for --submission"
    try:
        content = read_file(path, at_most=_AT_MOST)
    except OSError as error:
        raise ReidError(f"{path}: {error.strerror}; {remedy}") from None
    if content.translate(None, b"0123456789 \r\n"):
        raise ReidError(f"{path} exists and is not a submission; {remedy}")


def write_submission(
    session: Session,
    dataset: Dataset,
    path: Path,
    post_processing: PostProcessing = PLAIN,
    *,
    progress: Progress = SILENT,
) -> tuple[str, ...]:
    """Write one line per query, in the order of the queries' numbers: the numbers of its best 100 test images.

    Args:
        session: the model.
        dataset: a data set in the CityFlow layout.
        path: the file to write; see check_submission_file.
        post_processing: what is done before the ranking.
        progress: follows one stage, the images of gallery and query together.

    Returns:
        The test images that could not be read and are therefore in no line, each with the reason.

    Raises:
        DataError: challenge_of raises it, or a query cannot be read: the file needs a line for each.
        ReidError: check_submission_file raises it.
    """
    challenge = challenge_of(dataset)
    check_submission_file(path, [dataset.root])
    progress.begin("embedding the challenge", len(challenge.gallery) + len(challenge.query), "images")
    members = list(embed(session, challenge.gallery, progress=progress))
    gallery = MemoryGallery.collect(members, session.info.space)
    queries = list(embed(session, challenge.query, progress=progress))
    for entry in queries:
        if entry.embedding is None:
            raise DataError(
                f"query {entry.tracklet.id} cannot be read, and the submission needs a line for it; restore the image"
            )
    rankings = rank(gallery, queries, RANKS, post_processing)
    lines = (" ".join(str(int(match.entry.id)) for match in ranking.matches) for ranking in rankings)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, "".join(f"{line}\n" for line in lines).encode())
    return tuple(failure.reason for entry in members for failure in entry.unreadable)
