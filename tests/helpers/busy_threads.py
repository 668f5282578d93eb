"""Work in threads, and waiting for what it brings about."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["WAIT_S", "in_threads", "results", "until"]

T = TypeVar("T")

WAIT_S = 10.0


def until(condition: Callable[[], bool]) -> bool:
    """Wait for a condition, but not for ever; return whether it holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()


def in_threads(work: Callable[[int], T], count: int = 8) -> list[Future[T]]:
    """Begin work in threads, each with its number."""
    threads = ThreadPoolExecutor(count)
    try:
        return [threads.submit(work, number) for number in range(count)]
    finally:
        threads.shutdown(wait=False)


def results(begun: list[Future[T]]) -> list[T]:
    """Return what the threads return."""
    return [one.result(WAIT_S) for one in begun]
