"""`infer` and `write_results`: folders in, ranked lists out, compared with a ranking made here image by image."""

from __future__ import annotations

import copy
import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from recording import Recorder

from reid.pages.results import write_results
from reid.runtime.appending import append
from reid.runtime.errors import DataError, ModelError
from reid.runtime.galleries.filters import Filters
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.reranking import reranked_rows
from reid.runtime.galleries.travel_times import TravelTimes
from reid.runtime.inference import infer
from reid.runtime.opening import open_session
from reid.runtime.operating_point import Estimate, OperatingPoint
from reid.runtime.sessions.session import BatchLimits, Session, run
from reid.runtime.shards import Shard
from reid.runtime.sightings import Seen


@pytest.fixture(scope="module")
def session(bundle: Path) -> Iterator[Session]:
    with open_session(bundle, "onnxruntime:cpu") as opened:
        yield opened


@pytest.fixture
def folders(veri: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A gallery of two sub-folders and four loose images, and a query of one sub-folder and two loose images."""
    images = sorted((veri / "image_test").iterdir())
    gallery, query = tmp_path / "gallery", tmp_path / "query"
    for target, chosen in (
        (gallery / "track_b", images[:5]),
        (gallery / "track_a", images[20:23]),
        (gallery, images[40:44]),
        (query / "track", images[60:64]),
        (query, images[70:72]),
    ):
        target.mkdir(parents=True, exist_ok=True)
        for image in chosen:
            shutil.copy(image, target)
    return gallery, query


def with_points(session: Session, threshold: float) -> Session:
    """Return the session with a threshold for each protocol, higher for tracklets."""
    points = {}
    for number, protocol in enumerate(("i2i", "i2t", "t2t")):
        estimate = Estimate(value=round(threshold + number / 1000, 6), interval=(0, 1))
        points[protocol] = OperatingPoint(
            false_match_rate=1e-3,
            threshold=estimate,
            true_match_rate=estimate,
            measured_rate=estimate,
            impostor_pairs=100_000,
            genuine_pairs=1,
            vehicles=50,
            confused=3,
        )
    card = session.info.card.model_copy(
        update={"operating_points": {"fp32": {name: (point,) for name, point in points.items()}}}
    )
    deciding = copy.copy(session)
    deciding.info = replace(session.info, card=card)  # type: ignore[misc]
    return deciding


def embed(session: Session, path: Path) -> np.ndarray:
    size = session.info.card.preprocessing
    rgb = cv2.resize(cv2.imread(str(path)), (size.width, size.height), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    frames = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])
    return run(session, frames, np.ones((1, 1), np.float32))[0][0].astype(np.float64)


def embed_folder(session: Session, root: Path) -> dict[str, np.ndarray]:
    vectors = {}
    for path in sorted(root.iterdir()):
        images = sorted(path.iterdir()) if path.is_dir() else [path]
        mean = sum(embed(session, image) for image in images) / len(images)
        vectors[path.name] = mean / np.linalg.norm(mean)
    return vectors


def test_sub_folders_and_loose_images_are_ranked_as_a_naive_computation_ranks_them(
    session: Session, folders: tuple[Path, Path]
) -> None:
    gallery, query = folders
    inference = infer(session, gallery, query, k=4, limits=BatchLimits(3, 3))
    members, asked = embed_folder(session, gallery), embed_folder(session, query)
    assert {ranking.query.id for ranking in inference.rankings} == asked.keys()
    assert len(members) == 6
    for ranking in inference.rankings:
        scores = {name: float(asked[ranking.query.id] @ vector) for name, vector in members.items()}
        best = sorted(scores, key=lambda name: -scores[name])[:4]
        assert [match.entry.id for match in ranking.matches] == best
        assert [match.score for match in ranking.matches] == pytest.approx([scores[name] for name in best], abs=2e-6)
    assert inference.unreadable == ()
    assert inference.frames == 5 + 3 + 4 + 4 + 2


def test_post_processed_queries_are_ranked_as_their_embeddings_are(
    session: Session, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    gallery, query = folders
    members, asked = embed_folder(session, gallery), embed_folder(session, query)
    vectors = np.array([*members.values()])
    inference = infer(session, gallery, query, k=4, expand_queries=2)
    for ranking in inference.rankings:
        vector = asked[ranking.query.id]
        mean = vector + vectors[np.argsort(-vectors @ vector)[:2]].sum(axis=0)
        scores = vectors @ mean / np.linalg.norm(mean)
        best = np.argsort(-scores)[:4]
        assert [match.entry.id for match in ranking.matches] == [[*members][index] for index in best]
        assert [match.score for match in ranking.matches] == pytest.approx(scores[best].tolist(), abs=2e-6)
    reranked = infer(session, gallery, query, k=4, rerank=True)
    sides = [np.array([*side.values()], np.float32) for side in (asked, members)]
    (distances,) = (block.values for block in reranked_rows(*sides))
    for ranking in reranked.rankings:
        expected = distances[[*asked].index(ranking.query.id)]
        assert [match.score for match in ranking.matches] == pytest.approx(sorted(1 - expected)[:-5:-1], abs=1e-4)
    for found, name, score in (
        (inference, "query expansion (2)", "cosine similarity to the expanded query"),
        (reranked, "re-ranking", "1 - re-ranked distance"),
    ):
        write_results(tmp_path, found, session)
        written = json.loads((tmp_path / "rankings.json").read_text())
        assert (written["post_processing"], written["score"]) == (name, score)
        page = (tmp_path / "report.html").read_text()
        assert name in page
        assert f"The number next to the rank is the {score}." in page


def test_the_batch_size_changes_no_ranking(session: Session, folders: tuple[Path, Path]) -> None:
    results = [infer(session, *folders, k=6, limits=BatchLimits(size, size)) for size in (1, 4, 64)]
    first, *others = [[[m.entry.id for m in ranking.matches] for ranking in r.rankings] for r in results]
    assert all(other == first for other in others)


def test_bad_images_are_named_in_the_order_in_which_they_were_met(session: Session, folders: tuple[Path, Path]) -> None:
    gallery, query = folders
    bad = [gallery / "0.jpg", gallery / "track_a" / "zz.png", query / "1.jpg", query / "track" / "0.jpg"]
    for path in bad:
        path.write_bytes(b"")
    inference = infer(session, gallery, query, k=2)
    assert [reason.partition(": ")[0] for reason in inference.unreadable] == [str(path) for path in bad]
    assert "1.jpg" not in {ranking.query.id for ranking in inference.rankings}
    assert isinstance(inference.gallery, MemoryGallery)
    assert "0.jpg" not in {entry.id for entry in inference.gallery.members}
    assert {"track_a", "track_b"} <= {entry.id for entry in inference.gallery.members}


def test_more_matches_than_the_gallery_holds_are_the_whole_gallery(
    session: Session, folders: tuple[Path, Path]
) -> None:
    inference = infer(session, *folders, k=1000)
    assert {len(ranking.matches) for ranking in inference.rankings} == {6}


def test_progress_runs_up_once_over_gallery_and_query(session: Session, folders: tuple[Path, Path]) -> None:
    recorder = Recorder()
    infer(session, *folders, k=1, limits=BatchLimits(2, 2), progress=recorder)
    (stage,) = recorder.stages
    assert (stage.name, stage.total, stage.unit) == ("embedding", 18, "frames")
    assert stage.done == 18
    assert min(stage.steps) > 0


def test_a_query_or_gallery_without_a_readable_image_is_an_error_that_names_one(
    session: Session, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    gallery, query = folders
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "only.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"only\.jpg"):
        infer(session, gallery, bad, k=1)
    with pytest.raises(DataError, match=r"only\.jpg"):
        infer(session, bad, query, k=1)


def test_an_empty_or_missing_folder_is_an_error_that_names_it(
    session: Session, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    (empty / "sub").mkdir(parents=True)
    (empty / "readme.txt").write_text("nothing here")
    for folder in (empty, tmp_path / "missing"):
        with pytest.raises(DataError, match=folder.name):
            infer(session, folders[0], folder, k=1)
        with pytest.raises(DataError, match=folder.name):
            infer(session, folder, folders[1], k=1)


def test_a_saved_gallery_ranks_exactly_as_its_folder_did(
    session: Session, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    gallery, query = folders
    first, second = tmp_path / "first", tmp_path / "second"
    for output, source in ((first, gallery), (second, first / "gallery.npz")):
        output.mkdir()
        write_results(output, infer(session, source, query, k=5, limits=BatchLimits(4, 4)), session)
    for name in ("rankings.json", "rankings.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_saved_gallery_of_another_model_is_refused_before_anything_is_embedded(
    session: Session, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    inference = infer(session, *folders, k=1)
    path = tmp_path / "other.npz"
    other = replace(session.info.space, fingerprint="0" * 64)
    assert isinstance(inference.gallery, MemoryGallery)
    replace(inference.gallery, space=other).save(path)
    recorder = Recorder()
    with pytest.raises(ModelError, match="was made by model"):
        infer(session, path, folders[1], k=1, progress=recorder)
    assert recorder.stages == []


def test_json_and_csv_hold_the_rankings_and_agree(session: Session, folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[1] / "bad.jpg").touch()
    inference = infer(session, *folders, k=3)
    write_results(tmp_path, inference, session)
    result = json.loads((tmp_path / "rankings.json").read_text())
    assert result["model"] == session.info.card.fingerprint
    assert [reason.partition(": ")[0] for reason in result["unreadable"]] == [str(folders[1] / "bad.jpg")]
    from_json = [
        (query["tracklet"], rank, match["tracklet"], match["score"])
        for query in result["queries"]
        for rank, match in enumerate(query["matches"], start=1)
    ]
    with (tmp_path / "rankings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["query"], int(r["rank"]), r["match"], float(r["score"])) for r in rows] == from_json
    assert from_json == [
        (ranking.query.id, rank, match.entry.id, pytest.approx(match.score, abs=1e-6))
        for ranking in inference.rankings
        for rank, match in enumerate(ranking.matches, start=1)
    ]
    page = (tmp_path / "report.html").read_text()
    assert "bad.jpg" in page
    assert session.info.card.fingerprint[:12] in page


def test_two_runs_write_the_same_bytes(session: Session, folders: tuple[Path, Path], tmp_path: Path) -> None:
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output in outputs:
        output.mkdir()
        write_results(output, infer(session, *folders, k=6), session)
    for name in ("rankings.json", "rankings.csv", "report.html"):
        assert (outputs[0] / name).read_bytes() == (outputs[1] / name).read_bytes()


def test_matches_are_decided_by_the_threshold_of_what_is_ranked(
    session: Session, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    gallery, query = folders
    images = tmp_path / "images"
    images.mkdir()
    for image in query.glob("*.jpg"):
        shutil.copy(image, images)
    plain = infer(session, gallery, query, k=4)
    assert {match.same for ranking in plain.rankings for match in ranking.matches} == {None}
    middle = sorted(round(match.score, 6) for ranking in plain.rankings for match in ranking.matches)[6]
    deciding = with_points(session, middle - 0.002)  # so that it is that of t2t
    found = infer(deciding, gallery, query, k=4, false_match_rate=1e-3)
    assert found.operating_point is not None
    assert found.operating_point.threshold is not None
    assert found.operating_point.threshold.value == pytest.approx(middle)
    assert [[match.same for match in ranking.matches] for ranking in found.rankings] == [
        [round(match.score, 6) >= middle for match in ranking.matches] for ranking in plain.rankings
    ]
    assert isinstance(found.gallery, MemoryGallery)
    found.gallery.save(tmp_path / "gallery.npz")
    append(session, tmp_path / "store of tracks", gallery)
    append(session, tmp_path / "store of images", images)
    for ranked, protocol in (
        *((gallery, 1), (tmp_path / "gallery.npz", 1), (tmp_path / "store of tracks", 1)),
        *((images, 0), (tmp_path / "store of images", 0)),
    ):
        point = infer(deciding, ranked, images, k=1, false_match_rate=1e-3).operating_point
        assert point is not None
        assert point.threshold is not None
        assert point.threshold.value == pytest.approx(middle - 0.002 + protocol / 1000)
    (tmp_path / "results").mkdir()
    write_results(tmp_path / "results", found, deciding)
    written = json.loads((tmp_path / "results" / "rankings.json").read_text())
    assert written["threshold"] == pytest.approx(middle)
    rows = list(csv.DictReader((tmp_path / "results" / "rankings.csv").open()))
    assert {row["same"] for row in rows} == {"true", "false"}
    page = (tmp_path / "results" / "report.html").read_text()
    assert "below the threshold" in page
    assert "new vehicles" in page


def test_without_a_threshold_that_fits_nothing_is_embedded(
    session: Session, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    gallery, query = folders
    deciding, progress = with_points(session, 0.5), Recorder()
    old = tmp_path / "old.npz"
    members = infer(session, gallery, query, k=1).gallery
    assert isinstance(members, MemoryGallery)
    nameless = tuple(replace(entry, frames=0) for entry in members.members)
    MemoryGallery(nameless, members.embeddings, members.space).save(old)
    for opened, ranked, options, message in (
        (session, gallery, {"false_match_rate": 1e-3}, "no operating point in fp32"),
        (deciding, gallery, {"false_match_rate": 1e-2}, "choose one of: 1e-3$"),
        (deciding, gallery, {"false_match_rate": 1e-3, "rerank": True}, "thresholds are for plain rankings"),
        (deciding, old, {"false_match_rate": 1e-3}, "images or tracklets"),
    ):
        with pytest.raises((ModelError, DataError), match=message):
            infer(opened, ranked, query, k=1, progress=progress, **options)  # type: ignore[arg-type]
    assert not progress.stages


@pytest.fixture
def loose(veri: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A gallery and a query of loose images, each of which says its camera."""
    images = sorted((veri / "image_test").iterdir())
    for name, chosen in (("gallery", images[::3][:20]), ("query", images[1::12][:5])):
        (tmp_path / name).mkdir()
        for image in chosen:
            shutil.copy(image, tmp_path / name)
    return tmp_path / "gallery", tmp_path / "query"


def camera_of(name: str) -> str:
    return name.split("_")[1]


def test_filters_leave_out_of_the_ranking_in_a_folder_and_a_store(
    session: Session, loose: tuple[Path, Path], tmp_path: Path
) -> None:
    gallery, query = loose
    times = {path.name: float(place % 7) for place, path in enumerate(sorted(gallery.iterdir()))}
    asked = {path.name: Seen("c009", 3.0) for path in query.iterdir()}
    append(session, tmp_path / "store", gallery, sightings={name: Seen(None, time) for name, time in times.items()})
    cameras = sorted({camera_of(name) for name in times})
    assert len(cameras) > 2
    here = cameras[0]
    travel = TravelTimes({("c009", here): (1.0, 2.0), (here, "c009"): (2.0, 3.0), (cameras[1], "c009"): (0.0, 1.0)})
    plain = infer(session, gallery, query, k=20)
    assert not plain.filters

    def near(query: str, camera: str, time: float) -> bool:
        if camera == here:
            return 0 <= time <= 1 or 4 <= time <= 5
        return camera != cameras[1] or time >= 2

    for filters, allowed, sources in (
        (Filters(frozenset(cameras[1:])), lambda _, camera, __: camera in cameras[1:], (gallery, tmp_path / "store")),
        (Filters(None, frozenset(cameras[:1])), lambda _, camera, __: camera != cameras[0], (gallery,)),
        (Filters(other_cameras=True), lambda q, camera, __: camera != camera_of(q), (gallery, tmp_path / "store")),
        (Filters(since_s=2, until_s=4.0), lambda _, __, time: 2 <= time <= 4, (tmp_path / "store",)),
        (Filters(travel=travel), near, (tmp_path / "store",)),
    ):
        for source in sources:
            found = infer(session, source, query, k=4, filters=filters, sightings=asked if filters.travel else None)
            for ranking, whole in zip(found.rankings, plain.rankings, strict=True):
                expected = [
                    (match.entry.id, match.score)
                    for match in whole.matches
                    if allowed(whole.query.id, match.entry.camera, times[match.entry.id])  # type: ignore[no-untyped-call]
                ]
                assert 4 <= len(expected) < 20
                assert [(match.entry.id, match.score) for match in ranking.matches] == expected[:4]


def test_what_filters_need_and_nobody_knows_is_told_before_anything_is_embedded(
    session: Session, loose: tuple[Path, Path]
) -> None:
    gallery, query = loose
    progress = Recorder()
    shutil.copy(next(query.iterdir()), query / "nameless.jpg")
    for filters, sightings, message in (
        (Filters(since_s=1), None, "no entry of .*gallery has a time"),
        (Filters(frozenset({"c777"})), None, "is of camera 'c777'; there are c0"),
        (Filters(other_cameras=True), None, "the camera of query nameless.jpg is not known"),
        (Filters(travel=TravelTimes({})), {"nameless.jpg": Seen("c1", 1.0)}, "the time of query 0"),
        (Filters(other_cameras=True), {"nobody": Seen("c1", 1.0)}, "the sightings name no tracklet of .*query"),
    ):
        with pytest.raises(DataError, match=message):
            infer(session, gallery, query, k=1, filters=filters, sightings=sightings, progress=progress)
    assert not progress.stages
    infer(
        session, gallery, query, k=1, filters=Filters(other_cameras=True), sightings={"nameless.jpg": Seen("c1", None)}
    )


def test_shards_together_are_the_whole(
    session: Session, loose: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    whole = {one.query.id: one.matches for one in infer(session, *loose, k=3).rankings}
    parts = [infer(session, *loose, k=3, shard=Shard(number, 9)).rankings for number in range(1, 10)]
    found = [(one.query.id, one.matches) for part in parts for one in part]
    assert len(found) == len(whole)
    assert dict(found) == whole
    assert () in parts
    assert "has none of the 5 tracklets of " in caplog.text


def test_a_shard_of_which_nothing_can_be_read_leaves_it_to_the_others(
    session: Session, loose: tuple[Path, Path]
) -> None:
    gallery, query = loose
    (query / "broken.jpg").write_text("no picture")
    others = {path.name for path in query.iterdir()} - {"broken.jpg"}
    alone = next(
        shard
        for shard in (Shard(number, 100) for number in range(1, 101))
        if shard.has("broken.jpg") and not any(map(shard.has, others))
    )
    found = infer(session, gallery, query, k=1, shard=alone)
    assert found.rankings == ()
    assert any("broken.jpg" in reason for reason in found.unreadable)
