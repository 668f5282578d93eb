"""What a gallery holds, images or tracklets, by the frames that its entries were made of."""

from __future__ import annotations

from reid.runtime.galleries.protocol import Kind
from reid.runtime.galleries.store.snapshot import Snapshot

__all__ = ["kind_of"]


def kind_of(snapshot: Snapshot) -> Kind | None:
    """Return what a gallery holds; None where the frames of an entry are not known, and no entry has several."""
    frames = [segment.frames(0, segment.record.rows)[segment.live_rows()] for segment in snapshot.segments]
    if any(own.max() > 1 for own in frames):
        return "tracklets"
    return "images" if frames and all(own.min() for own in frames) else None
