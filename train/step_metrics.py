"""The numbers of a step, on their way from the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["StepMetrics"]


class StepMetrics:
    """Scalars that a step computes. A GPU may still be computing them; only reading them waits for it.

    Reading a step's values after the next step was launched keeps the GPU busy.

    Args:
        values: scalars by name, all on one device.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._names = list(values)
        stacked = torch.stack([value.float() for value in values.values()])
        self._values = stacked.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if stacked.is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrived:
            self._arrived.record()

    def read(self) -> dict[str, float]:
        """Wait for the values and return them by name."""
        if self._arrived:
            self._arrived.synchronize()
        return dict(zip(self._names, self._values.tolist(), strict=True))
