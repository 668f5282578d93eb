"""A tiny checkpoint, with which `reid-doctor` tries PyTorch."""

from __future__ import annotations

from pathlib import Path

import torch

from reid.runtime.model_card import FORMAT_VERSION, ModelCard
from reid.train.model.backbone import create_backbone
from reid.train.model.checkpoint import describe, save_checkpoint
from reid.train.model.multi_level import MultiLevelReID

__all__ = ["write_checkpoint"]

_BACKBONE, _LEVELS, _EMBEDDING, _IMAGE = "test_resnet", (3, 4), 8, 32


def write_checkpoint(bundle: Path) -> Path:
    """Write an untrained model of two levels beside a bundle, and return the folder of its run."""
    torch.manual_seed(0)
    backbone = create_backbone(_BACKBONE, _LEVELS, image_size=_IMAGE, weights="none")
    levels, preprocessing = describe(backbone, _EMBEDDING, _IMAGE)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing).eval()
    card = ModelCard(
        format_version=FORMAT_VERSION, fingerprint="", backbone=_BACKBONE, levels=levels, preprocessing=preprocessing
    )
    run = bundle.with_name("run")
    run.mkdir()
    save_checkpoint(run, model, card, {})
    return run
