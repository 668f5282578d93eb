"""Features of a whole batch, computed in parts: a few frames at a time, and by several processes.

A loss that compares the frames of a batch needs the features of all of them at once, but their gradient can be passed
on to the network part by part: Gao, Zhang, Han, Callan, *Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup*, RepL4NLP 2021 (gradient caching). Several parts in one process and parts in several processes are the
same idea.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from reid.train.parallel.processes import Processes
from reid.train.parallel.running_statistics import averaged_statistics, untouched_statistics

__all__ = ["GlobalBatch"]

Network = Callable[[Tensor], list[Tensor]]


class GlobalBatch:
    """The features of the whole batch, as leaves of a graph of their own.

    First the features of all parts are computed, all but those of the last part without a graph. The loss is computed
    from `features`, whose gradients its backward pass fills in. Then `backward` passes these on: into the graph of the
    last part, and into those of the others, which are computed again with the same random numbers.

    The frames are dealt out to the parts in turn like cards. Since the frames of a vehicle follow one another, every
    part gets as many different vehicles as it can have: batch normalization sees a small image of the batch.

    Args:
        network: maps frames [n, 3, H, W] to one feature [n, size] per level, and enters autocast itself.
        model: the model whose batch normalization `network` runs.
        frames: this process's frames, [N, 3, H, W].
        micro_batch: number of frames in a part at most; 0 for all. Batch normalization sees one part at a time, of
            all processes.
        seed: seed of what the network drops at random.
        processes: the processes that share the batch.

    Attributes:
        features: features of all processes' frames, [count * N, size] per level, in the order of `Processes.share`.
    """

    def __init__(
        self, network: Network, model: nn.Module, frames: Tensor, *, micro_batch: int, seed: int, processes: Processes
    ) -> None:
        self._network = network
        self._model = model
        self._parts = _dealt(frames, -(-len(frames) // micro_batch) if micro_batch else 1)
        self._seed = seed
        self._processes = processes
        own = self._forward()
        self.features = [processes.gather(level.detach()).requires_grad_() for level in own]

    def _forward(self) -> list[Tensor]:
        if len(self._parts) == 1:
            self._last = self._run(0)
            return self._last
        features = []
        with averaged_statistics(self._model) as count_part:
            for index in range(len(self._parts)):
                with torch.set_grad_enabled(index == len(self._parts) - 1):
                    features.append(self._run(index))
                count_part()
        self._last = features[-1]
        return [_collected([part.detach() for part in parts]) for parts in zip(*features, strict=True)]

    def _run(self, index: int) -> list[Tensor]:
        torch.manual_seed(self._seed + index)
        return self._network(self._parts[index])

    def backward(self) -> None:
        """Add the gradients of this process's frames to the parameters', once the features have theirs."""
        gradients = list(zip(*self._own_gradients(), strict=True))
        torch.autograd.backward(self._last, gradients[-1])
        del self._last  # its graph is no longer needed
        if len(gradients) > 1:
            with untouched_statistics(self._model):
                for index, of_part in enumerate(gradients[:-1]):
                    torch.autograd.backward(self._run(index), of_part)

    def _own_gradients(self) -> Iterator[Sequence[Tensor]]:
        """Yield, for each level, the gradients of this process's parts."""
        for feature in self.features:
            assert feature.grad is not None  # the loss depends on every level
            own = feature.grad.chunk(self._processes.count)[self._processes.rank]
            yield _dealt(own, len(self._parts))


def _dealt(batch: Tensor, parts: int) -> list[Tensor]:
    """Deal the rows of a batch out to a number of parts in turn."""
    return [batch[first::parts] for first in range(parts)]


def _collected(parts: Sequence[Tensor]) -> Tensor:
    """Put the rows that were dealt out back in order."""
    batch = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    for place, part in zip(_dealt(batch, len(parts)), parts, strict=True):
        place.copy_(part)
    return batch
