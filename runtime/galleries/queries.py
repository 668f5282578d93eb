"""Ranking a gallery, whatever kind it is, for queries as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from reid.runtime.embedding import Embedded
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.protocol import Found, Gallery
from reid.runtime.galleries.ranked_lists import Match, Ranking
from reid.runtime.tracklet import Tracklet

__all__ = ["rank"]

_PATIENCE_S = 0.1
"""How long a query waits for others to be ranked with, in seconds."""

_Item = TypeVar("_Item")
_Search: TypeAlias = Callable[[NDArray[np.float32], int, Sequence[Condition] | None], Sequence[tuple[Found, ...]]]


def rank(
    gallery: Gallery,
    queries: Iterable[Embedded],
    k: int,
    post_processing: PostProcessing = PLAIN,
    conditions: Callable[[Tracklet], Condition] | None = None,
    *,
    block: int = 256,
) -> Iterator[Ranking]:
    """Yield the best `k` entries for each query that has an embedding, in order, the first one at once.

    Args:
        gallery: what is ranked.
        queries: the embedded queries.
        k: matches per query.
        post_processing: what is done before the ranking. It needs all embeddings, so these are then read into memory.
        conditions: returns what the matches of a query must be; None for any. Post-processing knows nothing of it, and
            takes the whole gallery.
        block: the most queries at a time: a few come first, and fewer where they come slowly. Re-ranking takes all
            together, since each query's result depends on the others.
    """
    search: _Search = gallery.search
    if post_processing != PLAIN:
        search = partial(MemoryGallery.of(gallery).search, post_processing=post_processing)
    answerable = ((one.tracklet, one.embedding) for one in queries if one.embedding is not None)
    together = filter(None, [list(answerable)]) if post_processing.rerank else _growing(answerable, block)
    for chunk in together:
        asked = np.stack([embedding for _, embedding in chunk])
        own = None if conditions is None else [conditions(query) for query, _ in chunk]
        for (query, _), found in zip(chunk, search(asked, k, own), strict=True):
            yield Ranking(query, tuple(Match(one.entry, one.score) for one in found))


def _growing(items: Iterable[_Item], most: int) -> Iterator[list[_Item]]:
    """Group items: the first alone, then twice as many each time, and no more than come within `_PATIENCE_S`."""
    chunk: list[_Item] = []
    size, began = 1, time.monotonic()
    for item in items:
        chunk.append(item)
        if len(chunk) == size or time.monotonic() - began > _PATIENCE_S:
            yield chunk
            chunk, size, began = [], min(2 * size, most), time.monotonic()
    if chunk:
        yield chunk
