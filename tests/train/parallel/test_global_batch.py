from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reid.train.losses.rll import RankedListLoss
from reid.train.parallel.global_batch import GlobalBatch
from reid.train.parallel.processes import Processes

VEHICLES = torch.tensor([0, 0, 1, 1, 2, 2, 3])
ALONE = Processes(device=torch.device("cpu"))


class TwoLevels(nn.Module):
    """A network of two levels; the test chooses what is between them."""

    def __init__(self, *between: nn.Module) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3), *between, nn.Tanh())
        self.second = nn.Conv2d(8, 4, 3)

    def forward(self, frames: Tensor) -> list[Tensor]:
        low = self.first(frames)
        return [low.mean(dim=(2, 3)), self.second(low).amax(dim=(2, 3))]


def loss_of(features: list[Tensor]) -> Tensor:
    metric = RankedListLoss()
    return torch.stack([metric(F.normalize(level, dim=1), VEHICLES) for level in features]).sum()


def image_major(images: Sequence[int], micro_batch: int) -> list[list[int]]:
    """Deal images to the parts one by one, as a list of lists."""
    parts: list[list[int]] = [[] for _ in range(math.ceil(len(images) / micro_batch))]
    for turn, image in enumerate(images):
        parts[turn % len(parts)].append(image)
    return parts


def in_order(features: list[list[Tensor]], parts: list[list[int]]) -> list[Tensor]:
    """Sort features of parts, [part][level], as their images are numbered."""
    order = torch.tensor([image for part in parts for image in part]).argsort()
    return [torch.cat(level)[order] for level in zip(*features, strict=True)]


def gradients_of(network: nn.Module) -> list[Tensor]:
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    return gradients


def learn(network: TwoLevels, frames: Tensor, micro_batch: int, seed: int = 0) -> Tensor:
    batch = GlobalBatch(network, network, frames, micro_batch=micro_batch, seed=seed, processes=ALONE)
    loss = loss_of(batch.features)
    loss.backward()  # type: ignore[no-untyped-call]
    batch.backward()
    return loss.detach()


@pytest.mark.parametrize("micro_batch", [0, 1, 3, 6, 7, 100])
def test_loss_and_gradients_are_those_of_the_whole_batch(micro_batch: int) -> None:
    torch.manual_seed(0)
    network, frames = TwoLevels(), torch.randn(7, 3, 9, 9)
    expected = loss_of(network(frames))
    expected.backward()  # type: ignore[no-untyped-call]
    expected_gradients = gradients_of(network)
    assert learn(network, frames, micro_batch).item() == pytest.approx(expected.item(), rel=1e-5)
    for gradient, wanted in zip(gradients_of(network), expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_what_is_dropped_at_random_is_dropped_in_both_passes() -> None:
    """Computing parts twice has to agree with keeping the graphs of all parts."""
    network, frames = TwoLevels(nn.Dropout(0.5)), torch.randn(7, 3, 9, 9)
    parts, features = image_major(range(7), 3), []
    for index, part in enumerate(parts):
        torch.manual_seed(5 + index)
        features.append(network(frames[part]))
    loss_of(in_order(features, parts)).backward()  # type: ignore[no-untyped-call]
    expected = gradients_of(network)
    learn(network, frames, 3, seed=5)
    for gradient, wanted in zip(gradients_of(network), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [2, 3, 5])
def test_parts_are_normalized_as_if_images_were_dealt_one_by_one(micro_batch: int) -> None:
    """With batch normalization, loss and gradients tell which images met in a part."""
    torch.manual_seed(0)
    network, frames = TwoLevels(nn.BatchNorm2d(8)), torch.randn(7, 3, 9, 9)
    parts = image_major(range(7), micro_batch)
    expected = loss_of(in_order([network(frames[part]) for part in parts], parts))
    expected.backward()  # type: ignore[no-untyped-call]
    expected_gradients = gradients_of(network)
    assert learn(network, frames, micro_batch).item() == pytest.approx(expected.item(), rel=1e-5)
    for gradient, wanted in zip(gradients_of(network), expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_a_part_has_as_many_vehicles_as_it_can_and_features_keep_the_order_of_frames(p: int, k: int, most: int) -> None:
    frames = torch.arange(p * k, dtype=torch.float32).view(-1, 1)
    parts: list[list[int]] = []

    def network(part: Tensor) -> list[Tensor]:
        parts.append(part[:, 0].int().tolist())
        return [part * 2, part[:, 0]]

    batch = GlobalBatch(network, nn.Identity(), frames, micro_batch=most, seed=0, processes=ALONE)
    assert torch.equal(batch.features[0], 2 * frames)
    assert torch.equal(batch.features[1], frames[:, 0])
    assert sorted(image for part in parts for image in part) == list(range(p * k))
    assert len(parts) == math.ceil(p * k / most)
    sizes = [len(part) for part in parts]
    assert max(sizes) <= min(most, min(sizes) + 1)
    for part in parts:
        assert len({image // k for image in part}) == min(p, len(part))


def test_running_statistics_are_updated_once_by_the_mean_of_the_parts() -> None:
    norm = nn.BatchNorm2d(8, momentum=0.3)
    network, frames = TwoLevels(norm), torch.randn(7, 3, 9, 9)
    inputs = [network.first[0](frames[part]) for part in image_major(range(7), 3)]
    mean = torch.stack([part.mean(dim=(0, 2, 3)) for part in inputs]).mean(dim=0)
    variance = torch.stack([part.var(dim=(0, 2, 3)) for part in inputs]).mean(dim=0)
    learn(network, frames, 3)
    assert norm.num_batches_tracked is not None
    assert norm.num_batches_tracked.item() == 1
    torch.testing.assert_close(norm.running_mean, 0.3 * mean)
    torch.testing.assert_close(norm.running_var, 0.7 + 0.3 * variance)
    assert norm.momentum == 0.3
    assert norm.track_running_stats


def test_running_statistics_without_a_momentum_are_the_mean_of_all_batches() -> None:
    norm = nn.BatchNorm2d(8, momentum=None)
    network = TwoLevels(norm)
    batches = [torch.randn(7, 3, 9, 9) for _ in range(3)]
    means = [
        torch.stack([network.first[0](frames[part]).mean(dim=(0, 2, 3)) for part in image_major(range(7), 3)]).mean(0)
        for frames in batches
    ]
    for frames in batches:
        learn(network, frames, 3)
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(dim=0))


def test_frozen_statistics_stay_as_they_are() -> None:
    norm = nn.BatchNorm2d(8).eval()
    learn(TwoLevels(norm), torch.randn(7, 3, 9, 9), 3)
    assert norm.num_batches_tracked is not None
    assert norm.num_batches_tracked.item() == 0
    torch.testing.assert_close(norm.running_mean, torch.zeros(8))
