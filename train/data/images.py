"""Training images as PyTorch loads them: decoded, resized, augmented, labeled."""

from __future__ import annotations

import itertools
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reid.runtime.errors import DataError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.tracklet import Tracklet
from reid.train.data.augmentation import Augmentation
from reid.train.data.sampler import PKSampler, Sample
from reid.train.parallel.processes import Processes

__all__ = ["Images", "OwnSamples", "TrainingBatch", "loader_workers", "training_batches", "without_dead_vehicles"]

# More than this many decode faster than a GPU learns, and each holds two batches.
_MOST_WORKERS = 16


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """What one step takes: a batch, or this process's share of it.

    Attributes:
        frames: uint8 [P*K, 3, H, W].
        vehicles: int64 [P*K], index of each frame's identity.
        unreadable: images that another of the same vehicle stood in for.
        decoding_seconds: that a worker took to make it.
    """

    frames: Tensor
    vehicles: Tensor
    unreadable: tuple[str, ...]
    decoding_seconds: float = 0.0

    def pin_memory(self) -> TrainingBatch:
        """Let a GPU fetch it by itself; DataLoader calls this."""
        return replace(self, frames=self.frames.pin_memory(), vehicles=self.vehicles.pin_memory())


class Images(Dataset[tuple[Tensor, int, tuple[str, ...]]]):
    """The training images, by sample: (frame uint8 [3, H, W], vehicle's index, unreadable images met).

    Args:
        images: each with its vehicle.
        image_size: of the square crop, in pixels.
        augmentation: of the crops; the poster's if left out.
    """

    def __init__(self, images: Sequence[Tracklet], image_size: int, augmentation: Augmentation | None = None) -> None:
        self._images = images
        self._image_size = image_size
        self._augment = augmentation or Augmentation(image_size)
        identities = {vehicle: index for index, vehicle in enumerate(sorted({str(i.vehicle) for i in images}))}
        self.vehicles = [identities[str(image.vehicle)] for image in images]
        self._of_vehicle: dict[int, list[int]] = defaultdict(list)
        for index, vehicle in enumerate(self.vehicles):
            self._of_vehicle[vehicle].append(index)

    @property
    def identities(self) -> int:
        """Number of vehicles."""
        return len(self._of_vehicle)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, sample: Sample) -> tuple[Tensor, int, tuple[str, ...]]:
        unreadable: list[str] = []
        for index in self._with_stand_ins(sample.index):
            try:
                pixels = resize(read_frame(self._images[index].frames[0]), self._image_size, self._image_size)
            except DataError as error:
                unreadable.append(str(error))
                continue
            frame = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
            return self._augment(frame, sample.seed), self.vehicles[index], tuple(unreadable)
        raise DataError(f"no image of vehicle {self._images[sample.index].vehicle} can be read: {unreadable[0]}")

    def __getitems__(self, samples: Sequence[Sample]) -> TrainingBatch:
        """Make a batch; DataLoader prefers this to single images."""
        started = time.perf_counter()
        frames, vehicles, unreadable = zip(*(self[sample] for sample in samples), strict=True)
        names = tuple(itertools.chain.from_iterable(unreadable))
        return TrainingBatch(torch.stack(frames), torch.tensor(vehicles), names, time.perf_counter() - started)

    def names(self, samples: Iterable[Sample]) -> list[str]:
        """Name the images of samples."""
        images = (self._images[sample.index] for sample in samples)
        return [str(image.frames[0]) if isinstance(image.frames[0], Path) else image.id for image in images]

    def _with_stand_ins(self, index: int) -> Iterator[int]:
        same = self._of_vehicle[self.vehicles[index]]
        start = same.index(index)
        return iter(same[start:] + same[:start])


def without_dead_vehicles(images: Sequence[Tracklet]) -> tuple[tuple[Tracklet, ...], tuple[str, ...]]:
    """Leave out the vehicles of which no image can be read: (images of the others, names of those)."""
    of_vehicle: dict[str, list[Tracklet]] = defaultdict(list)
    for image in images:
        of_vehicle[str(image.vehicle)].append(image)
    dead = {vehicle for vehicle, members in of_vehicle.items() if not any(map(_can_be_read, members))}
    return tuple(image for image in images if str(image.vehicle) not in dead), tuple(sorted(dead))


def _can_be_read(image: Tracklet) -> bool:
    try:
        read_frame(image.frames[0])
    except DataError:
        return False
    return True


class OwnSamples:
    """This process's share of each of a sampler's batches, from some step of the epoch on.

    Attributes:
        first: the step to begin with, from 0.
    """

    def __init__(self, sampler: PKSampler, processes: Processes) -> None:
        self.first = 0
        self._sampler = sampler
        self._processes = processes

    def __len__(self) -> int:
        return len(self._sampler) - self.first

    def __iter__(self) -> Iterator[list[Sample]]:
        for samples in itertools.islice(self._sampler, self.first, None):
            yield list(self._processes.share(samples))


def loader_workers() -> int:
    """Number of decoding processes: the cores of this machine, shared by the training processes on it."""
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_MOST_WORKERS, cores))


def training_batches(images: Images, samples: Iterable[list[Sample]], *, pin_memory: bool) -> DataLoader[Any]:
    """Load batches with worker processes, in order; each iteration over it is an epoch with the same workers.

    The result depends neither on the number of workers nor on what was loaded before: every sample has its own seed.
    """
    return DataLoader(
        images,
        batch_sampler=samples,
        num_workers=loader_workers(),
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # what __getitems__ gives
        pin_memory=pin_memory,
        persistent_workers=True,
    )


def _as_it_is(batch: TrainingBatch) -> TrainingBatch:
    return batch
