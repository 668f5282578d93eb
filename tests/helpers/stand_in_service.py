"""A stand-in for reid-serve's HTTP interface: made vehicles, ranked by the color of their pictures.

It serves the page's own files, and records what it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Made", "Service", "jpeg", "serving"]

Picture = NDArray[np.uint8]
Embed = Callable[[Sequence[Picture]], NDArray[Any]]

PAGE = Path(__file__).parents[2] / "serve" / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = "default-src 'self'; img-src 'self' blob:"


def color_of(pictures: Sequence[Picture]) -> NDArray[Any]:
    """Embed a tracklet as its mean color, of length 1."""
    mean = np.mean([picture.reshape(-1, 3).mean(axis=0) for picture in pictures], axis=0) - 127.5
    return np.asarray(mean / np.linalg.norm(mean))


def jpeg(picture: Picture) -> bytes:
    return bytes(cv2.imencode(".jpg", picture[..., ::-1])[1])


def rgb(content: bytes) -> Picture | None:
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None if decoded is None else np.asarray(decoded[..., ::-1], np.uint8)


@dataclass(frozen=True)
class Made:
    """An entry of the gallery; without pictures, its crop is gone."""

    id: str
    camera: str | None
    time: float | None
    embedding: NDArray[Any]
    pictures: tuple[Picture, ...] = ()

    def said(self) -> dict[str, Any]:
        return {"id": self.id, "camera": self.camera, "time": self.time, "frames": max(1, len(self.pictures))}


@dataclass
class Service:
    """What the service holds, and how it behaves; `failures` are answers to come, by the first part of a path."""

    entries: list[Made] = field(default_factory=list)
    embed: Embed = color_of
    threshold: float | None = 0.9
    writable: bool = True
    token: str | None = None
    session: str = "stand-in cpu"
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        cameras = sorted({entry.camera for entry in self.entries if entry.camera is not None})
        times = [entry.time for entry in self.entries if entry.time is not None]
        return {
            "reid": "0.2.0",
            "model": "4f1c" * 16,
            "precision": "fp32",
            "session": self.session,
            "dimensions": 3,
            "entries": len(self.entries),
            "cameras": [{"name": name, "entries": sum(e.camera == name for e in self.entries)} for name in cameras],
            "first_time": min(times, default=None),
            "last_time": max(times, default=None),
            "operating_point": None
            if self.threshold is None
            else {"false_match_rate": 0.001, "threshold": self.threshold},
            "writable": self.writable,
            "limits": {"pictures": 4, "bytes": 1_000_000, "pixels": 1_000_000},
        }

    def find(self, name: str) -> Made | None:
        return next((entry for entry in self.entries if entry.id == name), None)

    def rank(self, embedding: NDArray[Any], asked: dict[str, list[str]], own: str | None) -> list[dict[str, Any]]:
        found = [(round(float(entry.embedding @ embedding), 6), entry) for entry in passing(self.entries, asked, own)]
        found.sort(key=lambda pair: -pair[0])
        return [
            {
                "rank": rank,
                "entry": entry.said(),
                "score": score,
                "same": None if self.threshold is None else score >= self.threshold,
            }
            for rank, (score, entry) in enumerate(found[: int(asked.get("k", ["10"])[0])], start=1)
        ]


def passing(entries: Iterable[Made], asked: dict[str, list[str]], own: str | None) -> Iterator[Made]:
    """Leave out what the filters of a question leave out, and the entry that it was asked with."""
    cameras, others = asked.get("camera"), asked.get("not_camera", [])
    after, before = (float(asked.get(name, [default])[0]) for name, default in (("after", "-inf"), ("before", "inf")))
    timed = "after" in asked or "before" in asked
    for entry in entries:
        if entry.id == own or (cameras and entry.camera not in cameras) or entry.camera in others:
            continue
        if not timed or (entry.time is not None and after <= entry.time <= before):
            yield entry


class RefusalError(Exception):
    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    service: Service
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        """Say nothing: what is served is recorded."""

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if not path.startswith("/v1/"):
            self._file("index.html" if path == "/" else path.removeprefix("/page/"))
            return
        self.service.asked.append(f"{self.command} {self.path}")
        try:
            self._authorize()
            if (failure := self.service.failures.pop(path, None)) is not None:
                raise RefusalError(*failure)
            getattr(self, f"_{self.command.lower()}_{path.removeprefix('/v1/')}")(query, content)
        except RefusalError as refusal:
            self._json({"error": str(refusal)}, refusal.status)

    def _authorize(self) -> None:
        if self.service.token is not None and self.headers.get("Authorization") != f"Bearer {self.service.token}":
            raise RefusalError(401, "this needs a token; send it as Authorization: Bearer TOKEN")

    def _get_about(self, query: dict[str, list[str]], content: bytes) -> None:
        self._json(self.service.about())

    def _get_entries(self, query: dict[str, list[str]], content: bytes) -> None:
        text, offset, limit = (query.get(n, [d])[0] for n, d in (("text", ""), ("offset", "0"), ("limit", "50")))
        found = [entry for entry in passing(self.service.entries, query, None) if text in entry.id]
        part = found[int(offset) : int(offset) + int(limit)]
        self._json({"total": len(found), "entries": [entry.said() for entry in part]})

    def _get_matches(self, query: dict[str, list[str]], content: bytes) -> None:
        entry = self._named(query)
        self._matches(entry.embedding, query, [], entry.id)

    def _post_queries(self, query: dict[str, list[str]], content: bytes) -> None:
        read, left_out = self._pictures(content)
        self._matches(self.service.embed([picture for _, picture in read]), query, left_out, None)

    def _get_picture(self, query: dict[str, list[str]], content: bytes) -> None:
        entry = self._named(query)
        if not entry.pictures:
            raise RefusalError(404, f"the crop of '{entry.id}' is gone")
        self._send(200, "image/jpeg", jpeg(entry.pictures[0]))

    def _post_entries(self, query: dict[str, list[str]], content: bytes) -> None:
        fields = {name: part.decode() for name, file, part in self._parts(content) if file is None}
        if self.service.find(fields["id"]) is not None:
            raise RefusalError(409, f"'{fields['id']}' is in the gallery already; choose another id")
        pictures = tuple(picture for _, picture in self._pictures(content)[0])
        time = float(fields["time"]) if "time" in fields else None
        made = Made(fields["id"], fields.get("camera"), time, self.service.embed(pictures), pictures)
        self.service.entries.append(made)
        self._json(made.said(), 201)

    def _delete_entries(self, query: dict[str, list[str]], content: bytes) -> None:
        self.service.entries.remove(self._named(query))
        self._send(204, "application/json", b"")

    def _named(self, query: dict[str, list[str]]) -> Made:
        entry = self.service.find(query["entry"][0])
        if entry is None:
            raise RefusalError(404, f"no entry '{query['entry'][0]}'; /v1/entries lists them")
        return entry

    def _matches(
        self, embedding: NDArray[Any], query: dict[str, list[str]], left_out: list[dict[str, str]], own: str | None
    ) -> None:
        ranked = self.service.rank(embedding, query, own)
        self._json({"left_out": left_out, "milliseconds": 12.3, "matches": ranked})

    def _pictures(self, content: bytes) -> tuple[list[tuple[str, Picture]], list[dict[str, str]]]:
        read, left_out = [], []
        for name, file, part in self._parts(content):
            if name == "pictures" and file is not None:
                if (picture := rgb(part)) is None:
                    left_out.append({"picture": file, "reason": "not a readable image"})
                else:
                    read.append((file, picture))
        if not read:
            raise RefusalError(422, f"{left_out[0]['picture']}: not a readable image; send a JPEG, PNG or WebP")
        return read, left_out

    def _parts(self, content: bytes) -> Iterator[tuple[str, str | None, bytes]]:
        kind = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(kind + content).get_payload()
        assert isinstance(parts, list)
        for part in parts:
            assert isinstance(part, Message)
            name, file = (part.get_param(key, header="Content-Disposition") for key in ("name", "filename"))
            body = part.get_payload(decode=True)
            assert isinstance(name, str)
            assert isinstance(body, bytes)
            yield name, None if file is None else str(file).encode("utf-8", "surrogateescape").decode(), body

    def _file(self, name: str) -> None:
        path = PAGE / name
        if path.parent == PAGE and path.is_file():
            self._send(200, TYPES[path.suffix], path.read_bytes())
        else:
            self._send(404, "text/plain", b"")

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """Serve from a port of this machine; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
