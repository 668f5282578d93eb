"""The start of quantization-aware training: a model's checkpoint, and the INT8 graph of the bundle exported from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError, ReidError
from reid.runtime.model_card import ModelCard
from reid.runtime.training_facts import TrainingFacts
from reid.train.model.checkpoint import Checkpoint, checkpoint_file, load_checkpoint
from reid.train.qat.fake_quantization import FakeQuantizedReID
from reid.train.qat.int8_graph import GraphLayers, read_quantization
from reid.train.recipe import Recipe, current_names

__all__ = ["build_fake_quantized", "qat_recipe"]

_OF_THE_MODEL = frozenset(
    ("backbone", "weights", "levels", "embedding_size", "image_size", "pooling", "bnneck", "last_stride", "ibn", "qat")
)
"""Settings that the model already has and that cannot be changed."""

_EPOCHS = 5
_SLOWER = 100
"""The learning rate is divided by this, except that of the classifiers, which are new."""


def qat_recipe(root: Path, run: Path, given: Mapping[str, Any]) -> Recipe:
    """Return the recipe that fine-tunes a model for its INT8 graph: the one it was trained with, slower and shorter.

    The seed stays the same, too, so that the vehicles that choose the best epoch are those that the model never saw.

    Args:
        root: the bundle.
        run: the run, or its checkpoint, that the bundle was exported from.
        given: settings that take precedence; none of those that the model decides.

    Raises:
        ModelError: `root` is not a bundle with an INT8 graph, or it was not exported from the run.
        ReidError: a setting is given that the model decides, or is out of range.
    """
    if decided := sorted(_OF_THE_MODEL & given.keys()):
        raise ReidError(f"with --qat, {', '.join(decided)} cannot be changed: {run} decides; leave it out")
    bundle = Bundle.open(root)
    bundle.graph("int8")
    checkpoint = _checkpoint_of(bundle, run)
    card, architecture = checkpoint.card, checkpoint.model.architecture
    trained, rate = _trained_by(card)
    recipe = trained.changed(
        backbone=card.backbone,
        weights=str(checkpoint_file(run).resolve()),
        levels=tuple(checkpoint.model.indices),
        embedding_size=card.levels[0].size,
        image_size=card.preprocessing.height,
        pooling=architecture.pooling,
        bnneck=architecture.bnneck,
        last_stride=architecture.last_stride,
        ibn=architecture.ibn,
        qat=str(root.resolve()),
        **{
            "epochs": _EPOCHS,
            "warmup_epochs": 0.0,
            "learning_rate": rate,
            "head_rate": 1.0,
            "classifier_rate": float(_SLOWER),
            "frozen_epochs": 0,
            "precision": "fp32",  # bf16 has hardly more steps than INT8
            **given,
        },
    )
    # In a single epoch with a frozen backbone, nothing that is stored would learn.
    return recipe.changed(frozen_epochs=1) if "frozen_epochs" not in given and recipe.epochs > 1 else recipe


def _trained_by(card: ModelCard) -> tuple[Recipe, float]:
    """Return the recipe that a model was trained with, as far as it is known, and the learning rate to fine-tune it."""
    stored = current_names(card.training.recipe)
    known = {name: value for name, value in stored.items() if name in Recipe.model_fields}
    recipe = Recipe.of({**known, "qat": ""})
    # A model that has been fine-tuned before is fine-tuned at the same rate again.
    return recipe, recipe.learning_rate if stored.get("qat") else recipe.learning_rate / _SLOWER


def _checkpoint_of(bundle: Bundle, run: Path) -> Checkpoint:
    """Load the checkpoint that a bundle was exported from. Raises ModelError where it was exported from another."""
    checkpoint = load_checkpoint(run)
    ours, theirs = checkpoint.card.fingerprint, bundle.card.fingerprint
    if ours != theirs:
        raise ModelError(
            f"{run} holds model {ours[:12]}, and {bundle.root} was exported from model {theirs[:12]}: give the run "
            "that it was exported from with --weights, or export this one"
        )
    return checkpoint


def build_fake_quantized(root: Path, run: Path) -> tuple[FakeQuantizedReID, ModelCard]:
    """Build the model that rounds as a bundle's INT8 graph does, on the CPU, and its card without fingerprint.

    Args:
        root: the bundle.
        run: the run, or its checkpoint, that the bundle was exported from.

    Raises:
        ModelError: `root` is not a bundle with an INT8 graph, it was not exported from the run, or its graph does not
            name the layers.
    """
    bundle = Bundle.open(root)
    quantization = read_quantization(bundle.graph("int8").path)
    checkpoint = _checkpoint_of(bundle, run)
    card = checkpoint.card.model_copy(update={"fingerprint": "", "training": TrainingFacts()})
    return FakeQuantizedReID(card, checkpoint.model, GraphLayers(bundle.graph("fp32").path), quantization), card
