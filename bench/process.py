"""A subject in a process of its own: start it, ask it, notice its death, and leave nothing of it behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import reid
from reid.bench.replies import Memory, Opened, Served, TimedTurn
from reid.bench.result import WarmUp
from reid.runtime.errors import ReidError

__all__ = ["FIRST_S", "HostDiedError", "HostProcess", "HostStuckError", "SubjectError", "start_host"]

FIRST_S = 900.0
"""What comes for the first time may take as long: opening builds an engine, and each batch size is compiled for."""

_PATIENCE_S = 120.0
"""What a request may take beyond the time that it asks for: a batch is not cut."""

_GOODBYE_S = 3.0
_LOOK_S = 0.5
_STDERR_BYTES = 8192


class SubjectError(ReidError):
    """An exception inside of a subject; its process goes on.

    Attributes:
        kind: the name of the exception's class.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class HostDiedError(SubjectError):
    """A process that ended by itself.

    Attributes:
        returncode: its exit code; -N if signal N ended it.
        last_line: the last line that it wrote to stderr.
    """

    def __init__(self, returncode: int, last_line: str) -> None:
        super().__init__(_ending(returncode) + (f"; its last words: {last_line}" if last_line else ""))
        self.returncode = returncode
        self.last_line = last_line


class HostStuckError(SubjectError):
    """A process that did not answer in time, and was killed.

    Attributes:
        seconds: how long it was waited for.
    """

    def __init__(self, doing: str, seconds: float) -> None:
        super().__init__(f"its process did not answer {doing!r} within {seconds:.3g} s and was killed")
        self.seconds = seconds


@contextlib.contextmanager
def start_host(
    opener: str, *, python: str | Path = sys.executable, environment: Mapping[str, str] | None = None
) -> Iterator[HostProcess]:
    """Start a process for a subject; when the block ends, it and all that it started are gone.

    It works in an empty folder of its own, which is removed, too: paths in requests must be absolute. Its parent may be
    killed as well: it ends within some seconds then.

    Args:
        opener: "module:function" or "path/script.py:function".
        python: the interpreter; needs numpy and what the opener needs.
        environment: variables beside this process's own.
    """
    with tempfile.TemporaryDirectory(prefix="reid-bench-") as folder, contextlib.ExitStack() as stack:
        (Path(folder) / "reid").symlink_to(Path(reid.__file__).parent, target_is_directory=True)
        stderr = stack.enter_context((Path(folder) / "stderr.txt").open("w+b"))
        process = stack.enter_context(
            subprocess.Popen(
                [str(python), "-m", "reid.bench.host", _absolute(opener), str(time.monotonic())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                cwd=folder,
                env={**os.environ, **(environment or {}), **_own_places(folder)},
                start_new_session=True,  # Ctrl-C is for this process alone; and its group can be killed
            )
        )
        stack.callback(_kill, process)
        yield HostProcess(process, Path(stderr.name))
        _say_goodbye(process)


class HostProcess:
    """A running process of a subject. Each request may raise SubjectError, HostDiedError or HostStuckError."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        self._process = process
        self._stderr = stderr
        self._read = b""
        self._said_before = 0

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def open(self, model: str | Path, frames: Path, timeout_s: float = FIRST_S, **more: object) -> Opened:
        """Open the model, and embed one frame.

        Args:
            model: what the opener opens.
            frames: file of uint8 [N, 3, H, W] to measure with, as `numpy.save` writes it.
            timeout_s: how long to wait.
            more: what else the opener wants: threads=1; and imports=["openvino"]: modules that are imported before it
                is called, so that `import_s` counts them.
        """
        request = {"model": str(model), "frames": str(Path(frames).absolute()), **more}
        return Opened.model_validate(self.ask("open", timeout_s, **request))

    def warm_up(self, frames: int, at_most_s: float) -> WarmUp:
        """Run batches until they are stable."""
        reply = self.ask("warm_up", at_most_s + FIRST_S, frames=frames, at_most_s=at_most_s)
        return WarmUp.model_validate(reply)

    def turn(self, frames: int, seconds: float) -> TimedTurn:
        """Time batches for some seconds."""
        return TimedTurn.model_validate(self.ask("turn", seconds + _PATIENCE_S, frames=frames, seconds=seconds))

    def serve(self, frames_per_s: float, seconds: float, seed: int, most_frames: int) -> Served:
        """Let frames arrive by themselves for some seconds."""
        request = {"frames_per_s": frames_per_s, "seconds": seconds, "seed": seed, "most_frames": most_frames}
        return Served.model_validate(self.ask("server", 2 * seconds + FIRST_S, **request))

    def embed(self, output: Path, frames: int) -> None:
        """Embed all frames in batches of so many into a file of float32 [N, D]; the last one begins anew with them."""
        self.ask("embed", FIRST_S, output=str(Path(output).absolute()), frames=frames)

    def memory(self) -> Memory:
        """Return the most memory that it had so far."""
        return Memory.model_validate(self.ask("memory", _PATIENCE_S))

    def ask(self, do: str, timeout_s: float, **request: object) -> dict[str, Any]:
        """Send any request, and return its reply."""
        deadline = time.monotonic() + timeout_s
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((json.dumps({"do": do, **request}) + "\n").encode())
        except BrokenPipeError:
            raise self._death() from None
        try:
            reply: dict[str, Any] = json.loads(self._next_line(deadline))
        except TimeoutError:
            _kill(self._process)
            raise HostStuckError(do, timeout_s) from None
        self._said_before = self._stderr.stat().st_size
        if "error" in reply:
            raise SubjectError(reply["error"], reply["kind"])
        return reply

    def _next_line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._read:
            dead = self._process.poll() is not None
            # Children that a dead process has forked may keep its stdout open.
            ready, _, _ = select.select([descriptor], [], [], 0 if dead else _LOOK_S)
            if ready and (part := os.read(descriptor, 1 << 16)):
                self._read += part
            elif ready or dead:
                raise self._death()
            elif time.monotonic() > deadline:
                raise TimeoutError
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _death(self) -> HostDiedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GOODBYE_S)
        _kill(self._process)
        return HostDiedError(self._process.returncode, self._last_line())

    def _last_line(self) -> str:
        """Return the last line that it wrote to stderr since its last reply."""
        lines = self._stderr.read_bytes()[self._said_before :][-_STDERR_BYTES:].decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _absolute(opener: str) -> str:
    place, _, name = opener.rpartition(":")
    return f"{Path(place).absolute()}:{name}" if place.endswith(".py") else opener


def _own_places(folder: str) -> dict[str, str]:
    """Return the variables by which it finds `reid`, and compiles anew what an earlier run has compiled."""
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([folder, before] if before else [folder])
    return {"PYTHONPATH": path, "TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "inductor")}


def _say_goodbye(process: subprocess.Popen[bytes]) -> None:
    """Let the subject close what it has open."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GOODBYE_S)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group, which may outlive its first process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"its process ended with exit code {returncode}"
    name = signal.Signals(-returncode).name
    hint = ", as the kernel does where memory is used up" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"
