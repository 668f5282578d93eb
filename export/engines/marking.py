"""Marking tensors inside a network as its outputs, so that an engine gives them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["mark_outputs"]


def mark_outputs(network: trt.INetworkDefinition, tensors: Collection[str]) -> None:
    """Mark those of the named tensors that the network computes; its outputs are marked already."""
    wanted = frozenset(tensors)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        for tensor in (layer.get_output(index) for index in range(layer.num_outputs)):
            if tensor.name in wanted and not tensor.is_network_output:
                network.mark_output(tensor)
