"""Which parts of a model's graph are INT8, with what scales: QAT trains for them, and export repeats them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reid.runtime.errors import ModelError

__all__ = ["Quantization"]

_FORMER_NAMES = {"reads": "inputs", "steps": "scales"}  # in checkpoints of reid 0.1


@dataclass(frozen=True, slots=True)
class Quantization:
    """The Q/DQ pairs of a graph, by the names in the graph.

    Attributes:
        inputs: the tensor that a node reads in INT8, by node.
        scales: the scale of each such tensor: the value of one step of INT8.
        weight_scales: the scales of a node's weights, float32 [output channels], by node.
    """

    inputs: Mapping[str, str]
    scales: Mapping[str, float]
    weight_scales: Mapping[str, Tensor]

    def to_json(self) -> str:
        """Return all but the weights' scales, which are stored as tensors, as `from_json` reads it."""
        return json.dumps({"inputs": dict(self.inputs), "scales": dict(self.scales)})

    @classmethod
    def from_json(cls, text: str, weight_scales: Mapping[str, Tensor], source: Path) -> Quantization:
        """Read what `to_json` wrote, or what reid 0.1 did.

        Raises:
            ModelError: `source`, which the message names, is damaged or of a newer version.
        """
        try:
            stored = {_FORMER_NAMES.get(name, name): value for name, value in json.loads(text).items()}
            found = cls(**stored, weight_scales=weight_scales)
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(
                f"{source}: its INT8 scales cannot be read ({error}); if a newer reid trained it, update reid"
            ) from None
        if found.weight_scales.keys() - found.inputs.keys() or set(found.inputs.values()) != found.scales.keys():
            raise ModelError(f"{source}: its INT8 scales are not complete; train it again")
        if any(not torch.isfinite(scales).all() or (scales <= 0).any() for scales in found.weight_scales.values()):
            raise ModelError(f"{source}: its INT8 scales are not positive; train it again")
        return found
