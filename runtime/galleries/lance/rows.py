"""Entries and embeddings as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.files.reading import read_file
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.lance.texts import from_stored, to_stored
from reid.runtime.galleries.ranking import wrong_lengths

__all__ = ["LABELS", "as_table", "embeddings_of", "entries_of", "schema_of"]

LABELS = ["id", "camera", "vehicle", "time_s", "picture", "frames"]
"""The columns of an entry."""

_CROP_AT_MOST = 1 << 28


def schema_of(dimensions: int, *, crops: bool, metadata: dict[bytes, bytes] | None = None) -> Any:  # noqa: ANN401
    """Return the schema of a gallery's table: what is not known of an entry is null."""
    import pyarrow as pa

    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("camera", pa.string()),
        pa.field("vehicle", pa.string()),
        pa.field("time_s", pa.float64()),
        pa.field("picture", pa.string(), nullable=False),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("embedding", pa.list_(pa.float32(), dimensions), nullable=False),
    ]
    return pa.schema([*fields, pa.field("crop", pa.large_binary())] if crops else fields, metadata)


def as_table(entries: Sequence[Entry], embeddings: NDArray[np.float32], schema: Any) -> Any:  # noqa: ANN401
    """Return entries as a table. Raises DataError if crops are to be kept and a picture cannot be read."""
    import pyarrow as pa

    columns = {
        "id": [to_stored(entry.id) for entry in entries],
        "camera": [entry.camera and to_stored(entry.camera) for entry in entries],
        "vehicle": [entry.vehicle and to_stored(entry.vehicle) for entry in entries],
        "time_s": [None if entry.time_s is None else entry.time_s + 0.0 for entry in entries],  # no -0: see filters
        "picture": [to_stored(entry.picture) for entry in entries],
        "frames": [entry.frames for entry in entries],
        "embedding": pa.FixedSizeListArray.from_arrays(
            pa.array(embeddings.reshape(-1)), type=schema.field("embedding").type
        ),
    }
    if "crop" in schema.names:
        columns["crop"] = [_crop(entry) for entry in entries]
    return pa.table(columns, schema=schema)


def entries_of(rows: Any) -> list[Entry]:  # noqa: ANN401 - a table or a batch
    """Return the entries of rows that have all `LABELS`."""
    columns = {name: rows.column(name).to_pylist() for name in LABELS}
    return [
        Entry(
            from_stored(identity),
            camera and from_stored(camera),
            vehicle and from_stored(vehicle),
            time_s,
            from_stored(picture),
            frames,
        )
        for identity, camera, vehicle, time_s, picture, frames in zip(*columns.values(), strict=True)
    ]


def embeddings_of(rows: Any, dimensions: int) -> NDArray[np.float32]:  # noqa: ANN401 - a table or a batch
    """Return the embeddings of rows, float32 [n, D]. Raises DataError if they are none: nothing else checks them."""
    column = rows.column("embedding")
    chunks = getattr(column, "chunks", [column])
    parts = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimensions) for chunk in chunks]
    embeddings = parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, dimensions), np.float32), *parts])
    if wrong := wrong_lengths(embeddings):
        raise DataError(f"the gallery is damaged ({wrong}); restore it from a copy, or embed it again")
    return embeddings


def _crop(entry: Entry) -> bytes | None:
    """Return the content of an entry's picture; None where it has none."""
    if not entry.picture:
        return None
    try:
        return read_file(Path(entry.picture), at_most=_CROP_AT_MOST)
    except OSError as error:
        reason = f"{entry.picture}: {error.strerror or error}"
        raise DataError(
            f"{reason}; this gallery keeps the crops of its entries, so give pictures that are there"
        ) from None
