"""The model in PyTorch, rebuilt from a bundle, which holds no weights but those of its graphs.

Batch normalization is part of the convolutions there. So it becomes the identity here, with what is left of it in its
shift: the weights are other than those that were trained, and the model is the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import NodeProto
from torch import Tensor

from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError
from reid.runtime.imaging import decode, resize
from reid.train.model.backbone import create_backbone
from reid.train.model.multi_level import MultiLevelReID
from reid.train.qat.bundle_graphs import Graph, architecture_of
from reid.train.qat.program import Product, Program

__all__ = ["TOLERANCE", "rebuild", "reference_frames"]

TOLERANCE = 1e-4
"""Largest absolute difference of the rebuilt model's reference embeddings to the bundle's."""


def rebuild(bundle: Bundle) -> MultiLevelReID:
    """Make the model that a bundle was exported from, in evaluation mode, on the CPU.

    Raises:
        ModelError: its FP32 graph does not name all weights, as with some transformers, or it is not the model that the
            reference embeddings are of.
    """
    card, path = bundle.card, bundle.graph("fp32").path
    onnx_model = onnx.load(path)
    parts = architecture_of(onnx_model, path)
    indices = [int(level.name.removeprefix("level")) for level in card.levels]
    size = card.preprocessing
    backbone = create_backbone(card.backbone, indices, image_size=size.height, weights="none", architecture=parts)
    model = MultiLevelReID(backbone.module, indices, backbone.channels, card.levels, size, parts).eval()
    program = Program(model, MultiLevelReID.forward, size.height, size.width)
    model.load_state_dict(_weights(model.state_dict(), Graph(onnx_model), program, bundle))
    _check(model, bundle)
    return model


def _weights(state: Mapping[str, Tensor], graph: Graph, program: Program, bundle: Bundle) -> dict[str, Tensor]:
    products = program.products
    if [_shape(graph, node) for node in graph.products] != [state[one.weight].shape for one in products]:
        raise ModelError(f"{bundle.root}: the layers of its graph are not those of {bundle.card.backbone} in PyTorch")
    values = {name: graph.value(f"model.{name}") for name in state if f"model.{name}" in graph.values}
    for node, product in zip(graph.products, products, strict=True):
        values |= _weights_of(product, graph.weight(node), graph.bias(node), values)
    # Counts of batches are in no graph and decide nothing.
    values |= {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
    if missing := sorted(state.keys() - values.keys()):
        raise ModelError(
            f"{bundle.card.backbone} cannot be rebuilt from {bundle.root}, whose graph does not name {missing[0]} "
            f"and {len(missing) - 1} more; quantization-aware training is for convolutional networks such as ResNets"
        )
    return values


def _shape(graph: Graph, product: NodeProto) -> torch.Size:
    return graph.weight(product).shape


def _weights_of(
    product: Product, weight: Tensor, bias: Tensor | None, known: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give the state of a product and of the normalization behind it, unless the graph has that as it was."""
    found = {product.weight: weight}
    shift = torch.zeros(len(weight)) if bias is None else bias
    if product.bias and (bias is not None or product.bias not in known):
        found[product.bias] = shift
    norm = product.norm
    if norm and f"{norm.name}.running_mean" not in known:
        found |= {
            f"{norm.name}.weight": torch.ones(len(weight)),
            f"{norm.name}.bias": torch.zeros(len(weight)) if product.bias else shift,
            f"{norm.name}.running_mean": torch.zeros(len(weight)),
            f"{norm.name}.running_var": torch.full((len(weight),), 1 - norm.eps),
        }
    return found


def reference_frames(bundle: Bundle) -> Tensor:
    """Read the reference crops, uint8 [n, 3, H, W], in the order of their embeddings."""
    size = bundle.card.preprocessing
    crops = (decode(path.read_bytes(), path) for path in bundle.reference()[0])
    return torch.from_numpy(np.stack([resize(crop, size.height, size.width).transpose(2, 0, 1) for crop in crops]))


@torch.inference_mode()
def _check(model: MultiLevelReID, bundle: Bundle) -> None:
    difference = float((model(reference_frames(bundle)) - torch.from_numpy(bundle.reference()[1])).abs().max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the model that was rebuilt from {bundle.root} embeds its reference crops differently, by "
            f"{difference:.1e}; export it again"
        )
