"""The examples of docs/live-tracks.md, docs/identities.md and docs/trackers.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import reid

DOCS = Path(__file__).parents[3] / "docs"


def run(name: str) -> None:
    """Run what a document shows, one example after another, as in one program."""
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", (DOCS / name).read_text(), flags=re.MULTILINE | re.DOTALL):
        exec(compile(code, name, "exec"), names)


def test_the_examples_of_live_tracks(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    run("live-tracks.md")
    printed = capsys.readouterr().out
    assert printed.count("so far:") == 5
    assert "17 north 20 0 [" in printed
    assert "17 south 20 0 [" in printed
    assert (
        "'north': CameraCounts(pushed=20, embedding=20, dropped=0, repeated=0, refused=0, skipped=0, forgotten=0, lost"
        in printed
    )
    assert "north/17@0.000 0.38 1 19 " in printed
    assert re.search(r"seen at (north|south) 1\.0\n", printed)
    assert len(list((tmp_path / "pictures").iterdir())) == 2


def test_the_examples_of_identities(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reid, "threshold_of", lambda *_: 0.9)  # the bundle of the tests has no operating points
    with reid.open_session("bundle") as session, reid.Store.create("seen", session.info.space) as store:
        entries = [reid.Entry(f"{number}", "c1", f"{number}", float(number)) for number in range(3)]
        store.add(entries, np.eye(3, session.info.space.dimensions, dtype=np.float32))
    run("identities.md")


def test_the_example_of_trackers(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    run("trackers.md")
    assert capsys.readouterr().out == "(2, 32) float32\n"
