"""The nearest entries in a table: exactly, in one pass over what the conditions allow, or of what an index proposes.

Either way exact distances decide, as in `reid.runtime.galleries.ranking`: a score is that of every other gallery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.lance.filters import any_of, as_sql
from reid.runtime.galleries.lance.rows import LABELS, embeddings_of, entries_of
from reid.runtime.galleries.protocol import Found
from reid.runtime.galleries.ranking import exact_distances, product_error
from reid.runtime.galleries.store.candidates import Candidates, Proposal

__all__ = ["best_rows", "found", "near_rows", "numbers_of", "scan", "take"]

BATCH = 2048
"""Rows that are read together: to take them by their numbers is faster than to scan embeddings."""

_QUERIES = 256
"""Queries that share a pass over the table."""

Rows = tuple[NDArray[np.int64], NDArray[np.float64]]


def scan(table: Any, columns: list[str] | dict[str, str], where: str = "") -> Iterator[Any]:  # noqa: ANN401
    """Yield batches of rows with their numbers in a column `_rowid`, ascending within a batch.

    Numbers are in the order in which rows were added. Batches are not: to compact a table moves its rows.
    """
    query = table.search().select(columns).with_row_id(True).limit(None)
    for batch in (query.where(where) if where else query).to_batches(batch_size=BATCH):
        numbers = numbers_of(batch)
        yield batch if np.all(numbers[:-1] < numbers[1:]) else batch.take(np.argsort(numbers))


def take(table: Any, rows: NDArray[np.int64], columns: list[str]) -> Iterator[Any]:  # noqa: ANN401
    """Yield rows by their numbers, which ascend, some at a time."""
    for start in range(0, len(rows), BATCH):
        wanted = rows[start : start + BATCH]
        taken = table.take_row_ids(wanted.tolist()).select(columns).with_row_id().to_arrow()
        order = np.argsort(numbers_of(taken))
        if not np.array_equal(numbers_of(taken)[order], wanted):
            raise DataError("the gallery is damaged (it lost rows); restore it from a copy, or embed it again")
        yield taken if np.array_equal(order, np.arange(len(order))) else taken.take(order)


def numbers_of(rows: Any) -> NDArray[np.int64]:  # noqa: ANN401 - a table or a batch
    """Return the numbers of rows, int64 [n]."""
    return np.asarray(rows.column("_rowid").to_numpy(), np.int64)


def best_rows(
    table: Any,  # noqa: ANN401
    queries: NDArray[np.float32],
    k: int,
    conditions: Sequence[Condition],
) -> Rows:
    """Return the nearest k entries of each query, nearest first, ties in the order in which they were added.

    Args:
        table: the gallery.
        queries: float32 [Q, D], L2-normalized.
        k: entries per query, at least 1.
        conditions: what each query's entries must be.

    Returns:
        The numbers of their rows, int64 [Q, k], and exact distances, float64 [Q, k]: -1 and infinity where there are
        fewer.
    """
    starts = range(0, len(queries), _QUERIES)
    parts = [slice(start, start + _QUERIES) for start in starts]
    rows, distances = zip(*(_best_rows(table, queries[part], k, conditions[part]) for part in parts), strict=True)
    return np.concatenate(rows), np.concatenate(distances)


def _best_rows(table: Any, queries: NDArray[np.float32], k: int, conditions: Sequence[Condition]) -> Rows:  # noqa: ANN401
    error, dimensions = product_error(queries.shape[1]), queries.shape[1]

    def embeddings_at(rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        return (embeddings_of(some, dimensions) for some in take(table, rows, ["embedding"]))

    def exact(query: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        order, distances = np.argsort(rows), np.empty(len(rows))
        parts = [exact_distances(queries[query : query + 1], one)[0] for one in embeddings_at(rows[order])]
        distances[order] = np.concatenate([np.empty(0), *parts])
        return distances

    candidates = Candidates(len(queries), k, exact)
    for rows, allowed in _allowed(table, conditions):
        (embeddings,) = embeddings_at(rows)
        values = np.subtract(1, (embeddings @ queries.T).T)
        if allowed is not None:
            np.copyto(values, np.inf, where=~allowed)
        candidates.offer(0, Proposal(values, error, queries, embeddings), rows)
    return candidates.best()


def _allowed(
    table: Any,  # noqa: ANN401
    conditions: Sequence[Condition],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_] | None]]:
    """Yield the numbers of rows that some of the conditions allow, ascending, with what each allows, bool [Q, n]."""
    names = {condition: f"allowed{place}" for place, condition in enumerate(dict.fromkeys(conditions))}
    columns = {"frames": "frames"}  # small, where none would stand for all
    if len(names) > 1:
        columns = {name: f"coalesce({as_sql(condition) or 'TRUE'}, FALSE)" for condition, name in names.items()}
    for batch in scan(table, columns, any_of(names)):
        if not len(batch):
            continue
        allowed = None
        if len(names) > 1:
            by_condition = {one: batch.column(name).to_numpy(zero_copy_only=False) for one, name in names.items()}
            allowed = np.stack([by_condition[condition] for condition in conditions])
        yield numbers_of(batch), allowed


def near_rows(
    table: Any,  # noqa: ANN401
    queries: NDArray[np.float32],
    k: int,
    conditions: Sequence[Condition],
    probes: int,
) -> Rows:
    """Return what `best_rows` returns, of the entries that the index proposes: some of the nearest may be missing.

    Args:
        table: the gallery.
        queries: float32 [Q, D], L2-normalized.
        k: entries per query, at least 1.
        conditions: what each query's entries must be.
        probes: the parts of the index to look into; more find more, and take longer.
    """
    rows, distances = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf)
    for place, (query, condition) in enumerate(zip(queries, conditions, strict=True)):
        asked = table.search(query, vector_column_name="embedding").distance_type("dot").nprobes(probes)
        if where := as_sql(condition):
            asked = asked.where(where)
        proposed = asked.limit(_proposals(k)).select(["embedding", "_distance"]).with_row_id(True).to_arrow()
        numbers = numbers_of(proposed)
        exact = exact_distances(query[None], embeddings_of(proposed, len(query)))[0]
        best = np.lexsort([numbers, exact])[:k]
        rows[place, : len(best)], distances[place, : len(best)] = numbers[best], exact[best]
    return rows, distances


def _proposals(k: int) -> int:
    """Return how many entries an index is asked for: its own distances are rough."""
    return 4 * k + 64


def found(table: Any, rows: NDArray[np.int64], distances: NDArray[np.float64]) -> list[tuple[Found, ...]]:  # noqa: ANN401
    """Return the entries of rows, [Q, k], with their scores; a row of -1 is none."""
    wanted = np.unique(rows[rows >= 0])
    entries: list[Entry] = [entry for some in take(table, wanted, LABELS) for entry in entries_of(some)]
    by_row = dict(zip(wanted.tolist(), entries, strict=True))
    scores = (1 - distances).astype(np.float32)
    return [
        tuple(Found(by_row[row], score) for row, score in zip(*pair, strict=True) if row >= 0)
        for pair in zip(rows.tolist(), scores.tolist(), strict=True)
    ]
