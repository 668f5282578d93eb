"""Held-out training vehicles: those of the model's own training, and a warning if they are not known."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reid.data.dataset import Dataset, Split
from reid.data.fingerprint import data_fingerprint
from reid.data.held_out import held_out_data, is_held_out, warn_if_trained_on
from reid.data.layout import open_dataset
from reid.data.splitting import hold_out_vehicles
from reid.runtime.model_card import Level, ModelCard, Preprocessing

DATA_FACTS = {"layout": "veri", "images": 40, "held_out_vehicles": ["0001"]}
FOREIGN = {"data": {**DATA_FACTS, "fingerprint": "0" * 64}}


@pytest.fixture(scope="module")
def data(veri: Path) -> Dataset:
    return open_dataset(veri, needs="train")


def card(**training: Any) -> ModelCard:  # noqa: ANN401
    return ModelCard(
        format_version=1,
        fingerprint="f" * 64,
        backbone="test",
        levels=(Level(name="level1", size=4),),
        preprocessing=Preprocessing(height=16, width=16, mean=(0, 0, 0), std=(1, 1, 1)),
        training=training,
    )


def vehicles(split: Split) -> set[str | None]:
    return {image.vehicle for image in split.images}


@pytest.mark.parametrize(("share", "seed"), [(0.1, 0), (0.4, 0), (0.4, 3), (0.0, 3)])
def test_they_are_those_that_training_held_out(
    data: Dataset, caplog: pytest.LogCaptureFixture, share: float, seed: int
) -> None:
    split = hold_out_vehicles(data.train, share=share, seed=seed)  # as training does
    for facts in ({}, FOREIGN, {"data": {**DATA_FACTS, "fingerprint": data_fingerprint(data)}}):
        of_model = card(recipe={"held_out": share, "seed": seed}, **facts)
        found = held_out_data(data, of_model)
        assert found is not None
        warn_if_trained_on(found, data, of_model)
        assert (found.query, found.gallery, found.train) == (split.query, split.gallery, Split())
        assert (found.layout, found.root) == (data.layout, data.root)
    assert not caplog.records


@pytest.mark.parametrize("recipe", [{}, {"held_out": 0.1}, {"seed": 0}])
@pytest.mark.parametrize("same_data", [None, True, False])
def test_a_warning_says_that_the_model_may_have_been_trained_on_them(
    data: Dataset, caplog: pytest.LogCaptureFixture, recipe: dict[str, Any], same_data: bool | None
) -> None:
    known = {True: {"data": {**DATA_FACTS, "fingerprint": data_fingerprint(data)}}, False: FOREIGN, None: {}}[same_data]
    of_model = card(recipe=recipe, **known)
    found = held_out_data(data, of_model)
    assert found is not None
    assert not caplog.records  # perhaps nobody is judged on them
    warn_if_trained_on(found, data, of_model)
    assert len(vehicles(found.gallery)) >= 2
    assert vehicles(found.query) == vehicles(found.gallery)
    if same_data is False:  # trained on other data: any vehicles will do
        assert not caplog.records
    else:
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "may have been trained on" in record.message
        assert str(data.root) in record.message


def test_a_card_without_any_facts_is_warned_of(data: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    found = held_out_data(data, card())
    assert found is not None
    warn_if_trained_on(found, data, card())
    assert len(caplog.records) == 1


@pytest.mark.parametrize("same_data", [True, False])
def test_a_model_that_held_out_nothing_is_said_to_be_judged_on_what_it_learned(
    data: Dataset, caplog: pytest.LogCaptureFixture, same_data: bool
) -> None:
    fingerprint = data_fingerprint(data) if same_data else "0" * 64
    facts = {**DATA_FACTS, "held_out_vehicles": [], "fingerprint": fingerprint}
    of_model = card(held_out_share=0.0, seed=0, data=facts)
    found = held_out_data(data, of_model)
    assert found is not None
    expected = hold_out_vehicles(data.train, share=0.1, seed=0).facts["vehicles"]
    assert found.split_facts["vehicles"] == expected
    warn_if_trained_on(found, data, of_model)
    messages = [record.message for record in caplog.records]
    assert [("held out no vehicles" in one, "was trained on" in one) for one in messages] == [(True, True)] * same_data


def test_too_few_vehicles_are_none(data: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    assert held_out_data(replace(data, train=Split()), card()) is None
    assert not caplog.records


def test_held_out_vehicles_are_told_from_a_data_sets_own_queries(data: Dataset) -> None:
    found = held_out_data(data, card())
    assert found is not None
    assert is_held_out(found)
    assert not is_held_out(data)
    split = hold_out_vehicles(data.train, share=0.25, seed=0)
    with_a_split_of_its_own = replace(data, query=split.query, gallery=split.gallery, split_facts=split.facts)
    assert not is_held_out(with_a_split_of_its_own)
    assert not is_held_out(replace(data, train=Split()))
