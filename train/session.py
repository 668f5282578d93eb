"""PyTorch as a session: the reference for every other session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid.runtime.cuda import DeviceMemoryError
from reid.runtime.errors import SessionError
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.sessions.halving import Halving
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.opened import Opened
from reid.runtime.sessions.session import DEFAULT_LIMITS, SessionInfo
from reid.train.device import best_device, device_name, exact_float32
from reid.train.model.checkpoint import load_checkpoint
from reid.train.model.multi_level import FusedReID, MultiLevelReID
from reid.train.out_of_memory import is_out_of_memory

__all__ = ["open_torch", "torch_session"]


def open_torch(model: Path, device: str | None, precision: Precision) -> Opened:
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
    where = _device(device) if device else best_device()
    return Opened(torch_session(checkpoint.model, checkpoint.card, where))


def _device(name: str) -> torch.device:
    try:
        torch.empty(0, device=name)
    except RuntimeError as error:
        raise SessionError(
            f"PyTorch cannot use device {name!r} ({str(error).splitlines()[0]}); try torch:cpu"
        ) from None
    return torch.device(name)


def torch_session(model: MultiLevelReID, card: ModelCard, device: torch.device) -> HostSession:
    """Make a session of a model, which is moved to the device, and is in evaluation mode while it runs."""
    fused = FusedReID(model.to(device))

    @torch.inference_mode()
    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        inputs = (torch.from_numpy(array).to(device) for array in (frames, pooling))
        training = fused.model.training
        fused.eval()
        try:
            with exact_float32():
                frame_embedding, pooled = (output.cpu().numpy() for output in fused(*inputs))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise DeviceMemoryError(
                    f"out of memory with {len(frames)} frames on {info.device}: end other programs that use it"
                ) from None
            raise
        finally:
            fused.train(training)
        return frame_embedding, pooled

    info = SessionInfo("torch", torch.__version__, device_name(device), "fp32", card)
    return HostSession(info, Halving(infer, DEFAULT_LIMITS.frames))
