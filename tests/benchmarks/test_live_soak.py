"""The soak of live tracks, for a fraction of a second: it finds nothing wrong, and what a stream does wrong."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import live_soak
import pytest

from reid.runtime.live.growing import Growing
from reid.runtime.live.inbox import Inbox
from reid.runtime.live.tracks import LiveTrack

OPTIONS = argparse.Namespace(minutes=0.005, rate=200.0, load=4.0, room=8)


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_soak, "SAMPLES", 2)
    monkeypatch.setattr(live_soak, "EXPIRE_S", 1000)  # a thread may have to wait for seconds on a busy machine


def test_more_than_can_be_taken_is_dropped_and_all_adds_up() -> None:
    result, problems = live_soak.soak(OPTIONS)
    assert problems == []
    assert sum(one["dropped"] for one in result["cameras"].values()) > 0
    assert f"| tracks | {result['tracks']}, of which 0 were abandoned; 0 wrong |" in live_soak.table(result)


def lose_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Inbox, "finish_all", Inbox.clear)


def embed_wrongly(patch: pytest.MonkeyPatch) -> None:
    result: Callable[[Growing], LiveTrack] = Growing.result
    patch.setattr(Growing, "result", lambda track: replace(result(track), embedding=None))


@pytest.mark.parametrize(
    ("spoil", "problem"), [(lose_ends, "tracks have no fate"), (embed_wrongly, "tracks are wrong")]
)
def test_what_goes_wrong_is_found(
    spoil: Callable[[pytest.MonkeyPatch], None], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    _, problems = live_soak.soak(OPTIONS)
    assert any(problem in one for one in problems), problems
