"""The numbers of a step, on their way from the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["StepValues"]


class StepValues:
    """Scalars that a step computed; a GPU may still be at it, and is only waited for when they are read.

    Reading those of a step after the next one was launched keeps the GPU busy.

    Args:
        values: name -> scalar, all on one device.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._names = list(values)
        stacked = torch.stack([value.float() for value in values.values()])
        self._values = stacked.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if stacked.is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrived:
            self._arrived.record()

    def read(self) -> dict[str, float]:
        """Wait until they are there, and give them by name."""
        if self._arrived:
            self._arrived.synchronize()
        return dict(zip(self._names, self._values.tolist(), strict=True))
