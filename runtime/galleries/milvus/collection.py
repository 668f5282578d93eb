"""One collection of Milvus: what is asked of it, and how answers come back as arrays."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.milvus.expressions import ids_expression, sequences_expression
from reid.runtime.galleries.milvus.facts import Facts
from reid.runtime.galleries.milvus.indexes import INDEXES
from reid.runtime.galleries.milvus.rows import FACTS, as_arrays, decoded, in_order, rows_of, schema_of
from reid.runtime.galleries.milvus.server import Server, import_pymilvus

__all__ = ["Collection", "in_pieces"]

_PIECE_BYTES = 1 << 24
"""Of embeddings in a request or an answer; Milvus takes 64 MB, texts included."""

_IDS = 5000
_POLL_S = 1.0

T = TypeVar("T")


class Collection:
    """A collection by its own name, not by an alias, which may change between two questions.

    Attributes:
        server: where it is.
        name: its name.
        facts: what is known of it.
    """

    def __init__(self, server: Server, name: str, facts: Facts) -> None:
        """Use what is there, or follow with `make`."""
        self.server, self.name, self.facts = server, name, facts
        self._piece = max(1, _PIECE_BYTES // (4 * facts.dimensions))

    @classmethod
    def find(cls, server: Server, name: str) -> Collection:
        """Return a collection of the server. Raises DataError if it is not there, or no gallery."""
        described = server.ask("describe_collection", name)
        return cls(server, name, Facts.among(described["properties"], server.address))

    def make(self) -> None:
        """Make it, empty and not loaded. What is read shows all that was acknowledged before: `Strong`."""
        milvus, method = import_pymilvus(self.server.address), INDEXES[self.facts.index]
        schema, options = schema_of(milvus, self.facts.dimensions), {"consistency_level": "Strong"}
        self._ask("create_collection", schema=schema, properties=self.facts.as_properties(), **options)
        indexes = milvus.MilvusClient.prepare_index_params()
        # The inner product is `1 - distance` of our own, whereas COSINE would divide by lengths.
        indexes.add_index("embedding", method.name, "embedding", metric_type="IP", params=dict(method.build))
        indexes.add_index("id", "INVERTED", "id")
        self._ask("create_index", indexes, sync=False)  # there is nothing yet to wait for
        # What is loaded, milvus-lite indexes in the background, and who loads it meanwhile may read half an index.
        self._ask("release_collection")

    def load(self) -> None:
        """Make it ready to be searched, if it is not: milvus-lite forgets it, and who only reads may not."""
        if self._ask("get_load_state")["state"].name != "Loaded":
            self._ask("load_collection")

    def index(self) -> None:
        """Wait until all that was inserted is indexed and loaded. Raises DataError if Milvus cannot index it."""
        self._ask("flush")
        while (found := self._ask("describe_index", "embedding"))["pending_index_rows"]:
            if found["state"] == "Failed":
                raise DataError(f"{self.server.address}: Milvus failed to index {self.name}; see its log")
            time.sleep(_POLL_S)
        self.load()

    def state(self, facts: Facts) -> None:
        """Store new facts."""
        self._ask("alter_collection_properties", facts.as_properties())
        self.facts = facts

    def nearest(
        self, queries: NDArray[np.float32], expression: str, limit: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return sequence numbers and inner products of each query's best rows, best first, as Milvus computes them."""
        search = {"metric_type": "IP", "params": dict(INDEXES[self.facts.index].search(limit))}
        asked = {"data": list(queries), "limit": limit, "filter": expression, "search_params": search}
        found = self._ask("search", anns_field="embedding", output_fields=["sequence"], **asked)
        return [(np.array(hits.ids, np.int64), np.array(hits.distances, np.float64)) for hits in found]

    def rows(
        self, sequences: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], list[Entry], NDArray[np.float32]]]:
        """Yield rows some thousand at a time, ascending: sequence numbers, entries, embeddings."""
        for piece in in_pieces(np.unique(sequences).tolist(), self._piece):
            expression = sequences_expression(piece)
            found = self._ask("query", filter=expression, output_fields=[*FACTS, "embedding"])
            if found:
                yield as_arrays(in_order(found))

    def all_rows(self, fields: Sequence[str]) -> Iterator[list[Any]]:
        """Yield all rows some thousand at a time, ascending, as they were when it began."""
        cursor = self._ask("query_iterator", batch_size=min(self._piece, 16384), output_fields=list(fields))
        try:
            while found := cursor.next():
                yield in_order(found)
        finally:
            cursor.close()

    def sequences_of(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the sequence numbers of those ids that are there."""
        found: dict[str, int] = {}
        for piece in in_pieces(dict.fromkeys(ids), _IDS):
            rows = self._ask("query", filter=ids_expression(piece), output_fields=["sequence", "id"])
            found.update((decoded(row["id"]), row["sequence"]) for row in rows)
        return found

    def has(self, expression: str) -> bool:
        """Return whether an expression is true of any row."""
        return bool(self._ask("query", filter=expression, output_fields=["sequence"], limit=1))

    def __len__(self) -> int:
        return int(self._ask("query", filter="", output_fields=["count(*)"])[0]["count(*)"])

    def insert(self, entries: Sequence[Entry], embeddings: NDArray[np.float32], first: int) -> None:
        """Insert entries, some thousand at a time."""
        rows = rows_of(entries, embeddings, first)
        for piece in in_pieces(rows, self._piece):
            self._ask("insert", piece)

    def delete(self, sequences: Iterable[int]) -> None:
        """Delete rows."""
        for piece in in_pieces(sequences, _IDS):
            self._ask("delete", ids=piece)

    def _ask(self, method: str, *arguments: object, **options: object) -> Any:  # noqa: ANN401 - as the server has it
        return self.server.ask(method, self.name, *arguments, **options)


def in_pieces(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield values in lists of a size; the last may be smaller."""
    iterator = iter(values)
    while piece := list(islice(iterator, size)):
        yield piece
