"""What is found over HTTP is what reid's Python finds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from projection import ProjectionSession
from served import Client, serving

from reid.runtime.embedding import embed
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.opening import open_gallery
from reid.runtime.galleries.queries import rank
from reid.runtime.galleries.store.store import Store
from reid.runtime.operating_point import Estimate, OperatingPoint
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Tracklet
from reid.serve.deciding import Decider


def contents(files: list[Path]) -> list[tuple[str, bytes]]:
    return [(file.name, file.read_bytes()) for file in files]


def found(answer: Any) -> list[tuple[str, float]]:  # noqa: ANN401 - what a service answered
    assert [match["rank"] for match in answer["matches"]] == list(range(1, len(answer["matches"]) + 1))
    return [(match["entry"]["id"], match["score"]) for match in answer["matches"]]


def expected(
    session: Session, store: Path, files: list[Path], k: int, condition: Condition | None = None
) -> list[tuple[str, float]]:
    gallery = open_gallery(store, session.info.space)
    queries = embed(session, [Tracklet("query", files)])
    (ranking,) = rank(gallery, queries, k, conditions=None if condition is None else lambda query: condition)
    return [(match.entry.id, round(float(match.score), 6)) for match in ranking.matches]


def test_rankings_are_those_of_python_bit_for_bit(client: Client, session: Session, material: Any) -> None:  # noqa: ANN401
    for files in [*([one] for one in material.queries), material.queries[:2], material.queries]:
        answer = client.post("/v1/queries", contents(files), k=7)
        assert answer.status == 200
        assert answer.json["left_out"] == []
        assert found(answer.json) == expected(session, material.store, files, 7)


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        ({"camera": ["c001", "c003"]}, Condition(cameras=frozenset({"c001", "c003"}))),
        ({"not_camera": "c001"}, Condition(not_cameras=frozenset({"c001"}))),
        ({"after": 4, "before": 20}, Condition(time_s=(4, 20))),
        ({"camera": "c002", "before": 11}, Condition(frozenset({"c002"}), time_s=(-np.inf, 11))),
    ],
)
def test_filters_leave_out_what_a_loop_over_everything_leaves_out(
    client: Client,
    session: Session,
    material: Any,  # noqa: ANN401
    asked: dict[str, object],
    condition: Condition,
) -> None:
    with Store.open(material.store) as store:
        entries = {entry.id: entry for some in store.entries() for entry in some}
    everything = expected(session, material.store, material.queries[:1], 100)
    wanted = [pair for pair in everything if condition.allows(entries[pair[0]])]
    assert 0 < len(wanted) < len(everything)
    assert found(client.post("/v1/queries", contents(material.queries[:1]), k=100, **asked).json) == wanted


def test_filters_that_nothing_can_pass_are_errors(client: Client, material: Any) -> None:  # noqa: ANN401
    pictures = contents(material.queries[:1])
    assert "there are c001, c002" in client.post("/v1/queries", pictures, camera="c99").error
    assert "exchange them" in client.post("/v1/queries", pictures, after=2, before=1).error
    assert "leave out one" in client.post("/v1/queries", pictures, camera="c001", not_camera="c001").error


def test_an_entry_finds_the_others_and_not_itself(client: Client, session: Session, material: Any) -> None:  # noqa: ANN401
    for identity in ("track", sorted(material.crops.glob("*.jpg"))[4].name):
        answer = client.get("/v1/matches", entry=identity, k=5).json
        files = sorted((material.crops / identity).iterdir()) if identity == "track" else [material.crops / identity]
        others = [pair for pair in expected(session, material.store, files, 6) if pair[0] != identity]
        assert [name for name, _ in found(answer)] == [name for name, _ in others]
        assert np.allclose([score for _, score in found(answer)], [score for _, score in others], atol=2e-6)
    assert "no entry 'nobody'" in client.get("/v1/matches", entry="nobody").error


def test_what_cannot_be_read_is_left_out_and_named(client: Client, session: Session, material: Any) -> None:  # noqa: ANN401
    query = material.queries[0]
    broken = [("b.jpg", b"no picture"), ("c\x1b.jpg", query.read_bytes()[:500])]
    answer = client.post("/v1/queries", [*contents([query]), *broken], k=4)
    assert answer.json["left_out"] == [
        {"picture": "b.jpg", "reason": "not a readable image"},
        {"picture": "c\\x1b.jpg", "reason": "the image is cut short"},
    ]
    assert found(answer.json) == expected(session, material.store, [query], 4)
    nothing = client.post("/v1/queries", broken)
    assert (nothing.status, "b.jpg: not a readable image" in nothing.error) == (422, True)


def test_an_operating_point_decides_as_scores_are_written(session: Session, material: Any, tmp_path: Path) -> None:  # noqa: ANN401
    scores = [score for _, score in expected(session, material.store, material.queries[:1], 9)]
    estimate = Estimate(value=scores[4], interval=(0, 1))
    point = OperatingPoint(
        false_match_rate=1e-3,
        threshold=estimate,
        true_match_rate=estimate,
        measured_rate=estimate,
        impostor_pairs=9,
        genuine_pairs=9,
        vehicles=9,
        confused=9,
    )
    with serving(session, material.store, decider=Decider({"i2t": point}), read_only=True) as client:
        answer = client.post("/v1/queries", contents(material.queries[:1]), k=9).json
        assert [match["same"] for match in answer["matches"]] == [score >= scores[4] for score in scores]
        two = client.post("/v1/queries", contents(material.queries[:2]), k=2).json  # t2t has no point
        assert [match["same"] for match in two["matches"]] == [None, None]
        assert client.get("/v1/about").json["operating_point"] == {"false_match_rate": 1e-3, "threshold": scores[4]}


def test_many_clients_get_what_each_would_get_alone(tmp_path: Path) -> None:
    """By a session whose embeddings do not depend on the batch, so that answers can be compared bit for bit."""
    session, random = ProjectionSession(), np.random.default_rng(0)
    images = [random.integers(0, 256, (6, 10, 3), np.uint8) for _ in range(40)]
    pictures = [("a.png", cv2.imencode(".png", image)[1].tobytes()) for image in images]
    vectors = random.standard_normal((50, session.info.space.dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Store.create(tmp_path / "store", session.info.space) as store:
        store.add([Entry(f"{number}", f"c{number % 3}") for number in range(50)], vectors)
    questions = [
        (pictures[number : number + 1 + number % 3], {"k": 1 + number % 7, **({"camera": "c1"} if number % 2 else {})})
        for number in range(37)
    ]
    with serving(session, tmp_path / "store") as client:
        alone = [client.post("/v1/queries", some, **asked).json["matches"] for some, asked in questions]
        session.batch_sizes.clear()
        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(client.post, "/v1/queries", some, **asked) for some, asked in 3 * questions]
        assert [answer.result().json["matches"] for answer in answers] == 3 * alone
    assert sum(session.batch_sizes) == 3 * sum(len(some) for some, _ in questions)
