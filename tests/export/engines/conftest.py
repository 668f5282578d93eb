"""The model of the documents at its full size, whose engines take the longest to build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reid.export.fp16 import write_fp16_graph
from reid.export.graph import export_graph
from reid.runtime.model_card import ModelCard
from reid.train.builders import build_model
from reid.train.recipe import Recipe


@pytest.fixture(scope="session")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ModelCard]:
    """A ResNet50 of three levels at 256 pixels: its FP32 graph, its FP16 graph, and its card."""
    folder = tmp_path_factory.mktemp("resnet50")
    model, card, _ = build_model(Recipe(weights="none"))
    assert (card.backbone, len(card.levels), card.preprocessing.height) == ("resnet50", 3, 256)
    card = card.model_copy(update={"fingerprint": "ab" * 32})
    fp32, fp16 = folder / "fp32.onnx", folder / "fp16.onnx"
    export_graph(model.eval(), card, fp32)
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 256, 256), dtype=np.uint8)
    assert write_fp16_graph(fp32, fp16, frames) == ()
    return fp32, fp16, card
