"""One of our sessions as the subject of a process, and what only our sessions can be asked: the way from files."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.ranking import top_k
from reid.runtime.opening import open_unchecked
from reid.runtime.pipeline.events import events_of
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.self_check import check_session
from reid.runtime.sessions.opened import Opened
from reid.runtime.sessions.session import run
from reid.runtime.tracklet import Tracklet

__all__ = ["SessionSubject", "open_subject"]

_TRACKLET = 8
"""Frames of a tracklet, about as many as one of VeRi-776 has."""

_RANKED, _MATCHES = 64, 10


def open_subject(request: Mapping[str, Any]) -> SessionSubject:
    """Open a model with a session: what `open_session` does, but for the self-check."""
    warnings = _Warnings()
    logging.getLogger("reid").addHandler(warnings)
    opened = open_unchecked(request["model"], request["session"], request["precision"])
    if opened.note:
        warnings.said[opened.note] = None
    return SessionSubject(opened, warnings)


class SessionSubject:
    """A session, as `reid.bench.host` times it."""

    def __init__(self, opened: Opened, warnings: _Warnings) -> None:
        self._session, self._reference, self._warnings = opened.session, opened.reference, warnings
        info, limits = self._session.info, self._session.limits
        backend, _, device = str(info).partition(" on ")
        self.facts: Mapping[str, str] = {"backend": backend, "device": device, "precision": info.precision}
        self.most_frames = limits.frames
        self.commands: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "check": self.check,
            "end_to_end": self.end_to_end,
            "rank": self.rank,
            "notes": self.notes,
        }

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch, uint8 [N, 3, H, W] -> float32 [N, D]."""
        return run(self._session, frames, np.ones((1, len(frames)), np.float32)).frame_embedding

    def check(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Check the session against the bundle's reference crops, as opening it otherwise does.

        Raises:
            ModelError: it embeds them unlike PyTorch.
        """
        if self._reference is not None:
            check_session(self._session, self._reference)
        return {"checked": self._reference is not None}

    def end_to_end(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Embed JPEG files through the pipeline, in turns with full batches that lie ready in memory.

        Args:
            request: "folder": of the JPEG files; "frames": how many of them, one after another, a turn embeds;
                "seconds": how long to take turns.

        Returns:
            "rounds": [the pipeline's frames per second, the bare session's]; "limited_by": the stage that the others
            wait for; "stage_ms_per_frame": what each stage takes; "cpu_ms_per_frame": the process's CPU time, of the
            pipeline and of the bare session.
        """
        count, end = int(request["frames"]), time.perf_counter() + float(request["seconds"])
        files = sorted(Path(request["folder"]).iterdir())
        stages = Stages()
        rounds: list[tuple[float, float]] = []
        cpu_s = [0.0, 0.0]
        self._through_pipeline(files, count, Stages())  # the first use of everything is not timed
        while len(rounds) < 3 or time.perf_counter() < end:
            begun = time.process_time()
            through = self._through_pipeline(files, count, stages)
            between = time.process_time()
            rounds.append((through, self._bare(count)))
            cpu_s = [cpu_s[0] + between - begun, cpu_s[1] + time.process_time() - between]
        return {
            "rounds": rounds,
            "cpu_ms_per_frame": [1000 * spent / (count * len(rounds)) for spent in cpu_s],
            "limited_by": stages.limiting,
            "stage_ms_per_frame": {name: 1000 * spent / stages.frames for name, spent in stages.busy_s.items()},
        }

    def rank(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Rank a gallery of so many random embeddings, "gallery", for queries; return the time of a query in ms."""
        random = np.random.default_rng(0)
        embeddings = random.standard_normal((int(request["gallery"]) + _RANKED, self._session.info.card.dimensions))
        embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
        queries, gallery = embeddings[:_RANKED], embeddings[_RANKED:]
        times = []
        for _ in range(3):
            start = time.perf_counter()
            top_k(queries, gallery, _MATCHES)
            times.append(time.perf_counter() - start)
        return {"ms_per_query": 1000 * sorted(times)[1] / _RANKED}

    def notes(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return "notes": what the session warned of since it was opened, each once."""
        return {"notes": list(self._warnings.said)}

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def _through_pipeline(self, files: list[Path], count: int, stages: Stages) -> float:
        start = time.perf_counter()
        for _ in embed_events(self._session, events_of(_tracklets(files, count)), stages=stages):
            pass
        return count / (time.perf_counter() - start)

    def _bare(self, count: int) -> float:
        size, most = self._session.info.card.preprocessing, self.most_frames
        frames = np.random.default_rng(0).integers(0, 256, (most, 3, size.height, size.width), np.uint8)
        start = time.perf_counter()
        for first in range(0, count, most):
            self.embed(frames[: min(most, count - first)])
        return count / (time.perf_counter() - start)


class _Warnings(logging.Handler):
    """Keeps what the library warns of: whatever slows a session down has to be told with its speed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.said[record.getMessage()] = None


def _tracklets(files: list[Path], count: int) -> Iterator[Tracklet]:
    """Yield tracklets of the files, again and again, until they have so many frames."""
    endless = itertools.cycle(files)
    for first in range(0, count, _TRACKLET):
        frames = tuple(itertools.islice(endless, min(_TRACKLET, count - first)))
        yield Tracklet(f"tracklet {first // _TRACKLET}", frames)
