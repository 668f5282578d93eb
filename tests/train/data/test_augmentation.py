from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from reid.train.data.augmentation import Augmentation

SIZE = 32
SEEDS = range(200)


@pytest.fixture
def frame() -> torch.Tensor:
    """A frame that is dark on the left and bright on the right, without gray."""
    ramp = torch.arange(20, 20 + SIZE * 3, 3, dtype=torch.uint8)
    return ramp.expand(3, SIZE, SIZE).contiguous()


def augmented(frame: torch.Tensor, **switches: float) -> Iterator[np.ndarray]:
    augment = Augmentation(SIZE, **switches)
    return (augment(frame, seed).numpy() for seed in SEEDS)


def test_the_defaults_are_the_numbers_that_were_always_drawn(frame: torch.Tensor) -> None:
    """A policy that is never applied, with the other parts at their defaults, changes nothing."""
    plain = Augmentation(SIZE)
    named = Augmentation(SIZE, auto_augment=0.0, color_jitter=0.5, erasing=0.5)
    assert all(torch.equal(plain(frame, seed), named(frame, seed)) for seed in range(20))


def test_with_all_switched_off_only_flip_and_shift_remain(frame: torch.Tensor) -> None:
    """Every row of the ramp is then the ramp or its mirror, shifted by a pixel and repeated at the border."""
    row = frame[0, 0].numpy().astype(int)
    shifted = [np.pad(side, 1, mode="edge")[start : start + SIZE] for side in (row, row[::-1]) for start in range(3)]
    for picture in augmented(frame, color_jitter=0.0, erasing=0.0):
        assert any((picture == candidate).all() for candidate in shifted)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_erasing_happens_as_often_as_asked(frame: torch.Tensor, probability: float) -> None:
    erased = [(picture == 127).all(axis=0).any() for picture in augmented(frame, color_jitter=0.0, erasing=probability)]
    assert abs(np.mean(erased) - probability) <= (0.12 if probability == 0.5 else 0)


@pytest.mark.parametrize("probability", [0.1, 1.0])
def test_distortions_happen_as_often_as_asked(frame: torch.Tensor, probability: float) -> None:
    """Some operations of the policy leave a frame unchanged, and each is applied with a probability."""
    row = frame[0, 0].numpy().astype(int)
    shifted = [np.pad(side, 1, mode="edge")[start : start + SIZE] for side in (row, row[::-1]) for start in range(3)]
    pictures = augmented(frame, auto_augment=probability, color_jitter=0.0, erasing=0.0)
    distorted = np.mean([not any((picture == candidate).all() for candidate in shifted) for picture in pictures])
    assert 0.5 * probability <= distorted <= 1.5 * probability


def test_the_same_seed_gives_the_same_distortion_and_leaves_the_random_state(frame: torch.Tensor) -> None:
    augment = Augmentation(SIZE, auto_augment=1.0)
    state = torch.random.get_rng_state()
    first = [augment(frame, seed) for seed in range(30)]
    torch.manual_seed(99)
    assert all(torch.equal(one, augment(frame, seed)) for seed, one in enumerate(first))
    torch.random.set_rng_state(state)
    assert all(one.dtype == torch.uint8 and one.shape == frame.shape for one in first)
    assert len({one.numpy().tobytes() for one in first}) > 25
