"""One gallery for many clients: what is asked while a search runs shares the next one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.conditions import ANY, Condition
from reid.runtime.galleries.protocol import Found
from reid.serve.holding import Holding

__all__ = ["Query", "Searcher"]

_MOST = 256
"""Queries of one search."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is searched for.

    Attributes:
        embedding: float32 [D], L2-normalized, of the gallery's space.
        k: matches, at least 1.
        condition: what they must be.
        answer: gets the matches, best first.
    """

    embedding: NDArray[np.float32]
    k: int
    condition: Condition = ANY
    answer: Future[Sequence[Found]] = field(default_factory=Future)


class Searcher:
    """Searches a gallery, for any number of threads, in a thread of its own.

    The first k of more matches are the best k, and a ranking does not depend on what is asked with it. So queries of
    different k share a search. Each search sees the gallery as it is at one moment.
    """

    def __init__(self, holding: Holding) -> None:
        """Begin; close it.

        Args:
            holding: the gallery; it stays the caller's to close, afterwards.
        """
        self._holding = holding
        self._changed = threading.Condition()
        self._queue: deque[Query] = deque()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="searcher", daemon=True)
        self._thread.start()

    def submit(self, query: Query) -> Future[Sequence[Found]]:
        """Search; the answer is the query's."""
        query.answer.set_running_or_notify_cancel()
        with self._changed:
            if self._is_closed:
                raise ValueError("the searcher is closed")
            self._queue.append(query)
            self._changed.notify_all()
        return query.answer

    def close(self) -> None:
        """Take no more, and wait for what came."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while queries := self._next():
            self._answer(queries)

    def _answer(self, queries: Sequence[Query]) -> None:
        try:
            found = self._search(queries)
        except BaseException as error:
            for query in queries:
                query.answer.set_exception(error)
        else:
            for query, matches in zip(queries, found, strict=True):
                query.answer.set_result(matches[: query.k])

    def _next(self) -> list[Query]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            return [self._queue.popleft() for _ in range(min(len(self._queue), _MOST))]

    def _search(self, queries: Sequence[Query]) -> Sequence[Sequence[Found]]:
        self._holding.refresh()
        if not len(self._holding.gallery):
            return [()] * len(queries)
        embeddings, most = np.stack([query.embedding for query in queries]), max(query.k for query in queries)
        conditions = [query.condition for query in queries]
        return self._holding.gallery.search(embeddings, most, None if set(conditions) == {ANY} else conditions)
