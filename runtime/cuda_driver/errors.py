"""What CUDA says when it fails, as errors that a user can correct."""

from __future__ import annotations

from reid.runtime.errors import SessionError

__all__ = ["DeviceMemoryError", "cuda_error"]


class DeviceMemoryError(SessionError):
    """The GPU's memory is full: a smaller batch may still fit."""


def cuda_error(reason: str, *, out_of_memory: bool) -> SessionError:
    """Return the error for a call that failed, with the reason that CUDA gave: "cuMemAlloc failed: out of memory"."""
    if out_of_memory:
        return DeviceMemoryError(
            f"the GPU's memory is full ({reason}); end other programs that use it, or use a smaller batch"
        )
    return SessionError(f"CUDA failed ({reason}); run it again, and if it fails again, use onnxruntime:cpu")
