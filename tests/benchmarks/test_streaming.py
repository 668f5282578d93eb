"""Every way embeds every file; what its turns say is what the table shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming
import streaming_ways
from numpy.typing import NDArray

from reid.runtime.model_card import Level, ModelCard, Preprocessing
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.session import SessionInfo

FRAMES = 50
CARD = ModelCard(
    format_version=1,
    fingerprint="",
    backbone="none",
    levels=(Level(name="level4", size=2),),
    preprocessing=Preprocessing(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1)),
)


@pytest.mark.parametrize("way", streaming_ways.WAYS)
def test_a_way_embeds_all_files_and_padding_as_much_as_it_fills_up(way: str, veri: Path) -> None:
    embedded = 0

    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        nonlocal embedded
        embedded += len(frames)
        rows = np.ones((len(frames), 2), np.float32)
        return rows, pooling @ rows

    session = HostSession(SessionInfo("none", "1", "CPU", "fp32", CARD), infer)
    tracklets = list(streaming_ways.tracklets_of(veri, FRAMES))
    lengths = [len(one.frames) for one in tracklets]
    assert sum(lengths) == FRAMES
    found = streaming_ways.Way(way, session, tracklets, FRAMES).take({})
    full = [-(-length // streaming_ways.PADDED) * streaming_ways.PADDED for length in lengths]
    assert embedded == (sum(full) if way == "padded" else FRAMES)
    assert found["frames_per_s"] > 0


def test_the_table_has_each_way_beside_the_session_of_the_same_rounds() -> None:
    def turns(*rates: float, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        return [{"frames_per_s": rate, "cpu_ms_per_frame": 2.0, **more} for rate in rates]

    session = turns(100, 50, 80)
    pipeline = turns(90, 45, 72, occupancy_percent=99.8, limited_by="model")
    ways = {"session": streaming.summary(session, session, 900), "pipeline": streaming.summary(pipeline, session, 1000)}
    assert ways["pipeline"].of_session_percent.value == pytest.approx(90)
    rows = [[cell.strip() for cell in line.split("|")] for line in streaming.table(ways).splitlines()[2:]]
    assert rows[1][1:3] == ["pipeline", "model"]
    assert rows[1][5:8] == ["2.00 ms", "1,000 MiB", "99.8 %"]
    assert rows[0][7] == ""
