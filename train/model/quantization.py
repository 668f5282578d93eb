"""Which parts of a model's graph are INT8, with what scales: QAT trains for them, and export repeats them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from torch import Tensor

from reid.runtime.errors import ModelError
from reid.runtime.files.validation import parse_stored

__all__ = ["Quantization"]


class _Places(BaseModel):
    """All but the weights' scales, as checkpoints store it; reid 0.1 had other names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: dict[str, str] = Field(validation_alias=AliasChoices("inputs", "reads"))
    scales: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        validation_alias=AliasChoices("scales", "steps")
    )


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
        remedy = "if a newer reid trained it, update reid"
        places = parse_stored(_Places, text, source, what="list of its INT8 scales", remedy=remedy)
        if weight_scales.keys() - places.inputs.keys() or set(places.inputs.values()) != places.scales.keys():
            raise ModelError(f"{source}: its INT8 scales are not complete; train it again")
        if not all(map(_are_scales, weight_scales.values())):
            raise ModelError(f"{source}: its INT8 scales are not positive numbers; train it again")
        return cls(places.inputs, places.scales, weight_scales)


def _are_scales(tensor: Tensor) -> bool:
    is_list = tensor.dtype == torch.float32 and tensor.dim() == 1
    return is_list and bool(tensor.isfinite().all() and (tensor > 0).all())
