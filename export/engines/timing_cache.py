"""The file that remembers measured kernels, so that the next build need not measure them again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reid.export.engines.options import TIMING_CACHE_AT_MOST
from reid.export.engines.watch import BuildWatch
from reid.runtime.errors import SessionError
from reid.runtime.files.reading import read_file
from reid.runtime.files.storage import atomic_write

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["load_timing_cache", "save_timing_cache"]


def load_timing_cache(path: Path, config: trt.IBuilderConfig, watch: BuildWatch) -> None:
    """Give the builder what a file remembers, if it is of this device and version; else an empty cache.

    Raises:
        SessionError: the file cannot be read, or is no timing cache and would be replaced.
    """
    with watch.overlooking() as complaints:
        cache = config.create_timing_cache(_read(path))
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return
    if any("magic tag" in complaint.lower() for complaint in complaints):
        raise SessionError(f"{path} is not a timing cache, and would be replaced; choose another --timing-cache")
    empty = config.create_timing_cache(b"")  # measure again
    if empty is not None:
        config.set_timing_cache(empty, ignore_mismatch=False)


def save_timing_cache(path: Path, config: trt.IBuilderConfig, watch: BuildWatch) -> None:
    """Write what the builder knows now, together with what other builds have written since it was read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cache = config.get_timing_cache()
    with _locked(path.parent), watch.overlooking():
        others = config.create_timing_cache(_read(path))
        if others is not None:
            cache.combine(others, ignore_mismatch=False)  # refuses that of another device or version
        atomic_write(path, bytes(cache.serialize()))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other builds from writing into a folder, where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    if not os.path.lexists(path):
        return b""
    try:
        return read_file(path, at_most=TIMING_CACHE_AT_MOST)
    except OSError as error:
        raise SessionError(f"{path}: {error.strerror}; choose another --timing-cache") from None
