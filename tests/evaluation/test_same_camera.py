"""What of the query's own vehicle its ranking leaves out, against loops over entries and files."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reid.data.dataset import Dataset, Split, TestSet
from reid.evaluation.evaluate import score
from reid.evaluation.metrics import Labels, evaluate
from reid.evaluation.pairs import pair_distances
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData, evaluate_protocol, protocols_of
from reid.evaluation.same_camera import OwnView, own_view, own_view_of
from reid.evaluation.verification.retrieval import rank
from reid.evaluation.worst_queries import worst_queries
from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import distance_rows
from reid.runtime.model_card import Level
from reid.runtime.tracklet import Tracklet


def fleet(seed: int, cameras: list[str | None], *, tracked: bool = True) -> tuple[Split, Split]:
    """Return queries, some of which are gallery files, and a gallery of tracks of one to three images."""
    random = np.random.default_rng(seed)
    tracklets = [
        Tracklet(f"t{track}", tuple(Path(f"g{track}_{n}") for n in range(random.integers(1, 4))), camera, f"v{vehicle}")
        for track in range(12)
        for camera, vehicle in [(cameras[random.integers(len(cameras))], random.integers(4))]
    ]
    images = [Tracklet(str(frame), (frame,), t.camera, t.vehicle) for t in tracklets for frame in t.frames]
    inside = [images[place] for place in sorted(random.choice(len(images), 6, replace=False))]
    outside = [Tracklet(f"q{n}", (Path(f"q{n}"),), cameras[0], f"v{random.integers(5)}") for n in range(3)]
    own = [next(t for t in tracklets if image.frames[0] in t.frames) if tracked else image for image in inside]
    return Split((*inside, *outside), (*own, *outside)), Split(tuple(images), tuple(tracklets) if tracked else ())


def embedded(query: Split, gallery: Split, view: OwnView) -> EmbeddedData:
    random = np.random.default_rng(5)
    entries = (*query.images, *query.tracklets, *gallery.images, *gallery.tracklets)
    vectors = {frames: random.normal(size=8) for frames in {entry.frames: None for entry in entries}}
    unit = {frames: (vector / np.linalg.norm(vector)).astype(np.float32) for frames, vector in vectors.items()}
    return EmbeddedData(query, gallery, unit, ()).leaving_out(view)


def is_own(query: Tracklet, entry: Tracklet, gallery: Split, view: OwnView) -> bool:
    """Return whether a query's ranking leaves an entry out, from the definition."""
    if query.vehicle != entry.vehicle:
        return False
    if view == "camera":
        return query.camera == entry.camera
    if set(query.frames) & set(entry.frames):
        return True
    tracks = [t for t in gallery.tracklets if t.vehicle == query.vehicle]
    by_track = view == "track" and len(tracks) > 1
    return by_track and any({*query.frames, *entry.frames} <= set(t.frames) for t in tracks)


def naive(data: EmbeddedData, name: str, view: OwnView) -> tuple[list[float], int]:
    """Return the average precisions of the counted queries, and the number of the others."""
    asked = data.query.tracklets if name == "t2t" else data.query.images
    entries = data.gallery.images if name == "i2i" else data.gallery.tracklets
    precisions, unanswerable = [], 0
    for query in asked:
        ranked = sorted(entries, key=lambda e: -float(data.embeddings[query.frames] @ data.embeddings[e.frames]))
        right = [e.vehicle == query.vehicle for e in ranked if not is_own(query, e, data.gallery, view)]
        ranks = [rank for rank, is_right in enumerate(right, start=1) if is_right]
        if ranks:
            precisions.append(sum(n / rank for n, rank in enumerate(ranks, start=1)) / len(ranks))
        else:
            unanswerable += 1
    return precisions, unanswerable


views = st.sampled_from(["camera", "track", "image"])
camera_lists = st.sampled_from([["c1"], [None], ["c1", "c2", "c3"], ["c1", None]])


@given(st.integers(0, 200), camera_lists, views, st.sampled_from(list(PROTOCOLS)))
def test_every_protocol_leaves_out_what_the_definition_says(
    seed: int, cameras: list[str | None], view: OwnView, name: str
) -> None:
    data = embedded(*fleet(seed, cameras), view)
    precisions, unanswerable = naive(data, name, view)
    if not precisions:
        with pytest.raises(DataError, match="none of 9 queries"):
            evaluate_protocol(data, PROTOCOLS[name])
        return
    found = evaluate_protocol(data, PROTOCOLS[name])
    np.testing.assert_allclose(found.average_precision, precisions, atol=1e-9)
    assert len(found.unanswerable) == unanswerable


@given(st.integers(0, 200), views)
def test_distances_first_matches_and_worst_queries_leave_out_the_same(seed: int, view: OwnView) -> None:
    data = embedded(*fleet(seed, ["c1", "c2"]), view)
    assume(naive(data, "i2i", view)[0])
    query, gallery = data.query.images, data.gallery.images
    kept = [(q, e) for q, e in itertools.product(query, gallery) if not is_own(q, e, data.gallery, view)]
    (pairs,) = pair_distances(data, [Level(name="level1", size=8)])
    assert pairs.positive.sum() == sum(q.vehicle == e.vehicle for q, e in kept)
    assert pairs.negative.sum() == sum(q.vehicle != e.vehicle for q, e in kept)
    ranked = rank(data, PROTOCOLS["i2i"])
    for asked, matches in zip(ranked.queries, ranked.matches, strict=True):
        entries = [e for q, e in kept if q is asked]
        best = sorted(entries, key=lambda e: -float(data.embeddings[asked.frames] @ data.embeddings[e.frames]))
        assert [gallery[place].id for place in matches if place >= 0] == [entry.id for entry in best[:5]]
    names = {(q.id, e.id) for q, e in kept}
    for worst in worst_queries(data, ranked.metrics, count=9, matches=3):
        assert all((worst.ranking.query.id, match.entry.id) in names for match in worst.ranking.matches)


