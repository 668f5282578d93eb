from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.data.splitting import hold_out_vehicles
from reid.runtime.errors import DataError, ReidError
from reid.train.data.images import TrainingBatch
from reid.train.learner import build_learner
from reid.train.loop import Outcome, train
from reid.train.losses.multi_level import MultiLevelLoss
from reid.train.model.checkpoint import load_checkpoint
from reid.train.model.multi_level import MultiLevelReID
from reid.train.parallel.processes import Processes
from reid.train.recipe import Recipe
from reid.train.report.observation import Observation
from reid.train.run.folder import RunFolder
from reid.train.run.state import RunState
from reid.train.training_data import prepare_data

RECIPE = Recipe(
    backbone="test_resnet",
    weights="none",
    levels=(3, 4),
    embedding_size=16,
    image_size=32,
    vehicles_per_batch=4,
    images_per_vehicle=3,
    epochs=3,
    warmup_epochs=1,
    learning_rate=3e-3,
)


@pytest.fixture(scope="module")
def dataset(veri: Path) -> Dataset:
    return open_dataset(veri, needs="train")


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A run without interruptions."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "whole")
    return run.path, train(dataset, RECIPE, run, resume=False)


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


def steps_of(dataset: Dataset, recipe: Recipe, epochs: int) -> int:
    """The number of steps in the first epochs of a run."""
    sampler = prepare_data(dataset, recipe).sampler
    steps = 0
    for epoch in range(1, epochs + 1):
        sampler.set_epoch(epoch)
        steps += len(sampler)
    return steps


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_model_learns_its_training_vehicles(whole: tuple[Path, Outcome]) -> None:
    losses = [row["train"]["loss"] for row in rows(whole[0])]
    assert losses[-1] < 0.9 * losses[0]


def test_a_run_leaves_what_the_design_names(whole: tuple[Path, Outcome]) -> None:
    run, outcome = whole
    assert {"checkpoint.safetensors", "checkpoint.json", "last", "metrics.jsonl", "tensorboard"} <= {
        path.name for path in run.iterdir()
    }
    assert (run.parent / "latest").resolve() == run.resolve()
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3]
    assert list((run / "tensorboard").iterdir())
    assert not list(run.rglob("*.partial"))
    assert outcome.position.epochs_done == 3


def test_the_checkpoint_is_of_the_best_epoch_and_says_where_it_comes_from(
    whole: tuple[Path, Outcome], dataset: Dataset
) -> None:
    run, outcome = whole
    losses = [row["held_out"]["i2i"]["retrieval_loss"] for row in rows(run)]
    facts = load_checkpoint(run).card.training
    assert facts.best_epoch == outcome.position.best_epoch
    assert facts.best_epoch == min(range(len(losses)), key=lambda epoch: (losses[epoch], -epoch)) + 1
    assert facts.held_out == rows(run)[facts.best_epoch - 1]["held_out"]
    assert (facts.held_out_share, facts.seed) == (RECIPE.held_out, RECIPE.seed)
    assert Recipe.of(facts.recipe) == RECIPE
    assert facts.command
    assert facts.data is not None
    held_out = set(facts.data.held_out_vehicles)
    assert held_out
    assert held_out < {image.vehicle for image in dataset.train.images}
    assert len(load_checkpoint(run).reference) == 32


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    dataset: Dataset, whole: tuple[Path, Outcome], tmp_path: Path, stop_after: int
) -> None:
    run = RunFolder(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        train(dataset, RECIPE, run, resume=False, progress=StopAt(steps_of(dataset, RECIPE, stop_after) + 1))
    assert [row["epoch"] for row in rows(run.path)] == list(range(1, stop_after + 1))
    run.check(resume=True)
    train(dataset, RECIPE, run, resume=True)
    expected = load_file(whole[0] / "last" / "state.safetensors")
    actual = load_file(run.path / "last" / "state.safetensors")
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)
    assert load_checkpoint(run.path).card.fingerprint == whole[1].card.fingerprint
    assert [row["epoch"] for row in rows(run.path)] == [1, 2, 3]


