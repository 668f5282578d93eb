from __future__ import annotations

import json
import math
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, FiniteFloat

from reid.calibration.journal import Journal, check_journal, remove_journal
from reid.calibration.probe import Effect
from reid.runtime.errors import ReidError

FACTS = {"methods": ("max", "mse"), "seed": 0}


class Found(BaseModel):
    error: FiniteFloat
    names: tuple[str, ...]


FOUND = Found(error=0.1, names=("x", "y"))


def never() -> Any:  # noqa: ANN401
    pytest.fail("this was measured before")


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.json"
    first = Journal(path, FACTS)
    assert first.remember("a", Found, lambda: FOUND) == FOUND
    assert first.remember("a", Found, never) == FOUND
    again = Journal(path, FACTS)
    assert len(again) == 1
    assert again.remember("a", Found, never) == FOUND
    assert again.remember("b", Effect, lambda: Effect(0.1, 0.2, None)) == Effect(0.1, 0.2, None)
    assert Journal(path, FACTS).remember("b", Effect, never) == Effect(0.1, 0.2, None)


def test_results_under_other_facts_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    Journal(path, FACTS).remember("a", int, lambda: 1)
    other = Journal(path, {**FACTS, "seed": 1})
    assert len(other) == 0
    assert other.remember("a", int, lambda: 2) == 2
    assert len(Journal(path, FACTS)) == 0


def test_facts_with_names_that_are_not_utf8_are_known_again(tmp_path: Path) -> None:
    facts = {"probe": [os.fsdecode(b"caf\xe9.jpg")]}
    Journal(tmp_path / "journal.json", facts).remember("a", int, lambda: 1)
    assert Journal(tmp_path / "journal.json", facts).remember("a", int, never) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        '{"entries": {"a": 1}}',
        '{"facts": {}, "entries": {}, "mine": 1}',
        json.dumps({"facts": FACTS, "entries": [1]}),
        json.dumps({"facts": FACTS, "entries": {"a": 1}})[:-1],
        '{"facts": {}, "entries": {"a": ' + "[" * 400 + "]" * 400 + "}}",
        "[" * 100_000,
        "\udcff",
    ],
    ids=range(11),
)
def test_a_file_that_is_no_journal_is_refused_in_one_line_and_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal.json"
    path.write_bytes(before := content.encode(errors="surrogateescape"))
    for refusing in (check_journal, lambda it: Journal(it, FACTS)):
        with pytest.raises(ReidError, match=rf"^{path}.*; move it elsewhere, or choose another --output$"):
            refusing(path)
    remove_journal(path)
    assert path.read_bytes() == before


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    folder, pipe, link, peer = (tmp_path / name for name in ("folder", "pipe", "link", "peer"))
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(peer))
    for path, named in ((folder, "a folder"), (pipe, "a named pipe"), (link, "No such file"), (peer, "a socket")):
        with pytest.raises(ReidError, match=f"^{path}: {named}.*; move it elsewhere"):
            check_journal(path)
        remove_journal(path)
        assert os.path.lexists(path)


def test_another_users_journal_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.json"
    Journal(path, FACTS).remember("a", int, lambda: 1)
    check_journal(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(ReidError, match="belongs to another user; move it elsewhere"):
        Journal(path, FACTS)
    remove_journal(path)
    assert path.exists()


@pytest.mark.parametrize(
    "entry", [None, 7, "text", [], {}, {"error": "much", "names": []}, {"error": math.nan, "names": []}]
)
def test_a_damaged_entry_is_one_line_that_says_what_to_remove(tmp_path: Path, entry: Any) -> None:  # noqa: ANN401
    path = tmp_path / "journal.json"
    path.write_text(json.dumps({"facts": FACTS, "entries": {"a": entry}}))
    journal = Journal(path, FACTS)
    with pytest.raises(ReidError, match=rf"^{path}: 'a' is damaged \(.*\); remove the file to measure again$"):
        journal.remember("a", Found, never)


def test_a_journal_that_is_no_longer_needed_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    Journal(path, FACTS).remember("a", int, lambda: 1)
    for _ in range(2):
        remove_journal(path)
        assert not path.exists()
    remove_journal(None)


def test_a_failed_measurement_leaves_what_there_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    journal = Journal(path, FACTS)
    journal.remember("a", int, lambda: 1)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        journal.remember("b", int, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_file_it_remembers_as_long_as_it_lives() -> None:
    journal = Journal(None, FACTS)
    assert journal.remember("a", int, lambda: 1) == journal.remember("a", int, never)
