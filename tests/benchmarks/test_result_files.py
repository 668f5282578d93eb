from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import result_files
import side_by_side

from reid.bench.environment import Environment
from reid.bench.rounds import LEAST_ROUNDS


def test_the_command_to_repeat_a_run_names_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["/home/me/reid/benchmarks/ranking.py", "--fastreid", "/home/me/a clone", "-n", "3"]
    )
    assert result_files.command() == "python benchmarks/ranking.py --fastreid 'a clone' -n 3"


def test_the_machine_is_stored_as_reid_bench_stores_it() -> None:
    stored = json.loads(json.dumps(result_files.environment()))
    assert Environment.model_validate(stored).libraries["reid"]


def test_a_table_lies_beside_its_figures(tmp_path: Path) -> None:
    result_files.write_result(tmp_path / "new" / "one.json", {"a": 1}, "| a |\n")
    result_files.write_result(tmp_path / "new" / "two.json", {})
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["one.json", "one.md", "two.json"]
    assert json.loads((tmp_path / "new" / "one.json").read_text()) == {"a": 1}
    assert (tmp_path / "new" / "one.md").read_text() == "| a |\n"


def test_texts_are_on_the_left_of_a_table_and_figures_on_the_right() -> None:
    table = result_files.markdown_table(["", "by", "s"], [["a", "b", "1"]], texts=2)
    assert table == "|  | by | s |\n| --- | --- | ---: |\n| a | b | 1 |\n"


def test_a_machine_that_becomes_slower_does_not_change_the_ratio() -> None:
    taken: list[str] = []

    def turn(name: str, seconds: float) -> float:
        taken.append(name)
        return seconds * (1 + (len(taken) - 1) // 2)  # each round is slower than the one before

    turns = {"ours": lambda: turn("ours", 1), "other": lambda: turn("other", 4)}
    figures = side_by_side.compare_in_turns(turns, seconds=0)
    assert taken.count("ours") == taken.count("other") == LEAST_ROUNDS
    assert taken[:4] == ["ours", "other", "other", "ours"]  # neither is always first
    assert figures["ratio"].value == 0.25
    assert figures["ours"].value == (LEAST_ROUNDS + 1) / 2
    assert side_by_side.as_text("a step, s", {"ratio": figures["ratio"]}).startswith("a step, s: ratio 0.25")
