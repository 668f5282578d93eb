"""What a machine can build: the refusals that are known before a builder is asked."""

from __future__ import annotations

from reid.export.engines.options import EngineOptions
from reid.runtime.errors import SessionError
from reid.runtime.gpu import Device

__all__ = ["check_machine"]

_JETSON = ("7.2", "8.7", "11.0")
"""The compute capabilities of Xavier, Orin and Thor."""


def check_machine(options: EngineOptions, device: Device | None) -> None:
    """Raise SessionError where the machine or the flavor cannot do what is asked.

    Args:
        options: what is asked.
        device: the GPU of this machine; None where there is none.
    """
    if options.flavor == "tensorrt-rtx" and (options.hardware_compatible or options.version_compatible):
        raise SessionError(
            "hardware and version compatibility are options of TensorRT: a TensorRT-RTX engine runs on the compute "
            "capabilities that it is built for, with the release that built it; leave these options out"
        )
    if options.flavor == "tensorrt" and options.compute_capabilities:
        raise SessionError(
            "TensorRT builds for the GPU of this machine; only tensorrt-rtx takes compute capabilities: leave them out"
        )
    if options.hardware_compatible and device and device.compute_capability in _JETSON:
        raise SessionError(
            f"TensorRT builds no hardware-compatible engines on a Jetson ({device.name}): leave "
            "--hardware-compatible out"
        )
    if options.flavor == "tensorrt" and device is None:
        raise SessionError(
            "TensorRT builds on the GPU that the engine is for, and this machine has none; build there, or use "
            "--engine tensorrt-rtx, which needs no GPU"
        )
