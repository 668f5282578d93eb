"""From turns to figures: a ratio is one of the same rounds."""

from __future__ import annotations

import pytest

from reid.bench.meters.turns import Reading
from reid.bench.replies import TimedTurn
from reid.bench.result import WarmUp
from reid.bench.rounds import Cell
from reid.bench.summary import Sample, batch_results

CALM = Reading(
    seconds=0.25,
    energy_j=None,
    clock_mhz=None,
    usable_cores=2,
    own_cores=None,
    others_cores=None,
    waited_share=None,
    stolen_share=None,
    throttled={},
)


def rounds_of(**batch_ms: float) -> dict[Cell, list[Sample]]:
    """Ten rounds of each subject, by the time of its batches of four frames."""
    return {
        Cell(name, 4): [
            Sample(TimedTurn(wall_ms=(one,) * 5, cpu_s=0.01, untimed=1, started=number, ended=number + 1), CALM)
            for number in range(10)
        ]
        for name, one in batch_ms.items()
    }


@pytest.mark.parametrize(
    ("peer", "ratios"),
    [
        ("peer", {"ours": 2, "peer": 1, "program": None, "other_program": None}),
        ("program", {"ours": None, "peer": None, "program": 1, "other_program": 0.5}),
        ("", dict.fromkeys(("ours", "peer", "program", "other_program"))),
    ],
)
def test_what_had_as_many_turns_in_other_rounds_has_no_ratio(peer: str, ratios: dict[str, float | None]) -> None:
    rounds = rounds_of(ours=10, peer=20, program=5, other_program=10)
    warm_ups = dict.fromkeys(rounds, WarmUp(batches=6, seconds=1, stable=True))
    found = batch_results(rounds, warm_ups, peer, apart={"program", "other_program"})
    times_peer = {name: batch.times_peer for name, (batch,) in found.items()}
    assert {name: one and one.value for name, one in times_peer.items()} == pytest.approx(ratios)
