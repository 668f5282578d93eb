"""Models that embed a picture by its bytes, and folders of such pictures: for migrations without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stored_galleries import DIMENSIONS

from reid.runtime.embedding import Embedded
from reid.runtime.pipeline.tracks import Unreadable
from reid.runtime.progress import SILENT, Progress
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["embed", "expected", "model", "write_crops"]

READABLE = b"a picture"


def model(letter: str) -> Any:  # noqa: ANN401 - a session as far as it is needed
    """Return the session of a model of this fingerprint."""
    return SimpleNamespace(info=SimpleNamespace(space=Space(letter * 64, "fp32", DIMENSIONS)))


def embed(session: Any, tracklets: Iterable[Tracklet], *, progress: Progress = SILENT) -> Iterator[Embedded]:  # noqa: ANN401
    """Embed tracklets by the bytes of their frames."""
    for tracklet in tracklets:
        contents = [Path(str(frame)).read_bytes() for frame in tracklet.frames]
        failed = tuple(
            Unreadable(number, f"{tracklet.frames[number]}: not a readable image")
            for number, content in enumerate(contents)
            if not content.startswith(READABLE)
        )
        read = [content for content in contents if content.startswith(READABLE)]
        progress.advance(len(contents))
        yield Embedded(tracklet, expected(session, read) if read else None, {}, failed)


def expected(session: Any, contents: list[bytes]) -> NDArray[np.float32]:  # noqa: ANN401
    """Return the embedding of a tracklet with these frames."""
    pooled = sum((_vector(session.info.space.fingerprint, content) for content in contents), np.zeros(DIMENSIONS))
    return (pooled / np.linalg.norm(pooled)).astype(np.float32)


def _vector(fingerprint: str, content: bytes) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(fingerprint.encode() + content).digest()[:8], "big")
    vector: NDArray[np.float64] = np.random.default_rng(seed).standard_normal(DIMENSIONS)
    return vector / np.linalg.norm(vector)


def write_crops(folder: Path, images: int = 5, tracks: int = 3) -> Path:
    """Write loose images, and folders of two frames and more."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(images):
        (folder / f"{number:03}.jpg").write_bytes(READABLE + f" {number}".encode())
    for track in range(tracks):
        (folder / "north" / f"t{track}").mkdir(parents=True, exist_ok=True)
        for frame in range(track + 2):
            (folder / "north" / f"t{track}" / f"{frame}.jpg").write_bytes(READABLE + f" {track} {frame}".encode())
    return folder
