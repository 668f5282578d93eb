from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reid.calibration.layers import QuantizableLayers, find_layers
from reid.train.model.checkpoint import load_checkpoint
from reid.train.model.multi_level import FusedReID

from .conftest import graph_of


def zeros(*shape: int) -> Any:  # noqa: ANN401
    return np.zeros(shape, np.float32)


def test_the_work_of_a_resnet_is_what_pytorch_counts(checkpoint: Path, layers: QuantizableLayers) -> None:
    model = load_checkpoint(checkpoint).model
    seen: dict[str, int] = {}

    def count(name: str) -> Any:  # noqa: ANN401
        def hook(module: Any, _: object, output: torch.Tensor) -> None:  # noqa: ANN401
            seen[name] = output.numel() * module.weight[0].numel()

        return hook

    for name, module in model.backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count(f"backbone.{name}"))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        FusedReID(model)(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.ones(1, 1))
    assert layers.macs == counter.get_total_flops() / 2
    assert {layer.name: layer.macs for layer in layers if layer.op == "Conv"} == seen
    assert layers.fraction(seen) == sum(seen.values()) / layers.macs
    assert layers.fraction([]) == 0


def test_a_resnet_has_convolutions_one_addition_a_block_and_a_pooling_a_level(
    layers: QuantizableLayers, model: ModelProto
) -> None:
    assert Counter(layer.op for layer in layers) == {"Conv": 15, "Add": 4, "ReduceMax": 2}
    assert len({layer.name for layer in layers}) == len(layers)
    producers = {name: node for node in model.graph.node for name in node.output}
    nodes = {node.name: node for node in model.graph.node}
    positions = [node.name for node in model.graph.node]
    assert [layer.node for layer in layers] == sorted((x.node for x in layers), key=positions.index)
    weighted = {f"{layer.name} residual": layer for layer in layers if layer.op == "Conv"}
    for layer in layers:
        assert layer.input in nodes[layer.node].input
        if layer.op == "Add":
            # What a convolution gives stays as it is; the other side, which is what comes through a pair, does not.
            (own,) = set(nodes[layer.node].input) - {layer.input}
            assert producers[own].name == weighted[layer.name].node
    assert layers.inputs == tuple(dict.fromkeys(layer.input for layer in layers))


def test_squeeze_and_excitation_is_left_out_and_depthwise_counts_what_it_does() -> None:
    found = find_layers(
        graph_of(
            ("Conv", ["x", "expand.w", "b"], "expanded", {}),
            ("HardSwish", ["expanded"], "active", {}),
            ("Conv", ["active", "depthwise.w"], "deep", {"group": 8, "pads": [1, 1, 1, 1]}),
            ("ReduceMean", ["deep", "axes"], "squeezed", {"keepdims": 1}),
            ("Conv", ["squeezed", "reduce.w"], "reduced", {}),
            ("Conv", ["reduced", "excite.w"], "excited", {}),
            ("HardSigmoid", ["excited"], "gate", {}),
            ("Mul", ["deep", "gate"], "gated", {}),
            ("Conv", ["gated", "project.w"], "projected", {}),
            ("Add", ["projected", "x"], "half", {}),  # x is no tensor of the graph's own making
            ("Conv", ["half", "again.w"], "again", {}),
            ("Add", ["again", "half"], "y", {}),
            weights={
                "expand.w": zeros(8, 4, 1, 1),
                "b": zeros(8),
                "depthwise.w": zeros(8, 1, 3, 3),
                "axes": np.array([2, 3]),
                "reduce.w": zeros(2, 8, 1, 1),
                "excite.w": zeros(8, 2, 1, 1),
                "project.w": zeros(4, 8, 1, 1),
                "again.w": zeros(4, 4, 1, 1),
            },
            shape=(4, 5, 5),
        )
    )
    assert [(layer.node, layer.op, layer.input, layer.macs) for layer in found] == [
        ("n_expanded", "Conv", "x", 8 * 4 * 25),
        ("n_deep", "Conv", "active", 8 * 9 * 25),
        ("n_projected", "Conv", "gated", 4 * 8 * 25),
        ("n_again", "Conv", "half", 4 * 4 * 25),
        ("n_y", "Add", "half", 0),
    ]
    assert found.macs == sum(layer.macs for layer in found) + 2 * (8 * 2)


def test_matrix_products_of_a_transformer_and_not_their_biases() -> None:
    found = find_layers(
        graph_of(
            ("MatMul", ["x", "value.w"], "value", {}),
            ("Add", ["value", "bias"], "biased", {}),
            ("Transpose", ["biased"], "turned", {"perm": [0, 2, 1]}),
            ("MatMul", ["biased", "turned"], "attention", {}),
            ("MatMul", ["attention", "biased"], "attended", {}),
            ("MatMul", ["attended", "out.w"], "out", {}),
            ("Add", ["biased", "out"], "y", {}),
            weights={"value.w": zeros(6, 8), "bias": zeros(8), "out.w": zeros(8, 8)},
            shape=(5, 6),
        )
    )
    assert [(layer.node, layer.op, layer.input, layer.axis, layer.macs) for layer in found] == [
        ("n_value", "MatMul", "x", 1, 5 * 6 * 8),
        ("n_out", "MatMul", "attended", 1, 5 * 8 * 8),
        ("n_y", "Add", "biased", 0, 0),
    ]
    assert found.macs == 5 * 6 * 8 + 5 * 8 * 8 + 2 * (5 * 5 * 8)


def test_the_first_of_two_that_meet_has_the_addition_and_one_that_others_read_has_none() -> None:
    found = find_layers(
        graph_of(
            ("Relu", ["x"], "a", {}),
            ("Conv", ["a", "w"], "main", {}),
            ("Conv", ["a", "w"], "shortcut", {}),
            ("Add", ["shortcut", "main"], "sum", {}),
            ("Conv", ["sum", "w"], "read twice", {}),
            ("Add", ["read twice", "sum"], "second", {}),
            ("Mul", ["read twice", "second"], "y", {}),
            weights={"w": zeros(4, 4, 1, 1)},
            shape=(4, 5, 5),
        )
    )
    additions = [layer for layer in found if layer.op == "Add"]
    assert [(layer.node, layer.input) for layer in additions] == [("n_sum", "shortcut")]


def test_gemm_has_its_output_channels_where_it_says() -> None:
    for transposed, weight in ((1, zeros(7, 3)), (0, zeros(3, 7))):
        found = find_layers(
            graph_of(
                ("Reshape", ["x", "rows"], "flat", {}),
                ("Gemm", ["flat", "w", "b"], "y", {"transB": transposed}),
                weights={"rows": np.array([-1, 3]), "w": weight, "b": zeros(7)},
                shape=(5, 3),
            )
        )
        (layer,) = found
        assert (layer.axis, layer.macs) == (1 - transposed, 5 * 3 * 7)
