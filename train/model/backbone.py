"""A timm model, cut to the levels in use, with pretrained, local or random weights; and how to freeze it."""

from __future__ import annotations

import socket
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from huggingface_hub import constants
from torch import nn

from reid.runtime.errors import ModelError, ReidError
from reid.train.choices import IbnName
from reid.train.model import osnet  # noqa: F401 - tells timm of it
from reid.train.model.architecture import Architecture
from reid.train.model.foreign_weights import MisfitError, WeightsOrigin, load_weights
from reid.train.model.instance_batch_norm import use_instance_batch_norm
from reid.train.model.resnet import keep_last_resolution

__all__ = ["Backbone", "create_backbone", "freeze"]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone and what the heads need to know about it.

    Attributes:
        module: the network, which has timm's `forward_intermediates`; its state dict has timm's own names.
        indices: indices of the levels, for `forward_intermediates`.
        channels: number of channels of each level.
        mean: mean per channel, of values in [0, 1], that its weights were trained with.
        std: standard deviation per channel, likewise.
        weights_origin: a record of what was taken from the file of weights, if one was given.
    """

    module: nn.Module
    indices: tuple[int, ...]
    channels: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights_origin: WeightsOrigin | None = None


def create_backbone(
    name: str,
    levels: Sequence[int],
    *,
    image_size: int,
    weights: str,
    architecture: Architecture = Architecture(),  # noqa: B008 - immutable
) -> Backbone:
    """Build a backbone.

    Args:
        name: timm's name of a model.
        levels: indices of its features, ascending; for a ResNet, 0 is the stem and 1 to 4 are the stages.
        image_size: side of the square input, in pixels; models with position embeddings need it.
        weights: "default" for timm's pretrained weights, "none" for random ones, or a file of this or another trainer,
            whose backbone must fit exactly.
        architecture: the changes to make in a ResNet.

    Raises:
        ModelError: there is no such model or level, it cannot have the architecture, or the weights do not fit.
        ReidError: the pretrained weights cannot be downloaded.
    """
    model, unused = _build(name, levels, image_size, architecture, pretrained=weights == "default")
    origin = None
    if weights not in ("default", "none"):
        try:
            origin = load_weights(model, Path(weights), unused=unused)
        except MisfitError as misfit:
            for kind in get_args(IbnName):
                if _fits(Path(weights), name, levels, image_size, architecture.model_copy(update={"ibn": kind})):
                    raise _ibn_differs(weights, kind) from None
            raise misfit from None
    config, info = model.pretrained_cfg, model.feature_info
    channels = tuple(int(info[level]["num_chs"]) for level in levels)
    return Backbone(model, tuple(levels), channels, tuple(config["mean"]), tuple(config["std"]), origin)


def freeze(backbone: nn.Module, frozen: bool) -> None:
    """Freeze a backbone's weights and statistics, or unfreeze them; call it after `train()`.

    A frozen backbone gets no gradients and is in evaluation mode.
    """
    backbone.requires_grad_(not frozen)
    if frozen:
        backbone.eval()


def _build(
    name: str, levels: Sequence[int], image_size: int, architecture: Architecture, *, pretrained: bool
) -> tuple[Any, Set[str]]:
    """Return timm's model, cut to the levels, and the names of the tensors that were cut off."""
    model = _create(name, image_size, pretrained=pretrained)
    known = range(len(model.feature_info))
    unknown = [level for level in levels if level not in known]
    if unknown or not levels:
        raise ModelError(f"{name} has no level {unknown}; its levels are 0 to {known[-1]}")
    if list(levels) != sorted(set(levels)):
        raise ModelError(f"levels {list(levels)} of {name} must be different and ascending")
    if architecture.last_stride == 1:
        keep_last_resolution(model, name)
    if architecture.ibn != "none":
        use_instance_batch_norm(model, name, architecture.ibn)
    whole = model.state_dict().keys()
    model.prune_intermediate_layers(list(levels), prune_norm=True, prune_head=True)
    return model, whole - model.state_dict().keys()


def _fits(weights: Path, name: str, levels: Sequence[int], image_size: int, architecture: Architecture) -> bool:
    """Return whether a file's weights are those of a backbone with this architecture, by loading them into it."""
    try:
        model, unused = _build(name, levels, image_size, architecture, pretrained=False)
        load_weights(model, weights, unused=unused)
    except ModelError:
        return False
    return True


def _ibn_differs(weights: str, kind: IbnName) -> ModelError:
    has = (
        "without instance-batch normalization" if kind == "none" else f"with instance-batch normalization (IBN-{kind})"
    )
    return ModelError(f"{weights} holds weights of this --backbone {has}; use --set ibn={kind}")


def _create(name: str, image_size: int, *, pretrained: bool) -> Any:  # noqa: ANN401 - timm has no stubs
    if not timm.is_model(name):
        close = timm.list_models(f"*{name}*")[:3]
        hint = f"; did you mean {', '.join(close)}?" if close else "; timm.list_models() lists them all"
        raise ModelError(f"timm has no model {name!r}{hint}")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the part of the name after a dot
        raise ModelError(
            f"timm has no weights of the name {name!r} ({error}); leave out what follows the dot"
        ) from None
    size: dict[str, Any] = {"img_size": image_size} if config and config.fixed_input_size else {}
    if pretrained and config and not config.has_weights:
        raise ReidError(
            f"timm has no pretrained weights of {name}; give a file of them with --weights PATH, or --weights none"
        )
    if pretrained:
        _ask_only_the_cache_without_network()
    try:
        model = timm.create_model(name, pretrained=pretrained, **size)
    except Exception as error:  # of timm, or of several libraries that the hub's client uses
        if not pretrained:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"timm cannot build {name} for {image_size} x {image_size} pixels ({reason}); choose another "
                "--backbone or --image-size"
            ) from None
        raise ReidError(
            f"the pretrained weights of {name} cannot be downloaded ({type(error).__name__}); "
            "without a network, give a local file with --weights PATH, or --weights none"
        ) from None
    if not hasattr(model, "forward_intermediates"):
        raise ModelError(f"{name} returns no intermediate features; choose another --backbone")
    return model


def _ask_only_the_cache_without_network() -> None:
    """Spare a machine without a network the hub client's minute of retries; weights in its cache are still found."""
    if getproxies():  # the proxy resolves names
        return
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        constants.HF_HUB_OFFLINE = True
