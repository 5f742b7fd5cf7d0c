"""Claude, through the Messages API and its own SDK.

The SDK builds and sends requests and knows the errors; the stream is read here, from its bytes: the SDK's stream takes
a cut one for whole and a broken tool input for a good one. Its retries are off, because the engine makes them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import TYPE_CHECKING, cast

import anyio

from ..errors import ConfigurationError, ModelError
from ..messages import JSON
from ._claude_errors import cut_stream, not_a_stream, presentable, refused, unreachable
from ._claude_request import CacheTTL, request_body, thinks_adaptively
from ._claude_stream import BrokenStream, EventDecoder, MessageReader
from .base import Chunk, ModelRequest

if TYPE_CHECKING:
    from anthropic import AsyncAPIResponse

    _Send = Callable[..., AbstractAsyncContextManager[AsyncAPIResponse[object]]]

__all__ = ["DEFAULT_MODEL", "AnthropicModel"]

DEFAULT_MODEL = "claude-opus-5-5"

PROVIDER_URL = "https://api.anthropic.com"

TRAILER_SECONDS = 0.5
"""How long the end of a stream is waited for once the message is whole, so that its connection can be used again."""


class AnthropicModel:
    """A Claude model.

    Constructing it imports the SDK, which takes seconds: do that in a thread, or before the event loop runs.

    Args:
        name: The model's id, such as `claude-opus-5-5`.
        api_key: The key; never shown, not even in errors.
        base_url: Where the Messages API is; None means `ANTHROPIC_BASE_URL`, else the provider's own address.
        thinking: Ask for adaptive thinking with a readable summary. None asks every model that is known to take it.
        cache: How long the provider keeps a prompt's prefix for the next request; None does not cache.
        connect_timeout: Most seconds for a connection to open.
        read_timeout: Most seconds without a byte. The engine has its own timer, which knows pings from progress.

    Raises `ConfigurationError` for a key or an address that cannot be used.
    """

    def __init__(
        self,
        name: str = DEFAULT_MODEL,
        *,
        api_key: str,
        base_url: str | None = None,
        thinking: bool | None = None,
        cache: CacheTTL | None = "5m",
        connect_timeout: float = 15.0,
        read_timeout: float = 600.0,
    ) -> None:
        self.name = name
        self._key = _checked_key(api_key)
        self._thinking = thinks_adaptively(name) if thinking is None else thinking
        self._cache = cache
        import anthropic

        self._status_error = anthropic.APIStatusError
        self._connection_error = anthropic.APIConnectionError
        self._client = anthropic.AsyncAnthropic(
            api_key=self._key,
            # resolved here, because to the SDK a variable that is set to nothing is an address
            base_url=_checked_url(base_url or os.environ.get("ANTHROPIC_BASE_URL") or PROVIDER_URL),
            max_retries=0,
            timeout=anthropic.Timeout(read_timeout, connect=connect_timeout, pool=connect_timeout),
        )
        # loads the resource's types, which takes a second: here, not in the event loop at the first request
        self._send = cast("_Send", self._client.messages.with_streaming_response.create)

    def __repr__(self) -> str:
        return f"AnthropicModel({self.name!r})"

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        """Make one attempt. Raises `ModelError`. Closing or cancelling ends the stream and its connection."""
        body = request_body(request, model=self.name, thinking=self._thinking, cache=self._cache)
        reader = MessageReader()
        headers: Mapping[str, str] | None = None
        failure: ModelError | None = None
        try:
            async with self._send(**body) as response:
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
            raise presentable(failure, self._key)
        yield reply

    async def aclose(self) -> None:
        """Close the connections. Never raises."""
        with suppress(Exception):
            await self._client.close()

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
            return ModelError(f"The request could not be made ({type(error).__name__}: {error}).")
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


def _checked_key(key: str) -> str:
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigurationError("The API key cannot be used: a key is visible ASCII characters without blanks.")
    return key


def _checked_url(url: str) -> str:
    if not re.fullmatch(r"https?://\S+", url):
        raise ConfigurationError(f"{url!r} is not the address of a Messages API: it must be an http or https URL.")
    return url
