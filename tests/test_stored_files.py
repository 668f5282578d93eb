"""Files that reid 0.1 wrote, kept in tests/stored/, load with what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reid.calibration.scales import ScaleFile
from reid.evaluation.verification.reading import read_verification
from reid.export.int8.record import Int8Record
from reid.runtime.engine_card import EngineCard
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.model_card import ModelCard
from reid.runtime.space import Space
from reid.train.run.origin import read_origin

STORED = Path(__file__).parent / "stored"


def written(name: str) -> dict[str, object]:
    facts: dict[str, object] = json.loads((STORED / name).read_text())
    return facts


@pytest.mark.parametrize("name", ["checkpoint.json", "model.json"])
def test_a_model_card(name: str) -> None:
    card = ModelCard.parse((STORED / name).read_bytes(), STORED / name)
    assert card.fingerprint == written(name)["fingerprint"]
    assert [level.name for level in card.levels] == ["level2", "level3", "level4"]
    assert (card.training.held_out_share, card.training.seed) == (0.1, 0)
    assert card.similarity == {}
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_the_origin_of_a_run() -> None:
    recipe = read_origin(STORED).recipe
    assert (recipe.backbone, recipe.image_size, recipe.epochs) == ("resnet18", 64, 4)
    assert recipe.color_jitter == 0.5  # was colour_jitter


def test_a_verification() -> None:
    verification = read_verification(STORED / "verification.json")
    assert [one.precision for one in verification.precisions] == ["fp32", "fp16", "int8"]
    before = written("verification.json")["precisions"]
    assert isinstance(before, list)
    for now, stored in zip(verification.precisions, before, strict=True):
        for one, before_ in zip(now.protocols, stored["protocols"], strict=True):
            assert one.difference == pytest.approx(before_["difference"], abs=1e-9)
        assert now.similarity.levels[0].minimum == stored["similarity"]["levels"][0]["minimum"]


def test_how_an_int8_graph_was_made() -> None:
    record = Int8Record.model_validate_json((STORED / "int8.json").read_bytes())
    before = written("int8.json")
    assert list(record.in_fp16) == before["kept_in_fp16"]
    assert record.int8_percent == before["int8_share"]
    assert record.judged_on == before["judged_on"]


def test_a_scale_file() -> None:
    scales = ScaleFile.load(STORED / "scales.json")
    before = written("scales.json")["tensors"]
    assert isinstance(before, dict)
    assert scales.tensors.keys() == before.keys()
    for name, stored in before.items():
        assert scales.tensors[name].largest == stored["peak"]
        assert scales.tensors[name].by_method["mse"].value == stored["thresholds"]["mse"]["value"]


def test_an_engines_sidecar() -> None:
    card = EngineCard.parse((STORED / "engine.json").read_bytes(), STORED / "engine.json")
    assert (card.flavor, card.precision) == ("tensorrt-rtx", "fp16")


def test_a_gallery() -> None:
    gallery = MemoryGallery.open(STORED / "gallery.npz", Space("f" * 64, "fp32", 8))
    assert [(one.id, one.camera, one.vehicle) for one in gallery.members] == [
        ("a/1", "c001", "0007"),
        ("b", None, None),
        ("c", "c002", "0009"),
    ]
    assert np.linalg.norm(gallery.embeddings, axis=1) == pytest.approx(1)
