from __future__ import annotations

from dataclasses import fields, replace

import pytest

from reid.runtime.errors import ReidError
from reid.train.recipe import RECIPES, Recipe
from reid.train.settings import parse_settings


def as_text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_of_every_recipe_can_be_set(name: str) -> None:
    recipe = RECIPES[name]
    assignments = [f"{field.name}={as_text(getattr(recipe, field.name))}" for field in fields(recipe)]
    settings = parse_settings(assignments)
    assert replace(Recipe(), **settings) == recipe
    assert {key: type(value) for key, value in settings.items()} == {
        field.name: type(getattr(recipe, field.name)) for field in fields(recipe)
    }


def test_values_have_the_types_of_their_fields() -> None:
    settings = parse_settings(["levels=3,4", "clip_norm=5", "compile=true", "micro_batch=16", "weights=a=b.pth"])
    assert settings == {"levels": (3, 4), "clip_norm": 5.0, "compile": True, "micro_batch": 16, "weights": "a=b.pth"}


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("clip_nrom=5", "no setting clip_nrom; there are .*clip_norm.*micro_batch"),
        ("micro_batch=many", "micro_batch takes a whole number"),
        ("micro_batch=1.5", "micro_batch takes a whole number"),
        ("compile=perhaps", "compile takes true or false"),
        ("levels=2,x", "levels takes a whole number, or several"),
        ("precision=fp8", "precision takes one of auto, fp32, bf16, fp16"),
        ("compile", "write NAME=VALUE"),
    ],
)
def test_what_cannot_be_set_is_said_in_a_line(assignment: str, sentence: str) -> None:
    with pytest.raises(ReidError, match=sentence) as raised:
        parse_settings([assignment])
    assert "\n" not in str(raised.value)


def test_a_setting_twice_is_refused() -> None:
    with pytest.raises(ReidError, match="seed is set twice"):
        parse_settings(["seed=1", "seed=2"])
