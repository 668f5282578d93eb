"""The CUDA kernels load from the fat binary and compute what NumPy and OpenCV compute, at sizes of real use."""

from __future__ import annotations

from kernel_checks import LARGE, Bench, check_kernels
from proving import Proof, prove

from reid.runtime.kernels.library import fat_binary


def kernels(proof: Proof) -> None:
    """Load them, and check each."""
    proof.needs_kernels()
    proof.note("fat binary KiB", len(fat_binary()) >> 10)
    bench = Bench.open()
    proof.note("loaded", True)
    for name, holds, found in check_kernels(bench, LARGE):
        proof.check(name, holds, found)


if __name__ == "__main__":
    prove(kernels)
