"""A timm model, cut to the levels that are used, with pretrained, local or random weights."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from torch import Tensor, nn

from reid.runtime.errors import ModelError, ReidError

__all__ = ["Backbone", "create_backbone"]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone and what the heads need to know of it.

    Attributes:
        module: has timm's `forward_intermediates`; its state dict has timm's own names.
        indices: of the levels, for `forward_intermediates`.
        channels: of each level.
        mean: that its weights were trained with, of values in [0, 1].
        std: likewise.
    """

    module: nn.Module
    indices: tuple[int, ...]
    channels: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def create_backbone(name: str, levels: Sequence[int], *, image_size: int, weights: str) -> Backbone:
    """Build a backbone.

    Args:
        name: timm's name of a model.
        levels: indices of its features; for a ResNet 0 is the stem and 1 to 4 are its stages.
        image_size: of the square input, in pixels; needed by models with position embeddings.
        weights: "default" for timm's pretrained ones, "none" for random ones, or a file of a state dict, which must
            fit exactly.

    Raises:
        ModelError: no such model or level, or the weights do not fit.
        ReidError: pretrained weights cannot be had.
    """
    model = _create(name, image_size, pretrained=weights == "default")
    if weights not in ("default", "none"):
        _load_strictly(model, Path(weights))
    info = model.feature_info
    known = range(len(info))
    unknown = [level for level in levels if level not in known]
    if unknown or not levels:
        raise ModelError(f"{name} has no level {unknown}; its levels are 0 to {known[-1]}")
    channels = tuple(int(info[level]["num_chs"]) for level in levels)
    model.prune_intermediate_layers(list(levels), prune_norm=True, prune_head=True)
    config = model.pretrained_cfg
    return Backbone(model, tuple(levels), channels, tuple(config["mean"]), tuple(config["std"]))


def _create(name: str, image_size: int, *, pretrained: bool) -> Any:  # noqa: ANN401 - timm has no stubs
    if not timm.is_model(name):
        close = timm.list_models(f"*{name}*")[:3]
        hint = f"; do you mean {', '.join(close)}?" if close else "; timm.list_models() names them all"
        raise ModelError(f"timm has no model {name!r}{hint}")
    config = timm.get_pretrained_cfg(name)
    size: dict[str, Any] = {"img_size": image_size} if config and config.fixed_input_size else {}
    if pretrained:
        _ask_only_the_cache_without_network()
    try:
        model = timm.create_model(name, pretrained=pretrained, **size)
    except Exception as error:  # the hub's client raises errors of several libraries
        if not pretrained:
            raise
        raise ReidError(
            f"the pretrained weights of {name} cannot be downloaded ({type(error).__name__}); "
            "without network, give a local file with --weights PATH, or --weights none"
        ) from None
    if not hasattr(model, "forward_intermediates"):
        raise ModelError(f"{name} gives no intermediate features; choose another --backbone")
    return model


def _ask_only_the_cache_without_network() -> None:
    """Spare a machine without network the hub client's minute of retries; weights in its cache are still found."""
    if getproxies():  # a proxy resolves the names
        return
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        constants.HF_HUB_OFFLINE = True


def _load_strictly(model: Any, path: Path) -> None:  # noqa: ANN401
    state = _read_state(path)
    classifier = f"{model.pretrained_cfg['classifier']}."
    # The file's own classifier is of no use here, whatever its number of classes; every other key has to fit.
    backbone = {key: value for key, value in state.items() if not key.startswith(classifier)}
    expected = {key: value for key, value in model.state_dict().items() if not key.startswith(classifier)}
    missing, unexpected = sorted(expected.keys() - backbone.keys()), sorted(backbone.keys() - expected.keys())
    misshapen = [key for key in backbone.keys() & expected.keys() if backbone[key].shape != expected[key].shape]
    if missing or unexpected or misshapen:
        raise ModelError(
            f"{path} does not fit the backbone: {_some('missing', missing)}, {_some('unexpected', unexpected)}, "
            f"{_some('of another shape', misshapen)}; is it of this --backbone, with timm's names?"
        )
    model.load_state_dict(backbone, strict=False)  # all but the classifier, as just checked


def _some(what: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {what}" + (f" ({keys[0]})" if keys else "")


def _read_state(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; --weights takes a file, `default` or `none`") from None
    except Exception as error:  # damage shows as any of a dozen exceptions
        raise ModelError(f"{path} is not a readable file of weights ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no plain state dict; save the model's state_dict() alone")
    return state
