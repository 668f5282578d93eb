"""Training images as PyTorch loads them: decoded, resized, augmented, labeled."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reid.runtime.errors import DataError, ReidError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.tracklet import Tracklet
from reid.train.data.augmentation import Augmentation
from reid.train.data.sampler import PKSampler, Sample
from reid.train.parallel.processes import Processes, processes_on_this_machine

__all__ = [
    "Images",
    "OwnSamples",
    "TrainingBatch",
    "check_temporary_folder",
    "loader_workers",
    "training_batches",
    "without_dead_vehicles",
]

# More workers than this decode faster than a GPU learns, and each holds two batches.
_MOST_WORKERS = 16

# Workers hand batches over through sockets, which multiprocessing names TMPDIR/pymp-XXXXXXXX/listener-XXXXXXXX. The
# path of a socket has at most 107 bytes (unix(7)).
_LONGEST_TEMPORARY = 107 - len("/pymp-XXXXXXXX/listener-XXXXXXXX")


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """The input of one step: a batch, or this process's share of it.

    Attributes:
        frames: the frames, uint8 [P*K, 3, H, W].
        vehicles: index of each frame's identity, int64 [P*K].
        unreadable: images that could not be read, each replaced by another one of its vehicle.
        decoding_seconds: time that a worker took to make the batch.
    """

    frames: Tensor
    vehicles: Tensor
    unreadable: tuple[str, ...]
    decoding_seconds: float = 0.0

    def pin_memory(self) -> TrainingBatch:
        """Return the batch in pinned memory, which a GPU copies asynchronously; DataLoader calls this."""
        return replace(self, frames=self.frames.pin_memory(), vehicles=self.vehicles.pin_memory())


class Images(Dataset[tuple[Tensor, int, tuple[str, ...]]]):
    """The training images by sample: (frame uint8 [3, H, W], vehicle's index, unreadable images met on the way).

    Args:
        images: the images, each with its vehicle.
        image_size: side of the square crop, in pixels.
        augmentation: augmentation of the crops; the poster's if left out.
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
        """The number of vehicles."""
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
        """Return a batch; DataLoader prefers this to single images."""
        started = time.perf_counter()
        frames, vehicles, unreadable = zip(*(self[sample] for sample in samples), strict=True)
        names = tuple(itertools.chain.from_iterable(unreadable))
        return TrainingBatch(torch.stack(frames), torch.tensor(vehicles), names, time.perf_counter() - started)

    def names(self, samples: Iterable[Sample]) -> list[str]:
        """Return the names of the samples' images."""
        images = (self._images[sample.index] for sample in samples)
        return [str(image.frames[0]) if isinstance(image.frames[0], Path) else image.id for image in images]

    def _with_stand_ins(self, index: int) -> Iterator[int]:
        same = self._of_vehicle[self.vehicles[index]]
        start = same.index(index)
        return iter(same[start:] + same[:start])


def without_dead_vehicles(images: Sequence[Tracklet]) -> tuple[tuple[Tracklet, ...], tuple[str, ...]]:
    """Leave out vehicles without a readable image; return the images of the others and the names of those left out."""
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
    """This process's share of each of a sampler's batches, from a given step of the epoch on.

    Attributes:
        first: the step to begin with, counted from 0.
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
    """Return the number of decoding processes: this machine's cores, shared by its training processes."""
    cores = (os.cpu_count() or 1) // processes_on_this_machine()
    return max(1, min(_MOST_WORKERS, cores))


def check_temporary_folder() -> None:
    """Refuse a temporary folder in which no worker can hand over a batch: it would fail, and its reader wait for ever.

    Raises:
        ReidError: the folder's path is too long.
    """
    folder = tempfile.gettempdir()
    length = len(os.fsencode(folder))
    strategy = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    if strategy == "file_descriptor" and length > _LONGEST_TEMPORARY:
        raise ReidError(
            f"TMPDIR is {folder}, whose {length} bytes are too many for the sockets of the decoding processes; set one "
            f"of at most {_LONGEST_TEMPORARY}, such as TMPDIR=/tmp"
        )


def training_batches(images: Images, samples: Iterable[list[Sample]], *, pin_memory: bool) -> DataLoader[Any]:
    """Return a loader of batches, in order; each iteration over it is an epoch with the same worker processes.

    The batches depend neither on the number of workers nor on what was loaded before: every sample has its own seed.
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
