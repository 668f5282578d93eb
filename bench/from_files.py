"""From JPEG files to embeddings and a ranking, as `reid-infer` goes: what the plumbing costs."""

from __future__ import annotations

from pathlib import Path

from reid.bench.estimates import estimate, estimate_ratio
from reid.bench.process import HostProcess
from reid.bench.records import Estimate
from reid.bench.result import EndToEnd

__all__ = ["GALLERY", "measure_from_files"]

GALLERY = 10_000
"""Embeddings in the gallery that is ranked: about as many as VeRi-776 has."""

_ROUND_S = 2.0
"""Long enough for the first and the last batch, which overlap with nothing, to count for little."""

_RANKING_S = 120.0


def measure_from_files(host: HostProcess, jpegs: Path, rate: Estimate, *, seconds: float, unseen: float) -> EndToEnd:
    """Measure one of our sessions.

    Args:
        host: the session's process.
        jpegs: the folder of the JPEG files.
        rate: the session's throughput.
        seconds: about how long to measure.
        unseen: what runs on this machine differ by; see `estimate`.
    """
    frames = max(32, round(rate.value * _ROUND_S))
    # A machine that is slower now than it was in the turns has time for it.
    found = host.ask("end_to_end", 10 * seconds + 600, folder=str(jpegs), frames=frames, seconds=seconds)
    ranked = host.ask("rank", _RANKING_S, gallery=GALLERY)
    through, bare = zip(*found["rounds"], strict=True)
    share, (cpu_ms, session_cpu_ms) = estimate_ratio(through, bare), found["cpu_ms_per_frame"]
    assert share is not None
    return EndToEnd(
        frames_per_s=estimate(through, unseen),
        of_session_percent=share.scaled(100),
        limited_by=found["limited_by"],
        stage_ms_per_frame=found["stage_ms_per_frame"],
        cpu_ms_per_frame=cpu_ms,
        session_cpu_ms_per_frame=session_cpu_ms,
        ranking_ms_per_query=ranked["ms_per_query"],
        gallery=GALLERY,
        peak_memory_mib=host.memory().host,
    )
