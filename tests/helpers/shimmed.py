"""Programs under `tests/faults/shim.c`: it tells what they look up and write, fills their disk, and kills them.

environment = shimmed_environment(tmp_path, below=output, kill_at=3)
subprocess.run([...], env=environment)
looked_up(tmp_path), written(tmp_path)
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Call", "calls", "looked_up", "shim", "shimmed_environment", "written"]

_SOURCE = Path(__file__).parents[1] / "faults" / "shim.c"
_FOLDERS = {
    "HOME": "home",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "TMPDIR": "tmp",
}
_OPT_OUTS = ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "ORT_DISABLE_TELEMETRY")
_BUILD_SERVERS = (
    *("APPVEYOR", "BUILDKITE", "CI", "CIRCLECI", "CODEBUILD_BUILD_ID", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL"),
    *("TEAMCITY_VERSION", "TF_BUILD", "TRAVIS"),
)
"""By these ONNX Runtime and OpenVINO know a build server, from which they do not report."""
_NETWORK = {"lookup", "connect", "send"}
_WRITING = {"open", "mkdir", "rename-to", "link"}


@dataclass(frozen=True, slots=True)
class Call:
    """A line of the shim's log.

    Attributes:
        name: open (for writing), mkdir, rename, rename-to, link, unlink, fsync, lookup, connect, send or kill.
        target: an absolute path without dots, or host:port.
        error: its errno; 0 if it was done.
    """

    name: str
    target: str
    error: int


@functools.cache
def shim() -> Path:
    """Compile the shim once a process."""
    compiler = shutil.which("cc")
    assert compiler, "no C compiler: install one (apt-get install gcc libc6-dev), these tests watch programs with it"
    library = Path(_scratch().name) / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl", "-lpthread"], check=True)
    return library


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed when this process ends."""
    return tempfile.TemporaryDirectory(prefix="shim-")


def shimmed_environment(
    folder: Path, *, below: Path | None = None, full_after: int | None = None, kill_at: int | None = None
) -> dict[str, str]:
    """Return the environment of a program that is watched, in which nobody opts out of anything.

    Args:
        folder: for the log and for fresh folders: home, cache, config, data, state and tmp.
        below: the folder that the next two are about; None for the whole machine.
        full_after: after so many bytes the disk is full.
        kill_at: k kills at the k-th rename, link, symlink, unlink, rmdir or fsync.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHIM_", "XDG_"))}
    environment = {name: value for name, value in kept.items() if name not in (*_OPT_OUTS, *_BUILD_SERVERS)}
    for variable, name in _FOLDERS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        environment[variable] = str(folder / name)
    environment |= {
        "LD_PRELOAD": str(shim()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHIM_LOG": str(folder / "shim.log"),
        "SHIM_STATE": str(folder / "shim.state"),
    }
    settings = {
        "SHIM_BELOW": below and below.resolve(),
        "SHIM_FULL_AFTER": full_after,
        "SHIM_KILL_AT": kill_at,
    }
    for file in ("shim.log", "shim.state"):
        (folder / file).unlink(missing_ok=True)
    return environment | {name: str(value) for name, value in settings.items() if value is not None}


def calls(folder: Path) -> list[Call]:
    """Return what the programs did that ran in the environment of this folder, in order."""
    log = folder / "shim.log"
    lines = log.read_text(errors="surrogateescape").split("\n")[:-1] if log.exists() else []
    fields = [line.split("\t", 3) for line in lines]
    return [
        Call(name, target if name in _NETWORK else os.path.normpath(target), int(error))
        for _, name, error, target in fields
    ]


def looked_up(folder: Path) -> list[str]:
    """Return the hosts that were looked up or spoken to."""
    return [call.target for call in calls(folder) if call.name in _NETWORK]


def written(folder: Path) -> set[Path]:
    """Return the files and folders that were written, created or renamed to, though they may be gone again.

    Devices (/dev, but for shared memory) and /proc are no files.
    """
    targets = (Path(call.target) for call in calls(folder) if call.name in _WRITING and not call.error)
    return {path for path in targets if path.parts[1] not in ("dev", "proc") or path.parts[2:3] == ("shm",)}
