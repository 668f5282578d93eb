"""Training where cameras cannot tell right answers, and where no vehicles are held out."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from html_page import Page
from safetensors.torch import load_file

from reid.data.dataset import Dataset, Split
from reid.data.held_out import held_out_data
from reid.data.layout import open_dataset
from reid.runtime.errors import DataError
from reid.runtime.tracklet import Tracklet
from reid.train.loop import Outcome, train
from reid.train.model.checkpoint import load_checkpoint
from reid.train.recipe import Recipe
from reid.train.run.folder import RunFolder
from reid.train.run.origin import read_origin
from reid.train.training_data import prepare_data

RECIPE = Recipe(
    backbone="test_resnet",
    weights="none",
    levels=(3, 4),
    embedding_size=16,
    image_size=32,
    vehicles_per_batch=4,
    images_per_vehicle=3,
    epochs=2,
    warmup_epochs=1,
    learning_rate=1e-3,
)


@pytest.fixture(scope="module")
def dataset(veri: Path) -> Dataset:
    return open_dataset(veri, "veri", needs="train")


def of_camera(dataset: Dataset, camera: str | None, *, tracked: bool) -> Dataset:
    """Return the training images as if one camera, or an unknown one, had taken all of them."""

    def seen(entries: tuple[Tracklet, ...]) -> tuple[Tracklet, ...]:
        return tuple(replace(entry, camera=camera) for entry in entries)

    train = dataset.train
    return replace(dataset, train=Split(seen(train.images), seen(train.tracklets) if tracked else ()))


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("camera", "tracked"), [("c001", True), (None, False)])
def test_vehicles_of_one_camera_are_held_out_by_tracks_or_by_images(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture, camera: str | None, tracked: bool
) -> None:
    by, protocols = ("tracks", ["i2i", "i2t", "t2t"]) if tracked else ("images", ["i2i"])
    data = of_camera(dataset, camera, tracked=tracked)
    outcome = train(data, RECIPE, RunFolder(tmp_path / "run"), resume=False)
    facts = outcome.card.training
    assert facts.data is not None
    assert facts.data.held_out_by == read_origin(tmp_path / "run").data.held_out_by == by
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"vehicles are held out by {by}, since fewer than two are seen by two cameras"
    ]
    for row in rows(tmp_path / "run"):
        assert list(row["held_out"]) == protocols
        assert all(0 < scores["mAP"] < 100 and scores["unanswerable"] == 0 for scores in row["held_out"].values())
    page = Page((tmp_path / "run" / "report.html").read_text())
    assert f"2 vehicles by {by}" in page.words
    own = "query's own track or image" if tracked else "query itself"
    assert f"same camera: kept, but for the {own}" in page.words
    assert f"the same vehicle in another {'track or image' if tracked else 'image'}" in page.words
    assert {card["class"].removeprefix("later ") for card in page.all("li")} <= {"card right", "card wrong"}
    assert "card right" in page.html
    judged = held_out_data(data, outcome.card)
    assert judged is not None
    assert tuple(judged.split_facts["vehicles"]) == facts.data.held_out_vehicles


def test_the_querys_own_track_is_in_no_ranking(dataset: Dataset) -> None:
    data = prepare_data(of_camera(dataset, "c001", tracked=True), RECIPE)
    assert data.own_view == "track"
    assert prepare_data(dataset, RECIPE).own_view == "camera"


class StopAt:
    """A Progress that interrupts a run after a number of steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left == 0:
            raise KeyboardInterrupt


NONE = RECIPE.changed(held_out=0, average_decay=0.5)


@pytest.fixture(scope="module")
def none(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A run that holds out no vehicles."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "none")
    return run.path, train(dataset, NONE, run, resume=False)


def test_a_run_that_holds_out_nothing_learns_everything_and_keeps_the_last_epoch(
    dataset: Dataset, none: tuple[Path, Outcome]
) -> None:
    run, outcome = none
    checkpoint = load_checkpoint(run)
    facts = checkpoint.card.training
    assert (facts.best_epoch, facts.held_out, facts.held_out_share) == (2, {}, 0)
    assert facts.data is not None
    assert (facts.data.held_out_vehicles, facts.data.held_out_by) == ((), None)
    assert outcome.position.best_epoch == outcome.position.epochs_done == 2
    assert [row["held_out"] for row in rows(run)] == [{}, {}]
    identities = {image.vehicle for image in dataset.train.images}
    state = load_file(run / "last" / "state.safetensors")
    averaged = {key.partition("/module.")[2]: value for key, value in state.items() if "/module." in key}
    stored = checkpoint.model.state_dict()
    assert averaged.keys() <= stored.keys()
    assert averaged
    assert all(torch.equal(value, stored[key]) for key, value in averaged.items())
    assert prepare_data(dataset, NONE).images.identities == len(identities)
    assert len(checkpoint.reference) == 32


def test_its_page_says_that_no_scores_are_known(none: tuple[Path, Outcome]) -> None:
    page = Page((none[0] / "report.html").read_text())
    assert page.words.startswith("none no held-out vehicles epoch 2 of 2, the last one Summary")
    assert "No vehicles were held out: nothing here says how good the model is" in page.words
    assert "mAP" not in page.words
    assert "epoch 2, the last one, whose weights were kept" in page.words
    assert len(page.named("1")) == len(page.named("2")) == 1


def test_it_resumes_and_repeats_to_the_same_weights(
    dataset: Dataset, none: tuple[Path, Outcome], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(dataset, NONE, run, resume=False, progress=StopAt(len(prepare_data(dataset, NONE).sampler) + 2))
    assert train(dataset, NONE, run, resume=True).card.fingerprint == none[1].card.fingerprint
    repeated = train(dataset, read_origin(none[0]).recipe, RunFolder(tmp_path / "again"), resume=False)
    assert repeated.card.fingerprint == none[1].card.fingerprint
    said = {record.message for record in caplog.records if "held_out is 0" in record.message}
    assert len(said) == 1


def test_too_few_vehicles_to_hold_out_are_told_how_to_train_on_all(dataset: Dataset, tmp_path: Path) -> None:
    vehicles = sorted({str(image.vehicle) for image in dataset.train.images})[:3]
    images = tuple(image for image in dataset.train.images if image.vehicle in vehicles)
    few = replace(dataset, train=Split(images, ()))
    with pytest.raises(DataError) as raised:
        prepare_data(few, RECIPE)
    remedies = r"add 1 vehicle with .*, or hold none out: --set held_out=0 --batch (\d)x(\d)$"
    found = re.search(remedies, str(raised.value))
    assert found is not None
    remedy = NONE.changed(epochs=1, vehicles_per_batch=int(found[1]), images_per_vehicle=int(found[2]))
    assert train(few, remedy, RunFolder(tmp_path / "run"), resume=False).position.epochs_done == 1
    single = Split(tuple(image for image in images if image.vehicle == vehicles[0]), ())
    with pytest.raises(DataError, match=r"add 3 vehicles with at least two images$"):
        prepare_data(replace(dataset, train=single), RECIPE)
