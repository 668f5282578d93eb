"""The protocol of a session: a model that is ready to run on one device.

The protocol is small on purpose. What can be said in terms of it is a function beside it (`run`), or an adapter that
several backends share (`host.HostSession`). Widen it only for what a backend alone can know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.space import Space

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BACKEND_TITLES", "DEFAULT_LIMITS", "BatchLimits", "Embeddings", "Session", "SessionInfo", "run"]

BACKEND_TITLES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
    "torch": "PyTorch",
    "triton": "Triton",
}
"""The names of backends as people write them."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """The facts about a session.

    Attributes:
        backend: the name by which the backend is found: "tensorrt-rtx".
        backend_version: the version of its library.
        device: the device that it runs on: "CPU", "NVIDIA L4".
        precision: the precision of the graph or engine.
        card: the model's card.
        decoder: what decodes JPEG files on the device: "nvImageCodec 0.9.0"; empty where the CPU does.
    """

    backend: str
    backend_version: str
    device: str
    precision: Precision
    card: ModelCard
    decoder: str = ""

    @property
    def space(self) -> Space:
        """The space of the session's embeddings."""
        return Space(self.card.fingerprint, self.precision, self.card.dimensions)

    def __str__(self) -> str:
        """Return backend, device and decoder for people: "ONNX Runtime 1.31.0 on CPU"."""
        runs = f"{BACKEND_TITLES.get(self.backend, self.backend)} {self.backend_version} on {self.device}"
        return f"{runs} with {self.decoder}" if self.decoder else runs


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The largest batch that a session takes.

    Attributes:
        frames: the most frames, N.
        tracklets: the most rows of `pooling`, T.
    """

    frames: int
    tracklets: int

    def __post_init__(self) -> None:
        """Raise ValueError for a limit below 1."""
        if min(self.frames, self.tracklets) < 1:
            raise ValueError(f"{self.frames} frames of {self.tracklets} tracklets: both limits must be at least 1")

    def within(self, other: BatchLimits) -> BatchLimits:
        """Return the largest batch that both limits allow."""
        return BatchLimits(min(self.frames, other.frames), min(self.tracklets, other.tracklets))


DEFAULT_LIMITS = BatchLimits(frames=32, tracklets=32)
"""The batch of backends that would take any size, and of engines unless a profile says otherwise."""


class Embeddings(NamedTuple):
    """The outputs for one batch.

    Attributes:
        frame_embedding: float32 [N, D], L2-normalized.
        pooled: float32 [T, D] = pooling @ frame_embedding.
    """

    frame_embedding: NDArray[np.float32]
    pooled: NDArray[np.float32]


class Session(Protocol):
    """A model that is ready to run on one device. Close it, or use it as a context manager.

    A session serves one caller at a time, unless it says otherwise.
    """

    @property
    def info(self) -> SessionInfo:
        """The facts about the session."""
        ...

    @property
    def limits(self) -> BatchLimits:
        """The largest batch that the session takes."""
        ...

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        """Embed one batch that `run` has checked; call `run` instead.

        Returns:
            Arrays that belong to the caller.
        """
        ...

    def close(self) -> None:
        """Release the device's memory. A session that is closed can be closed again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def run(session: Session, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
    """Embed one batch.

    Args:
        session: the model.
        frames: uint8 [N, 3, H, W], RGB, resized to the card's size, not normalized.
        pooling: float32 [T, N]; row t holds the weights of the frames of tracklet t.

    Returns:
        Arrays that belong to the caller.

    Raises:
        ValueError: the arrays are not a batch of this model, or are larger than the session's limits. Backends convert
            wrong types in silence, or read past the end of a buffer.
        SessionError: the device failed.
    """
    _check_batch(frames, pooling, session)
    return session.compute(frames, pooling)


def _check_batch(frames: NDArray[Any], pooling: NDArray[Any], session: Session) -> None:
    size, limits = session.info.card.preprocessing, session.limits
    as_frames = frames.dtype == np.uint8 and frames.shape == (len(frames), 3, size.height, size.width)
    as_pooling = pooling.dtype == np.float32 and pooling.shape == (len(pooling), len(frames))
    if not (as_frames and as_pooling):
        raise ValueError(
            f"not a batch: frames {frames.dtype} {frames.shape}, pooling {pooling.dtype} {pooling.shape}; give "
            f"uint8 (N, 3, {size.height}, {size.width}) and float32 (T, N)"
        )
    if len(frames) > limits.frames or len(pooling) > limits.tracklets:
        raise ValueError(
            f"{len(frames)} frames of {len(pooling)} tracklets: {session.info} takes at most {limits.frames} frames of "
            f"{limits.tracklets} tracklets; use a smaller batch"
        )
