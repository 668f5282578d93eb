from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pytest
from pydantic import ValidationError

from reid.runtime.errors import ReidError
from reid.train.choices import RecipeName
from reid.train.losses import IDENTITY_LOSSES, METRIC_LOSSES
from reid.train.model.pooling import POOLINGS
from reid.train.recipe import RECIPES, Recipe, SettingError, learning_rate, read_assignments


@pytest.mark.parametrize("epochs", [1, 3, 60])
def test_the_rate_rises_to_its_peak_once_and_falls_to_a_hundredth(epochs: int) -> None:
    recipe = Recipe(epochs=epochs, warmup_epochs=5, learning_rate=1.0)
    rates = np.array([learning_rate(recipe, epoch) for epoch in np.linspace(0, epochs, 1001)])
    peak = rates.argmax()
    assert rates[peak] == pytest.approx(1, rel=1e-3)
    assert (np.diff(rates[: peak + 1]) >= 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()
    assert rates[-1] == pytest.approx(0.01)


def test_warm_up_is_linear() -> None:
    recipe = Recipe(epochs=60, warmup_epochs=5, learning_rate=2.0)
    assert learning_rate(recipe, 2.5) == pytest.approx(1.0)
    assert learning_rate(recipe, 5) == pytest.approx(2.0)


def test_the_poster_has_three_levels_and_rll() -> None:
    poster = RECIPES["poster"]
    assert (poster.backbone, poster.levels, poster.loss) == ("resnet50", (2, 3, 4), "rll")


@pytest.mark.parametrize(
    ("name", "table"), [("loss", METRIC_LOSSES), ("identity_loss", IDENTITY_LOSSES), ("pooling", POOLINGS)]
)
def test_the_choices_are_those_that_can_be_built(name: str, table: dict[str, object]) -> None:
    assert get_args(Recipe.model_fields[name].annotation) == tuple(table)


def test_the_recipes_are_those_that_the_command_lists() -> None:
    assert get_args(RecipeName) == tuple(RECIPES)


def as_text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_of_every_recipe_can_be_assigned_as_text(name: str) -> None:
    recipe = RECIPES[name]
    settings = read_assignments([f"{setting}={as_text(value)}" for setting, value in recipe])
    assert settings.keys() == Recipe.model_fields.keys()
    again = Recipe().changed(**settings)
    assert again == recipe
    assert {key: type(value) for key, value in again} == {key: type(value) for key, value in recipe}


def test_text_is_read_as_the_type_of_its_setting() -> None:
    settings = read_assignments(
        ["levels=4,3", "clip_norm=5", "compile=true", "micro_batch=16", "weights=a=b.pth", "last_stride=1"]
    )
    changed = Recipe().changed(**settings)
    assert (changed.levels, changed.clip_norm, changed.compile) == ((3, 4), 5.0, True)
    assert (changed.micro_batch, changed.weights, changed.last_stride) == (16, "a=b.pth", 1)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("clip_nrom=5", "unknown setting 'clip_nrom'; choose one of: .*clip_norm.*micro_batch"),
        ("micro_batch=many", "micro_batch is many: it takes a whole number from 0 to 16777216"),
        ("micro_batch=1.5", "micro_batch is 1.5: it takes a whole number from 0 to 16777216"),
        ("compile=perhaps", "compile is perhaps: it takes true or false"),
        ("levels=2,x", "levels is x: it takes whole numbers from 0 to 999, separated by commas"),
        ("levels=2,2", "levels are 2,2: name each level once"),
        ("levels=", "levels is nothing: it takes whole numbers"),
        ("precision=fp8", "unknown precision 'fp8'; choose one of: auto, fp32, bf16, fp16"),
        ("pooling=min", "unknown pooling 'min'; choose one of: max, avg, gem, max[+]avg, max[+]gem"),
        ("identity_loss=center", "unknown identity_loss 'center'; choose one of: softmax, cosface, arcface, circle"),
        ("loss=contrastive", "unknown loss 'contrastive'; choose one of: triplet, ssl, rll"),
        ("optimizer=lion", "unknown optimizer 'lion'; choose one of: adamw, sgd"),
        ("sampling=tracks", "unknown sampling 'tracks'; choose one of: random, cameras, tracklets"),
        ("compile", "compile is not an assignment; write NAME=VALUE"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(assignment: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence) as raised:
        Recipe().changed(**read_assignments([assignment]))
    assert "\n" not in str(raised.value)


def test_a_setting_that_is_assigned_twice_is_refused() -> None:
    with pytest.raises(SettingError, match="seed is set twice"):
        read_assignments(["seed=1", "seed=2"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"last_stride": 3}, "last_stride is 3: it takes 1 or 2"),
        ({"soft_margin": True}, "soft_margin is true, and the loss is rll: only the triplet loss"),
        ({"loss": "ssl", "memory_size": 4}, "memory_size is 4, and the loss is ssl: only rll"),
        ({"level_weights": (1.0,)}, "level_weights has 1 numbers, and there are 3 levels"),
        ({"average_decay": 1.0}, r"average_decay is 1\.0: it takes a number from 0 to less than 1"),
        ({"average_decay": -0.1}, r"average_decay is -0\.1: it takes a number from 0 to less than 1"),
        ({"head_rate": float("nan")}, "head_rate is nan: it takes a number from 0 to 1000000"),
        ({"learning_rate": float("inf")}, "learning_rate is inf: it takes a number from 0 to 1000000"),
        ({"held_out": float("nan")}, "held_out is nan: it takes a number between 0 and 1"),
        ({"frozen_epochs": -1}, "frozen_epochs is -1: it takes a whole number from 0 to 100000"),
        ({"epochs": 0}, "epochs is 0: it takes a whole number from 1 to 100000"),
        ({"label_smoothing": 1.5}, r"label_smoothing is 1\.5: it takes a number between 0 and 1"),
        ({"level_weights": (1.0, -1.0, 1.0)}, r"level_weights is -1\.0: it takes numbers from 0 to 1000000"),
        ({"memory_size": -1}, "memory_size is -1: "),
        ({"auto_augment": 2.0}, r"auto_augment is 2\.0: "),
        ({"image_size": 1_000_000}, "image_size is 1000000: it takes a whole number from 1 to 4096"),
        ({"seed": 10**30}, "seed is 10{30}: it takes a whole number from 0 to 4294967295"),
        ({"seed": str(10**30)}, "seed is 10{30}: it takes a whole number from 0 to 4294967295"),
        ({"embedding_size": 2_000_000}, "embedding_size is 2000000: it takes a whole number from 1 to 65536"),
        ({"levels": (1000,)}, "levels is 1000: it takes whole numbers from 0 to 999"),
        ({"learning_rate": 1e300}, r"learning_rate is 1e\+300: it takes a number from 0 to 1000000"),
        ({"qat": "bundle"}, "qat is bundle, and weights is default: .*--weights RUN"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ReidError, match=message) as raised:
        Recipe().changed(**settings)
    assert not isinstance(raised.value, SettingError)
    assert "\n" not in str(raised.value)


def numbers(kind: object, constraints: Iterable[Any]) -> Iterator[tuple[type, list[Any]]]:
    """Yield every type of number in an annotation, with the constraints of its values."""
    if get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        constraints = [*constraints, *more]
    if kind in (int, float):
        yield kind, [one for each in constraints for one in getattr(each, "metadata", [each])]
    for part in get_args(kind):
        if part is not ... and get_origin(kind) is not Literal:
            yield from numbers(part, [])


def test_every_number_has_a_range() -> None:
    found = {name: list(numbers(field.annotation, field.metadata)) for name, field in Recipe.model_fields.items()}
    assert sum(map(len, found.values())) > 20
    for name, of_setting in found.items():
        for kind, constraints in of_setting:
            for side in (("ge", "gt"), ("le", "lt")):
                assert any(hasattr(one, bound) for one in constraints for bound in side), (name, side)
            if kind is float:
                for value in (math.nan, math.inf, -math.inf):
                    with pytest.raises(ReidError, match=name):
                        Recipe().changed(**{name: (value,) * 3 if name == "level_weights" else value})


@pytest.mark.parametrize("setting", ["weights", "seed", "levels", "loss", "x" * 9])
def test_a_long_value_is_cut_in_the_message(setting: str) -> None:
    for value in ("9" * 10_000, "9\n" * 5000, "\n" * 10_000):
        with pytest.raises(ReidError) as raised:
            Recipe().changed(**{setting: value})
        assert len(str(raised.value)) < 1000
        assert "\n" not in str(raised.value)


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        Recipe().epochs = 3  # type: ignore[misc]


def test_the_names_of_reid_0_1_are_accepted() -> None:
    stored = json.loads(Recipe(color_jitter=0.25).model_dump_json().replace("color_jitter", "colour_jitter"))
    assert "color_jitter" not in stored
    assert Recipe.of(stored) == Recipe(color_jitter=0.25)
    assert Recipe().changed(colour_jitter=0.25) == Recipe(color_jitter=0.25)


@pytest.mark.parametrize(
    ("stored", "kind"), [(False, "none"), (True, "a"), ("true", "a"), ("False", "none"), ("b", "b")]
)
def test_the_switch_that_ibn_was_is_read_as_a_kind(stored: object, kind: str) -> None:
    assert Recipe.of({"ibn": stored}).ibn == Recipe().changed(ibn=stored).ibn == kind


def test_a_recipe_survives_json() -> None:
    recipe = RECIPES["strong"].changed(levels=(3, 4), level_weights=(1.0, 0.5))
    assert Recipe.of(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
