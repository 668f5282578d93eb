"""What numbers a step computes with."""

from __future__ import annotations

import torch

__all__ = ["Precision"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Mixed precision on a device: autocast, and for fp16 a scaler that keeps small gradients from vanishing.

    Args:
        name: fp32, bf16, fp16, or auto: bf16 on a GPU, fp32 elsewhere.
        device: of the model.

    Attributes:
        scaler: of the loss; it does nothing but for fp16.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "auto":
            name = "bf16" if device.type == "cuda" else "fp32"
        self._device = device.type
        self._type = _TYPES.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> torch.autocast:
        """Enter once for every forward pass: weights that it casts are kept until it is left, gradients or not."""
        return torch.autocast(self._device, self._type or torch.bfloat16, enabled=self._type is not None)
