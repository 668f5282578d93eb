"""Training images as PyTorch loads them: decoded, resized, augmented, labelled."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reid.runtime.errors import DataError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.tracklet import Tracklet
from reid.train.augmentation import Augmentation
from reid.train.sampler import Draw, PKSampler

__all__ = ["Images", "TrainingBatch", "training_batches", "without_dead_vehicles"]


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """What one step takes.

    Attributes:
        frames: uint8 [P*K, 3, H, W].
        vehicles: int64 [P*K], index of each frame's identity.
        unreadable: images that another of the same vehicle stood in for.
    """

    frames: Tensor
    vehicles: Tensor
    unreadable: tuple[str, ...]


class Images(Dataset[tuple[Tensor, int, tuple[str, ...]]]):
    """The training images, by draw: (frame uint8 [3, H, W], vehicle's index, unreadable images met).

    Args:
        images: each with its vehicle.
        image_size: of the square crop, in pixels.
    """

    def __init__(self, images: Sequence[Tracklet], image_size: int) -> None:
        self._images = images
        self._image_size = image_size
        self._augment = Augmentation(image_size)
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

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int, tuple[str, ...]]:
        unreadable: list[str] = []
        for index in self._with_stand_ins(draw.index):
            try:
                pixels = resize(read_frame(self._images[index].frames[0]), self._image_size, self._image_size)
            except DataError as error:
                unreadable.append(str(error))
                continue
            frame = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
            return self._augment(frame, draw.seed), self.vehicles[index], tuple(unreadable)
        raise DataError(f"no image of vehicle {self._images[draw.index].vehicle} can be read: {unreadable[0]}")

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


def training_batches(images: Images, sampler: PKSampler, *, pin_memory: bool) -> DataLoader[Any]:
    """Load the sampler's batches with worker processes, in order.

    The result depends neither on the number of workers nor on what was loaded before: every draw has its own seed.
    """
    workers = min(8, os.cpu_count() or 1)
    return DataLoader(images, batch_sampler=sampler, num_workers=workers, collate_fn=_collate, pin_memory=pin_memory)


def _collate(samples: Sequence[tuple[Tensor, int, tuple[str, ...]]]) -> TrainingBatch:
    frames, vehicles, unreadable = zip(*samples, strict=True)
    return TrainingBatch(
        torch.stack(frames), torch.tensor(vehicles), tuple(name for names in unreadable for name in names)
    )
