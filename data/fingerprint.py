"""What tells one training split from another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from reid.data.dataset import Dataset
from reid.runtime.files.reading import size_of

__all__ = ["data_fingerprint"]


def data_fingerprint(dataset: Dataset) -> str:
    """Return the SHA-256 of the training images' names, sizes and labels."""
    digest = hashlib.sha256()
    for image in dataset.train.images:
        frame = image.frames[0]
        if isinstance(frame, Path):
            name = frame.relative_to(dataset.root).as_posix()
            digest.update(f"{name} {_size(frame)} {image.vehicle} {image.camera}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return size_of(path)
    except OSError:  # a dead link; reading it will name it
        return -1
