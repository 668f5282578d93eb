"""`embed_data` and `evaluate_protocol` against an evaluation made here: one image at a time, in loops."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from recording import Recorder

from reid.data.dataset import Split
from reid.data.layout import open_dataset
from reid.evaluation.protocols import (
    PROTOCOLS,
    EmbeddedData,
    embed_data,
    evaluate_protocol,
    parse_protocols,
    protocol_blocks,
)
from reid.runtime.errors import DataError
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.opening import open_session
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.session import Session, run
from reid.runtime.tracklet import Tracklet


class NaiveEvaluator:
    """Embeds every image by itself and scores by the text of the protocol."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[bytes, np.ndarray] = {}

    def embed_image(self, path: Path) -> np.ndarray | None:
        content = path.read_bytes()
        if content not in self._known:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                return None
            size = self._session.info.card.preprocessing
            rgb = cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
            frames = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])
            self._known[content] = run(self._session, frames, np.ones((1, 1), np.float32))[0][0].astype(np.float64)
        return self._known[content]

    def embed(self, entry: Tracklet) -> np.ndarray | None:
        vectors = [v for v in (self.embed_image(Path(str(frame))) for frame in entry.frames) if v is not None]
        if not vectors:
            return None
        mean = sum(vectors[1:], vectors[0]) / len(vectors)
        return np.asarray(mean / np.sqrt((mean * mean).sum()))

    def evaluate(
        self, query: tuple[Tracklet, ...], gallery: tuple[Tracklet, ...], expand: int = 0
    ) -> dict[str, float | int]:
        members = [(entry, v) for entry in gallery if (v := self.embed(entry)) is not None]
        precisions: list[float] = []
        firsts: list[int] = []
        unanswerable = 0
        for asked in query:
            vector = self.embed(asked)
            if vector is None:
                continue
            nearest = sorted((other for _, other in members), key=lambda v, q=vector: -float(q @ v))
            vector = sum(nearest[:expand], vector)  # its length changes no order
            scored = []
            for entry, other in members:
                if entry.vehicle == asked.vehicle and entry.camera == asked.camera:
                    continue
                scored.append((float(vector @ other), entry.vehicle == asked.vehicle))
            ranked = [right for _, right in sorted(scored, key=lambda pair: -pair[0])]
            if not any(ranked):
                unanswerable += 1
                continue
            hits, total = 0, 0.0
            for rank, right in enumerate(ranked, start=1):
                if right:
                    hits += 1
                    total += hits / rank
            precisions.append(total / hits)
            firsts.append(ranked.index(True) + 1)
        count = len(precisions)
        return {
            "mAP": 100 * sum(precisions) / count,
            **{f"R-{k}": 100 * sum(first <= k for first in firsts) / count for k in (1, 5, 10)},
            "queries": count,
            "gallery": len(members),
            "unanswerable": unanswerable,
        }


@pytest.fixture(scope="module", params=["torch", "onnxruntime"])
def session(request: pytest.FixtureRequest, checkpoint: Path, bundle: Path) -> Iterator[Session]:
    import torch

    name: str = request.param
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only get in each other's way at one image a run
    with open_session(checkpoint if name == "torch" else bundle, f"{name}:cpu") as opened:
        yield opened
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def naive(session: Session) -> NaiveEvaluator:
    return NaiveEvaluator(session)


def sides(query: Split, gallery: Split, name: str) -> tuple[tuple[Tracklet, ...], tuple[Tracklet, ...]]:
    return (
        query.tracklets if name == "t2t" else query.images,
        gallery.images if name == "i2i" else gallery.tracklets,
    )


def test_every_protocol_equals_a_naive_evaluation(session: Session, naive: NaiveEvaluator, veri: Path) -> None:
    dataset = open_dataset(veri, needs="query")
    data = embed_data(session, dataset.query, dataset.gallery)
    assert data.unreadable == ()
    for name, protocol in PROTOCOLS.items():
        expected = naive.evaluate(*sides(dataset.query, dataset.gallery, name))
        assert expected["queries"] > 10
        assert evaluate_protocol(data, protocol).summary() == pytest.approx(expected, abs=1e-6), name
        expected = naive.evaluate(*sides(dataset.query, dataset.gallery, name), expand=4)
        found = evaluate_protocol(data, protocol, PostProcessing(4)).summary()
        assert found == pytest.approx(expected, abs=1e-6), name


def test_embeddings_of_images_and_tracklets_equal_those_made_one_image_at_a_time(
    session: Session, naive: NaiveEvaluator, veri: Path
) -> None:
    dataset = open_dataset(veri, needs="query")
    data = embed_data(session, dataset.query, dataset.gallery)
    for entry in (*data.gallery.tracklets[:5], *data.query.images[:5], *data.gallery.images[-5:]):
        expected = naive.embed(entry)
        assert expected is not None
        np.testing.assert_allclose(data.matrix([entry])[0], expected, atol=2e-6)


