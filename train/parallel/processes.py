"""The processes that train one model together, as `torchrun` starts them: who is who, and what they exchange."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from reid.runtime.errors import ReidError, SessionError
from reid.train.device import best_device

__all__ = ["Processes", "joined_processes"]

_T = TypeVar("_T")

# The others wait in a collective while the first one evaluates, however long that takes.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run. Alone unless told otherwise, and then nothing is exchanged.

    Attributes:
        rank: from 0; the first one evaluates, writes and speaks.
        count: of processes.
        device: of this one.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=best_device)

    @property
    def leads(self) -> bool:
        """Whether this is the one that evaluates, writes and speaks."""
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        """Raise ReidError unless a batch of `size` frames can be shared out evenly."""
        if size % self.count:
            raise ReidError(
                f"a batch of {size} frames cannot be shared evenly by {self.count} processes; change --batch"
            )

    def share(self, batch: Sequence[_T]) -> Sequence[_T]:
        """Take this process's part of a batch; `gather` puts the parts together in the same order."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def gather(self, own: Tensor) -> Tensor:
        """Concatenate the processes' tensors of one shape, [n, ..] each, in the order of ranks: [count * n, ..]."""
        if self.count == 1:
            return own
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(self.count)]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes. All are of one dtype."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view(tensor.shape))

    def from_first(self, make: Callable[[], _T]) -> _T:
        """Let the first process make a value, and give it to all."""
        if self.count == 1:
            return make()
        box = [make() if self.leads else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]  # what the first one made

    def collect(self, own: _T) -> list[_T]:
        """Give every process the values of all, by rank."""
        if self.count == 1:
            return [own]
        box: list[_T | None] = [None] * self.count
        dist.all_gather_object(box, own)
        return box  # type: ignore[return-value]  # every one is filled


@contextlib.contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that `torchrun` started, if it did: NCCL between GPUs, gloo between CPUs.

    Raises:
        SessionError: more processes on this machine than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    device = _own_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    yield Processes(dist.get_rank(), count, device)
    dist.destroy_process_group()  # not after an error: the others may be waiting for this one, and torchrun ends them


def _own_device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise SessionError(
            f"process {local_rank} of this machine has no GPU, there are {torch.cuda.device_count()}; "
            f"use torchrun --nproc-per-node {torch.cuda.device_count()}"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
