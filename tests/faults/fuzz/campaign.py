"""Many mutants of many formats, judged in parallel."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from fuzz.runner import Finding, Format, Tally, run_slice

__all__ = ["Campaign", "Slice", "fuzz", "prepare_server", "share_of", "slices"]

_SLICE = 4000
"""Mutants that one process judges at most, so that all processes end at about the same time."""


@dataclass(frozen=True)
class Slice:
    """Some mutants of a format."""

    form: Format
    numbers: range


@dataclass(frozen=True)
class Campaign:
    """What became of all mutants, by format, and the time that it took by the clock, in seconds."""

    tallies: dict[str, Tally]
    seconds: float

    @property
    def findings(self) -> list[Finding]:
        """The first finding of each cause."""
        return [finding for tally in self.tallies.values() for finding in tally.findings]


def share_of(form: Format, forms: Iterable[Format], total: int) -> int:
    """Return how many of so many mutants in all are of one format."""
    return round(total * form.share / sum(one.share for one in forms))


def slices(forms: Sequence[Format], total: int, *, whole: bool = False) -> list[Slice]:
    """Divide so many mutants among the formats, and those of a format into parts, unless they shall stay together."""
    parts = []
    for form in forms:
        count = share_of(form, forms, total)
        size = count if whole else _SLICE
        parts += [Slice(form, range(first, min(first + size, count))) for first in range(0, count, size)]
    return parts


def fuzz(parts: Sequence[Slice], *, processes: int) -> Campaign:
    """Judge all mutants, so many processes at a time, with a line of progress."""
    prepare_server()
    began, done, total = time.monotonic(), 0, sum(len(part.numbers) for part in parts)
    tallies = {part.form.name: Tally() for part in parts}
    with ThreadPoolExecutor(processes) as pool:
        slowest_first = sorted(parts, key=lambda part: part.form.share)  # what starts last should end soon
        running = {pool.submit(run_slice, part.form, part.numbers): part for part in slowest_first}
        for finished in as_completed(running):
            part = running[finished]
            tallies[part.form.name].merge(finished.result())
            done += len(part.numbers)
            escaped = sum(tally.causes.total() for tally in tallies.values())
            _show(f"{done:,} of {total:,} mutants, {escaped:,} findings, {time.monotonic() - began:,.0f} s")
    _show("", end="\n")
    return Campaign(tallies, time.monotonic() - began)


def prepare_server() -> None:
    """Let one process import what is slow to import, and fork the others from it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    slow = ["reid.train.model.checkpoint", "reid.train.run.folder", "reid.train.run.origin", "reid.export.triton"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(slow)


def _show(line: str, end: str = "") -> None:
    print(f"\r\x1b[K{line}" if sys.stderr.isatty() else f"{line}\n" * (not end), end=end, file=sys.stderr, flush=True)
