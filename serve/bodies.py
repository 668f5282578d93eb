"""The body of a request as it arrives: so many bytes, within so many seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from reid.serve.refusals import Limits, Refused

__all__ = ["Body", "Message", "Receive"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]

_DRAIN_S = 1.0
"""How long the rest of a body is taken and thrown away, so that its sender reads the answer instead of an error."""


class Body:
    """Reads the body of one request, and counts; a time for the whole of it stops clients that send byte by byte."""

    def __init__(self, receive: Receive, limits: Limits, stated: int | None) -> None:
        """Begin.

        Args:
            receive: what gives the next part, as ASGI has it.
            limits: the limits.
            stated: the bytes that the client says there are; None where it does not.
        """
        self._receive, self._limits, self._stated = receive, limits, stated
        self._until = time.monotonic() + limits.body_s
        self._size = 0
        self._has_ended = False

    async def receive(self) -> Message:
        """Return the next part, as ASGI has it. Raises Refused where there is too much, or it comes too slowly."""
        if self._has_ended:
            return await self._receive()
        most = self._limits.bytes
        if (self._stated or 0) > most:
            raise Refused(413, "bytes", f"the body has {self._stated} bytes, more than {most}: send less at a time")
        message = await self._next(self._until - time.monotonic())
        if self._size > most:
            raise Refused(413, "bytes", f"the body has more than {most} bytes: send less at a time")
        return message

    async def drain(self) -> bool:
        """Take what is left of the body, as much again and for a second at most; return whether that was all."""
        until, most = time.monotonic() + _DRAIN_S, self._size + self._limits.bytes
        with contextlib.suppress(Refused):
            while not self._has_ended and self._size <= most:
                await self._next(until - time.monotonic())
        return self._has_ended

    async def _next(self, seconds: float) -> Message:
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, seconds))
        except asyncio.TimeoutError:
            raise Refused(
                408, "slow", f"the body did not arrive within {self._limits.body_s:g} s: send less, or faster"
            ) from None
        self._size += len(message.get("body", b""))
        self._has_ended = not message.get("more_body", False)
        return message
