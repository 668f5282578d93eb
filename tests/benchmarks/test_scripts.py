from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import ablation
import comparison
import levels
import poster_table
import pytest

from reid.train.recipe import RECIPES, read_assignments


def test_poster_table_from_the_command_line(
    fake: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparison, "Bench", functools.partial(comparison.Bench, commands=fake.commands))
    words = ["poster_table.py", str(fake.data), "--seeds", "0,2", "--epochs", "1"]
    places = ["--output", str(tmp_path / "out" / "table"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [*words, *places])
    poster_table.main()
    printed, progress = capsys.readouterr()
    assert (tmp_path / "out" / "table.md").read_text() == printed
    assert "| Multi-level RLL | 51.00 ± 1.41 |" in printed  # the fake: ten a character of 2,3,4, plus the seed
    assert "| Multi-level RLL | +40.00 ± 0.00 (2 of 2) |" in printed
    assert "Triplet in 2 of 2" in printed
    assert "[8/8, about 0 min left] Multi-level RLL, seed 2" in progress

    stored = json.loads((tmp_path / "out" / "table.json").read_text())
    assert stored["command"] == "python benchmarks/poster_table.py data --seeds 0,2 --epochs 1"
    assert str(tmp_path) not in json.dumps(stored)
    assert stored["methods"]["SSL"]["trials"]["2"]["protocols"]["t2t"]["mAP"] == 14


def test_methods_that_do_not_apply_to_a_backbone_can_be_left_out(
    fake: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "Bench", functools.partial(comparison.Bench, commands=fake.commands))
    words = ["poster_table.py", str(fake.data), "--seeds", "0", "--leave-out", "SSL"]
    places = ["--output", str(tmp_path / "table"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [*words, *places])
    poster_table.main()
    stored = json.loads((tmp_path / "table.json").read_text())
    assert list(stored["methods"]) == ["Triplet", "RLL", "Multi-level RLL"]
    assert stored["command"] == "python benchmarks/poster_table.py data --seeds 0 --leave-out SSL"
    monkeypatch.setattr(sys, "argv", [*words, "--leave-out", "SLS", *places])
    with pytest.raises(
        SystemExit, match=r"error: --leave-out: unknown method 'SLS'; choose one of: Triplet, SSL, RLL, Multi"
    ):
        poster_table.main()


def test_poster_table_counts_the_trials_in_which_tracklets_help() -> None:
    def trial(i2i: float, i2t: float, t2t: float) -> dict[str, object]:
        return {"protocols": {"i2i": {"mAP": i2i}, "i2t": {"mAP": i2t}, "t2t": {"mAP": t2t}}}

    trials = {"A": {0: trial(1, 2, 3), 1: trial(1, 3, 2)}, "B": {0: trial(2, 1, 3)}}
    assert "A in 1 of 2, B in 0 of 1" in poster_table.protocols_in_order(trials)


def test_mistakes_end_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["poster_table.py", str(tmp_path / "absent")])
    with pytest.raises(SystemExit, match=r"error: .*absent is not a folder"):
        poster_table.main()


def test_the_ablation_sets_back_whatever_strong_changes() -> None:
    strong, poster = RECIPES["strong"], RECIPES["poster"]
    changed = {name for name, value in poster if getattr(strong, name) != value}
    set_back = read_assignments([setting for settings in ablation.SET_BACK.values() for setting in settings])
    assert set_back.keys() == changed
    assert strong.changed(**set_back) == poster


def test_the_ablation_has_settings_that_exist_and_every_method_once() -> None:
    strong = RECIPES["strong"]
    for settings in ablation.OTHERS.values():
        assert strong.changed(**read_assignments(settings)) != strong
    names = [method.name for method in ablation.methods()]
    assert (names[0], names[-1]) == ("strong", "poster")
    assert len(set(names)) == len(ablation.SET_BACK) + len(ablation.OTHERS) + 2
    assert ablation.methods()[1].options == ("--recipe", "strong", "--set", "bnneck=false")


def test_one_level_is_compared_at_the_size_of_one_and_of_all() -> None:
    sizes = {}
    for method in levels.METHODS:
        words = dict(zip(method.options[::2], method.options[1::2], strict=True))
        assignments = [
            value for name, value in zip(method.options[::2], method.options[1::2], strict=True) if name == "--set"
        ]
        recipe = RECIPES[words["--recipe"]].changed(**read_assignments(assignments))  # type: ignore[index]
        count = len(words.get("--levels", "2,3,4").split(","))
        sizes[method.name] = (words.get("--loss", recipe.loss), count, count * recipe.embedding_size)
    for name in ("strong", "poster"):
        assert sizes[f"{name}: Multi-level RLL"] == ("rll", 3, 1536)
        assert sizes[f"{name}: Triplet, 1536"] == ("triplet", 1, 1536)
        assert sizes[f"{name}: Triplet, 512"] == ("triplet", 1, 512)
