"""When segments become one: a few at each addition, so that there are never many, and all when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from reid.runtime.galleries.store.manifest import Manifest

__all__ = ["is_compact", "kept_before"]

_FOLDED_BYTES = 1 << 28
"""The most bytes of embeddings in a segment that an addition writes again: a second or so of a disk's time."""


def kept_before(manifest: Manifest, rows: int) -> int:
    """Return how many segments stay as they are when rows are added; those after them are written again, with the rows.

    A segment goes into the next as long as it has no more rows than what follows it. So an entry is written again once
    for each doubling, and a gallery that grows by single entries has one segment for each binary digit of their number,
    but for the large ones, which stay.
    """
    most = _FOLDED_BYTES // (manifest.dimensions * manifest.dtype.itemsize)
    kept = len(manifest.segments)
    for segment in reversed(manifest.segments):
        if segment.left > rows or rows + segment.left > most:
            break
        rows += segment.left
        kept -= 1
    return kept


def is_compact(manifest: Manifest) -> bool:
    """Return whether a gallery has at most one segment, of which nothing was removed."""
    segments: Sequence[object] = manifest.segments
    return not segments or (len(segments) == 1 and manifest.segments[0].removed is None)
