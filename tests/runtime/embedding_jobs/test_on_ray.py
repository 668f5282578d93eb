"""Clusters that cannot be reached: one line, at once, and nothing of Ray's own on the terminal."""

from __future__ import annotations

import socket

import pytest

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
