"""A Messages API that answers what a script says, over a real socket: for tests of models, clients and whole engines.

    async with MessagesServer([reply(tool_use("add", {"a": 1, "b": 2})), reply(text("It is 3."))]) as server:
        model = AnthropicModel(api_key="any", base_url=server.url)
        ...
        assert server.requests[1].prompt.messages[-1]["content"][0]["content"] == "3"

One entry of the script is one request. The server is strict unless told otherwise: it refuses with a 400 what the real
API would refuse, thinking that was moved to another conversation too, and it reports what a prompt cache would have
read. Everything that can go wrong on the way can be scripted: errors by status or within the stream, streams that are
cut, silent, torn into single bytes or not JSON. Needs asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType

import attrs
import msgspec

from ..messages import JSON, Prompt
from ._messages_rules import Issued, PromptCache, cache_marks, prompt_of, refusal
from ._messages_script import (
    Answer,
    Frame,
    Gate,
    Part,
    block,
    compaction,
    event,
    failure,
    frames,
    hang,
    hold,
    overloaded,
    ping,
    rate_limited,
    raw,
    redacted,
    refuse,
    reply,
    respond,
    signed_blocks,
    silence,
    text,
    thinking,
    tool_use,
)

__all__ = [
    "Answer",
    "MessagesServer",
    "Part",
    "RecordedRequest",
    "block",
    "compaction",
    "event",
    "failure",
    "hang",
    "hold",
    "overloaded",
    "ping",
    "rate_limited",
    "raw",
    "redacted",
    "refuse",
    "reply",
    "respond",
    "silence",
    "text",
    "thinking",
    "tool_use",
]

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@attrs.frozen
class RecordedRequest:
    """A request as it came. `headers` have lower-case names; `body` is the JSON, or None where it was none."""

    path: str
    headers: Mapping[str, str]
    body: JSON

    @property
    def prompt(self) -> Prompt:
        """What was asked, without `cache_control`: what the append-only law is about."""
        return prompt_of(self.body)

    @property
    def cache_marks(self) -> list[str]:
        """Where `cache_control` stands, as in `system.0` and `messages.3.content.1`."""
        return cache_marks(self.body)


class MessagesServer:
    """The server; `async with` it. Leaving ends every connection, and waits for it.

    Args:
        script: What the requests are answered, in their order.
        strict: Refuse what the real API would refuse; such a request uses up no answer of the script.
        api_key: The only key that is taken; None takes every one.

    Attributes:
        requests: Every request so far, the refused ones too.
        refusals: Why requests were refused, in their order; a test of an engine wants this empty.
        connections: How many connections were made.
        disconnects: How many answers the client left before their end.
    """

    def __init__(self, script: Iterable[Answer] = (), *, strict: bool = True, api_key: str | None = None) -> None:
        self.requests: list[RecordedRequest] = []
        self.refusals: list[str] = []
        self.connections = 0
        self.disconnects = 0
        self._script = list(script)
        self._given = 0
        self._strict = strict
        self._api_key = api_key
        self._issued: list[Issued] = []
        self._cache = PromptCache()
        self._active = 0
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base URL, such as `http://127.0.0.1:40123`."""
        assert self._server is not None, "use `async with MessagesServer(…) as server:`"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def open_streams(self) -> int:
        """How many requests are being answered now."""
        return self._active

    def add(self, *answers: Answer) -> None:
        """Append to the script."""
        self._script.extend(answers)

    async def until_idle(self) -> None:
        """Wait until no request is being answered. Cancelling ends the wait."""
        while self._active:
            await self._changed.wait()

    async def until_requests(self, count: int) -> None:
        """Wait until so many requests have come. Cancelling ends the wait."""
        while len(self.requests) < count:
            await self._changed.wait()

    async def __aenter__(self) -> MessagesServer:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the client leaves or an answer is cut."""
        client = _Client(reader, writer)
        try:
            while (request := await client.request()) is not None:
                self._active += 1
                self.requests.append(request)
                self._tell()
                try:
                    if not await self._answer(request, client):
                        return
                finally:
                    self._active -= 1
                    self._tell()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            await client.close()

    async def _answer(self, request: RecordedRequest, client: _Client) -> bool:
        """Send the answer; False where the connection is to be closed then."""
        number = len(self.requests)
        answer = self._refused(request) or self._next()
        try:
            if answer.gate is not None:
                await client.wait(answer.gate)
            if answer.body is not None:
                await client.respond(answer, number)
                return True
            usage = answer.usage if answer.usage is not None else self._cache.usage(request.body)
            prompt = request.prompt
            self._issued.extend(Issued(signed, prompt) for signed in signed_blocks(answer, number))
            await client.begin(answer, number)
            for frame in frames(answer, number=number, usage=usage, model=str(request.body.get("model"))):
                await client.send(frame)
            whole = (answer.cut_events is None and answer.cut_bytes is None) or not answer.abrupt
            if whole:
                await client.end()
        except ConnectionError:
            self.disconnects += 1
            raise
        return whole

    def _refused(self, request: RecordedRequest) -> Answer | None:
        key = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key")
        if not key or self._api_key not in (None, key):
            refused = (401, "authentication_error", "invalid x-api-key")
        elif request.path.partition("?")[0] != "/v1/messages":
            refused = (404, "not_found_error", f"{request.path} was not found")
        elif not isinstance(request.body, dict):
            refused = (400, "invalid_request_error", "the body is not a JSON object")
        elif self._strict and (why := refusal(request.body, request.headers, self._issued)) is not None:
            refused = (400, "invalid_request_error", why)
        else:
            return None
        self.refusals.append(refused[2])
        return refuse(*refused)

    def _next(self) -> Answer:
        if self._given == len(self._script):
            message = f"The script has no further answer: all {self._given} were given."
            return refuse(500, "api_error", message, headers={"x-should-retry": "false"})
        self._given += 1
        return self._script[self._given - 1]

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class _Client:
    """One connection's other end. While it is answered, one byte is read ahead: that is how leaving is noticed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ahead = asyncio.ensure_future(reader.read(1))

    async def request(self) -> RecordedRequest | None:
        """The next request, or None where the client has left."""
        first = await self._ahead
        if not first:
            return None
        head = (first + await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        self._ahead = asyncio.ensure_future(self._reader.read(1))
        return RecordedRequest(path=line.split(" ")[1], headers=headers, body=_decoded(body))

    async def wait(self, gate: Gate) -> None:
        """Wait until the gate opens. Raises `ConnectionError` where the client leaves before that."""
        opening = asyncio.ensure_future(gate.wait())
        try:
            await asyncio.wait((opening, self._ahead), return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened = opening.done()
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        if not opened:
            raise ConnectionResetError("the client has left")

    async def respond(self, answer: Answer, number: int) -> None:
        """An answer that is not a stream."""
        body = answer.body or b""
        self._head(answer, number, {"content-length": str(len(body))})
        self._writer.write(body)
        await self._writer.drain()

    async def begin(self, answer: Answer, number: int) -> None:
        """The head of a stream."""
        self._head(answer, number, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        await self._writer.drain()

    async def send(self, frame: Frame) -> None:
        """A frame of the stream. Raises `ConnectionError` where the client has left."""
        if not isinstance(frame, bytes):
            await self.wait(frame)
            return
        if not frame:
            return  # an empty chunk would end the stream
        # the loop turns once, so that the client can read each frame on its own, and leave between two
        await asyncio.sleep(0)
        if self._ahead.done():
            raise ConnectionResetError("the client has left")
        self._writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        await self._writer.drain()

    async def end(self) -> None:
        """The end of a stream that is whole."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def close(self) -> None:
        # first what cannot be cancelled: the server may be left while this waits
        self._writer.close()
        self._ahead.cancel()
        await asyncio.gather(self._ahead, return_exceptions=True)
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    def _head(self, answer: Answer, number: int, framing: Mapping[str, str]) -> None:
        fields = {"request-id": f"req_{number}", **framing, **answer.headers}
        status = f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Error')}"
        lines = (status, *(f"{name}: {value}" for name, value in fields.items()), "", "")
        self._writer.write("\r\n".join(lines).encode("latin-1"))


def _decoded(body: bytes) -> JSON:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
