"""Indexes of a table: one that finds ids, and one that proposes the nearest entries, with what it finds of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reid.runtime.galleries.conditions import ANY
from reid.runtime.galleries.lance.library import import_lancedb
from reid.runtime.galleries.lance.rows import embeddings_of
from reid.runtime.galleries.lance.search import best_rows, near_rows

__all__ = ["Recall", "index_ids", "index_nearest", "is_indexed", "measured_recall"]

_NEAREST, _IDS = "nearest", "ids"
_QUERIES = 100


@dataclass(frozen=True, slots=True)
class Recall:
    """What an index finds of the nearest entries.

    Attributes:
        share: of the k nearest, as exact search finds them.
        k: entries per query.
        queries: the entries of the gallery, spread evenly over it, whose neighbors were searched for.
        probes: the parts of the index that were looked into.
    """

    share: float
    k: int
    queries: int
    probes: int


def is_indexed(table: Any, name: str = _NEAREST) -> bool:  # noqa: ANN401 - a table of LanceDB
    """Return whether a table has an index."""
    return any(index.name == name for index in table.list_indices())


def index_ids(table: Any) -> None:  # noqa: ANN401
    """Index the ids of a table; what is added later is searched one by one until `optimize` adds it to the index."""
    if table.count_rows() and not is_indexed(table, _IDS):
        table.create_index("id", config=import_lancedb().index.BTree(), name=_IDS)


def index_nearest(table: Any) -> None:  # noqa: ANN401
    """Index the embeddings of a table anew.

    It is an inverted file with four bits for each number, an eighth of its size: J. Gao, C. Long: *RaBitQ: Quantizing
    High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor Search*, SIGMOD 2024.
    """
    config = import_lancedb().index.IvfRq(distance_type="dot", num_bits=4)
    table.create_index("embedding", config=config, name=_NEAREST, replace=True)


def measured_recall(table: Any, dimensions: int, probes: int, k: int) -> Recall:  # noqa: ANN401
    """Search a table for the neighbors of some of its entries, exactly and by its index; they themselves count not."""
    count = table.count_rows()
    wanted = np.linspace(0, count - 1, min(_QUERIES, count)).astype(np.int64)
    taken = table.take_offsets(wanted.tolist()).select(["embedding"]).with_row_id().to_arrow()
    queries, own = embeddings_of(taken, dimensions), taken["_rowid"].to_pylist()
    conditions, most = [ANY] * len(own), min(k + 1, count)
    exact, _ = best_rows(table, queries, most, conditions)
    near, _ = near_rows(table, queries, most, conditions, probes)
    found = [
        len(set(best) & set(some) - {one}) / max(1, len(set(best) - {one}))
        for one, best, some in zip(own, exact.tolist(), near.tolist(), strict=True)
    ]
    return Recall(float(np.mean(found)), k, len(own), probes)
