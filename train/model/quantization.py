"""Where a model's graph is INT8 and with what scales: what quantization-aware training keeps to and export repeats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reid.runtime.errors import ModelError

__all__ = ["Quantization"]


@dataclass(frozen=True, slots=True)
class Quantization:
    """The Q/DQ pairs of a graph, by the names in it.

    Attributes:
        reads: node -> tensor that it reads in INT8.
        steps: tensor -> what one step of INT8 is worth.
        weights: node -> what one step of its weights is worth, float32 [output channels].
    """

    reads: Mapping[str, str]
    steps: Mapping[str, float]
    weights: Mapping[str, Tensor]

    def to_json(self) -> str:
        """Write all but the weights' steps, which are stored as tensors, for `from_json`."""
        return json.dumps({"reads": dict(self.reads), "steps": dict(self.steps)})

    @classmethod
    def from_json(cls, text: str, weights: Mapping[str, Tensor], source: Path) -> Quantization:
        """Read it back.

        Raises:
            ModelError: naming `source`, which is damaged or of a newer version.
        """
        try:
            found = cls(**json.loads(text), weights=weights)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{source}: its INT8 scales cannot be read ({error}); was it trained by a newer reid?"
            ) from None
        if found.weights.keys() - found.reads.keys() or set(found.reads.values()) != found.steps.keys():
            raise ModelError(f"{source}: its INT8 scales are not complete; train it again")
        if any(not torch.isfinite(steps).all() or (steps <= 0).any() for steps in found.weights.values()):
            raise ModelError(f"{source}: its INT8 scales are not positive; train it again")
        return found
