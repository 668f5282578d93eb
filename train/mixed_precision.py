"""The precision in which a training step computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from reid.train.device import exact_float32

__all__ = ["MixedPrecision"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class MixedPrecision:
    """Autocast on a device and, for fp16, a loss scaler that keeps small gradients from vanishing.

    Args:
        name: fp32, bf16, fp16, or auto, which is bf16 on a GPU and fp32 elsewhere.
        device: the model's device.

    Attributes:
        scaler: the loss scaler; it does nothing except for fp16.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "auto":
            name = "bf16" if device.type == "cuda" else "fp32"
        self._device = device.type
        self._type = _TYPES.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    @contextlib.contextmanager
    def kernels(self) -> Iterator[None]:
        """Choose the kernels of training steps: fp32 is no TF32, and cuDNN tries which are fastest for fixed shapes."""
        tried = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = self._device == "cuda" or tried
        try:
            with exact_float32() if self._type is None else contextlib.nullcontext():
                yield
        finally:
            torch.backends.cudnn.benchmark = tried

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass. Enter it once a pass: it keeps the weights that it casts until exit."""
        return torch.autocast(self._device, self._type or torch.bfloat16, enabled=self._type is not None)
