"""Connections that have so long to ask something: a client that sends a header byte by byte loses its."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["ImpatientProtocol"]

_HEADERS_S = 10.0
"""How long a connection may be open between requests, whether it is silent or not, in seconds."""


class ImpatientProtocol(H11Protocol):
    """Uvicorn's protocol, which waits for the end of headers as long as anything comes, with an end to that."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._patience:
            self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """See H11Protocol."""
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        if self._patience:
            self._patience.cancel()
        self._patience = self.loop.call_later(_HEADERS_S, self._end)

    def _end(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
