from __future__ import annotations

from pathlib import Path
from typing import Any

import backbones
import pytest
from backbones import BACKBONES, budget, chosen, exported, page, parse
from trials import Bench

from reid.runtime.errors import ReidError
from reid.train.recipe import Recipe


class Refusing(Bench):
    """Commands of which the INT8 export fails as the gate fails, with the arguments of all calls in `calls`."""

    calls: list[tuple[str, ...]] = []  # noqa: RUF012 - of one test

    def run(self, command: str, *arguments: str, log: Path) -> dict[str, Any]:
        self.calls.append((command, *arguments))
        if "--int8" in arguments:
            raise ReidError(f"{command} failed with exit code 3: int8: mAP fell by 9.10; see {log}")
        return {}


def row(**changes: object) -> dict[str, Any]:
    figures = {"i2i mAP": 50.25, "similarity": 1.0, "cpu_ms_per_frame": 2.5}
    facts = {"verified": "passed", "parameters": 1_905_828, "flops": 2.5e9, "int8_percent": 98.76}
    return {**facts, "precisions": dict.fromkeys(("fp32", "fp16", "int8"), figures), **changes}


def test_every_backbone_is_one_that_a_recipe_can_have() -> None:
    for backbone in BACKBONES:
        words = dict(zip(backbone.options[::2], backbone.options[1::2], strict=True))
        settings = {"backbone": words["--backbone"], "levels": words.get("--levels", "2,3,4")}
        Recipe.of(settings | dict([words.get("--set", "ibn=none").split("=")]))
    assert [backbone.name for backbone in chosen(["OSNet x1.0", "ResNet50"])] == ["OSNet x1.0", "ResNet50"]
    with pytest.raises(ReidError, match=r"unknown backbone 'OSNet'; choose from: ResNet50, ResNet50-IBN-a, "):
        chosen(["OSNet"])


def test_the_budget_is_what_was_given() -> None:
    words = budget(parse(["data", "--weights", "none", "--epochs", "1"]))
    assert words == ("--weights", "none", "--epochs", "1", "--recipe", "strong")


def test_a_backbone_that_int8_does_not_suit_is_exported_without_it_and_the_reason_kept(tmp_path: Path) -> None:
    Refusing.calls = []
    found = exported(Refusing(tmp_path / "data", tmp_path, ()), tmp_path, 32)
    assert found == {"verified": "int8: mAP fell by 9.10", "int8_percent": None, "in_fp16": None}
    assert [("--int8" in call, "--fp16" in call) for call in Refusing.calls] == [(True, True), (False, True)]


def test_the_table_has_a_dash_for_what_is_missing_and_says_what_random_weights_are_worth() -> None:
    figures = row()["precisions"]
    rows = {"A": row(), "B": row(verified="int8: no", int8_percent=None, precisions={"fp32": figures["fp32"]})}
    text = page("python benchmarks/backbones.py data --weights none", rows)
    assert "| A | passed | 1.9 | 2.50 | 98.8 | 50.2 | 50.2 | 50.2 | 2.50 | 2.50 | 2.50 |" in text
    assert "| B | int8: no | 1.9 | 2.50 | - | 50.2 | - | - | 2.50 | - | - |" in text
    assert "They say nothing about accuracy" in text
    assert "accuracy" not in page("python benchmarks/backbones.py data", rows)
    assert text.splitlines()[4].count("|") == len(backbones.HEAD) + 1
