"""Entries that come and go while others ask."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from served import Client, serving

from reid.runtime.errors import DataError
from reid.runtime.galleries.store.store import Store
from reid.runtime.kept_pictures import KeptPictures
from reid.runtime.sessions.session import Session
from reid.serve.holding import Holding


def read(file: Path) -> tuple[str, bytes]:
    return file.name, file.read_bytes()


def test_an_entry_is_added_found_shown_and_removed(session: Session, material: Any, store: Path) -> None:  # noqa: ANN401
    pictures = [read(file) for file in material.queries[:3]]
    fields = {"id": "new/car.1", "camera": "north", "time": "12.5"}
    entry = {"id": "new/car.1", "camera": "north", "time": 12.5, "frames": 3}
    with serving(session, store) as client:
        before = client.get("/v1/about").json
        added = client.post("/v1/entries", pictures, fields)
        assert (added.status, added.json) == (201, entry)
        after = client.get("/v1/about").json
        assert after["entries"] == before["entries"] + 1
        assert {"name": "north", "entries": 1} in after["cameras"]
        best = client.post("/v1/queries", pictures, k=1, camera="north").json["matches"][0]
        assert best["entry"] == entry
        assert best["score"] > 0.99999
        with Store.open(store) as opened:
            (kept,) = [one for some in opened.entries() for one in some if one.id == "new/car.1"]
        frames = KeptPictures().frames_of(kept)  # what `reid-gallery migrate` embeds again
        assert [frame.read_bytes() for frame in frames] == [content for _, content in pictures]
        again = client.post("/v1/entries", pictures, fields)
        assert (again.status, "already" in again.error) == (409, True)
        shown = client.get("/v1/picture", entry="new/car.1", height=48)
        assert shown.headers["content-type"] == "image/jpeg"
        assert cv2.imdecode(np.frombuffer(shown.body, np.uint8), cv2.IMREAD_COLOR).shape[0] == 48
        assert client.delete("/v1/entries", entry="new/car.1").status == 204
        assert client.delete("/v1/entries", entry="new/car.1").status == 404
        assert client.get("/v1/picture", entry="new/car.1").status == 404
        assert client.get("/v1/about").json == before
        assert not any(path.is_file() for path in store.with_name("store.pictures").rglob("*"))


def test_what_was_added_is_there_after_a_restart(session: Session, material: Any, store: Path) -> None:  # noqa: ANN401
    with serving(session, store) as client:
        client.post("/v1/entries", [read(material.queries[0])], {"id": "stays"})
    with serving(session, store, read_only=True) as client:
        assert client.get("/v1/entries", text="STAYS").json["total"] == 1
        assert client.get("/v1/picture", entry="stays").status == 200


def test_listing_is_that_of_a_loop(client: Client, material: Any) -> None:  # noqa: ANN401
    with Store.open(material.store) as opened:
        everything = [entry for some in opened.entries() for entry in some]
    for camera, text in ((None, ""), ("c001", ""), (None, "_1."), ("c002", "0")):
        wanted = [one.id for one in everything if camera in (None, one.camera) and text in one.id]
        asked = {**({"camera": camera} if camera else {}), **({"text": text} if text else {})}
        for offset, limit in ((0, 50), (3, 4), (1000, 1)):
            listed = client.get("/v1/entries", offset=offset, limit=limit, **asked).json
            assert listed["total"] == len(wanted)
            assert [one["id"] for one in listed["entries"]] == wanted[offset : offset + limit]


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"id": "../../up"}, 422, "no name"),
        ({"id": "/etc/x"}, 422, "no name"),
        ({"id": ""}, 422, "no name"),
        ({}, 422, "no name"),
        ({"id": "a" * 600}, 422, "no name"),
        ({"id": "a\x00b"}, 422, "no name"),
        ({"id": "a", "time": "nan"}, 422, "no number of seconds"),
        ({"id": "a", "time": "1e300"}, 422, "no number of seconds"),
        ({"id": "a", "camera": "c\n1"}, 422, "no name"),
        ({"id": "a", "vehicle": "7"}, 422, "not expected"),
        ({"id": "a" * 2000}, 400, "maximum size"),
    ],
)
def test_entries_that_cannot_be_are_refused(
    session: Session,
    material: Any,  # noqa: ANN401
    store: Path,
    fields: dict[str, str],
    status: int,
    says: str,
) -> None:
    with serving(session, store) as client:
        answer = client.post("/v1/entries", [read(material.queries[0])], fields)
        assert (answer.status, says in answer.error) == (status, True), answer.error
        broken = client.post("/v1/entries", [read(material.queries[0]), ("b.jpg", b"none")], {"id": "a"})
        assert (broken.status, "b.jpg: not a readable image" in broken.error) == (422, True)
        assert client.get("/v1/about").json["entries"] == 28
    assert not store.with_name("store.pictures").exists()


def test_who_only_reads_changes_nothing(client: Client, material: Any) -> None:  # noqa: ANN401
    assert client.get("/v1/about").json["writable"] is False
    for answer in (
        client.post("/v1/entries", [read(material.queries[0])], {"id": "a"}),
        client.delete("/v1/entries", entry="track"),
    ):
        assert (answer.status, "reading only" in answer.error) == (403, True)


def test_a_store_that_another_writes_to_says_what_to_do(session: Session, store: Path) -> None:
    with Store.open(store, write=True), pytest.raises(DataError, match=r"being written by.*--read-only"):
        Holding.open(store, session.info.space, read_only=False)


def test_a_reader_sees_what_another_process_adds(
    session: Session,
    material: Any,  # noqa: ANN401
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reid.serve.holding._REFRESH_S", -1.0)
    with serving(session, store, read_only=True) as client:
        with Store.open(store, write=True) as writer:
            writer.remove(["track"])
        assert client.get("/v1/matches", entry="track").status == 404
        assert client.get("/v1/about").json["entries"] == 27


def test_whoever_asks_while_entries_come_and_go_sees_one_moment(session: Session, material: Any, store: Path) -> None:  # noqa: ANN401
    """Entries are added in order, so a moment has the first n of them, and removed in order, too."""
    picture, failures, done = read(material.queries[0]), list[str](), threading.Event()

    def ask(client: Client) -> None:
        while not done.is_set():
            answer = client.post("/v1/queries", [picture], k=100, camera="new")
            if answer.status == 200:
                numbers = sorted(int(match["entry"]["id"]) for match in answer.json["matches"])
                if numbers != list(range(numbers[0], numbers[-1] + 1) if numbers else []):
                    failures.append(str(numbers))
            elif "no entry is of camera" not in answer.error:
                failures.append(answer.error)

    with serving(session, store) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(12):
            assert client.post("/v1/entries", [picture], {"id": f"{number}", "camera": "new"}).status == 201
        for number in range(6):
            assert client.delete("/v1/entries", entry=number).status == 204
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
