"""What people see of a run: histograms in TensorBoard, and its page."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from headless_browser import Browser
from html_page import Page, assert_asks_nothing_of_the_network, assert_can_be_heard
from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, EventAccumulator

from reid.data.dataset import Dataset
from reid.evaluation.protocols import PROTOCOLS, embed_data, evaluate_protocol
from reid.pages.training.page import draw_page
from reid.pages.training.run import TrainedRun
from reid.runtime.tracklet import Tracklet
from reid.train import loop
from reid.train.device import best_device
from reid.train.loop import train
from reid.train.model.checkpoint import load_checkpoint
from reid.train.recipe import Recipe
from reid.train.report import write
from reid.train.run.folder import RunFolder
from reid.train.session import torch_session
from reid.train.training_data import TrainingData, prepare_data

LEVELS = ("level3", "level4")


@pytest.fixture(scope="module")
def data(dataset: Dataset, recipe: Recipe) -> TrainingData:
    return prepare_data(dataset, recipe)


@pytest.fixture(scope="module")
def run(finished: Path, recipe: Recipe, data: TrainingData) -> TrainedRun:
    return write.describe_run(finished, recipe, data, best_device())


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def html_of(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_the_board_has_histograms_of_every_epoch(finished: Path, run: TrainedRun) -> None:
    events = EventAccumulator(str(finished / "tensorboard"), size_guidance={HISTOGRAMS: 0})
    events.Reload()
    kinds = [f"pairs/{level}/{kind}" for level in (*LEVELS, "all levels") for kind in ("positive", "negative")]
    tags = [tag.replace(" ", "_") for tag in events.Tags()["histograms"]]
    assert sorted(tags) == sorted([*(kind.replace(" ", "_") for kind in kinds), *(f"norm/{level}" for level in LEVELS)])
    for tag in events.Tags()["histograms"]:
        assert [event.step for event in events.Histograms(tag)] == [1, 2]
    kept = next(e for e in events.Histograms("pairs/level4/negative") if e.step == run.best_epoch).histogram_value
    negative = run.pairs[1].negative
    assert kept.num == sum(kept.bucket) == negative.sum()
    mean = (np.arange(len(negative)) + 0.5) @ negative / negative.sum() / 1000
    assert kept.sum / kept.num == pytest.approx(mean, abs=1e-6)
    norms = next(e for e in events.Histograms("norm/level3") if e.step == run.best_epoch).histogram_value
    assert norms.num == len(run.norms["level3"])
    assert norms.sum == pytest.approx(run.norms["level3"].sum(), rel=1e-4)


def test_recording_norms_changes_no_metric(finished: Path, run: TrainedRun, data: TrainingData) -> None:
    checkpoint = load_checkpoint(finished)
    embedded = embed_data(torch_session(checkpoint.model, checkpoint.card, best_device()), data.query, data.gallery)
    plain = {name: evaluate_protocol(embedded, protocol).summary() for name, protocol in PROTOCOLS.items()}
    assert {name: metrics.summary() for name, metrics in run.metrics.items()} == plain
    frames = {image.frames for image in data.gallery.images}
    assert all(len(lengths) == len(frames) for lengths in run.norms.values())


def test_the_page_has_the_numbers_of_the_run(finished: Path, run: TrainedRun) -> None:
    page = Page(html_of(finished))
    best = rows(finished)[run.best_epoch - 1]
    score = f"mAP {best['held_out']['i2i']['mAP']:.2f} at epoch {run.best_epoch} of 2"
    assert page.words.startswith(f"finished held-out {score} Summary model {run.card.fingerprint[:12]}")
    for name, values in best["held_out"].items():
        cells = [f"{values[metric]:.2f}" for metric in ("mAP", "R-1", "R-5", "R-10")]
        assert page.named(name.upper()) == [[*cells, str(values["queries"]), str(values["gallery"])]]
    for row in rows(finished):
        (cells,) = page.named(str(row["epoch"]))
        assert cells[0] == f"{row['train']['loss']:.4f}"
        assert cells[2] == f"{row['held_out']['i2i']['mAP']:.2f}"
    for level, auc in best["pairs_auc"].items():
        (shown,) = re.findall(rf"{level}: AUC ([\d.]+) %", page.words)
        assert float(shown) == pytest.approx(100 * auc, abs=0.1)  # memory layout, and with it rounding, may differ
    for level, norm in best["norm"].items():
        (shown,) = re.findall(rf"{level}: norm ([\d.]+)", page.words)
        assert float(shown) == pytest.approx(norm, rel=0.01)
    assert "positive pairs within 0.8 and negative ones beyond 1.2" in page.words


def test_settings_that_are_not_the_posters_are_named_and_no_others(finished: Path) -> None:
    page = Page(html_of(finished))
    table = page.rows[page.rows.index(["setting", "here", "poster"]) + 1 :]
    settings = {row[0]: row[1:] for row in table if re.fullmatch("[a-z_]+", row[0]) and row[0] != "epoch"}
    assert settings == {
        "backbone": ["test_resnet", "resnet50"],
        "weights": ["none", "default"],
        "levels": ["3,4", "2,3,4"],
        "embedding_size": ["16", "512"],
        "image_size": ["64", "256"],
        "vehicles_per_batch": ["4", "16"],
        "images_per_vehicle": ["3", "4"],
        "epochs": ["2", "60"],
        "warmup_epochs": ["1.0", "5.0"],
        "learning_rate": ["0.001", "0.00035"],
        "held_out": ["0.3", "0.1"],
    }


def test_the_poster_differs_from_itself_in_nothing(finished: Path, data: TrainingData) -> None:
    run = write.describe_run(finished, Recipe(), data, best_device())
    assert "All settings are those of the recipe poster." in Page(draw_page(run)).words


def test_boundaries_are_named_only_where_the_loss_sees_what_is_compared(
    finished: Path, recipe: Recipe, data: TrainingData
) -> None:
    for other in (recipe.changed(bnneck=True), recipe.changed(loss="triplet")):
        html = draw_page(write.describe_run(finished, other, data, best_device()))
        assert "Dashed: the loss" not in Page(html).words
        assert "AUC" in html


def test_older_rows_without_distances_are_drawn_without_them(run: TrainedRun) -> None:
    old = [{key: value for key, value in row.items() if key not in ("pairs_auc", "norm")} for row in run.rows]
    captions = Page(draw_page(replace(run, rows=old))).html.count("<figcaption>")
    assert captions == Page(draw_page(run)).html.count("<figcaption>") - 2


def test_the_worst_queries_are_pictures_that_are_right_or_wrong(finished: Path, run: TrainedRun) -> None:
    page = Page(html_of(finished))
    cards = [item["class"] or "" for item in page.all("li")]
    assert len(page.all("article")) == min(12, len(run.metrics["i2i"].counted))
    assert {card.removeprefix("later ") for card in cards} == {"card right", "card wrong"}
    scores = [float(score) for score in re.findall(r"\bAP ([\d.]+)", page.words)]
    assert scores == sorted(scores)
    assert scores == pytest.approx(sorted(100 * run.metrics["i2i"].average_precision)[: len(scores)], abs=0.05)
    assert len(page.all("image")) > 3


def test_the_page_asks_nothing_of_the_network(finished: Path) -> None:
    assert_asks_nothing_of_the_network(html_of(finished))


def test_the_page_works_with_a_screen_reader(finished: Path) -> None:
    html = html_of(finished)
    assert_can_be_heard(html)
    charts = [svg for svg in Page(html).all("svg") if svg.get("class") == "chart"]
    assert len(charts) == html.count("<desc>") == 11 + 3 + 2


def test_whatever_the_names_the_page_keeps_its_structure(run: TrainedRun) -> None:
    hostile = '"><script>alert(1)</script></table></main>\udce9'

    def renamed(image: Tracklet) -> Tracklet:
        return replace(image, id=hostile, vehicle=f"{image.vehicle}{hostile}", camera=f"{image.camera}{hostile}")

    data = run.data
    images = {image.frames: renamed(image) for image in (*data.gallery.images, *data.query.images)}
    splits = {
        kind: replace(getattr(data, kind), images=tuple(images[image.frames] for image in getattr(data, kind).images))
        for kind in ("query", "gallery")
    }
    training = run.card.training.model_copy(update={"command": hostile})
    other = replace(
        run,
        name=hostile,
        card=run.card.model_copy(update={"training": training}),
        settings=[replace(run.settings[0], here=hostile), *run.settings[1:]],
        device=hostile,
        data=replace(data, **splits),
    )
    tags = [[tag for tag, _ in Page(draw_page(each)).tags] for each in (run, other)]
    assert tags[0] == tags[1]


def test_unreadable_images_are_named(run: TrainedRun) -> None:
    data = replace(run.data, unreadable=("a/<1>.jpg",))
    words = Page(draw_page(replace(run, data=data))).words
    assert "1 held-out images could not be read: a/<1>.jpg" in words


# How a run gets its page


def test_a_run_that_was_resumed_shows_all_epochs(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")

    def stop(row: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_log", stop)
        with pytest.raises(KeyboardInterrupt):
            train(dataset, recipe, run, resume=False)
    assert len(rows(run.path)) == 1
    assert not (run.path / "report.html").exists()
    train(dataset, recipe, run, resume=True)
    page = Page(html_of(run.path))
    assert len(page.named("1")) == len(page.named("2")) == 1


def test_a_failure_is_noted_in_a_line_and_the_next_resume_mends_it(
    dataset: Dataset,
    recipe: Recipe,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))
    (run.path / "report.html").unlink()

    def fail(run: TrainedRun) -> str:
        raise RuntimeError("no\nluck")

    with monkeypatch.context() as patch:
        patch.setattr(write, "draw_page", fail)
        outcome = train(dataset, recipe, run, resume=True)
    assert outcome.position.epochs_done == 2
    note = f"no report.html (no); {run.path} is complete without it, and --resume tries again"
    assert caplog.messages == [note]
    assert {path.name for path in run.path.iterdir()} == {path.name for path in finished.iterdir()} - {"report.html"}
    train(dataset, recipe, run, resume=True)
    assert caplog.messages == [note]
    assert Page(html_of(run.path)).words.startswith("run held-out mAP")


def test_a_page_does_not_block_the_runs_folder(tmp_path: Path) -> None:
    (tmp_path / "report.html").touch()
    RunFolder(tmp_path).check(resume=False)


# In a real browser


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_renders_all_of_it(browser: Browser, run: TrainedRun, tmp_path: Path, width: int) -> None:
    settings = [replace(run.settings[0], here="w" * 300), *run.settings[1:]]
    long = replace(run, name="n" * 200, settings=settings)
    html = draw_page(long)
    found = browser.probe(
        html,
        tmp_path / "probe.html",
        width,
        charts='all(".chart").length',
        outside='all(".chart").reduce((sum, chart) => sum + outside(chart), 0)',
        empty='all(".chart").filter(chart => box(chart).width < 200).length',
    )
    pictures = html.count("<image")
    assert found == {
        "images": pictures,
        "decoded": pictures,
        "dangling": 0,
        "overflow": 0,
        "charts": 16,
        "outside": 0,
        "empty": 0,
        "errors": [],
    }


@pytest.mark.browser
def test_a_dark_page_is_dark_and_a_printed_one_is_not(browser: Browser, finished: Path, tmp_path: Path) -> None:
    def brightness(*options: str) -> float:
        picture = tmp_path / "screenshot.png"
        browser.run(finished / "report.html", f"--screenshot={picture}", "--window-size=900,700", *options)
        image = cv2.imread(str(picture))
        assert image is not None
        return float(image.mean())

    assert brightness() > 200
    assert brightness("--blink-settings=preferredColorScheme=0") < 80
    pdf = tmp_path / "page.pdf"
    browser.run(finished / "report.html", f"--print-to-pdf={pdf}")
    assert pdf.stat().st_size > 10_000
