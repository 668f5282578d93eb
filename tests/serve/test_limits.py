"""What costs too much is refused at little cost, with one line."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from projection import ProjectionSession
from served import Client, form, serving

from reid.runtime.sessions.session import BatchLimits, Embeddings, Session
from reid.serve.clients import Rates, client_of
from reid.serve.embedder import Embedder
from reid.serve.refusals import Limits, Refused

PICTURES, BYTES = 4, 200_000


@pytest.fixture(scope="module")
def limited(session: Session, material: Any) -> Iterator[Client]:  # noqa: ANN401
    limits = Limits(pictures=PICTURES, bytes=BYTES, rate=1e6, body_s=0.5)
    with serving(session, material.store, limits=limits, read_only=True) as client:
        yield client


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """Return a PNG file that says to be so large."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BOMBS = {
    "bomb.png": png(30_000, 30_000, zlib.compress(bytes(10_000_000))),
    "huge.png": png(2**31 - 1, 2**31 - 1),
    "billion.ppm": b"P6 100000 10000 255 " + bytes(100),
    "page.jpg": b"<html><script>alert(1)</script></html>",
    "archive.jpg": b"PK\x03\x04" + bytes(200),
    "program.jpg": b"\x7fELF" + bytes(200),
    "polyglot.gif": b"GIF89a/*" + b"<script>alert(1)</script>*/",
    "empty.jpg": b"",
    "begun.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_pictures_are_refused_before_they_are_decoded(limited: Client, name: str) -> None:
    answer = limited.post("/v1/queries", [(name, BOMBS[name])])
    assert answer.status == 422
    assert answer.error.startswith(f"no picture can be read: {name}: ")


def test_a_query_is_limited_in_pictures_and_bytes(limited: Client, material: Any) -> None:  # noqa: ANN401
    picture = (material.queries[0].name, material.queries[0].read_bytes())
    assert limited.post("/v1/queries", PICTURES * [picture]).status == 200
    answer = limited.post("/v1/queries", (PICTURES + 1) * [picture])
    assert (answer.status, "1 to 4 pictures" in answer.error) == (400, True)
    answer = limited.post("/v1/queries", 2000 * [("a", b"")])
    assert (answer.status, "1 to 4 pictures" in answer.error) == (400, True)
    answer = limited.post("/v1/queries", [("a.jpg", bytes(BYTES))])
    assert (answer.status, "more than 200000" in answer.error) == (413, True)


def test_bytes_are_counted_where_no_length_is_stated(limited: Client) -> None:
    kind, body = form([("a.jpg", bytes(BYTES))], {})
    chunks = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
    answer = limited.ask("POST", "/v1/queries", chunks, {"Content-Type": kind})  # and so it is chunked
    assert (answer.status, "more than 200000" in answer.error) == (413, True)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=x", b"", 422),
        ("multipart/form-data; boundary=x", b"--x\r\n", 422),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=x; charset=idna", b"--x--\r\n", 422),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: " + bytes(90_000) + b"\r\n\r\n\r\n--x--\r\n", 400),
    ],
)
def test_what_is_no_form_is_refused(limited: Client, kind: str, body: bytes, status: int) -> None:
    answer = limited.ask("POST", "/v1/queries", body, {"Content-Type": kind})
    assert answer.status == status, answer.body
    assert answer.error


