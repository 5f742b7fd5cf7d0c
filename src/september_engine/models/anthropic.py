"""Claude, through the Messages API and its own SDK.

The SDK builds and sends requests and knows the errors; the stream is read here, from its bytes: the SDK's stream takes
a cut one for whole and a broken tool input for a good one. Its retries are off, because the engine makes them.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import anyio
from msgspec.structs import replace

from .._context.causes import reason_of
from .._extras import extra
from ..errors import ConfigurationError, ModelError
from ..messages import JSON
from ._claude_errors import (
    again,
    cut_stream,
    not_a_stream,
    presentable,
    refused,
    refuses_compaction,
    refuses_thinking,
    stated_maximum,
    stated_window,
    unreachable,
)
from ._claude_request import CacheTTL, beta_options, known_window, request_body, thinks_adaptively
from ._claude_stream import BrokenStream, EventDecoder, MessageReader
from ._connections import Connections
from .base import Chunk, ModelRequest

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic, AsyncAPIResponse

    _Send = Callable[..., AbstractAsyncContextManager[AsyncAPIResponse[object]]]

__all__ = ["DEFAULT_MODEL", "AnthropicModel"]

DEFAULT_MODEL = "claude-opus-5-5"

PROVIDER_URL = "https://api.anthropic.com"

TRAILER_SECONDS = 0.5
"""How long the end of a stream is waited for once the message is whole, so that its connection can be used again."""


class AnthropicModel:
    """A Claude model.

    Constructing it imports the SDK, which takes seconds: do that in a thread, or before the event loop runs. It may be
    used in several event loops, one after the other or at once; each has connections of its own.

    What the provider says of the model is remembered and kept to: the most tokens of an answer, its context window,
    that it takes no adaptive thinking or makes no summaries. The attempt that taught it fails, to be made again.

    Args:
        name: The model's id, such as `claude-opus-5-5`.
        api_key: The key; never shown, not even in errors.
        base_url: Where the Messages API is; None means `ANTHROPIC_BASE_URL`, else the provider's own address.
        thinking: Ask for adaptive thinking with a readable summary. None asks every model that is known to take it.
        cache: How long the provider keeps a prompt's prefix for the next request; None does not cache.
        context_window: Tokens of prompt and answer together. None takes what every Claude has, 200,000.
        compaction: Have the provider summarise what came before (a beta of the API). None asks every model that is
            known to think adaptively.
        connect_timeout: Most seconds for a connection to open.
        read_timeout: Most seconds without a byte. The engine has its own timer, which knows pings from progress.

    Raises `ConfigurationError` for a key or an address that cannot be used, or a proxy or certificates (`HTTPS_PROXY`,
    `SSL_CERT_FILE`, …) of the environment.
    """

    def __init__(
        self,
        name: str = DEFAULT_MODEL,
        *,
        api_key: str,
        base_url: str | None = None,
        thinking: bool | None = None,
        cache: CacheTTL | None = "5m",
        context_window: int | None = None,
        compaction: bool | None = None,
        connect_timeout: float = 15.0,
        read_timeout: float = 600.0,
    ) -> None:
        self.name = name
        self._key = _checked_key(api_key)
        self._thinking = thinks_adaptively(name) if thinking is None else thinking
        self._cache = cache
        self.context_window = known_window(name) if context_window is None else context_window
        self.compacts = thinks_adaptively(name) if compaction is None else compaction
        self._most_tokens: int | None = None
        self._closed = False
        self._connections = Connections()
        # resolved here, because to the SDK a variable that is set to nothing is an address
        url = _checked_url(base_url or os.environ.get("ANTHROPIC_BASE_URL") or PROVIDER_URL)
        with extra("", "AnthropicModel"):
            import anthropic

        self._status_error = anthropic.APIStatusError
        self._connection_error = anthropic.APIConnectionError
        self._shape: Callable[[dict[str, JSON]], dict[str, JSON]] = anthropic.transform_schema
        timeout = anthropic.Timeout(read_timeout, connect=connect_timeout, pool=connect_timeout)

        def connect() -> AsyncAnthropic:
            # a client of our own for HTTP: when it is collected, the SDK's makes a task in whatever loop runs then
            http = anthropic.DefaultAsyncHttpxClient(
                base_url=url, timeout=timeout, event_hooks={"request": [self._connections.follow]}
            )
            return anthropic.AsyncAnthropic(
                api_key=self._key, base_url=url, max_retries=0, timeout=timeout, http_client=http
            )

        self._connect = connect
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncAnthropic] = WeakKeyDictionary()
        self._unused: AsyncAnthropic | None = _checked(connect)
        # loads the resource's types, which takes a second: here, not in the event loop at the first request
        _send_of(self._unused)

    def __repr__(self) -> str:
        return f"AnthropicModel({self.name!r})"

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        """Make one attempt. Raises `ModelError`. Closing or cancelling ends the stream and its connection."""
        reader = MessageReader()
        headers: Mapping[str, str] | None = None
        failure: ModelError | None = None
        body: Mapping[str, JSON] = {}
        try:
            body = self._body(request)
            async with _send_of(self._client())(**body, **beta_options(request)) as response:
                headers = response.headers
                kind = headers.get("content-type", "text/event-stream")
                if not kind.lower().startswith("text/event-stream"):
                    raise not_a_stream(kind)
                async with aclosing(_chunks(response, reader)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            if reader.error is None:
                # the name that was asked for: the provider may answer with a dated one, and thinking is bound to a name
                reply = reader.reply(self.name)
            else:
                failure = self._refused(None, reader.error, headers, request_id=reader.request_id)
        except Exception as error:
            failure = self._failure(error, headers)
        if failure is not None:
            # outside of the handler: the SDK's exceptions hold the request with the key, and shall not be its context
            raise presentable(self._taught(failure, body, request), self._key)
        yield reply

    async def aclose(self) -> None:
        """End the model's use and close the connections of this event loop. Never raises."""
        self._closed = True
        here = self._clients.pop(asyncio.get_running_loop(), None)
        for client in (here, self._unused):
            with suppress(Exception):
                if client is not None:
                    await client.close()
        self._unused = None

    def _body(self, request: ModelRequest) -> Mapping[str, JSON]:
        """The body; a schema in it says what the provider can hold itself to, and the rest of it in words."""
        if request.output_schema is not None:
            request = replace(request, output_schema=self._shape(request.output_schema))
        return request_body(
            request, model=self.name, thinking=self._thinking, cache=self._cache, most_tokens=self._most_tokens
        )

    def _client(self) -> AsyncAnthropic:
        """The client of this event loop: a connection belongs to the loop that opened it."""
        if self._closed:
            raise ModelError("The model is closed.")
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = self._unused or self._connect()
            self._unused = None
        return self._clients[loop]

    def _taught(self, failure: ModelError, body: Mapping[str, JSON], request: ModelRequest) -> ModelError:
        """Remember what the provider says this model takes; the failure, as one to try again where that helps."""
        most = stated_maximum(failure)
        if most is not None and most < body["max_tokens"]:
            self._most_tokens = most
            return again(failure)
        if "thinking" in body and refuses_thinking(failure):
            self._thinking = False
            return again(failure)
        if (window := stated_window(failure)) is not None:
            self.context_window = window
        if request.compact and refuses_compaction(failure):
            self.compacts = False
        return failure

    def _failure(self, error: Exception, headers: Mapping[str, str] | None) -> ModelError:
        """What an exception means; `headers` are those of the answer, once there was one."""
        if isinstance(error, ModelError):
            return error
        if isinstance(error, self._status_error):
            body = error.body
            said = body.get("error", body) if isinstance(body, dict) else body
            return self._refused(error.status_code, said, error.response.headers)
        began = headers is not None
        request_id = headers.get("request-id") if headers is not None else None
        if isinstance(error, BrokenStream):
            return cut_stream(str(error), request_id=request_id)
        if isinstance(error, self._connection_error) and error.__cause__ is not None:
            return unreachable(error.__cause__, began=began, request_id=request_id)
        if not began and isinstance(error, TypeError | ValueError | RecursionError | Warning):
            return ModelError(f"The request could not be made ({reason_of(error)}).")
        return unreachable(error, began=began, request_id=request_id)

    def _refused(
        self, status: int | None, error: JSON, headers: Mapping[str, str], *, request_id: JSON = None
    ) -> ModelError:
        return refused(status, error, headers, model=self.name, now=time.time(), request_id=request_id)