@given(st.integers(0, 200))
def test_where_cameras_tell_the_rule_and_its_figures_are_those_of_before(seed: int) -> None:
    """Before, entries of the query's vehicle and camera were left out, whatever the data."""
    query, gallery = fleet(seed, ["c1", "c2"])
    assume(len({image.camera for image in query.images}) == 2)
    assert own_view(query, gallery) == "camera"
    data = embedded(query, gallery, "camera")
    for protocol in PROTOCOLS.values():
        asked, entries = getattr(query, protocol.query), getattr(gallery, protocol.gallery)
        if naive(data, protocol.name, "camera")[0]:
            labels = (Labels([e.vehicle for e in side], [e.camera for e in side]) for side in (asked, entries))
            before = evaluate(distance_rows(data.matrix(asked), data.matrix(entries)), *labels)
            found = evaluate_protocol(data, protocol)
            assert found.average_precision.tolist() == before.average_precision.tolist()


@pytest.mark.parametrize(
    ("cameras", "asked", "expected"),
    [
        (["c1", "c2"], None, "camera"),
        (["c1", "c2"], "keep", "image"),
        (["c1"], None, "track"),
        ([None], None, "track"),
        (["c1"], "keep", "track"),
        ([None], "drop", "camera"),
    ],
)
def test_the_rule_follows_from_the_cameras_unless_one_asks(
    cameras: list[str | None], asked: str | None, expected: str
) -> None:
    query, gallery = fleet(3, cameras)
    assert own_view(query, gallery, asked) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["tracks", "images"])
def test_vehicles_that_are_not_held_out_by_cameras_are_not_judged_by_them(by: str) -> None:
    query, gallery = fleet(3, ["c1", "c2"])
    data = Dataset("flat", Path(), Split(), query, gallery, split_facts={"by": by})
    assert own_view_of(data) == "track"
    assert own_view_of(data, "drop") == "camera"
    assert own_view_of(replace(data, split_facts={"by": "cameras"})) == "camera"
    drawn = TestSet("800", query, gallery, draws=10)
    assert own_view_of(replace(data, split_facts={}), None, drawn) == "image"


def test_a_copy_of_the_query_is_the_query_but_another_image_of_its_name_is_not(tmp_path: Path) -> None:
    """VeRi-776 repeats its queries in the gallery; folders of vehicles number their images from 0."""

    def image(folder: str, name: str, content: bytes, vehicle: str) -> Tracklet:
        path = tmp_path / folder / vehicle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Tracklet(f"{folder}/{name}", (path,), None, vehicle)

    query = (image("query", "0.jpg", b"a", "v1"), image("query", "1.jpg", b"b", "v1"))
    copy, other = image("gallery", "0.jpg", b"a", "v1"), image("gallery", "1.jpg", b"c", "v1")
    wrong = image("gallery", "0.jpg", b"a", "v2")
    track = Tracklet("t", (*copy.frames, *other.frames), None, "v1")
    data = embedded(Split(query, query), Split((wrong, copy, other), (track,)), "image")
    asked, found = data.labels(PROTOCOLS["i2i"])
    assert [[own == view for view in found.cameras[1:]] for own in asked.cameras] == [[True, False], [False, False]]
    asked, found = data.labels(PROTOCOLS["i2t"])
    assert [own == found.cameras[0] for own in asked.cameras] == [True, False]


def test_where_dropping_leaves_no_right_answer_the_remedy_gives_some() -> None:
    data = embedded(*fleet(3, ["c1"]), "camera")
    with pytest.raises(DataError, match=r"i2i: none of 9 queries .*--same-camera keep$"):
        score(data, [PROTOCOLS["i2i"]])
    kept = score(data, [PROTOCOLS["i2i"]], same_camera="keep")["i2i"]
    assert len(kept.counted) == len(naive(data, "i2i", "track")[0]) > 0
    with pytest.raises(DataError, match="keep"):
        score(data.leaving_out("track"), [PROTOCOLS["i2i"]], same_camera="drop")


def test_where_nothing_would_help_no_remedy_is_named() -> None:
    query = (Tracklet("q", (Path("q"),), "c1", "v1"),)
    gallery = (Tracklet("g", (Path("g"),), "c1", "v2"),)
    data = embedded(Split(query, query), Split(gallery), "camera")
    with pytest.raises(DataError, match="check that query and gallery belong together"):
        evaluate_protocol(data, PROTOCOLS["i2i"])


def test_the_protocols_are_those_that_the_data_has_entries_for() -> None:
    query, gallery = fleet(3, [None], tracked=False)
    assert [one.name for one in protocols_of(query, gallery, None)] == ["i2i"]
    assert [one.name for one in protocols_of(*fleet(3, [None]), None)] == ["i2i", "i2t", "t2t"]
    with pytest.raises(DataError, match=r"t2t: 9 queries and 0 gallery tracklets; choose --protocols i2i;"):
        protocols_of(query, gallery, [PROTOCOLS["i2i"], PROTOCOLS["t2t"]])
