from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reid.runtime.errors import ModelError
from reid.runtime.model_card import FORMAT_VERSION, ModelCard
from reid.runtime.training_facts import TrainingFacts

# As reid 0.1 wrote them.
STORED: dict[str, Any] = {
    "command": "reid-train VeRi",
    "recipe": {"loss": "rll", "levels": [3, 4], "held_out": 0.2, "seed": 7, "colour_jitter": 0.5},
    "data": {"layout": "veri", "fingerprint": "ab", "images": 3, "held_out_vehicles": ["0001", "0002"]},
    "versions": {"torch": "2.7"},
    "best_epoch": 3,
    "held_out": {"i2i": {"mAP": 62.5, "queries": 7}},
    "a fact of another version": [1, None],
}
SOURCE = Path("model.json")


def card(training: dict[str, Any]) -> ModelCard:
    text = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "fingerprint": "cd",
            "backbone": "resnet18",
            "levels": [{"name": "level4", "size": 8}],
            "preprocessing": {"height": 64, "width": 64, "mean": [0, 0, 0], "std": [1, 1, 1]},
            "training": training,
        }
    )
    return ModelCard.parse(text, SOURCE)


def test_share_and_seed_of_reid_0_1_come_from_the_recipe() -> None:
    facts = card(STORED).training
    assert (facts.held_out_share, facts.seed) == (0.2, 7)
    assert facts.data is not None
    assert facts.data.held_out_vehicles == ("0001", "0002")
    assert facts.held_out == STORED["held_out"]


def test_stated_share_and_seed_take_precedence() -> None:
    facts = card({**STORED, "held_out_share": 0.5, "seed": None}).training
    assert (facts.held_out_share, facts.seed) == (0.5, None)


@pytest.mark.parametrize("training", [{}, {"command": "another trainer"}, {"recipe": {"loss": "rll"}}])
def test_what_is_not_known_is_none(training: dict[str, Any]) -> None:
    facts = card(training).training
    assert (facts.held_out_share, facts.seed, facts.data, facts.best_epoch) == (None, None, None, None)


def test_a_card_survives_writing_and_reading() -> None:
    stored = card(STORED)
    written = stored.model_dump_json()
    assert ModelCard.parse(written, SOURCE) == stored
    training = json.loads(written)["training"]
    assert training["data"].pop("held_out_by") is None  # as it is not known of cards from before there was a choice
    assert {name: training[name] for name in STORED} == STORED


@pytest.mark.parametrize("wrong", [{"held_out_share": 1.5}, {"seed": "many"}, {"data": {"layout": "veri"}}])
def test_facts_of_another_type_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=rf"model.json.*training\.{next(iter(wrong))}"):
        card(wrong)


def test_facts_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        TrainingFacts().seed = 3  # type: ignore[misc]
