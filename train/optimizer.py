"""The optimizer: which rate and which decay every parameter has."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from reid.train.model.multi_level import IdentityClassifiers, MultiLevelReID
from reid.train.recipe import Recipe

__all__ = ["build_optimizer", "layer_factors"]


def build_optimizer(recipe: Recipe, model: MultiLevelReID, classifiers: IdentityClassifiers) -> Optimizer:
    """Build the optimizer of model and classifiers, which are on their device.

    Every group has a `factor`, by which the schedule's learning rate is multiplied. Matrices and convolutions decay;
    biases, the scales and shifts of normalization, and what the backbone's authors name, such as position embeddings,
    do not. On a GPU a group is one kernel, which reads there whether a scaled gradient has overflowed: any other makes
    the CPU wait for it in every fp16 step.
    """
    backbone = layer_factors(model.backbone, recipe.layer_decay)
    known = {id(parameter) for parameter, _ in backbone}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [
        *_by_factor(backbone),
        {"params": others, "factor": recipe.head_rate},
        {"params": list(classifiers.parameters()), "factor": recipe.head_rate * recipe.classifier_rate},
    ]
    kept = _without_decay(model.backbone)
    groups = [part for group in groups for part in _by_decay(group, kept)]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    fused = next(model.parameters()).is_cuda or None  # None is PyTorch's own choice, on a CPU
    if recipe.optimizer == "sgd":
        return SGD(groups, rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=fused)
    return AdamW(groups, rate, weight_decay=decay, fused=fused)


def layer_factors(backbone: nn.Module, decay: float) -> list[tuple[nn.Parameter, float]]:
    """Return a backbone's parameters, in its order, each with the factor of its layer's learning rate.

    The last layer's factor is 1, and that of every layer before it is `decay` times the next one's. What a layer is,
    timm's `group_matcher` says: a transformer's block, or a block of a ResNet or a ConvNeXt. From Clark et al.,
    *ELECTRA*, ICLR 2020, and Bao et al., *BEiT*, ICLR 2022.
    """
    if decay == 1:
        return [(parameter, 1.0) for parameter in backbone.parameters()]
    groups = param_groups_layer_decay(backbone, weight_decay_exclude_1d=False, layer_decay=decay)
    factors = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    return [(parameter, factors.get(id(parameter), 1.0)) for parameter in backbone.parameters()]


def _by_factor(parameters: Iterable[tuple[nn.Parameter, float]]) -> list[dict[str, Any]]:
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter, factor in parameters:
        groups.setdefault(factor, []).append(parameter)
    return [{"params": members, "factor": factor} for factor, members in groups.items()]


def _without_decay(backbone: nn.Module) -> set[int]:
    """Return the ids of a backbone's parameters that do not decay though they are no vectors, as timm says."""
    names: set[str] = getattr(backbone, "no_weight_decay", set)()
    return {id(parameter) for name, parameter in backbone.named_parameters() if name in names}


def _by_decay(group: dict[str, Any], kept: Set[int]) -> list[dict[str, Any]]:
    """Divide a group into what decays by the optimizer's own decay, and what does not."""
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in group["params"]:
        (decaying if parameter.ndim > 1 and id(parameter) not in kept else others).append(parameter)
    parts = [{**group, "params": decaying}, {**group, "params": others, "weight_decay": 0.0}]
    return [part for part in parts if part["params"]]
