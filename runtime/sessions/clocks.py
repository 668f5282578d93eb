"""Clocks: how long the steps of a batch take, beside what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.sessions.host import Infer
from reid.runtime.sessions.session import Embeddings

__all__ = ["BatchSeconds", "Timed", "embed_timed", "timing"]


@dataclass(frozen=True, slots=True)
class BatchSeconds:
    """How long the steps of a batch took, in seconds; None for a step that there was not, or that has no clock.

    Steps of different batches overlap, and so does resizing in several threads: their sum may exceed the time that has
    passed.

    Attributes:
        decode_s: decoding files on the device.
        upload_s: copying its inputs to the device.
        resize_s: resizing its frames, on the device or in the threads that place them.
        engine_s: the model. Where the session takes arrays, this includes its copies, and the time in which it embeds
            for another caller.
        download_s: copying its outputs to the host.
    """

    decode_s: float | None = None
    upload_s: float | None = None
    resize_s: float | None = None
    engine_s: float | None = None
    download_s: float | None = None


Timed: TypeAlias = tuple[Embeddings, BatchSeconds]
"""What was computed, and how long that took."""


@contextmanager
def timing(note: Callable[[float], None]) -> Iterator[None]:
    """Tell a function the seconds that what is within takes, even where it raises.

    `list.append` is one that any number of threads may call.
    """
    start = time.perf_counter()
    try:
        yield
    finally:
        note(time.perf_counter() - start)


def embed_timed(
    compute: Infer, frames: NDArray[np.uint8], pooling: NDArray[np.float32], resize_s: list[float]
) -> Timed:
    """Embed a batch in host memory whose frames took these seconds to resize."""
    engine_s: list[float] = []
    with timing(engine_s.append):
        embeddings = Embeddings(*compute(frames, pooling))
    return embeddings, BatchSeconds(resize_s=sum(resize_s), engine_s=sum(engine_s))
