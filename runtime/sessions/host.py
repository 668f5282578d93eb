"""The adapter for backends that take and return arrays in host memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError
from reid.runtime.sessions.session import DEFAULT_LIMITS, BatchLimits, Embeddings, SessionInfo

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RUN_REMEDY", "HostSession", "Infer"]

RUN_REMEDY = "use smaller batches, or export it again"
"""What helps against most failures of a model that was loaded."""

Infer: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""(frames, pooling) -> (frame_embedding, pooled)"""


@dataclass(slots=True, eq=False)
class HostSession:
    """A `Session` made of a function from arrays to arrays. Callers of more threads than it takes wait for each other.

    Attributes:
        info: the facts about the session.
        infer: the function; it holds the model, and is dropped when the session closes.
        limits: the largest batch.
        source: the model's file, as messages name it.
        at_once: the batches that the function may be given at the same time, by different threads.
    """

    info: SessionInfo
    infer: Infer
    limits: BatchLimits = DEFAULT_LIMITS
    source: str = "the model"
    at_once: int = 1
    _turns: threading.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._turns = threading.Semaphore(self.at_once)

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        """See Session.compute.

        Raises:
            ModelError: the model returns arrays of other sizes than its card says.
            SessionError: the backend failed.
            ValueError: the session is closed.
        """
        with self._turns:
            embeddings = Embeddings(*self.infer(frames, pooling))
        size = self.info.card.dimensions
        found, expected = tuple(array.shape for array in embeddings), ((len(frames), size), (len(pooling), size))
        if found != expected:
            raise ModelError(f"{self.source} returns arrays of {found}, and its card says {expected}; export it again")
        return embeddings

    def close(self) -> None:
        """See Session.close."""
        self.infer = _closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _closed(frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    raise ValueError("the session is closed; open it again")
