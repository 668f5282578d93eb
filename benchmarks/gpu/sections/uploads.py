"""What a batch costs on its way to the GPU: pageable, pinned, and pinned and double-buffered beside a kernel."""

from __future__ import annotations

import functools

import torch
from measuring import median_ms, random_batch
from proving import Proof, prove
from subjects import batch_size, side_of

_ROUNDS = 8


def uploads(proof: Proof) -> None:
    """Measure copies alone, then beside a matrix product."""
    proof.needs_gpu()
    frames = torch.from_numpy(random_batch(side_of(proof), batch_size(proof))[0])
    pinned = [frames.pin_memory() for _ in range(2)]
    device = [torch.empty_like(frames, device="cuda") for _ in range(2)]
    work = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    proof.note("batch MB", round(frames.numel() / 1e6, 2))
    pageable, copied = (
        median_ms(functools.partial(device[0].copy_, source, non_blocking=True)) for source in (frames, pinned[0])
    )
    proof.note("copy ms, pageable and pinned", [pageable, copied])
    kernel = median_ms(lambda: work @ work)
    proof.note("kernel ms", kernel)

    def one_after_the_other() -> None:
        for _ in range(_ROUNDS):
            device[0].copy_(frames)
            torch.mm(work, work)
            torch.cuda.synchronize()

    copier = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    copied_events, read_events = ([torch.cuda.Event() for _ in range(2)] for _ in range(2))  # type: ignore[no-untyped-call]

    def overlapped() -> None:
        for number in range(_ROUNDS):
            slot = number % 2
            with torch.cuda.stream(copier):
                copier.wait_event(read_events[slot])
                device[slot].copy_(pinned[slot], non_blocking=True)
                copied_events[slot].record(copier)
            torch.cuda.current_stream().wait_event(copied_events[slot])
            torch.mm(work, work)
            read_events[slot].record()

    plain, double = (median_ms(task, 10) / _ROUNDS for task in (one_after_the_other, overlapped))
    proof.note("batch and kernel ms, one after the other", round(plain, 4))
    proof.note("batch and kernel ms, double-buffered", round(double, 4))
    proof.check("double buffering hides most of the copy", double < max(kernel, copied) + 0.5 * copied + 0.1, double)


if __name__ == "__main__":
    prove(uploads)
