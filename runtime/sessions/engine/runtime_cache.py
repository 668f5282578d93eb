"""TensorRT-RTX's runtime cache, on disk: kernels are compiled once for an engine and GPU, not in every process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from reid.runtime.files.user_cache import cache_folder, recall, remember

if TYPE_CHECKING:
    import tensorrt_rtx as rtx

__all__ = ["RuntimeCache", "runtime_cache_file"]

_AT_MOST = 1 << 30


def runtime_cache_file(engine_sha256: str, device: str, version: str) -> Path | None:
    """Return where the kernels of an engine are kept for a GPU and version; None where there is no cache folder."""
    folder = cache_folder("tensorrt-rtx")
    name = hashlib.sha256("\0".join((engine_sha256, device, version)).encode()).hexdigest()[:32]
    return folder / f"{name}.cache" if folder else None


class RuntimeCache:
    """The cache of one engine."""

    def __init__(self, config: rtx.IRuntimeConfig, file: Path | None) -> None:
        """Give a runtime configuration a cache, with what the file holds; a file that is damaged counts as absent.

        Raises:
            RuntimeError: TensorRT-RTX takes no cache.
        """
        self._file = file
        self._cache = config.create_runtime_cache()
        self._known = recall(file, at_most=_AT_MOST) if file else None
        if self._known and not self._cache.deserialize(self._known):  # it checks version, GPU and driver itself
            self._known = None
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Write the file if there is something new in the cache."""
        content = bytes(self._cache.serialize() or b"")
        if self._file and content and content != self._known:
            remember(self._file, content)
