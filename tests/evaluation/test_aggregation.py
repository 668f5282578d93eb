"""The weights of levels, against PyTorch's optimizer on the same loss as a loop, and what they are to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reid.data.dataset import Split
from reid.evaluation.aggregation import LEAST_WEIGHT, choose_level_weights
from reid.evaluation.protocols import EmbeddedData
from reid.runtime.model_card import Level
from reid.runtime.tracklet import Tracklet

LEVELS = (Level(name="level2", size=4), Level(name="level3", size=6), Level(name="level4", size=5))


def embedded(noise: tuple[float, ...], *, cameras: int = 3, count: int = 40) -> EmbeddedData:
    """Images of eight vehicles, whose levels are as far from their vehicle's center as their noise says."""
    random = np.random.default_rng(0)
    centers = [random.normal(size=(8, level.size)) for level in LEVELS]
    embeddings: dict[tuple[Path, ...], NDArray[np.float32]] = {}

    def image(name: str) -> Tracklet:
        vehicle, camera = int(random.integers(8)), int(random.integers(cameras))
        parts = [
            center[vehicle] + share * random.normal(size=level.size)
            for center, share, level in zip(centers, noise, LEVELS, strict=True)
        ]
        own = np.concatenate([part / np.linalg.norm(part) for part in parts]) / np.sqrt(len(parts))
        embeddings[Path(name),] = own.astype(np.float32)
        return Tracklet(name, (Path(name),), str(camera), str(vehicle))

    query, gallery = (tuple(image(f"{kind}{i}") for i in range(count)) for kind in "qg")
    return EmbeddedData(Split(query, query), Split(gallery, gallery), embeddings, ())


def optimum(data: EmbeddedData) -> NDArray[np.float64]:
    """The coefficients of the same logistic regression, by L-BFGS on a loss that is a loop over pairs."""
    ends = np.cumsum([level.size for level in LEVELS])[:-1]

    def cosines(one: Tracklet, other: Tracklet) -> list[float]:
        pairs = zip(*(np.split(data.embeddings[image.frames], ends) for image in (one, other)), strict=True)
        return [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs]

    queries = []
    for query in data.query.images:
        wrong = [cosines(query, image) for image in data.gallery.images if image.vehicle != query.vehicle]
        right = [
            cosines(query, image)
            for image in data.gallery.images
            if image.vehicle == query.vehicle and image.camera != query.camera
        ]
        if right:
            queries.append((torch.tensor(right), torch.tensor(wrong)))
    logarithms = torch.zeros(len(LEVELS), requires_grad=True)
    search = torch.optim.LBFGS([logarithms], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        factors = logarithms.exp()
        lost = []
        for right, wrong in queries:
            of_wrong = (wrong @ factors).expand(len(right), -1)
            scores = torch.cat([(right @ factors)[:, None], of_wrong], dim=1)
            lost.append(torch.nn.functional.cross_entropy(scores, torch.zeros(len(right), dtype=torch.long)))
        total = torch.stack(lost).mean()
        total.backward()
        return total

    search.step(loss)
    return logarithms.exp().detach().numpy().astype(np.float64)


@pytest.mark.parametrize("noise", [(0.8, 0.9, 1.0), (2.0, 0.8, 1.2), (1.0, 1.0, 1.0)])
def test_weights_are_those_of_a_logistic_regression(noise: tuple[float, ...]) -> None:
    data = embedded(noise)
    expected = np.sqrt(optimum(data))
    found = choose_level_weights(data, LEVELS)
    assert max(found) == 1
    np.testing.assert_allclose(found, np.maximum(expected / expected.max(), LEAST_WEIGHT), atol=0.03)


def test_a_level_that_knows_nothing_hardly_counts() -> None:
    first, second, third = choose_level_weights(embedded((100, 0.5, 0.5), count=80), LEVELS)
    assert first < 0.4 < min(second, third)
    assert first >= LEAST_WEIGHT


def test_weights_do_not_depend_on_those_that_the_embeddings_have_already() -> None:
    data = embedded((1.0, 0.7, 1.3))
    ends = np.cumsum([level.size for level in LEVELS])[:-1]
    again = {
        frames: np.concatenate([f * part for f, part in zip((3, 0.5, 1), np.split(one, ends), strict=True)])
        for frames, one in data.embeddings.items()
    }
    weighted = EmbeddedData(data.query, data.gallery, again, ())
    assert choose_level_weights(weighted, LEVELS) == pytest.approx(choose_level_weights(data, LEVELS), abs=0.02)


def test_levels_count_alike_where_nothing_can_be_told() -> None:
    data = embedded((1.0, 1.0, 1.0), cameras=1)
    assert choose_level_weights(data, LEVELS) == (1, 1, 1)
    whole = Level(name="level4", size=sum(level.size for level in LEVELS))
    assert choose_level_weights(embedded((1.0, 1.0, 1.0)), [whole]) == (1,)
