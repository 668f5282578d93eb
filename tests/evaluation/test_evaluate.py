"""Evaluation as library code: what a program gets for a session and a data set."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from recording import Recorder

from reid import DataError, evaluate, open_session, read_dataset
from reid.data.dataset import Dataset, Split
from reid.evaluation.evaluate import score
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData, embed_data, evaluate_protocol
from reid.runtime.galleries.post_processing import PostProcessing
from reid.runtime.tracklet import Tracklet


def entry(name: str, vehicle: str, camera: str) -> Tracklet:
    return Tracklet(name, (Path(name),), camera, vehicle)


def embedded(
    queries: list[Tracklet],
    gallery: list[Tracklet],
    unreadable: tuple[str, ...] = (),
    queries_left_out: tuple[str, ...] = (),
) -> EmbeddedData:
    """Images without tracklets, the embedding of each vehicle being a unit vector of its own."""

    def embedding(image: Tracklet) -> NDArray[np.float32]:
        return np.asarray(np.eye(8, dtype=np.float32)[int(str(image.vehicle))])

    embeddings = {image.frames: embedding(image) for image in (*queries, *gallery)}
    return EmbeddedData(Split(tuple(queries)), Split(tuple(gallery)), embeddings, unreadable, queries_left_out)


def test_a_data_set_is_scored_as_its_embeddings_are_by_each_protocol(veri: Path, bundle: Path) -> None:
    dataset = read_dataset(veri)
    with open_session(bundle) as session:
        progress = Recorder()
        metrics = evaluate(session, dataset, progress=progress)
        processed = evaluate(session, dataset, ["t2t"], expand_queries=2, rerank=True)
        data = embed_data(session, dataset.query, dataset.gallery)
    assert list(metrics) == ["i2i", "i2t", "t2t"]
    for name, found in metrics.items():
        assert found.summary() == evaluate_protocol(data, PROTOCOLS[name]).summary()
    assert list(processed) == ["t2t"]
    assert processed["t2t"].summary() == evaluate_protocol(data, PROTOCOLS["t2t"], PostProcessing(2, True)).summary()
    assert processed["t2t"].summary() != metrics["t2t"].summary()
    (stage,) = progress.stages
    assert (stage.name, stage.unit) == ("embedding", "frames")
    assert stage.done == stage.total == len({frame for t in data.embeddings for frame in t})


def test_an_unknown_protocol_is_named_before_the_work(veri: Path, bundle: Path) -> None:
    progress = Recorder()
    with open_session(bundle) as session, pytest.raises(DataError, match="i2x"):
        evaluate(session, read_dataset(veri), ["i2i", "i2x"], progress=progress)
    assert progress.stages == []


def test_a_protocol_that_the_data_cannot_serve_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    data = embedded([entry("q", "1", "a")], [entry("g", "1", "b"), entry("h", "2", "b")])
    assert data.query.tracklets == data.gallery.tracklets == ()
    metrics = score(data, tuple(PROTOCOLS.values()))
    assert list(metrics) == ["i2i"]
    assert metrics["i2i"].summary()["mAP"] == 100
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["i2t", "t2t"]


def test_data_that_serves_no_protocol_is_an_error(tmp_path: Path, bundle: Path) -> None:
    with open_session(bundle) as session, pytest.raises(DataError, match="i2i: 0 queries"):
        evaluate(session, Dataset("flat", tmp_path, Split(), Split(), Split()))


def test_everything_that_is_not_in_the_metrics_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    queries = [entry("q", "1", "a"), entry("r", "2", "a"), entry("s", "3", "a")]
    data = embedded(
        queries, [entry("g", "1", "b")], unreadable=("bad.jpg", "worse.jpg"), queries_left_out=("blind.jpg",)
    )
    score(data, [PROTOCOLS["i2i"]])
    assert [record.getMessage() for record in caplog.records] == [
        "i2i: 2 queries have no right answer and are not counted",
        "2 frames could not be read and were left out: bad.jpg, worse.jpg",
        "1 queries could not be read and are not counted: blind.jpg",
    ]


def test_unreadable_frames_of_a_data_set_are_logged(
    veri: Path, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(veri, tmp_path / "veri"))
    bad = min((root / "image_test").iterdir())
    bad.write_bytes(b"no picture")
    with open_session(bundle) as session:
        evaluate(session, read_dataset(root), ["i2i"])
    assert any(bad.name in record.getMessage() for record in caplog.records)
