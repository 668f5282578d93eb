"""A service in this process, and a client that knows nothing but HTTP.

with serving(session, store) as client:
    client.post("/v1/queries", [("a.jpg", content)], k=3)
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from reid.runtime.sessions.session import Session
from reid.serve.deciding import NOTHING, Decider
from reid.serve.holding import Holding
from reid.serve.refusals import Limits
from reid.serve.server import Server, listen, url_of
from reid.serve.service import Service

__all__ = ["Client", "Reply", "form", "serving"]

MANY = Limits(rate=1e6)
"""No limit that a test would meet by chance."""


@dataclass(frozen=True)
class Reply:
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever it is
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of an error."""
        answer = self.json
        assert list(answer) == ["error"]
        assert "\n" not in answer["error"]
        return str(answer["error"])


@dataclass(frozen=True)
class Client:
    """Asks a service. Each request has a connection of its own."""

    url: str
    token: str = ""

    def get(self, path: str, **parameters: object) -> Reply:
        return self.ask("GET", path, parameters=parameters)

    def delete(self, path: str, **parameters: object) -> Reply:
        return self.ask("DELETE", path, parameters=parameters)

    def post(
        self,
        path: str,
        pictures: Sequence[tuple[str, bytes]],
        fields: Mapping[str, str] | None = None,
        **parameters: object,
    ) -> Reply:
        kind, body = form(pictures, fields or {})
        return self.ask("POST", path, body, {"Content-Type": kind}, parameters)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - bytes, or an iterator of them
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> Reply:
        question = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
        given = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)) as connection:
            connection.request(method, path + question, body, {**given, **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def form(pictures: Sequence[tuple[str, bytes]], fields: Mapping[str, str]) -> tuple[str, bytes]:
    """Return the content type and the body of a form."""
    parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts += [(f'name="pictures"; filename="{name}"', content) for name, content in pictures]
    body = b"".join(
        f"--limit\r\nContent-Disposition: form-data; {names}\r\n\r\n".encode() + content + b"\r\n"
        for names, content in parts
    )
    return "multipart/form-data; boundary=limit", body + b"--limit--\r\n"


@contextmanager
def serving(
    session: Session,
    gallery: Path,
    *,
    limits: Limits = MANY,
    token: str | None = None,
    decider: Decider = NOTHING,
    read_only: bool = False,
) -> Iterator[Client]:
    """Run a service in a thread."""
    with (
        closing(listen("127.0.0.1", 0, token)) as listening,
        closing(Holding.open(gallery, session.info.space, read_only=read_only)) as holding,
        Service(session, holding, decider, limits=limits, deadline_s=0.005) as service,
    ):
        server = Server(service, token)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        url = url_of(listening)
        thread.start()
        try:
            yield Client(url, token or "")
        finally:
            server.stop()
            thread.join()
