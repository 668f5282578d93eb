"""Clusters that cannot be reached: one line, at once, and nothing of Ray's own on the terminal."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from reid.runtime.embedding_jobs import on_ray
from reid.runtime.embedding_jobs.on_ray import Cluster, connected
from reid.runtime.errors import SessionError

pytest.importorskip("ray", reason="needs Ray")


def test_an_address_at_which_nothing_answers_is_an_error_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(SessionError, match=rf"Ray cannot be reached at {address} \(.*refused\); start one with"):
            connected(Cluster(address)).__enter__()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "nowhere"])
def test_what_is_no_address_of_a_cluster_is_an_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SessionError, match=f"Ray cannot be reached at {address}"):
        connected(Cluster(address)).__enter__()


def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with on_ray._scratch() as mine:
        Path(mine).with_name("reid-ray-of-others").mkdir()
        (Path(mine).with_name(f"reid-ray-{ended.pid}-abc") / "session").mkdir(parents=True)
        with on_ray._scratch() as again:
            assert {str(path) for path in tmp_path.iterdir()} == {mine, again, str(tmp_path / "reid-ray-of-others")}
            assert f"-{os.getpid()}-" in again
    assert [path.name for path in tmp_path.iterdir()] == ["reid-ray-of-others"]
