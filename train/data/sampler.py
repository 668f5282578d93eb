"""Batches of P vehicles with K images each, reproducible from seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from reid.runtime.errors import DataError

__all__ = ["PKSampler", "Sample"]


class Sample(NamedTuple):
    """What the data set is asked for: an image and the seed of its augmentation.

    The seed travels with the sample, so that augmentation does not depend on the number of workers.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a sample
    seed: int


class PKSampler(Sampler[list[Sample]]):
    """Lists of P * K samples, for ``DataLoader(batch_sampler=...)``: P different vehicles, K images of each.

    In an epoch each vehicle's images are shuffled and cut into groups of K, and batches take P groups of
    different vehicles until fewer than P vehicles have groups left. So all images of all but at most P - 1
    vehicles are drawn, and an image is drawn again only to fill up the groups of its vehicle.

    With views, such as cameras, each view's images are dealt out over the groups of their vehicle as evenly as
    possible, so that the positives that a loss finds are different views, and not the near-duplicates of a tracklet.

    Args:
        vehicles: the vehicle of each image of the data set.
        p: number of vehicles in a batch.
        k: number of images of each vehicle in a batch.
        seed: seed of the run, 0 or more. The samples depend only on the seed and the epoch, and the augmentation's
            seed only on these and on the sample's position in the epoch.
        epoch: the epoch that ``iter`` starts with, 0 or more.
        views: the view of each image, by which the images are dealt out, coarse to fine: such as (camera, track), whose
            tracks are dealt out evenly, and so are the cameras. If left out, groups are random.

    Raises:
        ValueError: p or k is less than 1, or seed or epoch is negative.
        DataError: there are fewer than P vehicles.
    """

    def __init__(
        self,
        vehicles: Sequence[int],
        *,
        p: int,
        k: int,
        seed: int,
        epoch: int = 0,
        views: Sequence[tuple[str, ...]] | None = None,
    ) -> None:
        self._images = _images_by_vehicle(vehicles)
        _check_batch(p, k, available=len(self._images))
        self._views = None if views is None else _numbered(views, images=len(vehicles))
        self.p = p
        self.k = k
        self.seed = seed
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch, to which ``iter`` and ``len`` refer from now on."""
        order, augmentation = np.random.SeedSequence([self.seed, epoch]).spawn(2)
        self._indices = self._plan(np.random.default_rng(order))
        self._seeds = np.random.default_rng(augmentation).integers(2**63, size=self._indices.shape)

    def __len__(self) -> int:
        """Return the number of batches in this epoch, which depends on which vehicles are drawn together."""
        return len(self._indices)

    def __iter__(self) -> Iterator[list[Sample]]:
        for indices, seeds in zip(self._indices.tolist(), self._seeds.tolist(), strict=True):
            yield [Sample(index, seed) for index, seed in zip(indices, seeds, strict=True)]

    def _plan(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the images of each batch, int64 [batches, P * K]."""
        groups = [self._groups(images, rng) for images in self._images]
        left = np.array([len(of_vehicle) for of_vehicle in groups])
        batches = []
        while np.count_nonzero(left) >= self.p:
            # In proportion to what is left; otherwise the vehicles with the most images would remain at the end.
            chosen = rng.choice(len(left), size=self.p, replace=False, p=left / left.sum())
            left[chosen] -= 1
            batches.append(np.concatenate([groups[vehicle][left[vehicle]] for vehicle in chosen]))
        return np.stack(batches)

    def _groups(self, images: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return a vehicle's images, shuffled and cut into groups, int64 [groups, K]."""
        count = -(-len(images) // self.k)
        # `resize` starts over at the end: images are drawn again to fill up the last group, which may be the only one.
        drawn = np.resize(rng.permutation(images), count * self.k)
        if self._views is None:
            return drawn.reshape(count, self.k)
        return rng.permutation(_deal(drawn, self._views[:, drawn], count, rng))


def _images_by_vehicle(vehicles: Sequence[int]) -> list[NDArray[np.int64]]:
    of_image = np.asarray(vehicles)
    return [np.flatnonzero(of_image == vehicle) for vehicle in np.unique(of_image)]


def _check_batch(p: int, k: int, available: int) -> None:
    if p < 1 or k < 1:
        raise ValueError(f"a batch of {p} vehicles x {k} images: both must be 1 or more")
    if p > available:
        remedy = f"use --batch {available}x{k}" if available > 1 else "add vehicles, at least 2"
        raise DataError(
            f"a batch of {p} vehicles x {k} images needs {p} vehicles; the training data has {available}: {remedy}"
        )


def _numbered(views: Sequence[tuple[str, ...]], images: int) -> NDArray[np.int64]:
    """Return numbers for the views of images and, before them, for the coarser views that they are part of.

    Returns:
        int64 [depth, images]
    """
    if len(views) != images:
        raise ValueError(f"{len(views)} views for {images} images: give one for each image")
    names = [["\0".join(view[:depth]) for view in views] for depth in range(1, len(views[0]) + 1)]
    return np.stack([np.unique(of_depth, return_inverse=True)[1] for of_depth in names])


def _deal(
    images: NDArray[np.int64], views: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Deal images, sorted by view, to the groups in turn like cards; return int64 [count, len(images) / count].

    So no group has two more images of a view than another. Copies of an image lie together, and therefore end up in
    different groups.
    """
    _, first, copy_of = np.unique(images, return_index=True, return_inverse=True)
    suits = [_shuffled(numbers, rng) for numbers in views]
    return images[np.lexsort((first[copy_of], *reversed(suits)))].reshape(-1, count).T


def _shuffled(numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Number anew at random: otherwise the same views would meet in every epoch."""
    names, numbered = np.unique(numbers, return_inverse=True)
    return rng.permutation(len(names))[numbered]
