"""Which turns say little about a subject, because something else took its time.

Three things do, and for each the meters tell which share of a turn it took: waiting for a CPU that others had, time
that a hypervisor gave to other machines, and clocks that were lowered (or a quota that was used up). A turn that loses
the share x takes 1 / (1 - x) times as long. On a virtual machine with two cores and neighbors that came and went, 200
turns of a subject with one thread took 3.2 times as long at a waiting share of 0.5 to 0.8, 1.6 times at 0.3 to 0.5, and
no longer than the undisturbed ones below 0.1; the rank correlation of the share with the time was 0.97. With the CPU
time of the neighbors alone it is 0.89: on a machine with free cores, they disturb nobody.

A turn is marked if it kept less than 1 - `LIMIT` of the time that the calm turns of the same subject and batch size
kept: it took that much longer than they did. *Than the calm ones*, because a machine may always be busy, and a subject
with more threads than cores always waits for itself: that is what its user would get, and to mark every turn would
leave nothing. It is said instead (`steady_disturbances`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from reid.bench.meters.turns import Reading
from reid.bench.records import Disturbance

__all__ = ["CALM", "LIMIT", "disturbances", "steady_disturbances"]

LIMIT: Final = 0.10
"""The share of a turn. What takes less than a tenth is within what turns differ by anyway; and the kernel counts stolen
time in steps of 10 ms, of which a turn of a quarter of a second has 25."""

CALM: Final = 0.10
"""The turns that lost least, as a share: a neighbor that is there for less than nine tenths of the time is found."""


def disturbances(readings: Sequence[Reading]) -> list[tuple[Disturbance, ...]]:
    """Return what disturbed each turn; nothing for a turn that counts.

    Args:
        readings: the turns of one subject with one batch size, over the whole run.
    """
    losses = {kind: loss(readings) for kind, loss in _LOSSES.items()}
    return [
        tuple(kind for kind, lost in losses.items() if 1 - lost[turn] < (1 - _calm(lost)) * (1 - LIMIT))
        for turn in range(len(readings))
    ]


def steady_disturbances(readings: Sequence[Reading]) -> tuple[Disturbance, ...]:
    """Return what took more than `LIMIT` even of the calm turns: the whole run had to live with it."""
    return tuple(kind for kind, loss in _LOSSES.items() if readings and _calm(loss(readings)) > LIMIT)


def _calm(losses: Sequence[float]) -> float:
    return float(np.quantile(losses, CALM))


def _waiting(readings: Sequence[Reading]) -> list[float]:
    """Return the share of each turn in which a busy thread waited for a CPU."""
    wanted = max((reading.own_cores or 0.0 for reading in readings), default=0.0)
    return [_overlap(reading, wanted) if reading.waited_share is None else reading.waited_share for reading in readings]


def _overlap(reading: Reading, wanted: float) -> float:
    """Estimate the waiting where the kernel does not count it: the cores that both the subject and others wanted."""
    if reading.others_cores is None or not wanted:
        return 0.0
    return float(np.clip((reading.others_cores + wanted - reading.usable_cores) / wanted, 0.0, 1.0))


def _stealing(readings: Sequence[Reading]) -> list[float]:
    return [reading.stolen_share or 0.0 for reading in readings]


def _throttling(readings: Sequence[Reading]) -> list[float]:
    """Return the share of each turn in which something held it up, or by which its clock was below the usual one."""
    clocks = [reading.clock_mhz for reading in readings if reading.clock_mhz is not None]
    usual = float(np.quantile(clocks, 1 - CALM)) if clocks else 0.0
    return [max(_slower(reading.clock_mhz, usual), *reading.throttled.values(), 0.0) for reading in readings]


def _slower(clock_mhz: float | None, usual: float) -> float:
    return 0.0 if clock_mhz is None or not usual else 1 - clock_mhz / usual


_LOSSES: Final[Mapping[Disturbance, Callable[[Sequence[Reading]], list[float]]]] = {
    "busy_neighbor": _waiting,
    "stolen": _stealing,
    "throttled": _throttling,
}
