"""sse: stored events as frames, and the response that sends them.

A frame is `id:`, `event:` and one `data:` line, then a blank line. The body of an event goes out byte for byte as it
was stored. What is ready together is sent together; what is not ready holds nothing back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, get_args

import anyio
import anyio.lowlevel
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ..errors import EngineError
from ..events import Error, Event, Heartbeat, encode, name_of, timestamp
from .wire import code_of

__all__ = ["HEARTBEAT_SECONDS", "SEND_SECONDS", "UNBUFFERED", "Row", "SSEResponse", "event_frame", "frames"]

UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Headers of every stream: no proxy may keep it, or hold it back."""

HEARTBEAT_SECONDS = 15.0

SEND_SECONDS = 30.0
"""How long one send may wait for a client that does not read."""

SEND_AT = 64 * 1024
"""Bytes that go into one send at most, give or take a frame: what a slow client keeps in memory."""

CROWD = 64
"""A page of more rows than this is a catching-up reader's: let others have a turn after it."""

logger = logging.getLogger(__name__)


class Row(Protocol):
    """A stored event. `ts` is its time in unix ms, or 0 for one that is no place to go on from."""

    @property
    def ts(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


def _middle(name: str) -> bytes:
    return b"event: " + name.encode() + b"\ndata: "


_middles: Mapping[str, bytes] = {
    kind.__struct_config__.tag: _middle(kind.__struct_config__.tag) for kind in get_args(Event)
}


def event_frame(event: Event) -> bytes:
    """An event that was not stored: a frame without `id:`, so that no client takes it for a place to go on from."""
    return b"%b%b\n\n" % (_middles[name_of(event)], encode(event))


def frames(rows: Iterable[Row]) -> Iterator[bytes]:
    """The rows as frames, joined to what one send takes."""
    ready: list[bytes] = []
    size = 0
    for row in rows:
        middle = _middles.get(row.type) or _middle(row.type)
        frame = b"id: %d\n%b%b\n\n" % (row.ts, middle, row.body) if row.ts else b"%b%b\n\n" % (middle, row.body)
        ready.append(frame)
        size += len(frame)
        if size >= SEND_AT:
            yield b"".join(ready)
            ready, size = [], 0
    if ready:
        yield b"".join(ready)


class SSEResponse(Response):
    """A stream of events. An empty page is a heartbeat.

    The client's leaving ends it at once, and nothing but it: servers tell it by `receive()` only, since `send()` goes
    on without an error, so the two race. A client that reads slowly slows its own reading and nothing else; one that
    takes nothing for `send_seconds` is cut off, in the middle of a frame if need be, and may come back with its cursor.
    """

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(
        self,
        pages: AsyncIterator[Sequence[Row]],
        *,
        now: Callable[[], float],
        headers: Mapping[str, str],
        first: bytes = b"",
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        super().__init__(headers={**UNBUFFERED, **headers})
        del self.headers["content-length"]
        self._pages = pages
        self._now = now
        self._first = first
        self._send_seconds = send_seconds
        self._patience = anyio.CancelScope()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all. Cancelling stops the sending, not the turn."""
        with self._patience:
            await self._push(
                send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if scope["method"] != "HEAD":
                async with anyio.create_task_group() as group:
                    group.start_soon(_until_gone, receive, group.cancel_scope)
                    await self._send_pages(send)
                    group.cancel_scope.cancel()
            await self._push(send, {"type": "http.response.body", "body": b""})
        if self._patience.cancelled_caught:  # without an end of the body the server must close the connection
            logger.info("A stream was cut: its client did not read, or its connection broke.")

    async def _push(self, send: Send, message: Message) -> None:
        self._patience.deadline = anyio.current_time() + self._send_seconds
        try:
            await send(message)
        except OSError:  # the connection broke: nobody is left to tell
            self._patience.cancel()
            await anyio.lowlevel.checkpoint()
        self._patience.deadline = math.inf

    async def _send_pages(self, send: Send) -> None:
        if self._first:
            await self._push(send, _part(self._first))
        try:
            async for page in self._pages:
                for part in frames(page) if page else (self._heartbeat(),):
                    await self._push(send, _part(part))
                if len(page) > CROWD:
                    await anyio.lowlevel.checkpoint()
        except EngineError as error:
            last = Error(error=code_of(error), message=error.message, details=dict(error.details) or None)
        except Exception:
            logger.exception("A stream broke off.")
            last = Error(error="INTERNAL_ERROR", message="A fault inside the server ended this stream.")
        else:
            return
        await self._push(send, _part(event_frame(last)))

    def _heartbeat(self) -> bytes:
        return event_frame(Heartbeat(timestamp=timestamp(round(self._now() * 1000))))


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
