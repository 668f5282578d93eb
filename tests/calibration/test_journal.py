from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from reid.calibration.journal import Journal

FACTS = {"methods": ("max", "mse"), "seed": 0}


def never() -> Any:  # noqa: ANN401
    pytest.fail("this was measured before")


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.json"
    first = Journal(path, FACTS)
    assert first.remember("a", lambda: {"error": 0.1, "names": ("x", "y")}) == {"error": 0.1, "names": ["x", "y"]}
    assert first.remember("a", never) == {"error": 0.1, "names": ["x", "y"]}
    again = Journal(path, FACTS)
    assert len(again) == 1
    assert again.remember("a", never) == {"error": 0.1, "names": ["x", "y"]}
    assert again.remember("b", lambda: None) is None
    assert Journal(path, FACTS).remember("b", never) is None  # None is a result, too


def test_results_under_other_facts_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    Journal(path, FACTS).remember("a", lambda: 1)
    other = Journal(path, {**FACTS, "seed": 1})
    assert len(other) == 0
    assert other.remember("a", lambda: 2) == 2
    assert len(Journal(path, FACTS)) == 0


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "7", '{"entries": {"a": 1}}', json.dumps({"facts": FACTS, "entries": [1]}), "\udcff"]
)
def test_a_damaged_journal_starts_empty(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.json"
    path.write_bytes(damage.encode(errors="surrogateescape"))
    journal = Journal(path, FACTS)
    assert journal.remember("a", lambda: math.pi) == math.pi
    assert Journal(path, FACTS).remember("a", never) == math.pi


def test_a_failed_measurement_leaves_what_there_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    journal = Journal(path, FACTS)
    journal.remember("a", lambda: 1)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        journal.remember("b", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_file_it_remembers_as_long_as_it_lives() -> None:
    journal = Journal(None, FACTS)
    assert journal.remember("a", lambda: 1) == journal.remember("a", never)
