"""Writing the files of a gallery, so that what the manifest names is on disk before the manifest is."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.store.blocks import BlockWriter
from reid.runtime.galleries.store.columns import Columns, id_hashes
from reid.runtime.galleries.store.layout import Layout
from reid.runtime.galleries.store.manifest import (
    Manifest,
    RemovedRecord,
    SegmentRecord,
    TextSizes,
    write_manifest,
)

__all__ = ["clear_leftovers", "commit", "flush_folder", "write_removed", "write_segment"]


def write_segment(folder: Path, pieces: Iterable[tuple[NDArray[Any], Columns]], manifest: Manifest) -> SegmentRecord:
    """Write a segment, to be named in the next manifest.

    Embeddings are held piece by piece, entries all at once: some hundred bytes each.

    Args:
        folder: the gallery's folder.
        pieces: the rows: embeddings, [n, D], and their entries; not empty.
        manifest: the manifest, which says how embeddings are stored.
    """
    name, parts = f"segment-{secrets.token_hex(8)}.rows", []
    with _new_file(folder / name) as file:
        writer = BlockWriter(file)
        for embeddings, columns in pieces:
            writer.write(np.ascontiguousarray(embeddings, manifest.dtype))
            parts.append(columns)
        columns = Columns.joined(parts)
        sections = _sections(columns)
        sizes = {name: sections[name].size for name in TextSizes.model_fields}
        texts, rows = TextSizes(**sizes), len(columns.time_s)
        layout = Layout(rows, manifest.dimensions, manifest.dtype, texts)
        for section, content in sections.items():
            writer.write(bytes(layout.sections[section].start - writer.size))
            writer.write(content)
        digest = writer.finish(layout.facts)
    return SegmentRecord(file=name, rows=rows, texts=texts, digest=digest)


def _sections(columns: Columns) -> dict[str, NDArray[Any]]:
    """Return all sections but the embeddings, in the order of the file."""
    hashes = id_hashes(columns.ids)
    order = np.argsort(hashes, kind="stable")
    return {
        "time_s": columns.time_s.astype("<f8"),
        "camera": columns.camera.astype("<i4"),
        "frames": columns.frames.astype("<i4"),
        "hashes": hashes[order].astype("<u8"),
        "hashed": order.astype("<i4"),
        "ids.ends": columns.ids.ends.astype("<i8"),
        "vehicles.ends": columns.vehicles.ends.astype("<i8"),
        "pictures.ends": columns.pictures.ends.astype("<i8"),
        "ids": columns.ids.content,
        "vehicles": columns.vehicles.content,
        "pictures": columns.pictures.content,
        "cameras": np.frombuffer(json.dumps(columns.cameras).encode(), np.uint8),
    }


def write_removed(folder: Path, live: NDArray[np.bool_]) -> RemovedRecord:
    """Write which rows of a segment are removed, to be named in the next manifest."""
    name = f"removed-{secrets.token_hex(8)}.bits"
    content = np.packbits(~live, bitorder="little").tobytes()
    with _new_file(folder / name) as file:
        file.write(content)
    count = len(live) - int(np.count_nonzero(live))
    return RemovedRecord(file=name, rows=count, digest=hashlib.sha256(content).hexdigest())


def commit(folder: Path, manifest: Manifest) -> None:
    """Make a manifest the gallery's, after what it names: when this returns, it outlasts a loss of power."""
    flush_folder(folder)
    write_manifest(folder, manifest)
    flush_folder(folder)


def clear_leftovers(folder: Path, manifest: Manifest) -> None:
    """Remove the files that a manifest does not name: of former ones, or of a writer that was killed.

    Who has them open can read on. Only a writer may call it. The manifest has to outlast a loss of power first: else
    the former one would come back, and what it names would be gone.

    Raises:
        OSError: the folder cannot be flushed, and nothing was removed; or a file cannot be removed.
    """
    flush_folder(folder)
    for pattern in ("segment-*.rows", "removed-*.bits"):
        for path in folder.glob(pattern):
            if path.name not in manifest.files:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file, which is on disk when the block ends, and gone if it fails."""
    try:
        with path.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def flush_folder(folder: Path) -> None:
    """Let what was made, renamed and removed in a folder outlast a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
