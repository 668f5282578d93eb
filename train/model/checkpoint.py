"""Checkpoints: one safetensors file with model, architecture, card and reference crops; loading it runs no code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid.runtime.errors import ModelError
from reid.runtime.files.names import is_name
from reid.runtime.files.storage import atomic_write
from reid.runtime.imaging import is_image
from reid.runtime.model_card import Level, ModelCard, Preprocessing
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import Backbone, create_backbone
from reid.train.model.multi_level import MultiLevelReID
from reid.train.model.quantization import Quantization
from reid.train.tensor_file import check_alike, hash_tensors, open_tensors, tensors_to_bytes

__all__ = ["CHECKPOINT_FILE", "Checkpoint", "checkpoint_file", "describe", "load_checkpoint", "save_checkpoint"]

CHECKPOINT_FILE = "checkpoint.safetensors"

_MODEL, _REFERENCE, _QUANTIZATION = "model.", "reference.", "quantization"
_FORMER_QUANTIZATION = "quantisation"
"""Name of the same entry in checkpoints of reid 0.1."""

_REMEDY = "train it again or use another checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained model as it was stored.

    Attributes:
        card: the model's card.
        model: the model in evaluation mode, on the CPU.
        reference: image files as bytes, by name; crops by which a deployed model is checked.
    """

    card: ModelCard
    model: MultiLevelReID
    reference: Mapping[str, bytes]


def describe(backbone: Backbone, embedding_size: int, image_size: int) -> tuple[tuple[Level, ...], Preprocessing]:
    """Return levels and preprocessing of a new model, with embeddings of one size and square crops."""
    levels = tuple(Level(name=f"level{index}", size=embedding_size) for index in backbone.indices)
    return levels, Preprocessing(height=image_size, width=image_size, mean=backbone.mean, std=backbone.std)


def save_checkpoint(run: Path, model: MultiLevelReID, card: ModelCard, reference: Mapping[str, bytes]) -> ModelCard:
    """Write `checkpoint.safetensors`, which is complete by itself, and `checkpoint.json`, its card for people.

    Args:
        run: the run's folder; each of the two files is replaced as a whole.
        model: the model whose weights are stored.
        card: the model's card; its fingerprint is computed here.
        reference: image files as bytes, by name.

    Returns:
        The card with the fingerprint.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    fingerprint = _fingerprint(state, card.levels, card.preprocessing, model.architecture)
    card = card.model_copy(update={"fingerprint": fingerprint})
    tensors = {_MODEL + key: value for key, value in state.items()}
    tensors |= {
        _REFERENCE + name: torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        for name, content in reference.items()
    }
    metadata = {"card": card.model_dump_json(), "architecture": model.architecture.model_dump_json()}
    if model.quantization:
        tensors |= {f"{_QUANTIZATION}.{node}": scale.cpu() for node, scale in model.quantization.weight_scales.items()}
        metadata[_QUANTIZATION] = model.quantization.to_json()
    atomic_write(run / CHECKPOINT_FILE, tensors_to_bytes(tensors, metadata))
    atomic_write(run / "checkpoint.json", (card.model_dump_json(indent=2) + "\n").encode())
    return card


def _fingerprint(
    state: Mapping[str, Tensor], levels: Sequence[Level], preprocessing: Preprocessing, architecture: Architecture
) -> str:
    digest = hashlib.sha256()
    facts: list[Any] = [[_facts(level) for level in levels], preprocessing.model_dump()]
    if architecture != Architecture():  # so that models made before there were others keep their fingerprints
        facts.append(architecture.fingerprinted())
    digest.update(json.dumps(facts, sort_keys=True).encode())
    hash_tensors(digest, state)
    return digest.hexdigest()


def _facts(level: Level) -> dict[str, Any]:
    """Return what a fingerprint says of a level; of one that counts once, the same as before there were weights."""
    return level.model_dump(exclude={"weight"} if level.weight == 1 else None)


def checkpoint_file(path: Path) -> Path:
    """Return the file of a checkpoint that is given as a run's folder, as its checkpoint.json or as the file itself."""
    return path / CHECKPOINT_FILE if os.path.isdir(path) else path.with_suffix(".safetensors")


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint strictly: every weight has to fit, and be the one that was stored.

    Checkpoints come from strangers. Nothing is allocated for what a card says before the file is known to hold it.

    Args:
        path: a run's folder, its checkpoint.safetensors, or its checkpoint.json.

    Raises:
        ModelError: there is no checkpoint, or it is damaged.
    """
    file = checkpoint_file(path)
    if _is_missing(file):
        raise ModelError(f"{path} holds no {CHECKPOINT_FILE}; `reid-train` writes one after its first epoch")
    stored = open_tensors(file, remedy=_REMEDY)
    if "card" not in stored.texts:
        raise ModelError(f"{file} carries no model card: it is not a checkpoint of `reid-train`")
    card = ModelCard.parse(stored.texts["card"], file)
    architecture = Architecture.parse(stored.texts.get("architecture", "{}"), file)
    try:
        tensors = stored.read()
    except ValueError as error:
        raise ModelError(f"{file} is damaged ({error}); {_REMEDY}") from None
    reference = {name: _image(name, tensor, file) for name, tensor in _part(tensors, _REFERENCE).items()}
    state = _part(tensors, _MODEL)
    with torch.device("meta"):  # shapes without memory
        outline = _build(card, architecture, file).state_dict()
    try:
        check_alike(state, outline)
    except ValueError as error:
        raise ModelError(f"{file} does not fit its own card ({error}); {_REMEDY}") from None
    if _fingerprint(state, card.levels, card.preprocessing, architecture) != card.fingerprint:
        raise ModelError(f"{file} is damaged (its weights are not those of its fingerprint); {_REMEDY}")
    model = _build(card, architecture, file)
    model.load_state_dict(state, strict=True)
    for name in (_QUANTIZATION, _FORMER_QUANTIZATION):
        if name in stored.texts:
            model.quantization = Quantization.from_json(stored.texts[name], _part(tensors, f"{name}."), file)
    return Checkpoint(card, model.eval(), reference)


def _is_missing(file: Path) -> bool:
    try:
        return not file.exists()
    except OSError:  # to open it tells more
        return False


def _build(card: ModelCard, architecture: Architecture, file: Path) -> MultiLevelReID:
    """Build the model that a card describes, with random weights."""
    indices = [int(level.name.removeprefix("level")) for level in card.levels]
    size = card.preprocessing.height
    try:
        backbone = create_backbone(card.backbone, indices, image_size=size, weights="none", architecture=architecture)
    except ModelError as error:
        raise ModelError(f"{file} does not fit its own card: {error}") from None
    return MultiLevelReID(backbone.module, indices, backbone.channels, card.levels, card.preprocessing, architecture)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _image(name: str, content: Tensor, file: Path) -> bytes:
    """Return the content of a reference crop, which export will write under its name."""
    if not is_name(name) or not is_image(name):
        wrong = "its name is not that of an image file"
    elif content.dtype != torch.uint8 or content.dim() != 1:
        wrong = "it does not hold bytes"
    else:
        return content.numpy().tobytes()
    raise ModelError(
        f"{file}: tensor {(_REFERENCE + name)[:200]!r} is no reference crop ({wrong}); use another checkpoint"
    )
