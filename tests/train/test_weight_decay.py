"""What decays, and by how much: where no gradient moves a weight, the schedule alone says what is left of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from reid.train.builders import build_classifiers, build_model
from reid.train.learner import Learner, build_learner
from reid.train.optimizer import build_optimizer
from reid.train.parallel.processes import Processes
from reid.train.recipe import RECIPES, Recipe, learning_rate

SMALL = {"backbone": "test_resnet", "weights": "none", "levels": (3, 4), "embedding_size": 8, "image_size": 32}
STEPS = 20


def named(learner: Learner) -> dict[str, nn.Parameter]:
    return {**dict(learner.model.named_parameters()), **dict(learner.classifiers.named_parameters())}


def left_after_a_run(recipe: Recipe) -> dict[str, torch.Tensor]:
    """Return what remains of each parameter of ones, with gradients of zero, after the rates of a whole run."""
    learner, _ = build_learner(recipe, 5, Processes(device=torch.device("cpu")))
    for parameter in learner.parameters():
        parameter.data.fill_(1)
        parameter.grad = torch.zeros_like(parameter)
    for step in range(STEPS):
        for group in learner.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step * recipe.epochs / STEPS) * group["factor"]
        learner.optimizer.step()
    return {name: parameter.detach() for name, parameter in named(learner).items()}


@pytest.mark.parametrize("decay", [0.05, 5e-4, 0.0])
def test_matrices_and_convolutions_shrink_by_the_rate_times_the_decay_and_nothing_else_does(decay: float) -> None:
    recipe = RECIPES["strong"].changed(**SMALL, weight_decay=decay, head_rate=2.0, pooling="gem", epochs=8)
    rates = [learning_rate(recipe, step * recipe.epochs / STEPS) for step in range(STEPS)]
    assert 1 - math.prod(1 - rate * 0.05 for rate in rates) > 1e-3  # far more than the tolerance
    for name, left in left_after_a_run(recipe).items():
        factor = 1.0 if name.startswith("backbone.") else 2.0
        kept = math.prod(1 - rate * factor * decay for rate in rates) if left.ndim > 1 else 1.0
        torch.testing.assert_close(left, torch.full_like(left, kept), rtol=3e-6, atol=0, msg=name)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_what_a_transformers_authors_except_does_not_decay(optimizer: str) -> None:
    recipe = Recipe(backbone="test_vit", weights="none", levels=(0, 1), embedding_size=8, image_size=32).changed(
        optimizer=optimizer, layer_decay=0.5
    )
    model, card, _ = build_model(recipe)
    built = build_optimizer(recipe, model, build_classifiers(recipe, card.levels, 5))
    decays = {id(one): group["weight_decay"] for group in built.param_groups for one in group["params"]}
    spared = {name for name, parameter in model.named_parameters() if decays[id(parameter)] == 0}
    vectors = {name for name, parameter in model.named_parameters() if parameter.ndim < 2}
    assert spared - vectors == {"backbone.cls_token", "backbone.pos_embed"}
    assert vectors < spared
    assert set(decays.values()) == {0, 5e-4}
