"""The server's process: where it listens, until a signal ends it, and what it still finishes then."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from reid.runtime.errors import ReidError
from reid.runtime.files.reading import read_file
from reid.serve.application import application
from reid.serve.connections import ImpatientProtocol
from reid.serve.guard import Guard
from reid.serve.service import Service

__all__ = ["Server", "is_loopback", "listen", "read_token"]

TOKEN_VARIABLE = "REID_TOKEN"

_SHORTEST, _LONGEST = 16, 4096
_CONNECTIONS = 1024
_FINISH_S = 60


class Server(uvicorn.Server):
    """Serves until SIGINT or SIGTERM; then requests that are worked on are finished, and others get 503."""

    def __init__(self, service: Service, token: str | None) -> None:
        """Prepare a server for `run`.

        Args:
            service: what does the work; it stays the caller's to close, afterwards.
            token: what clients have to send; None for nothing.
        """
        self._guard: Guard = application(service, token)
        config = uvicorn.Config(
            self._guard,
            http=ImpatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_FINISH_S,
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn.Server."""
        self._guard.is_stopping = True
        super().handle_exit(sig, frame)  # the second Ctrl-C waits for nobody

    def stop(self) -> None:
        """Take no more requests, and let `run` return when those that came are answered. Any thread may call it."""
        self._guard.is_stopping = True
        self.should_exit = True


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: an address, or a name that leads to one.
        port: the port; 0 for any that is free.
        token: what clients have to send; None for nothing.

    Raises:
        ReidError: others than this machine could ask without a token; or the address cannot be had.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ReidError(f"{host} is no address of this machine ({error.strerror}); give one as --host") from None
    if token is None and not is_loopback(str(address[0])):
        raise ReidError(
            f"{host} can be reached from other machines, and there is no token: "
            f"give one with --token-file or {TOKEN_VARIABLE}, or --host 127.0.0.1"
        )
    found = socket.socket(family, kind)
    try:
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_CONNECTIONS)
    except OSError as error:
        found.close()
        raise ReidError(f"{host}:{port} cannot be had ({error.strerror}); give another --host or --port") from None
    return found


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def read_token(file: Path | None) -> str | None:
    """Return the token in a file, or in REID_TOKEN; None where there is neither.

    Raises:
        ReidError: the file cannot be read, or what is there is too short, or nothing that a header can hold.
    """
    text, where = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
    if file is not None:
        where = str(file)
        try:
            text = read_file(file, at_most=_LONGEST).decode("ascii", "replace").strip()
        except OSError as error:
            raise ReidError(f"{file}: {error.strerror or error}; give a file with a token") from None
    elif not text:
        return None
    if len(text) < _SHORTEST or not (text.isascii() and text.isprintable()) or " " in text:
        raise ReidError(
            f"{where} holds no token of at least {_SHORTEST} characters without spaces: "
            "make one with `openssl rand -hex 32`"
        )
    return text


def url_of(listening: socket.socket) -> str:
    """Return where a socket can be asked."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, listening: socket.socket, token: str | None, started: Callable[[str], None]) -> None:
    """Serve until a signal comes, which is raised again when everything is answered.

    Args:
        service: what does the work.
        listening: the socket; it is closed in the end.
        token: what clients have to send; None for nothing.
        started: is told the URL, when clients can connect.
    """
    server = Server(service, token)
    started(url_of(listening))
    server.run(sockets=[listening])
