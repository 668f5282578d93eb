"""The limit that a session is held to agrees with what the verification passed, whatever the tolerance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from reid.evaluation.verification.records import LevelSimilarity, Similarity, Tolerance
from reid.evaluation.verification.similarity import required_similarity
from reid.export.similarity_limits import similarity_limit
from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import sha256_of
from reid.runtime.opening import open_session
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.self_check import SIMILARITY
from reid.runtime.sessions.graph import PRECISION_KEY


def crops(minimum: float, spread: float = 1.0) -> Similarity:
    level = LevelSimilarity(level="all", minimum=minimum, first_percentile=1, median=1)
    return Similarity(frames=32, levels=(level, level), counts=(), edges=(), spread=spread)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("spread", [1e-5, 0.1, 1.0])
def test_a_sound_graph_is_held_to_the_self_checks_own_limit(precision: Precision, spread: float) -> None:
    assert similarity_limit(precision, crops(1 - 1e-6, spread), Tolerance()) == SIMILARITY[precision]


@pytest.mark.parametrize(
    ("precision", "minimum", "tolerance"),
    [
        ("int8", 0.87, Tolerance(int8_similarity=0.85)),
        ("fp16", 0.995, Tolerance()),
        ("fp32", 0.995, Tolerance()),
        ("int8", 0.9, Tolerance()),
        ("fp16", 0.9991, Tolerance(similarity=0.9991)),
        ("int8", -0.99, Tolerance(int8_similarity=-1)),
    ],
)
def test_a_graph_that_only_the_tolerance_allows_is_held_to_the_tolerance(
    precision: Precision, minimum: float, tolerance: Tolerance
) -> None:
    found = crops(minimum)
    limit = similarity_limit(precision, found, tolerance)
    required = required_similarity(found, tolerance.similarity_of(precision))
    assert minimum >= required  # it was passed
    assert limit <= min(SIMILARITY[precision], required)
    assert limit == max(-1, required - 4e-4)


def test_no_passed_graph_is_above_its_limit_by_less_than_decoders_cost() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        precision = PRECISIONS[random.integers(3)]
        tolerance = Tolerance(similarity=random.uniform(0.5, 1), int8_similarity=random.uniform(-1, 1))
        found = crops(random.uniform(0.5, 1), random.uniform(0, 1.1))
        if found.levels[0].minimum >= required_similarity(found, tolerance.similarity_of(precision)):
            limit = similarity_limit(precision, found, tolerance)
            assert -1 <= limit <= SIMILARITY[precision]
            assert found.levels[0].minimum - limit >= 4e-4 - 1e-12 or limit == -1


def with_int8(bundle: Path, output: Path, similarity: float) -> Path:
    """A copy of a bundle with an INT8 graph whose embeddings have a given similarity to PyTorch's, no more, no less."""
    copy = Path(shutil.copytree(bundle, output))
    model = onnx.load(copy / "model.fp32.onnx")
    (last,) = (node for node in model.graph.node if node.output[0] == "frame_embedding")
    (pool,) = (node for node in model.graph.node if node.output[0] == "pooled")
    size = Bundle.open(bundle).card.dimensions
    # A rotation by the angle in every plane of two neighbors leaves the length and gives each row this similarity.
    rotation = np.zeros((size, size), np.float32)
    for first in range(0, size, 2):
        sine = np.sqrt(1 - similarity**2)
        rotation[first : first + 2, first : first + 2] = [[similarity, -sine], [sine, similarity]]
    last.output[0] = "straight"
    for index, name in enumerate(pool.input):
        pool.input[index] = "frame_embedding" if name == "frame_embedding" else name
    at = list(model.graph.node).index(pool)
    model.graph.initializer.append(numpy_helper.from_array(rotation, "rotation"))
    model.graph.node.insert(at, helper.make_node("MatMul", ["straight", "rotation"], ["frame_embedding"], name="turn"))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**facts, PRECISION_KEY: "int8"})
    onnx.save(model, copy / "model.int8.onnx")
    return copy


def card_with(copy: Path, **limits: float) -> None:
    card = json.loads((copy / "model.json").read_text())
    card["files"]["model.int8.onnx"] = sha256_of(copy / "model.int8.onnx")
    card["similarity"] = limits
    (copy / "model.json").write_text(json.dumps(card))


def test_an_int8_graph_that_a_wide_tolerance_passed_opens(bundle: Path, tmp_path: Path) -> None:
    copy = with_int8(bundle, tmp_path / "copy", 0.87)
    limit = similarity_limit("int8", crops(0.87), Tolerance(int8_similarity=0.85))
    card_with(copy, int8=limit)
    with open_session(copy, "onnxruntime:cpu", "int8") as session:
        assert session.info.card.fingerprint == Bundle.open(bundle).card.fingerprint
    # Without the limit in its card, as in bundles of version 0.1, it is refused.
    card_with(copy)
    with pytest.raises(ModelError, match=r"0\.87\d*.*at least 0\.9 "):
        open_session(copy, "onnxruntime:cpu", "int8")


def test_a_graph_below_the_limit_of_its_card_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = with_int8(bundle, tmp_path / "copy", 0.84)
    card_with(copy, int8=0.8495)
    with pytest.raises(ModelError, match=r"at least 0\.8495 "):
        open_session(copy, "onnxruntime:cpu", "int8")
