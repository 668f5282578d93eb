"""What tells the queries and the gallery of one data set from those of another: names, labels and pictures."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reid.data.dataset import Dataset, Split
from reid.runtime.files.reading import sha256_of
from reid.runtime.progress import SILENT, Progress
from reid.runtime.tracklet import Frame

__all__ = ["distinct_frames", "evaluation_fingerprint"]

_THREADS = 8
"""Reading waits for the disk, and neither reading nor hashing holds Python's lock."""


def evaluation_fingerprint(dataset: Dataset, progress: Progress = SILENT) -> str:
    """Return the SHA-256 of all that a ranking of the data depends on, wherever its folder lies.

    These are the names and contents of the pictures, the vehicle and camera of every query and gallery entry, and which
    pictures form a tracklet. Contents, and not sizes: two pictures that change places have the same sizes, and all of
    an uncompressed format have. To read a file once takes a fraction of what it takes to decode and embed it.

    Args:
        dataset: the data set, of which the query and gallery splits count.
        progress: follows the pictures.
    """
    frames = distinct_frames(dataset.query, dataset.gallery)
    progress.begin("reading the pictures", len(frames), "files")
    digest = hashlib.sha256()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as pool:
        for frame, content in zip(frames, pool.map(_content, frames), strict=True):
            digest.update(f"{_name(frame, dataset.root)!r} {content}\n".encode())
            progress.advance()
    for split in (dataset.query, dataset.gallery):
        for entries in (split.images, split.tracklets):
            digest.update(f"{len(entries)} entries\n".encode())
            for entry in entries:
                places = [frames[frame] for frame in entry.frames]
                digest.update(f"{entry.vehicle!r} {entry.camera!r} {places}\n".encode())
    return digest.hexdigest()


def distinct_frames(query: Split, gallery: Split) -> dict[Frame, int]:
    """Return the frames of two splits in the order in which they are first listed, each with its place."""
    frames: dict[Frame, int] = {}
    for split in (query, gallery):
        for entry in (*split.images, *split.tracklets):
            for frame in entry.frames:
                frames.setdefault(frame, len(frames))
    return frames


def _content(frame: Frame) -> str:
    if not isinstance(frame, Path):
        return hashlib.sha256(frame.tobytes()).hexdigest()
    try:
        return sha256_of(frame)
    except OSError:  # reading it will name it
        return "unreadable"


def _name(frame: Frame, root: Path) -> str:
    return os.path.relpath(frame, root) if isinstance(frame, Path) else ""
