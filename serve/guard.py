"""Who may ask, and how much: what every request passes before anything is done for it."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from reid.runtime.text import clipped, one_line
from reid.serve.bodies import Body, Message, Receive
from reid.serve.clients import Rates, client_of
from reid.serve.metrics import Metrics
from reid.serve.refusals import Limits, Refused
from reid.serve.tracing import span

__all__ = ["Guard", "error_body", "headers_of"]

_Scope: TypeAlias = dict[str, Any]
_Send: TypeAlias = Callable[[Message], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, Receive, _Send], Awaitable[None]]

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """ASGI middleware. Health is asked by what restarts services, so it is neither limited nor refused.

    Attributes:
        is_stopping: whether the service is about to end: then it takes no more requests.
    """

    def __init__(self, app: _App, limits: Limits, metrics: Metrics, token: str | None, routes: Sequence[str]) -> None:
        """Stand before an application.

        Args:
            app: the application.
            limits: what a client may ask for.
            metrics: count the requests.
            token: what a client has to know; None for nothing. Then only pages of this service may ask: a page from
                elsewhere could do it by the browser of a user who is on this machine.
            routes: the paths by which requests are counted.
        """
        self._app, self._limits, self._metrics = app, limits, metrics
        self._token = None if token is None else f"Bearer {token}".encode("latin-1")
        self._routes = frozenset(routes)
        self._rates = Rates(limits.rate)
        self._requests = 0
        self.is_stopping = False

    @property
    def requests(self) -> int:
        """The requests that are worked on."""
        return self._requests

    async def __call__(self, scope: _Scope, receive: Receive, send: _Send) -> None:
        """Take a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, route, status = time.perf_counter(), self._route(scope["path"]), 500
        headers = dict(scope["headers"])
        body = Body(receive, self._limits, _length(headers))

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
                if status >= 400 and not await body.drain():  # what still comes is not read: the connection ends
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self._requests += 1
        try:
            with span(f"{scope['method']} {route}"):
                try:
                    if not route.startswith("/health/"):
                        self._check(scope, headers)
                    await self._app(scope, body.receive, sending)
                except Refused as refused:
                    await self.refuse(refused, sending)
        finally:
            self._requests -= 1
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)

    async def refuse(self, refused: Refused, send: _Send) -> None:
        """Answer with what is wrong."""
        self._metrics.refusals.labels(refused.reason).inc()
        headers = [(b"content-type", b"application/json"), *headers_of(refused)]
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": error_body(refused)})

    def _route(self, path: str) -> str:
        if path in self._routes:
            return path
        return "/page" if path.startswith("/page/") else "other"

    def _check(self, scope: _Scope, headers: dict[bytes, bytes]) -> None:
        """Raise Refused where a request is not to be answered; what costs least comes first."""
        if self.is_stopping:
            raise Refused(503, "stopping", "the service is stopping; ask again when it is back", 5)
        if self._requests > self._limits.requests:
            raise Refused(503, "busy", f"{self._limits.requests} requests are worked on; ask again in a second", 1)
        client = client_of(scope["client"][0]) if scope.get("client") else ""
        if wait := self._rates.wait_s(client, time.monotonic()):
            raise Refused(429, "rate", f"more than {self._limits.rate:g} requests per second: ask more slowly", wait)
        if self._token is None:
            _check_origin(headers)
        elif _is_guarded(scope["path"]) and not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            raise Refused(401, "token", "the token is missing or wrong: send Authorization: Bearer TOKEN")


def error_body(error: object) -> bytes:
    """Return the answer that says what is wrong, in one line, as JSON."""
    return json.dumps({"error": clipped(one_line(error))}).encode()


def headers_of(refused: Refused) -> list[tuple[bytes, bytes]]:
    """Return the headers that belong to a refusal."""
    headers = []
    if refused.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(refused.retry_after_s))).encode()))
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def _is_guarded(path: str) -> bool:
    return path.startswith("/v1/") or path == "/metrics"


def _length(headers: dict[bytes, bytes]) -> int | None:
    text = headers.get(b"content-length", b"")
    return int(text) if text.isdigit() and len(text) < 19 else None


def _check_origin(headers: dict[bytes, bytes]) -> None:
    """Raise Refused where a page from elsewhere asks, or the page's name only leads here."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    if name not in _LOOPBACK:
        raise Refused(403, "origin", f"this is not {host[:80]!r}: without a token, ask 127.0.0.1 or localhost")
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower() != f"http://{host}":
        raise Refused(403, "origin", "a page from elsewhere asks: give the service a token, and send it")
