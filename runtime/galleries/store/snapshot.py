"""A gallery as it is at one moment: what is searched, whatever a writer does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.store.columns import Texts, id_hashes
from reid.runtime.galleries.store.manifest import Manifest, damaged, read_manifest
from reid.runtime.galleries.store.segment import Segment

__all__ = ["Snapshot"]

_TRIES = 100
"""A writer that compacts may remove what a reader is about to open, over and over, but not as often."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A gallery at one moment.

    Attributes:
        manifest: its manifest.
        segments: its segments, open.
    """

    manifest: Manifest
    segments: tuple[Segment, ...]

    @classmethod
    def open(cls, folder: Path, former: Snapshot | None = None) -> Snapshot:
        """Open a gallery as it is now; what a former moment shares with it is not opened again.

        Raises:
            DataError: there is no gallery, or it is damaged, as far as can be told without reading all.
        """
        for _ in range(_TRIES):
            manifest = read_manifest(folder)
            if former is not None and manifest == former.manifest:
                return former
            try:
                return cls.of(folder, manifest, former)
            except FileNotFoundError as error:
                missing = error
                if manifest == read_manifest(folder):
                    break
        raise damaged(Path(missing.filename), "it is missing")

    @classmethod
    def of(cls, folder: Path, manifest: Manifest, former: Snapshot | None = None) -> Snapshot:
        """Open the segments of a manifest. Raises FileNotFoundError where a file is not there, else as `open`."""
        known = {(one.record.file, one.record.digest): one for one in (former.segments if former is not None else ())}
        segments = []
        for record in manifest.segments:
            one = known.get((record.file, record.digest))
            segments.append(one if one and one.record == record else Segment(folder, record, manifest, one))
        return cls(manifest, tuple(segments))

    def __len__(self) -> int:
        return sum(record.left for record in self.manifest.segments)

    def find(self, ids: Texts) -> Iterator[NDArray[np.int64]]:
        """Yield where ids are in each segment: int64 [n], -1 for one that is not there, or was removed."""
        hashes = id_hashes(ids)
        return (segment.find(ids, hashes) for segment in self.segments)
