from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reid.runtime.errors import ModelError
from reid.runtime.model_card import FORMAT_VERSION, Level, ModelCard, Preprocessing


def facts(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {
        "format_version": FORMAT_VERSION,
        "fingerprint": "ab" * 32,
        "backbone": "resnet50",
        "levels": [{"name": "level2", "size": 512}, {"name": "level4", "size": 256}],
        "preprocessing": {"height": 256, "width": 128, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
        **changes,
    }


def parse(data: object) -> ModelCard:
    return ModelCard.parse(json.dumps(data), Path("somewhere/model.json"))


def test_a_card_survives_its_own_json() -> None:
    card = parse(facts(training={"seed": 3, "nested": {"list": [1, 2.5, None, "é"]}}, files={"a": "0" * 64}, opset=18))
    assert ModelCard.parse(card.model_dump_json(), Path("x")) == card
    assert ModelCard.parse(card.model_dump_json(indent=2).encode(), Path("x")) == card


def test_dimensions_are_the_sum_of_the_levels_and_the_order_of_levels_is_kept() -> None:
    card = parse(facts())
    assert card.dimensions == 768
    assert card.levels == (Level(name="level2", size=512), Level(name="level4", size=256))
    assert (card.preprocessing.height, card.preprocessing.width) == (256, 128)


def test_a_newer_format_says_so_before_anything_else_is_wrong() -> None:
    with pytest.raises(ModelError, match=r"somewhere/model\.json.*format version 2 is newer than 1: update reid"):
        parse({"format_version": FORMAT_VERSION + 1, "a field of the future": True})


@pytest.mark.parametrize("field", ["format_version", "fingerprint", "backbone", "levels", "preprocessing"])
def test_a_card_without_a_field_is_refused_by_the_fields_name(field: str) -> None:
    data = facts()
    del data[field]
    with pytest.raises(ModelError, match=rf"model\.json.*{field}"):
        parse(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": []},
        {"levels": [{"name": "level2", "size": 0}]},
        {"preprocessing": {**facts()["preprocessing"], "height": 0}},
        {"preprocessing": {**facts()["preprocessing"], "mean": [0.1, 0.2]}},
        {"preprocessing": {**facts()["preprocessing"], "color": "BGR"}},
        {"preprocessing": {**facts()["preprocessing"], "resize": "area"}},
        {"preprocessing": {**facts()["preprocessing"], "crop": "center"}},
    ],
    ids=["no levels", "size 0", "height 0", "two means", "BGR", "another resize", "an unknown step"],
)
def test_a_card_that_this_runtime_would_not_follow_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"model\.json"):
        parse(facts(**changes))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"text"', b"1e999"])
def test_what_is_no_card_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"model\.json") as caught:
        ModelCard.parse(text, Path("model.json"))
    assert "\n" not in str(caught.value)


def test_a_card_cannot_be_changed() -> None:
    card = parse(facts())
    with pytest.raises(ValidationError):
        card.fingerprint = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        card.preprocessing.height = 1  # type: ignore[misc]


def test_preprocessing_is_rgb_and_bilinear_unless_it_says_otherwise() -> None:
    plain = Preprocessing(height=1, width=1, mean=(0, 0, 0), std=(1, 1, 1))
    assert (plain.color, plain.resize) == ("RGB", "bilinear")
