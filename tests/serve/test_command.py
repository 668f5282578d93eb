"""`reid-serve` as a process: its line, its errors, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from command_line import assert_one_line_of_error
from served import Client, form

from reid.commands.serve import main
from reid.runtime.sessions.session import Session
from reid.serve.application import application
from reid.serve.deciding import NOTHING
from reid.serve.guard import Guard
from reid.serve.holding import Holding
from reid.serve.refusals import Limits
from reid.serve.service import Service


@contextmanager
def started(*words: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command, and yield its process and its first line."""
    program = [sys.executable, "-c", "from reid.commands.serve import main; main()", *map(str, words)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process, process.stdout.readline()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_when_everything_is_answered(
    bundle: Path,
    material: Any,  # noqa: ANN401
    store: Path,
    number: signal.Signals,
    code: int,
) -> None:
    """The body of a query is on its way when the signal comes."""
    kind, body = form([("a.jpg", material.queries[0].read_bytes())], {})
    with started(bundle, store, "--port", "0", "--session", "onnxruntime:cpu") as (process, line):
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+): model [0-9a-f]{12} in fp32 by .*, 28 entries\n", line)
        assert found, line
        client = Client(found[1])
        assert client.get("/health/ready").status == 200
        with closing(http.client.HTTPConnection(urlsplit(client.url).netloc, timeout=60)) as connection:
            connection.putrequest("POST", "/v1/queries?k=3")
            connection.putheader("Content-Type", kind)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:100])
            while client.get("/v1/about").status != 200:
                pass
            process.send_signal(number)
            time.sleep(0.5)
            connection.send(body[100:])
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.read().count(b'"rank"') == 3
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "")


def test_while_it_stops_new_requests_are_told_so(client: Client, session: Session, material: Any) -> None:  # noqa: ANN401
    """By its guard, which takes requests of connections that are there already until these are closed."""
    with (
        closing(Holding.open(material.store, session.info.space, read_only=True)) as holding,
        Service(session, holding, NOTHING, limits=Limits(), deadline_s=0.0) as service,
    ):
        guard = application(service, None)
        guard.is_stopping = True
        for path, status in (("/v1/about", 503), ("/", 503), ("/health/ready", 503), ("/health/live", 200)):
            assert asyncio.run(status_of(guard, path)) == status
    assert client.get("/health/ready").status == 200


async def status_of(guard: Guard, path: str) -> int:
    """Ask an application by ASGI itself."""
    sent = list[Any]()
    headers = [(b"host", b"127.0.0.1")]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers, "root_path": ""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    await guard(scope, receive, send)
    return int(sent[0]["status"])


def test_what_cannot_be_served_is_one_line(
    bundle: Path,
    store: Path,
    tmp_path: Path,
    run_main: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REID_TOKEN", raising=False)
    shutil.copytree(bundle, tmp_path / "bundle")

    def run(*words: object) -> tuple[int, str, str]:
        return run_main(main, "reid-serve", *words)

    def says(*words: object) -> str:
        return assert_one_line_of_error(*run(*words))

    assert "--token-file or REID_TOKEN" in says("bundle", "store", "--host", "0.0.0.0")
    assert "nowhere: no such model" in says("nowhere", "store", "--port", "0")
    assert "nowhere" in says("bundle", "nowhere", "--port", "0")
    assert "reid-export --verify DATA" in says("bundle", "store", "--port", "0", "--false-match-rate", "1e-3")
    assert "is no address" in says("bundle", "store", "--host", "no such host")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot be had" in says("bundle", "store", "--port", taken.getsockname()[1])
    assert run("bundle", "store", "--port", "65536")[0] == 2
    assert run("bundle", "store", "--deadline", "nan")[0] == 2
