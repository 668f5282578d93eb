"""Removing entries: their rows stay in their segment, and a file beside it says that they do not count."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reid.runtime.galleries.store.columns import Texts
from reid.runtime.galleries.store.manifest import SegmentRecord
from reid.runtime.galleries.store.snapshot import Snapshot
from reid.runtime.galleries.store.writing import write_removed

__all__ = ["records_without"]


def records_without(folder: Path, now: Snapshot, ids: Iterable[str]) -> tuple[SegmentRecord, ...]:
    """Write which rows are removed; return the segments to be named in the next manifest, without those left empty."""
    records = []
    for segment, found in zip(now.segments, now.find(Texts.of(list(dict.fromkeys(ids)))), strict=True):
        live, rows = segment.live_rows(), found[found >= 0]
        live[rows] = False
        if not rows.size:
            records.append(segment.record)
        elif live.any():
            records.append(segment.record.model_copy(update={"removed": write_removed(folder, live)}))
    return tuple(records)
