"""gate: what every request passes through, in this order: its id, the key, the body, and, whatever happens, an answer.

The body is read here, whole and within limits, before anything else is done: a server that is still taking in a body
that nobody reads can hang on its own answer.
"""

from __future__ import annotations

import logging
import secrets
import time

import anyio
import attrs
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import EngineError, InvalidRequest, PayloadTooLarge
from .auth import Door
from .logs import REQUEST_ID, TASK_ID
from .wire import ClientGone, error_response, read_body, route_path

__all__ = ["Gate"]

OPEN_BODY = 64 * 1024
"""What a request without a key may send: nothing that is open needs a body."""

logger = logging.getLogger(__name__)


@attrs.define(kw_only=True)
class Gate:
    """ASGI middleware. The app behind it sees the path still percent-encoded, and the body in one piece."""

    app: ASGIApp = attrs.field(kw_only=False)
    door: Door
    max_body_bytes: int
    body_seconds: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            await _Passage(gate=self, scope=scope, receive=receive, send=send).run()


@attrs.define(kw_only=True)
class _Passage:
    """One request on its way."""

    gate: Gate
    scope: Scope
    receive: Receive
    send: Send
    status: int = 0
    body_read: bool = False

    async def run(self) -> None:
        began = time.perf_counter()
        REQUEST_ID.set(f"req_{secrets.token_hex(8)}")
        TASK_ID.set(None)
        self.scope = {**self.scope, "path": route_path(self.scope), "root_path": ""}
        try:
            await self._answer()
        except ClientGone:
            pass
        except EngineError as error:
            await self._refuse(error_response(error))
        except Exception as error:
            if self.status:
                logger.exception("A fault inside the server, after its answer had begun.")
                raise
            fault = EngineError("A fault inside the server. Its log has more under this id.")
            fault.__cause__ = error
            await self._refuse(error_response(fault))
        finally:
            self._log(time.perf_counter() - began)

    async def _answer(self) -> None:
        scope, gate = self.scope, self.gate
        is_open = scope["method"] == "GET" and scope["path"] == "/health"
        if not is_open:
            gate.door.admit(scope)
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if lengths and any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            raise InvalidRequest("A request has Content-Length or Transfer-Encoding, never both.")
        limit = OPEN_BODY if is_open else gate.max_body_bytes
        if any(not value.isdigit() or int(value[:20]) > limit for value in lengths):
            raise PayloadTooLarge(f"The body is larger than {limit} bytes.", limit=limit)
        body = await read_body(self.receive, limit=limit, seconds=gate.body_seconds)
        self.body_read = True
        await gate.app(scope, _replaying(body, self.receive), self._sending)

    async def _sending(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self.send(message)

    async def _refuse(self, response: Response) -> None:
        """Answer now. A body that is still coming is not wanted: it is let run out while the connection closes."""
        if self.body_read:
            await response(self.scope, self.receive, self._sending)
            return
        names = {name for name, _ in self.scope["headers"]}
        if names & {b"content-length", b"transfer-encoding"} and self.scope["http_version"] in ("1.0", "1.1"):
            response.headers["connection"] = "close"
        async with anyio.create_task_group() as group:
            group.start_soon(_run_out, self.receive)
            await response(self.scope, self.receive, self._sending)

    def _log(self, seconds: float) -> None:
        if logger.isEnabledFor(logging.INFO):
            extra = {"method": self.scope["method"], "path": self.scope["path"], "status": self.status or None}
            logger.info("request", extra={"extra": {**extra, "ms": round(seconds * 1000, 1)}})


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then what else comes."""
    given = False

    async def replaying() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replaying


async def _run_out(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