async def _chunks(response: AsyncAPIResponse[object], reader: MessageReader) -> AsyncGenerator[Chunk, None]:
    """What is shown of one stream, until the message is whole, the provider reports an error, or no more comes."""
    decoder = EventDecoder()
    async with aclosing(response.http_response.aiter_bytes()) as pieces:
        async for piece in pieces:
            for name, data in decoder.feed(piece):
                for chunk in reader.take(name, data):
                    yield chunk
            if reader.error is not None:
                return
            if reader.whole:
                break
        if not reader.whole:
            for name, data in decoder.end():
                for chunk in reader.take(name, data):
                    yield chunk
            return
        with anyio.move_on_after(TRAILER_SECONDS), suppress(Exception):
            async for _ in pieces:
                pass


def _send_of(client: AsyncAnthropic) -> _Send:
    return cast("_Send", client.messages.with_streaming_response.create)


def _checked(connect: Callable[[], AsyncAnthropic]) -> AsyncAnthropic:
    """A client, or what in the environment keeps the SDK from making one."""
    try:
        return connect()
    except Exception as error:
        raise ConfigurationError(
            f"No connection to Claude can be set up ({reason_of(error)}). Check ANTHROPIC_BASE_URL, the "
            "proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) and the certificates (SSL_CERT_FILE, SSL_CERT_DIR)."
        ) from error


def _checked_key(key: str) -> str:
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigurationError("The API key cannot be used: a key is visible ASCII characters without blanks.")
    return key


def _checked_url(url: str) -> str:
    if not re.fullmatch(r"https?://\S+", url):
        raise ConfigurationError(f"{url!r} is not the address of a Messages API: it must be an http or https URL.")
    return url
