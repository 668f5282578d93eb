from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reid.bench.models import read_model
from reid.bench.peers.foreign import foreign_peer
from reid.runtime.errors import ReidError


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "peer.py"
    file.touch()
    return file


def test_a_peer_of_ones_own_runs_its_script_with_its_interpreter(
    script: Path, checkpoint: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = script.parent / "environment"
    environment.symlink_to(sys.executable)  # as in a virtual environment, where the link's place matters
    monkeypatch.chdir(script.parent)
    peer = foreign_peer("Other way=./environment:peer.py", [read_model(checkpoint), read_model(bundle)])
    assert (peer.name, peer.kind) == ("Other way", "peer")
    assert peer.python == str(environment)
    assert peer.opener == f"{script}:open_subject"
    assert peer.model.path == bundle  # other libraries do not know our checkpoints


def test_without_an_interpreter_it_is_this_one(script: Path, checkpoint: Path) -> None:
    peer = foreign_peer(f"mine={script}", [read_model(checkpoint)])
    assert peer.python == str(Path(sys.executable).absolute())
    assert peer.model.path == checkpoint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("peer.py", "names no peer"),
        ("=peer.py", "names no peer"),
        ("name=", "names no peer"),
        ("name=absent.py", "no script absent.py"),
        ("name=absent-python:peer.py", "no interpreter absent-python"),
    ],
)
def test_what_is_wrong_is_named(
    text: str, reason: str, script: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(script.parent)
    with pytest.raises(ReidError, match=reason) as raised:
        foreign_peer(text, [read_model(checkpoint)])
    assert "NAME=PYTHON:SCRIPT" in str(raised.value)
