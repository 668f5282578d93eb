"""Entries as arrays: how a segment holds them, without an object for each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.entry import Entry

__all__ = ["Columns", "Texts", "id_hashes"]

_SURROGATES = "surrogatepass"
"""Names of files may be no UTF-8, and Python has surrogates in these."""


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Texts, one after the other in UTF-8.

    Attributes:
        ends: int64 [N]: the byte after each text.
        content: uint8 [bytes].
    """

    ends: NDArray[np.int64]
    content: NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Return texts in this form."""
        encoded = [text.encode("utf-8", _SURROGATES) for text in texts]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
        return cls(ends, np.frombuffer(b"".join(encoded), np.uint8))

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """Return the texts of several, one after the other."""
        starts = np.cumsum([0, *(len(part.content) for part in parts)], dtype=np.int64)
        ends = [part.ends + start for part, start in zip(parts, starts.tolist(), strict=False)]
        return cls(np.concatenate(ends), np.concatenate([part.content for part in parts]))

    def encoded(self) -> Iterator[bytes]:
        """Yield each text in UTF-8."""
        content, start = self.content.tobytes(), 0
        for end in self.ends.tolist():
            yield content[start:end]
            start = end

    def __iter__(self) -> Iterator[str]:
        return (text.decode("utf-8", _SURROGATES) for text in self.encoded())


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """N entries; a vehicle that is not known is an empty text, a camera -1, and a time NaN.

    Attributes:
        ids: their ids.
        vehicles: their vehicles.
        pictures: their pictures.
        cameras: the names of cameras.
        camera: int32 [N]: each entry's camera, as a position in `cameras`.
        frames: int32 [N].
        time_s: float64 [N].
    """

    ids: Texts
    vehicles: Texts
    pictures: Texts
    cameras: tuple[str, ...]
    camera: NDArray[np.int32]
    frames: NDArray[np.int32]
    time_s: NDArray[np.float64]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Columns:
        """Return entries as columns."""
        cameras = tuple(sorted({entry.camera for entry in entries if entry.camera is not None}))
        place: dict[str | None, int] = {None: -1, **{camera: number for number, camera in enumerate(cameras)}}
        times = [np.nan if entry.time_s is None else entry.time_s for entry in entries]
        return cls(
            Texts.of([entry.id for entry in entries]),
            Texts.of([entry.vehicle or "" for entry in entries]),
            Texts.of([entry.picture for entry in entries]),
            cameras,
            np.array([place[entry.camera] for entry in entries], np.int32),
            np.array([entry.frames for entry in entries], np.int32),
            np.array(times, np.float64),
        )

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """Return the entries of several, one after the other."""
        cameras = tuple(sorted({camera for part in parts for camera in part.cameras}))
        place = {camera: number for number, camera in enumerate(cameras)}
        numbers = [np.array([*(place[camera] for camera in part.cameras), -1], np.int32) for part in parts]
        return cls(
            Texts.joined([part.ids for part in parts]),
            Texts.joined([part.vehicles for part in parts]),
            Texts.joined([part.pictures for part in parts]),
            cameras,
            np.concatenate([own[part.camera] for own, part in zip(numbers, parts, strict=True)]),
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.time_s for part in parts]),
        )

    def entries(self) -> list[Entry]:
        """Return the entries."""
        names = (*self.cameras, None)
        texts = zip(self.ids, self.vehicles, self.pictures, strict=True)
        facts = zip(self.camera.tolist(), self.frames.tolist(), self.time_s.tolist(), strict=True)
        return [
            Entry(identity, names[camera], vehicle or None, time_s if time_s == time_s else None, picture, frames)
            for (identity, vehicle, picture), (camera, frames, time_s) in zip(texts, facts, strict=True)
        ]


def id_hashes(ids: Texts) -> NDArray[np.uint64]:
    """Return a number for each id, uint64 [N]: by these they are found."""
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in ids.encoded())
    return np.frombuffer(digests, "<u8").astype(np.uint64)
