"""Plain and post-processed rankings beside one another in the gate, on random embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reid.data.dataset import Split
from reid.data.layout import open_dataset
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData, evaluate_protocol
from reid.evaluation.verification.reference import embed_retrieval
from reid.evaluation.verification.retrieval import rank
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing, distance_blocks
from reid.runtime.opening import open_session
from reid.runtime.tracklet import Tracklet

STEPS = [PLAIN, PostProcessing(4), PostProcessing(rerank=True), PostProcessing(4, True)]


def embedded() -> EmbeddedData:
    """Images of six vehicles and three cameras; queries of a seventh vehicle have no right answer."""
    random = np.random.default_rng(0)
    centers = random.standard_normal((7, 10))
    vehicles = np.concatenate([random.integers(7, size=25), random.integers(6, size=60)])
    vectors = (centers[vehicles] + random.standard_normal((85, 10))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = [
        Tracklet(f"e{n}", (Path(f"e{n}"),), str(random.integers(3)), str(vehicle)) for n, vehicle in enumerate(vehicles)
    ]
    embeddings = {entry.frames: vector for entry, vector in zip(entries, vectors, strict=True)}
    return EmbeddedData(Split(tuple(entries[:25])), Split(tuple(entries[25:])), embeddings, ())


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_first_matches_are_those_of_all_queries_together(step: PostProcessing) -> None:
    data = embedded()
    found = rank(data, PROTOCOLS["i2i"], step)
    assert found.post_processing == step
    assert 0 < len(found.queries) < len(data.query.images)
    gallery = data.gallery.images
    blocks = distance_blocks(data.matrix(data.query.images), data.matrix(gallery), step)
    distances = dict(zip(data.query.images, np.concatenate([block.values for block in blocks]), strict=True))
    for query, matches in zip(found.queries, found.matches.tolist(), strict=True):
        kept = [g for g, entry in enumerate(gallery) if (entry.vehicle, entry.camera) != (query.vehicle, query.camera)]
        assert matches == sorted(kept, key=lambda g, row=distances[query]: (row[g], g))[: len(matches)]


def test_a_reference_ranks_plain_and_then_post_processed(bundle: Path, veri: Path) -> None:
    dataset, step = open_dataset(veri, needs="query"), PostProcessing(2, True)
    with open_session(bundle) as session:
        found = embed_retrieval(session, dataset.query, dataset.gallery, post_processing=step)
        plain = embed_retrieval(session, dataset.query, dataset.gallery)
    assert [(one.post_processing, one.protocol) for one in found.ranked] == [
        (one, name) for one in (PLAIN, step) for name in PROTOCOLS
    ]
    assert [(one.post_processing, one.protocol) for one in plain.ranked] == [(PLAIN, name) for name in PROTOCOLS]
    for one in found.ranked:
        expected = evaluate_protocol(found.data, PROTOCOLS[one.protocol], one.post_processing)
        assert one.metrics.summary() == expected.summary()
