"""A check in a process of its own: a library that crashes or hangs there is a finding, and ends nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from reid.runtime.doctor.check import Check

__all__ = ["check_apart"]

_CHILD = "reid.runtime.doctor.child"
_STDERR_BYTES = 8192


def check_apart(name: str, function: str, *arguments: str, timeout_s: float, remedy: str | None = None) -> Check:
    """Run a check in a process of its own, which works in an empty folder.

    Args:
        name: the name of the check.
        function: "module:function", which takes the name, a `Doing` and the arguments, and returns a Check.
        arguments: what else it takes; paths are absolute.
        timeout_s: how long it may take, in seconds, before it is killed.
        remedy: the command that may help where it dies or is killed.
    """
    with tempfile.TemporaryDirectory(prefix="reid-doctor-") as folder:
        said, stderr = Path(folder, "said"), Path(folder, "stderr")
        with stderr.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", _CHILD, str(said), function, name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                cwd=folder,
                start_new_session=True,  # Ctrl-C is for this process alone; and its group can be killed
            )
            try:
                returncode: int | None = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                returncode = None
            finally:
                _kill(process)
        doing, found = _read(said)
        if found is not None:
            return found
        how = f"it took longer than {timeout_s:.3g} s" if returncode is None else _ending(returncode)
        last = _last_line(stderr)
        detail = f"{how} while {doing}" + (f"; its last words: {last}" if last else "")
        return Check(name, "broken", detail, remedy)


def _read(said: Path) -> tuple[str, Check | None]:
    """Return what the process was doing last, and what it found, if it came so far."""
    doing = "starting Python"
    for line in said.read_text().splitlines() if said.exists() else ():
        try:
            one = json.loads(line)
        except ValueError:  # cut short by its end
            break
        if isinstance(one, str):
            doing = one
        else:
            return doing, Check(**one)
    return doing, None


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"its process ended with exit code {returncode}"
    name = signal.Signals(-returncode).name
    hint = ", as the kernel does where memory is used up," if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"


def _last_line(stderr: Path) -> str:
    lines = stderr.read_bytes()[-_STDERR_BYTES:].decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group, which may outlive its first process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
