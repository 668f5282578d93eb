"""The ways of a batch through a session other than `run`: lent slots in flight, and arrays on the device."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reid.runtime.sessions.session import Embeddings, Session
from reid.runtime.sessions.slots import Pending, slots_of

__all__ = ["Batch", "on_busy_stream", "through_slots"]

Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]
_CYCLES = 20_000_000
"""What a stream is kept busy for: some ten milliseconds."""


def through_slots(session: Session, batches: list[Batch]) -> list[Embeddings]:
    """Embed batches through a session's slots, crop by crop, all slots in flight; return the outputs in order."""
    outputs: list[Embeddings] = []
    pending: deque[Pending] = deque()
    with slots_of(session) as slots:
        for frames, pooling in batches:
            if len(pending) == slots.count:
                outputs.append(pending.popleft().result())
            slot = slots.lend()
            for position, frame in enumerate(frames):
                slot.place(position, np.ascontiguousarray(frame.transpose(1, 2, 0)))
            slot.pooling[: len(pooling), : len(frames)] = pooling
            pending.append(slots.submit(slot, len(frames), len(pooling)))
        outputs += [one.result() for one in pending]
    return outputs


def on_busy_stream(session: Any, batch: Batch) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:  # noqa: ANN401
    """Embed PyTorch's tensors where they are, while the stream that fills them is busy: who does not wait reads zeros.

    Returns:
        The outputs taken by DLPack, and those of a second run taken by the CUDA array interface.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    host = [torch.from_numpy(array).pin_memory() for array in batch]
    with torch.cuda.stream(stream):
        late = [torch.zeros_like(tensor, device="cuda") for tensor in host]
        torch.cuda._sleep(_CYCLES)  # type: ignore[no-untyped-call]
        for tensor, source in zip(late, host, strict=True):
            tensor.copy_(source, non_blocking=True)
        outputs = session.run_on_device(*late, stream=stream.cuda_stream)
        by_dlpack = [torch.from_dlpack(output).cpu().numpy() for output in outputs]  # type: ignore[attr-defined]
    torch.cuda.synchronize()
    by_interface = [torch.as_tensor(output, device="cuda").cpu().numpy() for output in session.run_on_device(*late)]
    return by_dlpack, by_interface
