"""tasks: threads as JSON: the list, one of them, its messages; cancelling and deleting."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..engine import Engine
from ..errors import InvalidRequest
from ..messages import Message, Task
from .logs import TASK_ID
from .wire import HEADERS, json_response, path_text, query, whole_number

__all__ = ["Cancelled", "Deleted", "MessagePage", "TaskPage", "cancel", "media", "messages", "task", "tasks"]


MOST_PER_PAGE = 1000


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks, newest created first. `next` is the `before` of the next page, null where there is none.

    A `before` whose task was deleted meanwhile is answered with 404, TASK_NOT_FOUND.
    """

    tasks: list[Task]
    next: str | None


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of one branch, oldest first, the last ones first of all.

    `next` is the `before` of the page of older ones, null where there is none.
    """

    messages: list[Message]
    next: str | None


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there was a turn to cancel; it has ended now."""

    cancelled: bool


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there was a task to delete; there is none now."""

    deleted: bool


async def tasks(engine: Engine, request: Request) -> Response:
    """GET /tasks."""
    parameters = query(request.scope, "before", "limit")
    limit = _limit(parameters, default=50)
    found = await engine.tasks(before=parameters.get("before"), limit=limit + 1)
    page = found[:limit]
    return json_response(TaskPage(tasks=page, next=page[-1].task_id if len(found) > limit else None))


async def task(engine: Engine, request: Request) -> Response:
    """GET and DELETE /tasks/{task_id}."""
    task_id = _task_id(request)
    if request.method == "DELETE":
        return json_response(Deleted(deleted=await engine.delete(task_id)))
    return json_response(await engine.task(task_id))


async def messages(engine: Engine, request: Request) -> Response:
    """GET /tasks/{task_id}/messages."""
    parameters = query(request.scope, "before", "limit", "branch")
    limit = _limit(parameters, default=100)
    before, branch = parameters.get("before"), parameters.get("branch")
    found = await engine.messages(_task_id(request), before=before, limit=limit + 1, branch=branch)
    page = found[-limit:]
    return json_response(MessagePage(messages=page, next=page[0].id if len(found) > limit else None))


async def media(engine: Engine, request: Request) -> Response:
    """GET /tasks/{task_id}/media/{sha256}."""
    content = await engine.media(_task_id(request), request.path_params["sha256"])
    return Response(content.data, media_type=content.media_type, headers=HEADERS)


async def cancel(engine: Engine, request: Request) -> Response:
    """POST /tasks/{task_id}/cancel."""
    return json_response(Cancelled(cancelled=await engine.cancel(_task_id(request))))


def _limit(parameters: Mapping[str, str], *, default: int) -> int:
    limit = whole_number(parameters, "limit", default=default)
    if not 1 <= limit <= MOST_PER_PAGE:
        raise InvalidRequest(f"limit must be from 1 to {MOST_PER_PAGE}.")
    return limit


def _task_id(request: Request) -> str:
    task_id = path_text(request.path_params["task_id"])
    TASK_ID.set(task_id)
    return task_id
