"""Read gauges again and again in a thread while a turn runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event, Thread
from typing import TypeAlias

from reid.bench.meters.trace import Trace

__all__ = ["Gauge", "Sampler", "Sign"]

Gauge: TypeAlias = Callable[[], "float | None"]
"""Tells a value of this moment, or None where it cannot."""

Sign: TypeAlias = Callable[[], "frozenset[str]"]
"""Tells what lowers the clocks at this moment."""

INTERVAL_S = 0.05
"""Five samples in a turn of a quarter of a second; the sensors themselves average over 20 to 100 ms."""

MOST_LOAD = 0.05
"""The share of a core that reading may take; slow sensors are read less often."""


class Sampler:
    """Samples gauges from its creation until `stop`."""

    def __init__(self, gauges: Mapping[str, Gauge], sign: Sign) -> None:
        self._gauges, self._sign = gauges, sign
        self._samples: dict[str, list[tuple[float, float]]] = {name: [] for name in gauges}
        self._signs: set[str] = set()
        self._over = Event()
        self._thread = Thread(target=self._run, name="meters", daemon=True)
        self._thread.start()

    def stop(self) -> tuple[dict[str, Trace], frozenset[str]]:
        """End the thread; return each gauge's samples and every sign that was seen."""
        self._over.set()
        self._thread.join()
        return {name: Trace.of(samples) for name, samples in self._samples.items()}, frozenset(self._signs)

    def _run(self) -> None:
        """Read at least once, however soon the turn is over."""
        wait = 0.0
        while not wait or not self._over.wait(wait):
            begun = time.monotonic()
            self._read()
            wait = max(INTERVAL_S, (time.monotonic() - begun) / MOST_LOAD)

    def _read(self) -> None:
        for name, gauge in self._gauges.items():
            before = time.monotonic()
            value = gauge()
            if value is not None:
                self._samples[name].append(((before + time.monotonic()) / 2, value))
        self._signs |= self._sign()
