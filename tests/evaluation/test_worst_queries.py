"""The worst queries, against average precisions and ranks computed one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reid.data.dataset import Split
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData, evaluate_protocol
from reid.evaluation.worst_queries import worst_queries
from reid.runtime.galleries.entry import entry_of
from reid.runtime.tracklet import Tracklet


@pytest.mark.parametrize("unknown", [None, 1], ids=["all cameras known", "one camera unknown"])
def test_the_worst_come_first_with_what_they_found(unknown: int | None) -> None:
    random = np.random.default_rng(1)
    images = tuple(
        Tracklet(
            f"{vehicle}-{camera}-{n}",
            (Path(f"{vehicle}-{camera}-{n}"),),
            None if camera == unknown else str(camera),
            str(vehicle),
        )
        for vehicle in range(6)
        for camera in range(3)
        for n in range(2)
    )
    embeddings = {image.frames: random.normal(size=4).astype(np.float32) for image in images}
    embeddings = {frames: vector / np.linalg.norm(vector) for frames, vector in embeddings.items()}
    split = Split(images, images)
    data = EmbeddedData(split, split, embeddings, ())

    def ranked(query: Tracklet) -> list[Tracklet]:
        kept = [image for image in images if (image.vehicle, image.camera) != (query.vehicle, query.camera)]
        return sorted(kept, key=lambda image: -float(embeddings[query.frames] @ embeddings[image.frames]))

    def right_ranks(query: Tracklet) -> list[int]:
        return [rank for rank, image in enumerate(ranked(query), start=1) if image.vehicle == query.vehicle]

    def average_precision(query: Tracklet) -> float:
        return 100 * float(np.mean([n / rank for n, rank in enumerate(right_ranks(query), start=1)]))

    found = list(worst_queries(data, evaluate_protocol(data, PROTOCOLS["i2i"]), count=5, matches=3))
    assert len(found) == 5
    np.testing.assert_allclose(
        [query.average_precision for query in found], sorted(map(average_precision, images))[:5], rtol=1e-9
    )
    for query in found:
        own = query.ranking.query
        assert np.isclose(query.average_precision, average_precision(own))
        assert [match.entry for match in query.ranking.matches] == list(map(entry_of, ranked(own)[:3]))
        assert query.first_right_rank == right_ranks(own)[0]
        first_right = ranked(own)[query.first_right_rank - 1]
        assert query.first_right.entry == entry_of(first_right)
        similarity = float(embeddings[own.frames] @ embeddings[first_right.frames])
        assert np.isclose(query.first_right.score, similarity, atol=1e-6)
