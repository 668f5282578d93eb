"""Who may ask, and what every answer says to browsers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served import Client, serving

import reid.serve
from reid.runtime.errors import ReidError
from reid.runtime.sessions.session import Session
from reid.serve.server import is_loopback, listen, read_token

TOKEN = "0123456789abcdef"
PAGE = Path(reid.serve.__file__).parent / "page"


@pytest.fixture(scope="module")
def guarded(session: Session, material: Any) -> Iterator[Client]:  # noqa: ANN401
    with serving(session, material.store, token=TOKEN, read_only=True) as client:
        yield client


def test_what_is_behind_the_token_needs_it(guarded: Client) -> None:
    for path in ("/v1/about", "/v1/entries", "/v1/nothing", "/metrics"):
        for token in ("", "wrong", TOKEN[:-1], TOKEN + "0"):
            answer = replace(guarded, token=token).get(path)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), (path, token)
            assert "Bearer TOKEN" in answer.error
        assert guarded.get(path).status == (404 if path == "/v1/nothing" else 200)
    for path in ("/", "/page/index.html", "/health/live", "/health/ready", "/openapi.json"):
        assert replace(guarded, token="").get(path).status == 200


def test_the_page_is_served_with_a_strict_policy_and_nothing_beside_it(guarded: Client) -> None:
    for path in ("/", "/page/index.html", "/v1/about", "/nowhere"):
        policy = guarded.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' blob:;")
        assert "unsafe" not in policy
    assert guarded.get("/").body == (PAGE / "index.html").read_bytes()
    for path in ("/page/../service.py", "/page/%2e%2e/service.py", "/page//etc/passwd", "/page/..%2fservice.py"):
        assert guarded.get(path).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:80"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "localhost:80", "Origin": "http://localhost:80"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"Host": "localhost.example:80"}, 403),
        ({"Host": "localhost:80", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:80", "Origin": "http://localhost:81"}, 403),
        ({"Host": "localhost:80", "Origin": "null"}, 403),
    ],
)
def test_without_a_token_no_page_from_elsewhere_asks(client: Client, headers: dict[str, str], status: int) -> None:
    assert client.ask("GET", "/v1/about", headers=headers).status == status


def test_others_are_let_in_with_a_token_only() -> None:
    with pytest.raises(ReidError, match=r"0\.0\.0\.0 can be reached.*--token-file or REID_TOKEN"):
        listen("0.0.0.0", 0, None)
    listen("0.0.0.0", 0, TOKEN).close()
    with listen("localhost", 0, None) as listening, pytest.raises(ReidError, match=r"cannot be had.*--port"):
        listen("localhost", listening.getsockname()[1], None)
    assert [is_loopback(one) for one in ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1")] == [
        *(True, True, True),
        *(False, False, False),
    ]


def test_a_token_is_read_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REID_TOKEN", raising=False)
    assert read_token(None) is None
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    monkeypatch.setenv("REID_TOKEN", "short")
    with pytest.raises(ReidError, match=r"REID_TOKEN holds no token of at least 16.*openssl rand -hex 32"):
        read_token(None)
    for content in ("", "short", "two words of some length", "\u00e4" * 20):
        (tmp_path / "token").write_text(content)
        with pytest.raises(ReidError, match="holds no token"):
            read_token(tmp_path / "token")
    with pytest.raises(ReidError, match="No such file"):
        read_token(tmp_path / "none")
