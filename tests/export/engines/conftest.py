"""The model of the documents at its full size, whose engines take the longest to build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_once import made_once

from reid.export.fp16 import write_fp16_graph
from reid.export.graph import export_graph
from reid.runtime.model_card import ModelCard
from reid.train.builders import build_model
from reid.train.recipe import Recipe


@pytest.fixture(scope="session")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ModelCard]:
    """A ResNet50 of three levels at 256 pixels: its FP32 graph, its FP16 graph, and its card."""
    folder = made_once(tmp_path_factory.getbasetemp(), "resnet50", _write)
    card = ModelCard.read(folder / "card.json")
    assert (card.backbone, len(card.levels), card.preprocessing.height) == ("resnet50", 3, 256)
    return folder / "fp32.onnx", folder / "fp16.onnx", card


def _write(folder: Path) -> None:
    folder.mkdir()
    model, card, _ = build_model(Recipe(weights="none"))
    card = card.model_copy(update={"fingerprint": "ab" * 32})
    (folder / "card.json").write_text(card.model_dump_json())
    export_graph(model.eval(), card, folder / "fp32.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 256, 256), dtype=np.uint8)
    assert write_fp16_graph(folder / "fp32.onnx", folder / "fp16.onnx", frames) == ()
