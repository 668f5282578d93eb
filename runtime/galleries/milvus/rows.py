"""Entries as rows of a collection.

Texts are stored percent-encoded: names of files may hold what is no UTF-8, which Milvus refuses, and then no name can
end a string of a boolean expression. Common names stay readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.entry import Entry

__all__ = ["FACTS", "as_arrays", "decoded", "encoded", "entry_of", "in_order", "rows_of", "schema_of"]

FACTS = ("sequence", "id", "camera", "vehicle", "timed", "time_s", "picture", "frames")
"""All fields but the embedding."""

_TEXTS = ("id", "camera", "vehicle", "picture")
_LONGEST = 65_535
"""The most bytes of a text in Milvus."""

_AS_THEY_ARE = "/: "
_SURROGATES = "surrogatepass"


def schema_of(milvus: Any, dimensions: int) -> Any:  # noqa: ANN401 - pymilvus has no types
    """Return the schema of a collection, from the module pymilvus.

    `sequence` is the order in which entries were added. A camera or vehicle that is not known is an empty text; where a
    time is not known, `timed` is false.
    """
    kinds, schema = milvus.DataType, milvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("sequence", kinds.INT64, is_primary=True)
    for name in _TEXTS:
        schema.add_field(name, kinds.VARCHAR, max_length=_LONGEST)
    schema.add_field("timed", kinds.BOOL)
    schema.add_field("time_s", kinds.DOUBLE)
    schema.add_field("frames", kinds.INT32)
    schema.add_field("embedding", kinds.FLOAT_VECTOR, dim=dimensions)
    return schema


def rows_of(entries: Sequence[Entry], embeddings: NDArray[np.float32], first: int) -> list[dict[str, object]]:
    """Return the rows of entries, whose sequence numbers begin with `first`. Raises DataError where a text is long."""
    pairs = zip(entries, embeddings, strict=True)
    return [_row(entry, embedding, first + place) for place, (entry, embedding) in enumerate(pairs)]


def _row(entry: Entry, embedding: NDArray[np.float32], sequence: int) -> dict[str, object]:
    texts = {name: encoded(getattr(entry, name) or "") for name in _TEXTS}
    for name, text in texts.items():
        if len(text) > _LONGEST:
            raise DataError(f"entry {entry.id[:100]!r} cannot be added: its {name} takes more than {_LONGEST:,} bytes")
    timed = entry.time_s is not None
    facts = {"timed": timed, "time_s": entry.time_s if timed else 0.0, "frames": entry.frames}
    return {"sequence": sequence, **texts, **facts, "embedding": embedding}


def entry_of(row: Mapping[str, Any]) -> Entry:
    """Return the entry of a row."""
    identity, camera, vehicle, picture = (decoded(row[name]) for name in _TEXTS)
    time_s = row["time_s"] if row["timed"] else None
    return Entry(identity, camera or None, vehicle or None, time_s, picture, row["frames"])


def in_order(rows: Iterable[Any]) -> list[Any]:
    """Return rows in the order in which they were added."""
    return sorted(rows, key=lambda row: int(row["sequence"]))


def as_arrays(rows: Sequence[Any]) -> tuple[NDArray[np.int64], list[Entry], NDArray[np.float32]]:
    """Return the sequence numbers, int64 [n], entries and embeddings, float32 [n, D], of rows."""
    sequences = np.array([row["sequence"] for row in rows], np.int64)
    return sequences, list(map(entry_of, rows)), np.array([row["embedding"] for row in rows], np.float32)


def encoded(text: str) -> str:
    """Return a text in ASCII, without quotes, backslashes and control characters."""
    return quote(text, safe=_AS_THEY_ARE, errors=_SURROGATES)


def decoded(text: str) -> str:
    """Return the text of an encoded one."""
    return unquote(text, errors=_SURROGATES)
