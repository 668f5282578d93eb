"""The processes that train one model together, as `torchrun` starts them: their roles, and what they exchange."""

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

from reid.runtime.environment import environment_integer
from reid.runtime.errors import ReidError, SessionError
from reid.train.device import best_device

__all__ = ["Processes", "joined_processes", "processes_on_this_machine"]

_T = TypeVar("_T")

# The others wait in a collective while the first process evaluates, however long that takes.
_PATIENCE = timedelta(hours=12)

_MOST = 65_536  # processes
_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run; by default the only one, which exchanges nothing.

    Attributes:
        rank: rank of this process, from 0; the first process evaluates, writes and prints.
        count: number of processes.
        device: device of this process.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=best_device)

    @property
    def leads(self) -> bool:
        """Whether this is the process that evaluates, writes and prints."""
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        """Raise ReidError unless a batch of `size` frames can be divided evenly."""
        if size % self.count:
            raise ReidError(
                f"a batch of {size} frames cannot be divided evenly among {self.count} processes; change --batch"
            )

    def share(self, batch: Sequence[_T]) -> Sequence[_T]:
        """Return this process's part of a batch; `gather` joins the parts in the same order."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def gather(self, own: Tensor) -> Tensor:
        """Return the processes' tensors of one shape, [n, ..] each, concatenated by rank: [count * n, ..]."""
        if self.count == 1:
            return own
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(self.count)]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, all of one dtype, with its sum over the processes."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view(tensor.shape))

    def from_first(self, make: Callable[[], _T]) -> _T:
        """Let the first process make a value, and return it in every process."""
        if self.count == 1:
            return make()
        box = [make() if self.leads else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]  # what the first process made

    def collect(self, own: _T) -> list[_T]:
        """Return the values of all processes, by rank."""
        if self.count == 1:
            return [own]
        box: list[_T | None] = [None] * self.count
        dist.all_gather_object(box, own)
        return box  # type: ignore[return-value]  # every entry is filled


@contextlib.contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that `torchrun` started, if it did: through NCCL between GPUs, gloo between CPUs.

    Raises:
        ReidError: the environment is not what `torchrun` makes of it.
        SessionError: this machine has more processes than GPUs.
    """
    count = environment_integer("WORLD_SIZE", default=1, least=1, most=_MOST)
    here = processes_on_this_machine(default=count)
    if count == 1:
        yield Processes()
        return
    for name in _NEEDED:
        if not os.environ.get(name):
            raise ReidError(f"WORLD_SIZE is {count}, and {name} is not set; start with torchrun, or unset WORLD_SIZE")
    environment_integer("RANK", default=0, least=0, most=count - 1)
    environment_integer("MASTER_PORT", default=0, least=1, most=65_535)
    device = _own_device(environment_integer("LOCAL_RANK", default=0, least=0, most=here - 1))
    try:
        if device.type == "cuda":  # told its GPU, NCCL connects at once, and a GPU that it cannot use is seen here
            dist.init_process_group("nccl", timeout=_PATIENCE, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReidError(f"the {count} processes cannot be joined ({reason}); start them with torchrun") from None
    yield Processes(dist.get_rank(), count, device)
    dist.destroy_process_group()  # not after an error: torchrun ends the others, which may be waiting


def processes_on_this_machine(default: int = 1) -> int:
    """Return how many processes of the run `torchrun` started on this machine, or the default. Raises ReidError."""
    return environment_integer("LOCAL_WORLD_SIZE", default=default, least=1, most=_MOST)


def _own_device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise SessionError(
            f"process {local_rank} of this machine has no GPU, as there are only {torch.cuda.device_count()}; "
            f"use torchrun --nproc-per-node {torch.cuda.device_count()}"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
