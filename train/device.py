"""The default PyTorch device."""

from __future__ import annotations

import torch

__all__ = ["best_device"]


def best_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