def test_unreadable_query_and_gallery_frames_are_named_left_out_and_change_nothing_else(
    session: Session, naive: NaiveEvaluator, veri: Path, tmp_path: Path
) -> None:
    root = tmp_path / "veri"
    shutil.copytree(veri, root)
    queries, gallery_images = sorted((root / "image_query").iterdir()), sorted((root / "image_test").iterdir())
    whole_track = {line.split()[0]: line.split() for line in (root / "test_track.txt").read_text().splitlines()}
    lost_track = whole_track[gallery_images[0].name]
    damaged = [queries[0], queries[5], gallery_images[20], gallery_images[40]]
    damaged += [root / "image_test" / name for name in lost_track]
    for path in damaged:
        path.write_bytes(b"this is no picture")
    dataset = open_dataset(root, needs="query")
    data = embed_data(session, dataset.query, dataset.gallery)
    assert sorted(data.unreadable) == sorted({str(path) for path in damaged})
    # A query counts in every protocol or in none: itself and its own tracklet have to be readable.
    kept, lost = Split(), []
    for image, own in zip(dataset.query.images, dataset.query.tracklets, strict=True):
        if image.frames[0] in damaged or all(frame in damaged for frame in own.frames):
            lost.append(image.id)
        else:
            kept = Split((*kept.images, image), (*kept.tracklets, own))
    assert data.queries_left_out == tuple(lost)
    assert len(lost) >= 2
    for name, protocol in PROTOCOLS.items():
        expected = naive.evaluate(*sides(kept, dataset.gallery, name))
        assert evaluate_protocol(data, protocol).summary() == pytest.approx(expected, abs=1e-6), name
    assert len(data.gallery.tracklets) == len(dataset.gallery.tracklets) - 1


def test_each_frame_goes_through_the_session_once(veri: Path, bundle: Path) -> None:
    dataset = open_dataset(veri, needs="query")
    frames = 0
    with open_session(bundle) as opened:

        def counting(images: np.ndarray, pooling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            nonlocal frames
            frames += len(images)
            return run(opened, images, pooling)

        recorder = Recorder()
        embed_data(HostSession(opened.info, counting), dataset.query, dataset.gallery, progress=recorder)
    distinct = {frame for entry in (*dataset.gallery.images, *dataset.query.images) for frame in entry.frames}
    assert frames == len(distinct)
    (stage,) = recorder.stages
    assert stage.name == "embedding"
    assert stage.total == stage.done == frames


def test_unlabeled_tracklets_are_not_one_vehicle() -> None:
    def image(name: str, camera: str, vehicle: str | None) -> Tracklet:
        return Tracklet(name, (Path(name),), camera, vehicle)

    query = (image("q0", "c1", "car"), image("q1", "c1", None))
    gallery = (image("g0", "c2", None), image("g1", "c2", "car"), image("g2", "c3", None))
    entries = (*query, *gallery)
    embeddings = {entry.frames: vector for entry, vector in zip(entries, np.eye(5, dtype=np.float32), strict=True)}
    data = EmbeddedData(Split(query, query), Split(gallery, gallery), embeddings, ())
    metrics = evaluate_protocol(data, PROTOCOLS["i2i"])
    assert metrics.counted.tolist() == [0]
    assert metrics.unanswerable.tolist() == [1]
    assert metrics.first_hit.tolist() == [1]  # g0 is as near, comes first, and is nobody's right answer


@pytest.mark.parametrize("step", [PostProcessing(3), PostProcessing(rerank=True), PostProcessing(3, True)])
def test_post_processing_gives_other_figures_for_the_same_queries(
    session: Session, veri: Path, step: PostProcessing
) -> None:
    dataset = open_dataset(veri, needs="query")
    data = embed_data(session, dataset.query, dataset.gallery)
    plain, processed = (evaluate_protocol(data, PROTOCOLS["i2i"], one).summary() for one in (PLAIN, step))
    assert processed["mAP"] != plain["mAP"]
    assert processed["queries"] == plain["queries"]
    assert 0 < processed["mAP"] <= 100


@pytest.mark.parametrize("step", [PostProcessing(3), PostProcessing(rerank=True), PostProcessing(3, True)])
def test_labels_change_no_distance(step: PostProcessing) -> None:
    """Post-processing knows what a deployed system knows: swapping all labels swaps no neighbor."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    blocks = []
    for vehicles, cameras in ((3, 2), (9, 4), (1, 1)):
        labels = random.integers(vehicles, size=40), random.integers(cameras, size=40)
        entries = [Tracklet(f"e{n}", (Path(f"e{n}"),), str(labels[1][n]), str(labels[0][n])) for n in range(40)]
        embeddings = {entry.frames: vector for entry, vector in zip(entries, vectors, strict=True)}
        data = EmbeddedData(Split(tuple(entries[:9])), Split(tuple(entries[9:])), embeddings, ())
        (block,) = protocol_blocks(data, PROTOCOLS["i2i"], step)
        blocks.append(block.values)
    assert np.isfinite(blocks[0]).all()  # nothing is left out
    np.testing.assert_array_equal(blocks[1], blocks[0])
    np.testing.assert_array_equal(blocks[2], blocks[0])


def test_a_data_set_of_which_nothing_can_be_read_is_an_error_with_the_protocol(session: Session) -> None:
    entry = Tracklet("a", (Path("/nowhere/a.jpg"),), "c1", "1")
    lost = Split((entry,), (entry,))
    data = embed_data(session, lost, lost)
    assert data.unreadable == ("/nowhere/a.jpg",)
    with pytest.raises(DataError, match=r"i2i: 0 queries and 0 gallery images"):
        evaluate_protocol(data, PROTOCOLS["i2i"])


def test_protocols_are_read_in_the_order_given() -> None:
    assert [protocol.name for protocol in parse_protocols("t2t,i2i")] == ["t2t", "i2i"]


@pytest.mark.parametrize("names", ["", "i2x", "i2i,", "I2I"])
def test_an_unknown_protocol_is_refused_with_the_known_ones(names: str) -> None:
    with pytest.raises(DataError, match="i2i, i2t, t2t"):
        parse_protocols(names)
