"""The scores of several test sets, and of galleries that are drawn, against loops over the draws."""

from __future__ import annotations

import logging
import statistics
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from recording import Recorder

from reid import DataError
from reid.data.dataset import Dataset, Split, TestSet
from reid.data.draws import draw_gallery
from reid.data.layout import open_dataset
from reid.evaluation.evaluate import evaluate
from reid.evaluation.protocols import PROTOCOLS, embed_data, evaluate_protocol
from reid.evaluation.scored_test_sets import Scoring, choose_test_sets, evaluate_test_sets
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.opening import open_session
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.session import run
from reid.runtime.tracklet import Tracklet


@pytest.fixture(scope="module")
def veri_data(veri: Path) -> Dataset:
    return open_dataset(veri, "veri", needs="query")


@pytest.fixture(scope="module")
def drawn(veri_data: Dataset) -> Dataset:
    """Two test sets without cameras, the first within the second, as VehicleID has them."""
    images = [Tracklet(i.id, i.frames, None, i.vehicle) for i in veri_data.gallery.images]
    vehicles = sorted({str(image.vehicle) for image in images})
    sets = []
    for count in (3, len(vehicles)):
        some = tuple(image for image in images if image.vehicle in vehicles[:count])
        sets.append(TestSet(str(count), Split(some, some), Split(some), draws=4))
    query, gallery = draw_gallery(sets[0], 0)
    return Dataset("vehicleid", veri_data.root, Split(), query, gallery, test_sets=tuple(sets))


def embed_one(session: HostSession, image: Tracklet, known: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    from reid.runtime.imaging import read_frame, resize

    if image.id not in known:
        size = session.info.card.preprocessing
        pixels = resize(read_frame(image.frames[0]), size.height, size.width)
        frames = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        known[image.id] = run(session, frames, np.ones((1, 1), np.float32))[0][0]
    return known[image.id]


def test_scores_over_draws_are_means_of_loops_and_every_frame_is_embedded_once(drawn: Dataset, bundle: Path) -> None:
    frames, known = 0, dict[str, NDArray[np.float32]]()
    with open_session(bundle) as opened:

        def counting(images: np.ndarray, pooling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            nonlocal frames
            frames += len(images)
            return run(opened, images, pooling)

        session = HostSession(opened.info, counting)
        scores = evaluate_test_sets(session, drawn)
        assert frames == len(drawn.test_sets[1].query.images)
        for test_set in drawn.test_sets:
            for image in test_set.query.images:
                embed_one(session, image, known)
    assert [one.name for one in scores] == [one.name for one in drawn.test_sets]
    for one, test_set in zip(scores, drawn.test_sets, strict=True):
        assert (one.draws, list(one.protocols), one.facts()["same_camera"]) == (4, ["i2i"], "keep")
        precisions, firsts = [], []
        for number in range(4):
            query, gallery = draw_gallery(test_set, number)
            ranks = []
            for asked in query.images:
                scored = [(-float(known[asked.id] @ known[e.id]), e.vehicle == asked.vehicle) for e in gallery.images]
                ranks.append([right for _, right in sorted(scored, key=lambda pair: pair[0])].index(True) + 1)
            precisions.append(100 * statistics.fmean(1 / rank for rank in ranks))  # one right answer each
            firsts.append(100 * statistics.fmean(rank == 1 for rank in ranks))
        found = one.protocols["i2i"]
        assert found["mAP"] == pytest.approx(statistics.fmean(precisions))
        assert found["R-1"] == pytest.approx(statistics.fmean(firsts))
        assert found["std"]["mAP"] == pytest.approx(statistics.stdev(precisions))
        assert found["std"]["R-1"] == pytest.approx(statistics.stdev(firsts))
        vehicles = {image.vehicle for image in test_set.query.images}
        assert (found["gallery"], found["queries"]) == (len(vehicles), len(test_set.query.images) - len(vehicles))


def test_post_processing_and_named_protocols_reach_every_draw(drawn: Dataset, bundle: Path) -> None:
    with open_session(bundle) as session:
        asked = PLAIN, PostProcessing(2, True)
        plain, processed = (evaluate_test_sets(session, drawn, Scoring(post_processing=step)) for step in asked)
        assert plain[1].protocols["i2i"]["mAP"] != processed[1].protocols["i2i"]["mAP"]
        assert list(processed[1].scores) == ["plain", "query expansion (2), re-ranking"]
        assert processed[1].scores["plain"] == plain[1].protocols
        with pytest.raises(DataError, match=r"i2t: .* 0 gallery tracklets; choose --protocols i2i"):
            evaluate_test_sets(session, drawn, Scoring((PROTOCOLS["i2t"],)))
        with pytest.raises(DataError, match="--same-camera keep"):
            evaluate_test_sets(session, drawn, Scoring(same_camera="drop"))


def test_test_sets_as_they_are_score_as_data_sets_of_their_own(veri_data: Dataset, bundle: Path) -> None:
    half = Split(veri_data.query.images[::2], veri_data.query.tracklets[::2])
    sets = (TestSet("half", half, veri_data.gallery), TestSet("all", veri_data.query, veri_data.gallery))
    data = Dataset("veriwild", veri_data.root, Split(), half, veri_data.gallery, test_sets=sets)
    with open_session(bundle) as session:
        scores = evaluate_test_sets(session, data)
        alone = [evaluate(session, Dataset("veri", data.root, Split(), one.query, one.gallery)) for one in sets]
        (single,) = evaluate_test_sets(session, veri_data)
    for one, expected in zip(scores, alone, strict=True):
        assert one.protocols == {name: metrics.summary() for name, metrics in expected.items()}
        assert (one.own_view, one.draws) == ("camera", 0)
    assert (single.name, single.protocols) == ("", scores[1].protocols)


def test_plain_and_post_processed_scores_stand_side_by_side_after_one_embedding(
    veri_data: Dataset, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    step = PostProcessing(3)
    with open_session(bundle) as session:
        progress = Recorder()
        (one,) = evaluate_test_sets(session, veri_data, Scoring(post_processing=step), progress=progress)
        data = embed_data(session, veri_data.query, veri_data.gallery)
    assert len(progress.stages) == 1
    for name, protocol in PROTOCOLS.items():
        assert one.scores["plain"][name] == evaluate_protocol(data, protocol).summary()
        assert one.scores["query expansion (3)"][name] == evaluate_protocol(data, protocol, step).summary()
    facts = one.facts()
    assert facts["post_processing"] == "query expansion (3)"
    for name, metrics in one.scores["plain"].items():
        assert facts["plain"][name]["mAP"] == metrics["mAP"]
        assert facts["protocols"][name]["mAP"] == one.protocols[name]["mAP"] != metrics["mAP"]
    notes = [record.getMessage() for record in caplog.records]
    assert len(notes) == len(set(notes))


def test_protocols_without_tracklets_are_noted_once(
    drawn: Dataset, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_session(bundle) as session:
        evaluate_test_sets(session, drawn)
    notes = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert notes == ["i2t and t2t are left out: the data has no tracklets to rank"]


def test_a_test_set_is_chosen_by_its_name(drawn: Dataset, veri_data: Dataset) -> None:
    assert choose_test_sets(drawn) == drawn.test_sets
    assert choose_test_sets(drawn, "3") == drawn.test_sets[:1]
    with pytest.raises(DataError, match=r"unknown test set '800'; choose one of: 3, "):
        choose_test_sets(drawn, "800")
    with pytest.raises(DataError, match=r"no test sets to choose '' from; leave out --test-set"):
        choose_test_sets(veri_data, "")
