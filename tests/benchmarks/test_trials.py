from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trials import Bench, Method, run_trials

from reid.runtime.errors import ReidError
from reid.train.recipe import RECIPES

ONE = Method("Single level", ("--levels", "4"))
MANY = Method("Many levels", ("--levels", "2,3,4"))


@pytest.fixture
def bench(fake: SimpleNamespace, tmp_path: Path) -> Bench:
    return Bench(fake.data, tmp_path / "work", ("--epochs", "2"), fake.commands)


def run(bench: Bench, *methods: Method, seeds: tuple[int, ...] = (0,)) -> dict[str, dict[int, dict[str, Any]]]:
    return run_trials(methods, seeds, bench, lambda trials: None)


def trained(fake: SimpleNamespace) -> list[tuple[str, str]]:
    """Levels and seed of every training, in order."""
    lines = [words for words in fake.calls() if words[0] == "reid-train"]
    return [(words[words.index("--levels") + 1], words[words.index("--seed") + 1]) for words in lines]


def test_every_method_is_trained_with_a_seed_before_the_next_seed(bench: Bench, fake: SimpleNamespace) -> None:
    seen: list[dict[str, int]] = []
    trials = run_trials([ONE, MANY], [5, 6], bench, lambda done: seen.append({k: len(v) for k, v in done.items()}))
    assert trained(fake) == [("4", "5"), ("2,3,4", "5"), ("4", "6"), ("2,3,4", "6")]
    assert seen == [{"Single level": a, "Many levels": b} for a, b in ((1, 0), (1, 1), (2, 1), (2, 2))]
    # the fake's score: ten for every character of the levels, plus the seed
    assert trials["Single level"][6]["protocols"]["i2i"]["mAP"] == 16
    assert trials["Many levels"][5]["protocols"]["i2i"]["mAP"] == 55


def test_the_budget_and_the_data_reach_the_command(bench: Bench, fake: SimpleNamespace) -> None:
    run(bench, ONE)
    training, evaluation = fake.calls()
    assert training[:7] == ["reid-train", str(fake.data), "--levels", "4", "--epochs", "2", "--seed"]
    assert evaluation[:3] == ["reid-eval", training[training.index("--output") + 1], str(fake.data)]
    assert "--json" in training
    assert "--json" in evaluation


def test_what_is_finished_is_not_run_again(bench: Bench, fake: SimpleNamespace) -> None:
    first = run(bench, ONE, MANY)
    calls = len(fake.calls())
    assert run(bench, ONE, MANY) == first
    assert len(fake.calls()) == calls


def test_other_options_another_seed_and_other_data_are_other_trials(bench: Bench, fake: SimpleNamespace) -> None:
    first = run(bench, ONE)
    run(dataclasses.replace(bench, budget=("--epochs", "3")), ONE)
    run(bench, ONE, seeds=(1,))
    (fake.data / "image.jpg").write_bytes(b"1234")
    run(bench, ONE)
    assert len(trained(fake)) == 4
    (fake.data / "image.jpg").write_bytes(b"123")
    assert run(bench, ONE) == first, "what was there before is kept"
    assert len(trained(fake)) == 4


def test_a_recipe_that_changed_makes_another_trial(
    bench: Bench, fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(bench, ONE)
    changed = {**RECIPES, "strong": RECIPES["strong"].changed(clip_norm=123.0)}
    monkeypatch.setattr("trials.RECIPES", changed)
    run(bench, ONE)
    assert len(trained(fake)) == 2


def test_data_that_moved_is_the_same_data(bench: Bench, fake: SimpleNamespace) -> None:
    run(bench, ONE)
    moved = fake.data.rename(fake.data.with_name("moved"))
    run(dataclasses.replace(bench, data=moved), ONE)
    assert len(trained(fake)) == 1


@pytest.mark.parametrize(("when", "resumes"), [("at once", False), ("later", True)])
def test_an_interrupted_trial_resumes(bench: Bench, fake: SimpleNamespace, when: str, resumes: bool) -> None:
    fake.stop_next(when)
    with pytest.raises(ReidError, match=r"reid-train failed with exit code 1: error: stopped; .*log\.txt"):
        run(bench, ONE)
    trials = run(bench, ONE)
    stopped, again, evaluation = fake.calls()
    assert ("--resume" in again) is resumes
    assert [word for word in again if word != "--resume"] == stopped
    assert evaluation[0] == "reid-eval"
    assert trials["Single level"][0]["resumed"] is resumes


def test_a_trial_stopped_between_training_and_evaluation_is_evaluated(bench: Bench, fake: SimpleNamespace) -> None:
    evaluation = fake.commands / "reid-eval"
    whole = evaluation.read_text()
    evaluation.write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(ReidError, match="reid-eval failed with exit code 9"):
        run(bench, ONE)
    evaluation.write_text(whole)
    assert run(bench, ONE)["Single level"][0]["protocols"]["i2i"]["mAP"] == 10


def test_what_is_missing_is_named(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ReidError, match="reid-train is not installed"):
        run(dataclasses.replace(bench, commands=tmp_path / "nowhere"), ONE)
    with pytest.raises(ReidError, match="absent is not a folder"):
        run(dataclasses.replace(bench, data=tmp_path / "absent"), ONE)
