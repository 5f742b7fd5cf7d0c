"""execute: a turn as a stream, and its replay."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..engine import Engine
from ..events import Heartbeat, timestamp
from ..messages import Block
from .logs import TASK_ID
from .sse import HEARTBEAT_SECONDS, SSEResponse, event_frame
from .wire import decode_body, header_text, query, whole_number

__all__ = ["ExecuteBody", "execute", "replay"]

AHEAD_MS = 60_000
"""A cursor of ours may lie ahead a little, after a burst or a step of the clock; one further ahead is a client's."""


class ExecuteBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /execute. Null stands for the default; unknown fields are ignored."""

    message: str
    task_id: str
    media: list[Block] | None = None
    direct: bool | None = None
    edit_message_id: str | None = None
    retry_message_id: str | None = None


async def execute(engine: Engine, now: Callable[[], float], request: Request) -> Response:
    """Start a turn and follow it. What keeps it from starting is a status; what goes wrong later is an event."""
    body = await decode_body(await request.body(), ExecuteBody)
    TASK_ID.set(body.task_id)
    turn = engine.execute(
        body.message,
        task_id=body.task_id,
        media=body.media or (),
        direct=body.direct or False,
        edit_message_id=body.edit_message_id,
        retry_message_id=body.retry_message_id,
    )
    await turn.started()
    return SSEResponse(
        turn.pages(heartbeat=HEARTBEAT_SECONDS),
        now=now,
        headers={"X-Task-Id": header_text(turn.task_id), "X-Turn-Id": turn.turn_id},
    )


async def replay(engine: Engine, now: Callable[[], float], request: Request) -> Response:
    """What is kept after a cursor, then the live turn to its end. `Last-Event-ID`, where it is one, is the cursor.

    A cursor far ahead of the server's time is answered by a heartbeat at once, which tells the time: a client whose
    clock is wrong can see it.
    """
    parameters = query(request.scope, "after", "task_id")
    after = whole_number(parameters, "after", default=0)
    task_id = parameters.get("task_id")
    last_event_id = request.headers.get("last-event-id", "")
    if re.fullmatch(r"[0-9]{1,16}", last_event_id):
        after = int(last_event_id)
    stream = engine.replay(task_id=task_id, after=after)
    await stream.started()
    TASK_ID.set(stream.task_id)
    now_ms = round(now() * 1000)
    return SSEResponse(
        stream.pages(heartbeat=HEARTBEAT_SECONDS),
        now=now,
        headers={} if stream.task_id is None else {"X-Task-Id": header_text(stream.task_id)},
        first=event_frame(Heartbeat(timestamp=timestamp(now_ms))) if after > now_ms + AHEAD_MS else b"",
    )
