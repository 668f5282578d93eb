"""The kernels under compute-sanitizer: no access out of bounds, no race, no wrong barrier, all initialized."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from proving import Proof, Skipped, prove

_PROGRAM = Path(__file__).parents[1] / "kernel_checks.py"
_TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
_FOUND = 9  # exit code


def sanitizer(proof: Proof) -> None:
    """Run the small checks under one tool after the other."""
    proof.needs_kernels()
    if shutil.which("compute-sanitizer") is None:
        raise Skipped("compute-sanitizer is not on the PATH")
    for tool in _TOOLS:
        proof.attempt(tool, _run, proof, tool)


def _run(proof: Proof, tool: str) -> str | None:
    seconds = proof.seconds_left - 2
    if seconds < 4:
        return "left out: no time"
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(_FOUND), sys.executable, str(_PROGRAM)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} s, without a finding"
    print(ended.stdout, ended.stderr)
    if ended.returncode not in (0, 1, _FOUND) or "Device not supported" in ended.stdout:
        return f"does not run here: {(ended.stdout + ended.stderr).strip()[-200:]}"
    said = [line for line in ended.stdout.splitlines() if line.startswith("=========")]
    proof.check(f"{tool} finds nothing", ended.returncode == 0, said[-1:] + ended.stderr.splitlines()[-1:])
    return None


if __name__ == "__main__":
    prove(sanitizer)
