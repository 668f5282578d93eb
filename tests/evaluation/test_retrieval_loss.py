"""The retrieval loss, against a loop over pairs whose scale another library searches for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from reid.data.dataset import Split
from reid.evaluation import retrieval_loss as module
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData, evaluate_protocol
from reid.evaluation.retrieval_loss import retrieval_loss
from reid.runtime.tracklet import Tracklet


def embedded(noise: float, *, seed: int = 0, vehicles: int = 6, cameras: int = 3, count: int = 30) -> EmbeddedData:
    """Images that are as far from their vehicle's center as the noise says."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(vehicles, 8))
    embeddings: dict[tuple[Path, ...], NDArray[np.float32]] = {}

    def image(name: str) -> Tracklet:
        vehicle, camera = int(random.integers(vehicles)), int(random.integers(cameras))
        own = centers[vehicle] + noise * random.normal(size=8)
        embeddings[Path(name),] = (own / np.linalg.norm(own)).astype(np.float32)
        return Tracklet(name, (Path(name),), str(camera), str(vehicle))

    query, gallery = (tuple(image(f"{kind}{i}") for i in range(count)) for kind in "qg")
    return EmbeddedData(Split(query), Split(gallery), embeddings, ())


def by_loops(data: EmbeddedData, scale: float) -> float:
    of_queries = []
    for query in data.query.images:
        scores = [scale * float(data.embeddings[query.frames] @ data.embeddings[g.frames]) for g in data.gallery.images]
        pairs = list(zip(data.gallery.images, scores, strict=True))
        wrong = [score for image, score in pairs if image.vehicle != query.vehicle]
        right = [score for image, score in pairs if image.vehicle == query.vehicle and image.camera != query.camera]
        if right:
            lost = [math.log(1 + sum(math.exp(other - own) for other in wrong)) for own in right]
            of_queries.append(sum(lost) / len(lost))
    return sum(of_queries) / max(len(of_queries), 1)


@given(st.floats(0.1, 5), st.integers(0, 99), st.integers(1, 6), st.integers(2, 4))
@settings(max_examples=12, deadline=None)
def test_it_is_the_least_cross_entropy_of_any_common_scale(
    noise: float, seed: int, vehicles: int, cameras: int
) -> None:
    data = embedded(noise, seed=seed, vehicles=vehicles, cameras=cameras, count=15)
    least = minimize_scalar(lambda log: by_loops(data, math.exp(log)), bounds=(0, math.log(1000)), method="bounded").fun
    found = retrieval_loss(data)
    assert found == pytest.approx(least, rel=2e-3, abs=1e-6)
    assert found >= 0


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = embedded(1.0)
    whole = retrieval_loss(data)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert retrieval_loss(data) == pytest.approx(whole, rel=1e-12)


def test_it_tells_models_apart_that_rank_every_image_right() -> None:
    good, better = embedded(0.15), embedded(0.05)
    assert all(evaluate_protocol(data, PROTOCOLS["i2i"]).summary()["mAP"] == 100 for data in (good, better))
    assert 0 < retrieval_loss(better) < retrieval_loss(good)


def test_what_cannot_be_lost_is_no_loss() -> None:
    assert retrieval_loss(embedded(1.0, vehicles=1)) == 0  # no wrong image
    assert retrieval_loss(embedded(1.0, cameras=1)) == 0  # no right one