def test_another_seed_gives_another_model(dataset: Dataset, whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    other = train(dataset, RECIPE.changed(seed=1, epochs=1), RunFolder(tmp_path / "other"), resume=False)
    assert other.card.fingerprint != whole[1].card.fingerprint


def test_a_run_of_reid_0_1_is_resumed(dataset: Dataset, whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    """It stored one setting under another name, one as a switch, and one not at all."""
    run = RunFolder(Path(shutil.copytree(whole[0], tmp_path / "old")))
    file = run.path / "last" / "state.safetensors"
    state = RunState.read(file)
    facts = dict(state.facts)
    facts["colour_jitter"] = facts.pop("color_jitter")
    facts["ibn"] = False
    del facts["layer_decay"]
    replace(state, facts=facts).write(file)
    origin = json.loads((run.path / "run.json").read_text())
    origin["recipe"]["colour_jitter"] = origin["recipe"].pop("color_jitter")
    origin["recipe"]["ibn"] = False
    del origin["recipe"]["layer_decay"]
    (run.path / "run.json").write_text(json.dumps(origin))
    assert train(dataset, RECIPE, run, resume=True).card.fingerprint == whole[1].card.fingerprint
    with pytest.raises(ReidError, match=r"started with color_jitter 0\.5, not 0\.1"):
        train(dataset, RECIPE.changed(color_jitter=0.1), run, resume=True)


def test_resuming_with_other_options_names_the_option(dataset: Dataset, whole: tuple[Path, Outcome]) -> None:
    with pytest.raises(ReidError, match=r"started with epochs 3, not 4"):
        train(dataset, RECIPE.changed(epochs=4), RunFolder(whole[0]), resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(dataset: Dataset, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "diverged")
    with pytest.raises(ReidError, match="not finite at epoch 1"):
        train(dataset, RECIPE.changed(learning_rate=1e6), run, resume=False)
    run.check(resume=False)


@pytest.mark.parametrize("only_the_gradient", [False, True])
def test_the_failed_step_its_images_and_the_last_good_checkpoint_are_named(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_the_gradient: bool
) -> None:
    """The third step of the second epoch fails; the state that is stored after every step must not contain it."""
    original, steps = MultiLevelLoss.forward, 0

    def forward(self: MultiLevelLoss, embeddings: list[Tensor], *others: object) -> tuple[Tensor, dict[str, Tensor]]:
        nonlocal steps
        steps += 1
        loss, parts = original(self, embeddings, *others)
        if steps == an_epoch + 3:
            loss = loss + (0 * embeddings[0].square().sum()).sqrt() if only_the_gradient else loss * torch.nan
        return loss, parts

    data = prepare_data(dataset, RECIPE)
    data.sampler.set_epoch(1)
    an_epoch = len(data.sampler)
    data.sampler.set_epoch(2)
    images = data.images_of_step(2)
    monkeypatch.setattr(MultiLevelLoss, "forward", forward)
    run = RunFolder(tmp_path / "run", save_every=0)
    with pytest.raises(ReidError) as raised:
        train(dataset, RECIPE, run, resume=False)
    sentence = str(raised.value)
    assert sentence.startswith("gradient_norm not finite at epoch 2, step 3" if only_the_gradient else "loss, ")
    assert "not finite at epoch 2, step 3" in sentence
    assert images[0] in sentence
    assert str(run.path / "checkpoint.safetensors") in sentence
    report = json.loads((run.path / "not-finite.json").read_text())
    assert (report["epoch"], report["step"], report["images"]) == (2, 3, images)
    state = RunState.read(run.path / "last" / "state.safetensors")
    assert state.position.begun.steps <= 2
    assert all(tensor.isfinite().all() for tensor in state.tensors.values())


def test_a_micro_batch_that_fits_is_named(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has 12 frames; 5 fit, so 6 do not, and 3 do."""
    original = MultiLevelReID.features

    def features(self: MultiLevelReID, frames: torch.Tensor) -> list[torch.Tensor]:
        if self.training:
            arithmetic.add(torch.backends.cuda.matmul.fp32_precision)
        if self.training and len(frames) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, frames)

    monkeypatch.setattr(MultiLevelReID, "features", features)
    arithmetic: set[str] = set()
    limit = 5
    with pytest.raises(ReidError, match=r"out of memory with 12 frames at a time; 3 fit: --set micro_batch=3"):
        train(dataset, RECIPE, RunFolder(tmp_path / "large"), resume=False)
    recipe = RECIPE.changed(epochs=1, micro_batch=3)
    assert train(dataset, recipe, RunFolder(tmp_path / "small"), resume=False).position.epochs_done == 1
    assert arithmetic == {"ieee"}  # fp32 is no TF32
    limit = 0
    with pytest.raises(ReidError, match="even with 1 frame at a time"):
        train(dataset, RECIPE, RunFolder(tmp_path / "none"), resume=False)


def test_a_model_that_is_too_large_for_the_memory_is_one_line(dataset: Dataset, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(ReidError, match=r"out of memory while the model is built; .*memory_size=VALUE$"):
        train(dataset, RECIPE.changed(embedding_size=2**16, memory_size=2**20), run, resume=False)
    assert not run.path.exists()


def test_a_full_disk_is_explained_and_the_run_resumes_once_there_is_room(
    dataset: Dataset, whole: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, flushed = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal flushed
        flushed += 1
        if flushed > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    run = RunFolder(tmp_path / "run", save_every=0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(ReidError, match=r"the disk is full.*--resume"):
            train(dataset, RECIPE, run, resume=False)
    train(dataset, RECIPE, run, resume=True)
    assert load_checkpoint(run.path).card.fingerprint == whole[1].card.fingerprint


def test_bf16_trains(dataset: Dataset, tmp_path: Path) -> None:
    recipe = RECIPE.changed(precision="bf16", micro_batch=5, clip_norm=1.0, epochs=2, learning_rate=1e-2)
    run = RunFolder(tmp_path / "run")
    train(dataset, recipe, run, resume=False)
    losses = [row["train"]["loss"] for row in rows(run.path)]
    assert losses[-1] < losses[0]
    assert not RunState.read(run.path / "last" / "state.safetensors").scaler


def test_fp16_trains_and_resumes_with_its_scale(dataset: Dataset, tmp_path: Path) -> None:
    recipe = RECIPE.changed(precision="fp16", micro_batch=5, clip_norm=1.0, epochs=2, learning_rate=1e-2)
    runs = [RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped", save_every=0)]
    train(dataset, recipe, runs[0], resume=False)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, recipe, runs[1], resume=False, progress=StopAt(steps_of(dataset, recipe, 1) + 2))
    train(dataset, recipe, runs[1], resume=True)
    expected, actual = (RunState.read(run.path / "last" / "state.safetensors") for run in runs)
    assert all(torch.equal(expected.tensors[key], actual.tensors[key]) for key in expected.tensors)
    assert expected.scaler == actual.scaler
    assert expected.scaler
    losses = [row["train"]["loss"] for row in rows(runs[1].path)]
    assert losses[-1] < losses[0]


def test_gradients_are_clipped_to_the_norm(dataset: Dataset) -> None:
    """Without clipping the norm is larger, as the step reports."""
    learner, _ = build_learner(RECIPE.changed(clip_norm=0.5), 4, Processes())
    learner.begin_epoch(frozen=False)
    frames = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    values = learner.step(TrainingBatch(frames, torch.arange(4).repeat(2), ()), 1e-3, seed=0).read()
    gradients = [parameter.grad.flatten() for parameter in learner.model.parameters() if parameter.grad is not None]
    gradients += [
        parameter.grad.flatten() for parameter in learner.classifiers.parameters() if parameter.grad is not None
    ]
    assert values["gradient_norm"] > 1
    assert torch.cat(gradients).norm().item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(("scale", "moves"), [(1.0, True), (3e38, False)])
def test_the_average_stays_where_a_step_is_skipped(scale: float, moves: bool) -> None:
    """With so large a scale, the gradient overflows."""
    learner, _ = build_learner(RECIPE.changed(precision="fp16", average_decay=0.9), 4, Processes())
    learner.precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    learner.begin_epoch(frozen=False)
    assert learner.ema_model is not None
    before = [tensor.clone() for tensor in (*learner.model.parameters(), *learner.ema_model.parameters())]
    frames = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    values = learner.step(TrainingBatch(frames, torch.arange(4).repeat(2), ()), 1e-3, seed=0).read()
    after = [*learner.model.parameters(), *learner.ema_model.parameters()]
    moved = [not torch.equal(old, new) for old, new in zip(before, after, strict=True)]
    assert any(moved) == moves
    assert (values["gradient_norm"] > 0) == moves
    statistics = [buffer for name, buffer in learner.ema_model.named_buffers() if name.endswith("running_mean")]
    assert any(buffer.any() for buffer in statistics) == moves


def test_an_epoch_reports_how_fast_loading_and_learning_are(whole: tuple[Path, Outcome]) -> None:
    for row in rows(whole[0]):
        assert 0 <= row["waiting_seconds"] <= row["seconds"]
        assert row["step_images_per_second"] >= row["images_per_second"]
        assert row["loader_images_per_second"] > 0


def test_too_few_vehicles_for_a_batch_create_no_run(dataset: Dataset, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "none")
    with pytest.raises(DataError, match="--batch 5x3"):
        train(dataset, RECIPE.changed(vehicles_per_batch=16), run, resume=False)
    assert not run.path.exists()


def test_folders_that_are_not_free_are_refused(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    with pytest.raises(ReidError, match="--resume continues it"):
        RunFolder(whole[0]).check(resume=False)
    (tmp_path / "precious.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(ReidError, match="is not a run"):
            RunFolder(tmp_path).check(resume=resume)


def test_a_run_that_was_stopped_before_it_stored_anything_can_be_resumed(dataset: Dataset, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "absent")
    run.check(resume=True)
    assert train(dataset, RECIPE.changed(epochs=1), run, resume=True).position.epochs_done == 1


def test_a_damaged_state_is_refused(dataset: Dataset, whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    (tmp_path / "last").mkdir()
    state = (whole[0] / "last" / "state.safetensors").read_bytes()
    (tmp_path / "last" / "state.safetensors").write_bytes(state[:-10])
    with pytest.raises(ReidError, match="damaged"):
        train(dataset, RECIPE, RunFolder(tmp_path), resume=True)


def test_a_state_of_another_version_is_refused_in_one_line(
    dataset: Dataset, whole: tuple[Path, Outcome], tmp_path: Path
) -> None:
    file = tmp_path / "last" / "state.safetensors"
    file.parent.mkdir()
    stored = RunState.read(whole[0] / "last" / "state.safetensors")
    progress = json.dumps({**stored.position.model_dump(), "of_tomorrow": 1})
    facts = {"facts": json.dumps(stored.facts), "scaler": json.dumps(stored.scaler)}
    file.write_bytes(save(dict(stored.tensors), metadata={"progress": progress, **facts}))
    with pytest.raises(ReidError, match=r"the state is not valid .*of_tomorrow.*another version of reid") as raised:
        train(dataset, RECIPE, RunFolder(tmp_path), resume=True)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("loss", ["triplet", "ssl"])
def test_every_loss_trains(dataset: Dataset, tmp_path: Path, loss: str) -> None:
    outcome = train(dataset, RECIPE.changed(loss=loss, epochs=1), RunFolder(tmp_path / loss), resume=False)
    assert outcome.position.best_epoch == 1


def test_on_ties_the_later_epoch_is_kept(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.5, 0.25, 0.25, 0.75])
    summary = Observation.summary

    def scored(seen: Observation) -> dict[str, Any]:
        found = summary(seen)
        found["held_out"]["i2i"]["retrieval_loss"] = next(losses)
        return found

    monkeypatch.setattr(Observation, "summary", scored)
    outcome = train(dataset, RECIPE.changed(epochs=4), RunFolder(tmp_path / "run"), resume=False)
    assert outcome.position.best_epoch == 3
    assert outcome.card.training.held_out["i2i"]["retrieval_loss"] == 0.25


def test_damaged_images_are_named_and_trained_around(
    veri: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A dead link, an unreadable image, and a vehicle without a readable image."""
    root = Path(shutil.copytree(veri, tmp_path / "veri"))
    held_out = set(train_facts(root)["vehicles"])
    trained = sorted({path.name[:4] for path in (root / "image_train").iterdir()} - held_out)
    of_vehicle = {vehicle: sorted((root / "image_train").glob(f"{vehicle}_*")) for vehicle in trained}
    of_vehicle[trained[0]][0].unlink()
    of_vehicle[trained[0]][0].symlink_to(tmp_path / "nowhere.jpg")
    of_vehicle[trained[1]][0].write_bytes(b"\xff\xd8 cut")
    for path in of_vehicle[trained[2]]:
        path.write_bytes(b"")
    recipe = RECIPE.changed(epochs=1, images_per_vehicle=len(max(of_vehicle.values(), key=len)))
    run = RunFolder(tmp_path / "run")
    train(open_dataset(root, needs="train"), recipe, run, resume=False)
    left_out, unreadable = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert trained[2] in left_out
    assert not any(vehicle in left_out.partition("left out:")[2] for vehicle in (trained[0], trained[1]))
    assert "could not be read" in unreadable
    (row,) = rows(run.path)
    assert 1 <= len(row["unreadable"]) <= 2


def test_data_without_a_readable_image_says_why(veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REID_MAX_PIXELS", "100")
    with pytest.raises(DataError, match=r"no training image can be read: .*more than the 100 of --max-pixels"):
        train(open_dataset(veri, needs="train"), RECIPE, RunFolder(tmp_path / "run"), resume=False)
    assert not (tmp_path / "run").exists()


def train_facts(root: Path) -> dict[str, Any]:
    return hold_out_vehicles(open_dataset(root, needs="train").train, share=RECIPE.held_out, seed=RECIPE.seed).facts


def test_a_state_without_its_facts_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "last").mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "last" / "state.safetensors")
    with pytest.raises(ReidError, match="not the state of a run"):
        train(dataset, RECIPE, RunFolder(tmp_path), resume=True)


def test_the_partial_checkpoint_of_a_killed_run_does_not_block_its_folder(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.safetensors.abcd.partial").touch()
    RunFolder(tmp_path).check(resume=False)


def test_other_data_on_resume_is_explained(veri: Path, whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    root = Path(shutil.copytree(veri, tmp_path / "veri"))
    next(iter((root / "image_train").iterdir())).write_bytes(b"changed")
    with pytest.raises(ReidError, match="other training data"):
        train(open_dataset(root, needs="train"), RECIPE, RunFolder(whole[0]), resume=True)
