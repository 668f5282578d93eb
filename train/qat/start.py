"""Quantization-aware training: a bundle's model goes on learning under the roundings of the bundle's INT8 graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import onnx

from reid.runtime.bundle import Bundle
from reid.runtime.errors import ReidError
from reid.runtime.model_card import ModelCard
from reid.train.qat.bundle_graphs import Graph, architecture_of, read_quantization
from reid.train.qat.bundle_weights import rebuild
from reid.train.qat.fake_quantization import FakeQuantizedReID
from reid.train.recipe import Recipe

__all__ = ["EPOCHS", "OF_THE_BUNDLE", "SLOWER", "build_fake_quantized", "qat_recipe"]

OF_THE_BUNDLE = frozenset(
    ("backbone", "weights", "levels", "embedding_size", "image_size", "pooling", "bnneck", "last_stride", "ibn", "qat")
)
"""Settings that are what they are in the bundle."""

EPOCHS = 5
SLOWER = 100
"""By this the learning rate is divided, but not that of the classifiers, which are new."""


def qat_recipe(root: Path, given: Mapping[str, Any]) -> Recipe:
    """Give the recipe that fine-tunes a bundle's model: the one that it was trained by, slower and shorter.

    The seed is the same, too, so that the vehicles that choose the best epoch are those that the model never saw.

    Args:
        root: the bundle.
        given: settings that come first; none of OF_THE_BUNDLE.

    Raises:
        ModelError: it is not a bundle, it has no INT8 graph, or the graph's architecture is not known.
        ReidError: a setting is given that the bundle decides.
    """
    if decided := sorted(OF_THE_BUNDLE & given.keys()):
        raise ReidError(f"with --qat, {', '.join(decided)} of {root} cannot be changed; leave it out")
    bundle = Bundle.open(root)
    bundle.graph("int8")
    parts = architecture_of(onnx.load(bundle.graph("fp32").path), bundle.graph("fp32").path)
    card = bundle.card
    trained = _recipe_of(card)
    recipe = replace(
        trained,
        backbone=card.backbone,
        weights="none",
        levels=tuple(int(level.name.removeprefix("level")) for level in card.levels),
        embedding_size=card.levels[0].size,
        image_size=card.preprocessing.height,
        pooling=parts.pooling,
        bnneck=parts.bnneck,
        last_stride=2 if parts.last_stride == 2 else 1,
        ibn=parts.ibn,
        qat=str(root.resolve()),
        epochs=EPOCHS,
        warmup_epochs=0.0,
        learning_rate=trained.learning_rate / SLOWER,
        head_rate=1.0,
        classifier_rate=float(SLOWER),
        frozen_epochs=1 if given.get("epochs", EPOCHS) > 1 else 0,
        precision="fp32",  # bf16 has hardly more steps than INT8
    )
    return replace(recipe, **given)


def _recipe_of(card: ModelCard) -> Recipe:
    """Read the recipe that a model was trained by, as far as it is known, or take the poster's."""
    known = {field.name for field in fields(Recipe)}
    stored = card.training.get("recipe", {})
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items() if name in known
    }
    trained = Recipe(**settings)
    # A model that was fine-tuned before is fine-tuned at the same speed again.
    return replace(trained, learning_rate=trained.learning_rate * SLOWER) if trained.qat else trained


def build_fake_quantized(root: Path) -> tuple[FakeQuantizedReID, ModelCard]:
    """Make the model, on the CPU, that a bundle's INT8 graph is of, and its card without fingerprint.

    Raises:
        ModelError: it is not a bundle, it has no INT8 graph, or its model cannot be rebuilt.
    """
    bundle = Bundle.open(root)
    quantization = read_quantization(bundle.graph("int8").path)
    model = rebuild(bundle)
    card = bundle.card.model_copy(
        update={"fingerprint": "", "training": {}, "files": {}, "opset": None, "similarity": {}}
    )
    return FakeQuantizedReID(card, model, Graph(onnx.load(bundle.graph("fp32").path)), quantization), card
