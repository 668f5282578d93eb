"""The tiny bundle: its answers beside a loop in plain numpy, and whether it notices what it is there for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_bundle import STORED, write_tiny_bundle

from reid.runtime.bundle import Bundle
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.self_check import SIMILARITY


def weights() -> dict[str, NDArray[np.float32]]:
    graph = onnx.load(STORED / "model.fp32.onnx").graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def embed(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The model, position by position: normalization, convolution, ReLU, max-pooling, head, L2."""
    given = {name.rpartition("model.")[2]: values.astype(np.float64) for name, values in weights().items()}
    pixels = np.pad((frames - given["offset"]) / given["scale"], ((0, 0), (0, 0), (1, 1), (1, 1)))
    count, _, height, width = pixels.shape
    features = np.zeros((count, len(given["backbone.conv.bias"])))  # ReLU: at least 0
    for row in range(0, height - 2, 2):
        for column in range(0, width - 2, 2):
            patch = pixels[:, :, row : row + 3, column : column + 3]
            values = np.einsum("nchw,ochw->no", patch, given["backbone.conv.weight"]) + given["backbone.conv.bias"]
            features = np.maximum(features, values)
    embedding = features @ given["heads.0.weight"].T + given["heads.0.bias"]
    return np.asarray(embedding / np.linalg.norm(embedding, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    bundle = Bundle.open(STORED)
    return np.stack([as_model_input(read_frame(crop), bundle.card.preprocessing) for crop in bundle.reference()[0]])


def test_the_stored_answers_are_right(frames: NDArray[np.uint8]) -> None:
    bundle = Bundle.open(STORED)
    assert bundle.precisions == ("fp32", "fp16", "int8")
    assert (embed(frames) * bundle.reference()[1]).sum(axis=1).min() > 0.99999
    assert sum(path.stat().st_size for path in STORED.rglob("*")) < 64 * 1024


@pytest.mark.parametrize("mistake", ["colors", "upside down", "darker"])
def test_a_mistake_in_preprocessing_is_noticed(frames: NDArray[np.uint8], mistake: str) -> None:
    wrong = {"colors": frames[:, ::-1], "upside down": frames[:, :, ::-1], "darker": frames // 2}[mistake]
    limits = {**SIMILARITY, **Bundle.open(STORED).card.similarity}
    assert (embed(wrong) * embed(frames)).sum(axis=1).min() < min(limits.values())


def test_it_can_be_made_again(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    made, stored = Bundle.open(tmp_path / "tiny"), Bundle.open(STORED)
    assert onnx.load(made.graph("fp32").path) == onnx.load(stored.graph("fp32").path)
    assert made.card.files.keys() == stored.card.files.keys()
