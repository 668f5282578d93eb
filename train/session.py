"""PyTorch as a session: the reference for every other session."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from reid.runtime.errors import SessionError
from reid.runtime.model_card import ModelCard
from reid.train.device import best_device
from reid.train.model.checkpoint import load_checkpoint
from reid.train.model.multi_level import FusedReID, MultiLevelReID

__all__ = ["TorchSession", "open_torch"]


def open_torch(model: Path, device: str | None, precision: str) -> TorchSession:
    """Open a checkpoint in float32, by default on the GPU if there is one.

    Args:
        model: a run's folder or its checkpoint.
        device: PyTorch's name of a device; None for the default.
        precision: "fp32".

    Raises:
        ModelError: there is no checkpoint, or it is damaged.
        SessionError: PyTorch cannot use the device, or the precision is not fp32.
    """
    if precision != "fp32":
        raise SessionError(f"a checkpoint runs in fp32, not in {precision}; export it and use the bundle")
    checkpoint = load_checkpoint(model)
    return TorchSession(checkpoint.model, checkpoint.card, _device(device) if device else best_device())


def _device(name: str) -> torch.device:
    try:
        torch.empty(0, device=name)
    except RuntimeError as error:
        raise SessionError(
            f"PyTorch cannot use device {name!r} ({str(error).splitlines()[0]}); try torch:cpu"
        ) from None
    return torch.device(name)


class TorchSession:
    """A PyTorch model as a session. The arrays that `run` returns belong to the caller.

    Args:
        model: the model; it is moved to the device, and is in evaluation mode while it runs.
        card: the model's card.
        device: the device to run on.
    """

    def __init__(self, model: MultiLevelReID, card: ModelCard, device: torch.device) -> None:
        self.card = card
        self.device = f"PyTorch on {'CPU' if device.type == 'cpu' else torch.cuda.get_device_name(device)}"
        self._device = device
        self._fused = FusedReID(model.to(device))

    @torch.inference_mode()
    def run(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See Session.run."""
        inputs = (torch.from_numpy(array).to(self._device) for array in (frames, pooling))
        training = self._fused.model.training
        self._fused.eval()
        try:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # the reference is float32
                frame_embedding, pooled = (output.cpu().numpy() for output in self._fused(*inputs))
        finally:
            self._fused.train(training)
        return frame_embedding, pooled

    def close(self) -> None:
        """See Session.close."""

    def __enter__(self) -> TorchSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
