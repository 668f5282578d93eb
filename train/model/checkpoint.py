"""Checkpoints: one safetensors file with model, architecture, card and reference crops; loading it runs no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reid.runtime.errors import ModelError
from reid.runtime.model_card import Level, ModelCard, Preprocessing
from reid.runtime.storage import atomic_write
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import Backbone, create_backbone
from reid.train.model.multi_level import MultiLevelReID
from reid.train.model.quantization import Quantization

__all__ = ["CHECKPOINT_FILE", "Checkpoint", "checkpoint_file", "describe", "load_checkpoint", "save_checkpoint"]

CHECKPOINT_FILE = "checkpoint.safetensors"

_MODEL, _REFERENCE, _QUANTIZATION = "model.", "reference.", "quantization"
_FORMER_QUANTIZATION = "quantisation"
"""Name of the same entry in checkpoints of reid 0.1."""


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
    metadata = {"card": card.model_dump_json(), "architecture": model.architecture.to_json()}
    if model.quantization:
        tensors |= {f"{_QUANTIZATION}.{node}": scale.cpu() for node, scale in model.quantization.weight_scales.items()}
        metadata[_QUANTIZATION] = model.quantization.to_json()
    atomic_write(run / CHECKPOINT_FILE, save(tensors, metadata=metadata))
    atomic_write(run / "checkpoint.json", (card.model_dump_json(indent=2) + "\n").encode())
    return card


def _fingerprint(
    state: Mapping[str, Tensor], levels: Sequence[Level], preprocessing: Preprocessing, architecture: Architecture
) -> str:
    digest = hashlib.sha256()
    facts: list[Any] = [[level.model_dump() for level in levels], preprocessing.model_dump()]
    if architecture != Architecture():  # so that models made before there were others keep their fingerprints
        facts.append(asdict(architecture))
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for key in sorted(state):
        digest.update(f"{key} {state[key].dtype} {tuple(state[key].shape)}".encode())
        digest.update(state[key].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def checkpoint_file(path: Path) -> Path:
    """Return the file of a checkpoint that is given as a run's folder, as its checkpoint.json or as the file itself."""
    return path / CHECKPOINT_FILE if path.is_dir() else path.with_suffix(".safetensors")


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint strictly: every weight has to fit.

    Args:
        path: a run's folder, its checkpoint.safetensors, or its checkpoint.json.

    Raises:
        ModelError: there is no checkpoint, or it is damaged.
    """
    file = checkpoint_file(path)
    if not file.is_file():
        raise ModelError(f"{path} holds no {CHECKPOINT_FILE}; `reid-train` writes one after its first epoch")
    card, metadata, tensors = _read(file)
    architecture = Architecture.from_json(metadata.get("architecture", "{}"), file)
    indices = [int(level.name.removeprefix("level")) for level in card.levels]
    size = card.preprocessing.height
    backbone = create_backbone(card.backbone, indices, image_size=size, weights="none", architecture=architecture)
    model = MultiLevelReID(backbone.module, indices, backbone.channels, card.levels, card.preprocessing, architecture)
    try:
        model.load_state_dict(_part(tensors, _MODEL), strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"{file} does not fit its own card ({str(error).splitlines()[-1].strip()}); train it again"
        ) from None
    for name in (_QUANTIZATION, _FORMER_QUANTIZATION):
        if name in metadata:
            model.quantization = Quantization.from_json(metadata[name], _part(tensors, f"{name}."), file)
    reference = {name: value.numpy().tobytes() for name, value in _part(tensors, _REFERENCE).items()}
    return Checkpoint(card, model.eval(), reference)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _read(file: Path) -> tuple[ModelCard, dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is damaged ({error}); train it again or use another checkpoint") from None
    if "card" not in metadata:
        raise ModelError(f"{file} carries no model card: it is not a checkpoint of `reid-train`")
    return ModelCard.parse(metadata["card"], file), metadata, tensors
