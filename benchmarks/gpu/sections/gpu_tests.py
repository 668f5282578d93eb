"""The test suite's tests marked `gpu`; with TensorRT installed, its engines are among them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from proving import Proof, prove

_ROOT = Path(__file__).parents[3]
_PLACES = ("tests/runtime", "tests/kernels", "tests/export/engines")


def gpu_tests(proof: Proof) -> None:
    """Run them; each failure is in log.txt."""
    proof.needs_gpu()
    places = [place for place in _PLACES if (_ROOT / place).exists()]
    report = proof.work / "gpu_tests.txt"
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "-rfEs", "--continue-on-collection-errors"]
    command = [sys.executable, "-m", "pytest", *options, *places]
    with report.open("w") as output:
        process = subprocess.Popen(command, cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT, env=os.environ)
        try:
            code: int | None = process.wait(max(5, proof.seconds_left - 3))
        except subprocess.TimeoutExpired:
            process.kill()
            code = None
    lines = report.read_text().splitlines()
    print("\n".join(lines))
    proof.note("last lines", [line[:300] for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))][-30:])
    summary = lines[-1] if lines else "no output"
    proof.check("they pass", code == 0, summary if code is not None else f"stopped: {summary}")


if __name__ == "__main__":
    prove(gpu_tests)
