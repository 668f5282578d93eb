"""Rates that fall from the last layer to the first, beside layers that are written out here."""

from __future__ import annotations

import pytest

from reid.train.builders import build_classifiers, build_model
from reid.train.optimizer import build_optimizer, layer_factors
from reid.train.recipe import Recipe

# backbone: (levels, layers from first to last: what the names of their tensors begin with)
LAYERS: dict[str, tuple[tuple[int, ...], list[tuple[str, ...]]]] = {
    "test_vit": ((1, 2), [("cls_token", "pos_embed", "patch_embed"), ("blocks.0",), ("blocks.1",), ("blocks.2",)]),
    "test_convnext": (
        (0, 1),
        [("stem",), ("stages.0",), ("stages.1.downsample", "stages.1.blocks.0"), ("stages.1.blocks.1",)],
    ),
    "test_resnet": ((1, 2), [("conv1", "bn1"), ("layer1.0",), ("layer2.0",)]),
    "osnet_x1_0": (
        (0, 1, 4),
        [
            *(("conv1",), ("conv2.0",), ("conv2.1",), ("conv2.2",), ("conv3.0",), ("conv3.1",), ("conv3.2",)),
            *(("conv4.0",), ("conv4.1",), ("conv5",)),
        ],
    ),
}


def recipe_of(name: str) -> Recipe:
    return Recipe(backbone=name, weights="none", levels=LAYERS[name][0], embedding_size=4, image_size=32)


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_learns_at_a_fixed_share_of_the_next_ones_rate(name: str) -> None:
    model, card, _ = build_model(recipe_of(name))
    layers = LAYERS[name][1]
    recipe = recipe_of(name).changed(layer_decay=0.5, head_rate=3.0)
    built = build_optimizer(recipe, model, build_classifiers(recipe, card.levels, 2))
    factors = {id(parameter): group["factor"] for group in built.param_groups for parameter in group["params"]}
    for tensor, parameter in model.backbone.named_parameters():
        (place,) = (place for place, names in enumerate(layers) if tensor.startswith(names))
        assert factors[id(parameter)] == 0.5 ** (len(layers) - 1 - place), tensor
    assert {factors[id(parameter)] for parameter in model.heads.parameters()} == {3.0}
    assert len(factors) == len(list(model.parameters())) + len(card.levels)


def test_without_decay_all_layers_learn_alike() -> None:
    model, _, _ = build_model(recipe_of("test_vit"))
    assert {factor for _, factor in layer_factors(model.backbone, 1.0)} == {1.0}
