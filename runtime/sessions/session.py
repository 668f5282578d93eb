"""What runs a model: one protocol for every backend, found by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError, SessionError
from reid.runtime.model_card import ModelCard

__all__ = ["Session", "open_session"]


class Session(Protocol):
    """A model that is ready to run on one device. Close it, or use it as a context manager."""

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        ...

    @property
    def device(self) -> str:
        """What the model runs on, for people: "ONNX Runtime on CPU"."""
        ...

    def run(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed one batch.

        Args:
            frames: uint8 [N, 3, H, W], RGB, resized to the card's size, not normalized.
            pooling: float32 [T, N], row t holds the weights of the frames of tracklet t.

        Returns:
            frame_embedding float32 [N, D], L2-normalized, and pooled float32 [T, D] = pooling @ frame_embedding.
            Both belong to the caller.
        """
        ...

    def close(self) -> None:
        """Give back the device's memory."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


Opener: TypeAlias = Callable[[Path, str | None, str], Session]
"""(model, device or None for the best one present, precision) -> session"""


def open_session(model: Path, name: str = "auto", precision: str = "fp32") -> Session:
    """Open a model with a backend.

    Args:
        model: a bundle, an .onnx file that `reid-export` wrote, or a checkpoint or run of `reid-train`.
        name: a backend's name, with a device behind a colon where wanted: "onnxruntime", "onnxruntime:cpu",
            "torch:cuda". "auto" takes torch for a checkpoint and ONNX Runtime for the rest.
        precision: which of a bundle's graphs.

    Raises:
        ModelError: the model is absent, damaged, or not of this kind.
        SessionError: no such backend, or it cannot run here.
    """
    if not model.exists():
        raise ModelError(f"{model}: no such model; give a bundle, an .onnx file, or a run of reid-train")
    backend, _, device = (
        ("torch" if _is_checkpoint(model) else "onnxruntime", "", "") if name == "auto" else name.partition(":")
    )
    openers = {point.name: point for point in entry_points(group="reid.sessions")}
    if backend not in openers:
        raise SessionError(f"no session named {backend!r}; there are {', '.join(sorted(openers))}")
    opener: Opener = openers[backend].load()
    return opener(model, device or None, precision)


def _is_checkpoint(model: Path) -> bool:
    return model.suffix in (".safetensors", ".json") or (model / "checkpoint.safetensors").exists()