def test_a_body_that_comes_too_slowly_is_refused(limited: Client) -> None:
    """A byte now and then: by the time of the whole body, not by that since the last byte."""
    address = urlsplit(limited.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        head = b"POST /v1/queries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n"
        connection.sendall(head + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
        connection.settimeout(0.1)
        answer = b""
        for _ in range(200):
            try:
                if not (part := connection.recv(4096)):
                    break
                answer += part
            except TimeoutError:
                connection.sendall(b"A")
            except ConnectionError:
                break
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 0.5 s" in answer


def test_headers_that_never_end_lose_their_connection(
    session: Session,
    material: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reid.serve.connections._HEADERS_S", 0.3)
    with serving(session, material.store, read_only=True) as client:
        address = urlsplit(client.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(b"GET /v1/about HTTP/1.1\r\n")
            connection.settimeout(0.1)
            for number in itertools.count():
                assert number < 200
                try:
                    if not connection.recv(4096):
                        break
                except TimeoutError:
                    connection.sendall(b"X: 1\r\n")
                except ConnectionError:
                    break
        assert client.get("/v1/about").status == 200


def test_a_client_that_asks_too_often_is_told_when_to_come_back(session: Session, material: Any) -> None:  # noqa: ANN401
    with serving(session, material.store, limits=Limits(rate=0.25), read_only=True) as client:
        assert client.get("/v1/about").status == 200
        answer = client.get("/v1/about")
        assert (answer.status, answer.headers["retry-after"]) == (429, "4")
        assert "0.25 requests per second" in answer.error
        assert client.get("/health/live").status == 200


def test_rates_are_those_of_a_clock_that_counts_everything() -> None:
    """Of any stretch of time, no more requests pass than its length allows, and one that may pass does."""
    random, rate, now = np.random.default_rng(0), 3.0, 0.0
    rates, passed = Rates(rate), list[float]()
    for _ in range(600):
        now += random.exponential(0.4)
        allowed = all(len(passed) - before + 1 <= rate + rate * (now - at) for before, at in enumerate(passed))
        wait = rates.wait_s("a", now)
        if wait == 0:
            passed.append(now)
        assert (wait == 0) == allowed
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:2") != client_of("2001:db8:0:1::1")
    assert client_of("10.0.0.1") != client_of("10.0.0.2")


class HeldSession(ProjectionSession):
    """Computes when it may."""

    def __init__(self) -> None:
        super().__init__(BatchLimits(2, 2))
        self.may_go_on = threading.Event()

    def compute(self, frames: Any, pooling: Any) -> Embeddings:  # noqa: ANN401
        assert self.may_go_on.wait(60)
        return super().compute(frames, pooling)


def crops(number: int) -> list[Any]:
    return [np.full((3, 5, 3), value + 1, np.uint8) for value in range(number)]


def test_the_inbox_has_an_end() -> None:
    session, sizes = HeldSession(), list[float]()
    embedder = Embedder(session, deadline_s=0.0, room=3, took_batch=sizes.append)
    try:
        answers = [embedder.submit(crops(1)) for _ in range(19)]  # eight batches of two, and three
        with pytest.raises(Refused, match="19 pictures wait") as refused:
            embedder.submit(crops(1))
        assert (refused.value.status, refused.value.reason, refused.value.retry_after_s) == (503, "inbox", 1)
        session.may_go_on.set()
        for answer in answers:
            assert np.allclose(answer.result(60), session.embed_frame(crops(1)[0]), atol=1e-6)
        assert embedder.waiting == 0
        assert embedder.submit(crops(3)).result(60) is not None
    finally:
        session.may_go_on.set()
        embedder.close()
    assert sum(sizes) == 22
    assert max(sizes) == 2
    with pytest.raises(Refused, match="stopping"):
        embedder.submit(crops(1))


def test_a_session_that_fails_fails_what_waits_and_is_told(tmp_path: Path) -> None:
    class Failing(ProjectionSession):
        def compute(self, frames: Any, pooling: Any) -> Embeddings:  # noqa: ANN401
            raise RuntimeError("the device is gone")

    embedder = Embedder(Failing(), deadline_s=0.0, room=3, took_batch=lambda size: None)
    with pytest.raises(Refused, match="the device is gone"):
        embedder.submit(crops(2)).result(60)
    assert embedder.failure == "the device is gone"
    with pytest.raises(Refused, match="restart the service"):
        embedder.submit(crops(1))
    embedder.close()


def test_a_lone_picture_is_embedded_though_nothing_fills_its_batch() -> None:
    sizes = list[float]()
    embedder = Embedder(ProjectionSession(), deadline_s=0.02, room=3, took_batch=sizes.append)
    embedder.submit(crops(1)).result(60)
    assert sizes == [1]
    embedder.close()


def test_a_picture_waits_for_others_until_the_deadline() -> None:
    """With a deadline that never comes, two crops share a batch of two, and the third waits until there is an end."""
    session, sizes = ProjectionSession(BatchLimits(2, 2)), list[float]()
    embedder = Embedder(session, deadline_s=1e6, room=3, took_batch=sizes.append)
    answers = [embedder.submit(crops(1)) for _ in range(3)]
    for answer in answers[:2]:
        answer.result(60)
    assert not answers[2].done()
    embedder.close()
    assert answers[2].result(0) is not None
    assert sizes == [2, 1]
