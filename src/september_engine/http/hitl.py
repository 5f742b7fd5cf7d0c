"""hitl: what waits for a person, and their answers."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..engine import Engine
from ..events import HitlRequest, encode
from ..messages import Block
from .logs import TASK_ID
from .wire import decode_body, json_response

__all__ = ["AnswerBody", "PendingPage", "Resumed", "pending", "respond"]


class AnswerBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /hitl/respond. Null stands for the default; unknown fields are ignored.

    Without `request_id` the oldest open request of the task is meant. With `remember`, a "yes" counts for the same
    call in the rest of the task.
    """

    task_id: str
    answer: str
    feedback: str | None = None
    content_blocks: list[Block] | None = None
    request_id: str | None = None
    remember: bool | None = None


class Resumed(msgspec.Struct, frozen=True, kw_only=True, tag="resumed", tag_field="status"):
    """The answer counts, and the turn goes on."""

    request_id: str


class PendingPage(msgspec.Struct, frozen=True, kw_only=True):
    """Every request that waits for a person, over all tasks, oldest first; each is as in its `hitl_request` event."""

    pending: list[HitlRequest]


async def pending(engine: Engine, request: Request) -> Response:
    """GET /hitl/pending."""
    # an event's name is not in its body, here as in a frame
    return json_response({"pending": [msgspec.Raw(encode(one)) for one in await engine.pending()]})


async def respond(engine: Engine, request: Request) -> Response:
    """POST /hitl/respond."""
    body = await decode_body(await request.body(), AnswerBody)
    TASK_ID.set(body.task_id)
    answered = await engine.respond(
        body.task_id,
        body.answer,
        request_id=body.request_id,
        feedback=body.feedback,
        content_blocks=body.content_blocks or (),
        remember=body.remember or False,
    )
    return json_response(Resumed(request_id=answered))
