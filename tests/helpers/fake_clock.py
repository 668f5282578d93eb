"""A clock that moves when it is told to."""

from __future__ import annotations


class FakeClock:
    """Stands still, but for `sleep`."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
