"""Requests and their replies, as objects of JSON; a reply is what `bench/replies.py` reads.

    {"do": "open", "model": .., "frames": "frames.npy", "imports": ["openvino"], ..}
                                        -> {"facts", "most_frames", "import_s", "open_s", "first_batch_s"}
    {"do": "warm_up", "frames": 8, "at_most_s": 10}       -> {"batches", "seconds", "stable"}
    {"do": "turn", "frames": 8, "seconds": 0.25}          -> {"wall_ms", "cpu_s", "untimed", "started", "ended"}
    {"do": "server", "frames_per_s": 50, "seconds": 5, "seed": 0, "most_frames": 8}     -> {"latency_ms", "unfinished"}
    {"do": "embed", "output": "embeddings.npy", "frames": 8}                            -> {}
    {"do": "memory"}                                      -> {"host", "device"}
    {"do": another, ..}                                   -> what the subject's `commands` has under that name

A request that fails has the reply {"error": a line, "kind": the exception's class}, and the next one may be sent.
"""

from __future__ import annotations

import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from reid.bench.host.memory import peak_host_mib
from reid.bench.host.server import arrivals, serve
from reid.bench.host.subject import Subject, load_opener
from reid.bench.host.timing import take_turn
from reid.bench.host.warm_up import warm_up

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Host", "answer"]

Request: TypeAlias = dict[str, Any]
Reply: TypeAlias = Mapping[str, Any]

_FIRST_RUNS = 3
"""A library may compile for a size when it comes first, and capture a CUDA graph when it comes for the third time."""

_LONGEST = 1000
"""Length of the line that says what failed, in characters."""


def answer(host: Host, requests: Iterable[str], send: Callable[[str], object]) -> None:
    """Answer requests, a line each, until there are no more."""
    for line in requests:
        try:
            reply = host.do(json.loads(line))
        except (Exception, SystemExit) as error:  # libraries raise anything
            traceback.print_exc()
            text = " ".join(str(error).split())[:_LONGEST]
            reply = {"error": text or type(error).__name__, "kind": type(error).__name__}
        send(json.dumps(reply) + "\n")
    host.close()


class Host:
    """One subject and the frames that it is timed with."""

    def __init__(self, opener: str, startup_s: float = 0.0) -> None:
        """Open nothing yet.

        Args:
            opener: what opens the subject, as `load_opener` takes it.
            startup_s: how long the process took until now.
        """
        self._opener = opener
        self._startup_s = startup_s
        self._subject: Subject | None = None
        self._frames: NDArray[np.uint8]
        self._batches: dict[int, NDArray[np.uint8]] = {}
        self._runs: Counter[int] = Counter()

    def do(self, request: Request) -> Reply:
        """Answer one request."""
        name = request["do"]
        if name == "open":
            return self._open(request)
        if self._subject is None:
            raise RuntimeError(f"nothing is open for {name!r}")
        own = {
            "embed": self._embed_all,
            "memory": self._memory,
            "server": self._serve,
            "turn": self._take_turn,
            "warm_up": self._warm_up,
        }
        commands: Mapping[str, Callable[[Request], Reply]] = own | dict(getattr(self._subject, "commands", {}))
        if name not in commands:
            raise ValueError(f"{name!r} is none of {', '.join(sorted(commands))}")
        return commands[name](request)

    def close(self) -> None:
        """Close the subject, if it is open."""
        if self._subject is not None:
            self._subject.close()

    def _open(self, request: Request) -> Reply:
        import numpy as np

        before = time.monotonic()
        opener = load_opener(self._opener)
        for module in request.get("imports", ()):
            import_module(module)
        imported = time.monotonic()
        subject = opener(request)
        opened = time.monotonic()
        self._frames = np.load(request["frames"])
        self._subject = subject
        first_batch_s = self._first_batch()
        return {
            "facts": dict(subject.facts),
            "most_frames": subject.most_frames,
            "import_s": self._startup_s + imported - before,
            "open_s": opened - imported,
            "first_batch_s": first_batch_s,
        }

    def _first_batch(self) -> float:
        batch = self._batch(1)
        before = time.monotonic()
        found = self._run(1)
        seconds = time.monotonic() - before
        if found.ndim != 2 or len(found) != len(batch) or found.dtype != "float32":
            raise TypeError(f"a batch of one frame gave {found.dtype} {list(found.shape)}, not float32 [1, D]")
        return seconds

    def _warm_up(self, request: Request) -> Reply:
        return asdict(warm_up(partial(self._run, request["frames"]), request["at_most_s"]))

    def _take_turn(self, request: Request) -> Reply:
        return asdict(take_turn(partial(self._run, request["frames"]), request["seconds"]))

    def _serve(self, request: Request) -> Reply:
        most = request["most_frames"]
        for frames in range(1, most + 1):
            while self._runs[frames] < _FIRST_RUNS:
                self._run(frames)
        schedule = arrivals(request["frames_per_s"], request["seconds"], request["seed"])
        return asdict(serve(self._run, schedule, most))

    def _embed_all(self, request: Request) -> Reply:
        """Embed all frames in batches of one size; the last one begins anew with the first frames."""
        import numpy as np

        assert self._subject is not None
        count, size = len(self._frames), request["frames"]
        parts = [self._frames[(first + np.arange(size)) % count] for first in range(0, count, size)]
        np.save(request["output"], np.concatenate([self._subject.embed(part) for part in parts]))
        return {}

    def _memory(self, _: Request) -> Reply:
        on_device: Callable[[], float | None] | None = getattr(self._subject, "device_memory_mib", None)
        return {"host": peak_host_mib(), "device": on_device() if on_device else None}

    def _run(self, frames: int) -> NDArray[np.float32]:
        assert self._subject is not None
        self._runs[frames] += 1
        return self._subject.embed(self._batch(frames))

    def _batch(self, frames: int) -> NDArray[np.uint8]:
        """Return a batch of that size, which is made once; the frames repeat where there are too few."""
        if frames not in self._batches:
            import numpy as np

            self._batches[frames] = self._frames[np.arange(frames) % len(self._frames)]
        return self._batches[frames]
