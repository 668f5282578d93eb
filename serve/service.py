"""What the service does for each request, without HTTP: embed, search, decide, list, show, add and remove."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from reid.runtime.errors import DataError
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.filters import Filters
from reid.runtime.galleries.protocol import Found, Kind
from reid.runtime.operating_point import OperatingPoint
from reid.runtime.sessions.session import Session
from reid.serve.deciding import Decider
from reid.serve.embedder import Embedder
from reid.serve.holding import Facts, Holding, Listed
from reid.serve.metrics import Metrics
from reid.serve.pictures import Picture, shown
from reid.serve.refusals import Limits
from reid.serve.searcher import Query, Searcher
from reid.serve.tracing import span
from reid.serve.uploads import Decoded, NotRead, decoded

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Ranked", "Service"]

_Result = TypeVar("_Result")

_DECODING_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Ranked:
    """What came of a query.

    Attributes:
        left_out: the pictures that could not be read.
        found: the matches, best first.
        point: what decides whether they are the same vehicle; None where nothing does.
        seconds: how long it took.
    """

    left_out: Sequence[NotRead]
    found: Sequence[Found]
    point: OperatingPoint | None
    seconds: float


class Service:
    """A session and a gallery for many clients. Its methods belong to one event loop, which they never hold up.

    Attributes:
        session: the model.
        holding: the gallery.
        decider: decides which matches are the same vehicle.
        limits: what a client may ask for.
        metrics: what is counted.
    """

    def __init__(
        self, session: Session, holding: Holding, decider: Decider, *, limits: Limits, deadline_s: float
    ) -> None:
        """Begin; close it, or use it as a context manager. Session and gallery stay the caller's to close.

        Args:
            session: the model.
            holding: the gallery.
            decider: see the attributes.
            limits: see the attributes.
            deadline_s: how long a picture waits for others to share a batch with, in seconds.
        """
        self.session, self.holding, self.decider, self.limits = session, holding, decider, limits
        self.metrics = Metrics()
        with ExitStack() as stack:
            if session.info.device == "CPU":  # it needs the cores, and threads that wait for each other would hold them
                stack.enter_context(threadpool_limits(1, user_api="blas"))
            self._embedder = Embedder(
                session, deadline_s=deadline_s, room=limits.pictures, took_batch=self.metrics.batches.observe
            )
            stack.callback(self._embedder.close)
            self._searcher = Searcher(holding)
            stack.callback(self._searcher.close)
            self._decoders = stack.enter_context(ThreadPoolExecutor(_DECODING_THREADS, "decoder"))
            self._readers = stack.enter_context(ThreadPoolExecutor(1, "reader"))
            self._writer = stack.enter_context(ThreadPoolExecutor(1, "writer"))
            self._stack = stack.pop_all()
        self.metrics.watch(
            "reid_inbox_pictures", "Pictures that wait for an embedding.", lambda: self._embedder.waiting
        )
        self.metrics.watch("reid_entries", "Entries of the gallery.", lambda: len(holding.gallery))

    @property
    def failure(self) -> str:
        """Why the session takes no more; empty while it does."""
        return self._embedder.failure

    async def facts(self) -> Facts:
        """Return what the gallery holds."""
        return await _in(self._readers, self.holding.facts)

    async def query(self, pictures: Sequence[Picture], k: int, filters: Filters) -> Ranked:
        """Rank the gallery for the pictures of one vehicle.

        Raises:
            DataError: none of them can be read, or no entry can pass the filters.
            Refused: there is too much to do.
        """
        began = time.perf_counter()
        condition = await self._condition(filters)
        images = await self._decoded(pictures)
        if not images.crops:
            raise DataError(f"no picture can be read: {images.left_out[0].picture}: {images.left_out[0].reason}")
        embedding = await self._embedding(images)
        found = await self._search(Query(embedding, k, condition))
        point = await self._point("tracklets" if len(pictures) > 1 else "images")
        return Ranked(images.left_out, found, point, time.perf_counter() - began)

    async def similar(self, identity: str, k: int, filters: Filters) -> Ranked | None:
        """Rank the other entries for one of the gallery; None where there is none of that id. Raises as `query`."""
        began = time.perf_counter()
        condition = await self._condition(filters)
        asked = await _in(self._readers, lambda: self.holding.embedding(identity))
        if asked is None:
            return None
        entry, embedding = asked
        found = await self._search(Query(embedding, k + 1, condition))
        others = tuple(one for one in found if one.entry.id != identity)[:k]
        kinds: dict[bool, Kind] = {True: "tracklets", False: "images"}
        point = await self._point(kinds[entry.frames > 1] if entry.frames else None)
        return Ranked((), others, point, time.perf_counter() - began)

    async def listing(self, camera: str | None, text: str, offset: int, limit: int) -> Listed:
        """Return some entries of the gallery; see `Holding.listing`."""
        return await _in(self._readers, lambda: self.holding.listing(camera, text, offset, limit))

    async def picture(self, identity: str, height: int) -> bytes | None:
        """Return the picture of an entry as a JPEG; None where there is none."""
        entry = await _in(self._readers, lambda: self.holding.entry(identity))
        return None if entry is None else await _in(self._decoders, lambda: shown(entry, height))

    async def add(self, entry: Entry, pictures: Sequence[Picture]) -> Entry:
        """Embed the pictures of a vehicle and add it to the gallery; it is on disk when this returns.

        Raises:
            DataError: a picture cannot be read, or the entry cannot be used.
            KnownError: the gallery has an entry of that id.
            Refused: there is too much to do.
        """
        images = await self._decoded(pictures)
        for one in images.left_out:
            raise DataError(f"{one.picture}: {one.reason}; leave it out, or send it again")
        embedding = await self._embedding(images)
        with span("add"):
            return await _in(self._writer, lambda: self.holding.add(entry, embedding, pictures))

    async def remove(self, identity: str) -> bool:
        """Remove an entry; return whether there was one."""
        return await _in(self._writer, lambda: self.holding.remove(identity))

    def close(self) -> None:
        """Finish what came, and end all threads."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    async def _condition(self, filters: Filters) -> Condition:
        if filters:
            facts = await self.facts()
            check_filters(filters, facts)
        return Condition(filters.cameras, filters.not_cameras, _times(filters))

    async def _decoded(self, pictures: Sequence[Picture]) -> Decoded:
        size = self.session.info.card.preprocessing
        with span("decode"):
            return await _in(self._decoders, lambda: decoded(pictures, size))

    async def _embedding(self, images: Decoded) -> NDArray[np.float32]:
        with span("embed"):
            return await asyncio.wrap_future(self._embedder.submit(images.crops))

    async def _search(self, query: Query) -> Sequence[Found]:
        with span("search"):
            return await asyncio.wrap_future(self._searcher.submit(query))

    async def _point(self, queries: Kind | None) -> OperatingPoint | None:
        return self.decider.point(queries, (await self.facts()).kind) if self.decider.points else None


async def _in(pool: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def check_filters(filters: Filters, facts: Facts) -> None:
    """Raise DataError where no entry of a gallery can pass filters by camera or time; an empty gallery has none."""
    summary = facts.summary
    named = (filters.cameras or frozenset()) | filters.not_cameras
    if unknown := sorted(named - summary.cameras.keys()):
        there = ", ".join(list(summary.cameras)[:8]) or "no cameras"
        raise DataError(f"no entry is of camera {unknown[0]!r}; there are {there}")
    if _times(filters) is not None and summary.entries and summary.seen_s is None:
        raise DataError("no entry has a time: leave out filters by time")


def _times(filters: Filters) -> tuple[float, float] | None:
    if filters.since_s is None and filters.until_s is None:
        return None
    first = -float("inf") if filters.since_s is None else filters.since_s
    return first, float("inf") if filters.until_s is None else filters.until_s
