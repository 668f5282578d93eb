"""PyTorch's devices: the default one, their names, and their arithmetic."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import backends

__all__ = ["best_device", "device_name", "exact_float32"]


def best_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or "CPU"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 as float32: not as TF32, nor as bfloat16 on CPUs, whatever PyTorch or the program has allowed."""
    if not hasattr(backends.cuda.matmul, "fp32_precision"):  # before PyTorch 2.9
        with _exact_before_2_9():
            yield
        return
    # Each by itself: PyTorch raises where its older settings for all of them are read while these differ.
    cudnn: Any = backends.cudnn
    mkldnn: Any = backends.mkldnn
    operators = (backends.cuda.matmul, cudnn.conv, mkldnn.matmul, mkldnn.conv)
    allowed = [operator.fp32_precision for operator in operators]
    try:
        for operator in operators:
            operator.fp32_precision = "ieee"
        yield
    finally:
        for operator, precision in zip(operators, allowed, strict=True):
            operator.fp32_precision = precision


@contextlib.contextmanager
def _exact_before_2_9() -> Iterator[None]:
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(allowed)
