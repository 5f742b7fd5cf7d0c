"""openapi: the contract for machines. The shapes come from the structs themselves, so the two cannot drift apart.

OpenAPI 3.2 can say what one event of a stream is (`itemSchema`); a test holds every route and event against this.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from inspect import cleandoc
from typing import get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..engine import Health
from ..errors import ModelError
from ..events import Event, Heartbeat, TextDelta, ThreadLifecycle, ToolCall, ToolResult, UsageEvent, encode
from ..messages import Branch, Message, Task, TaskDetail, Usage
from ._described import REF, Object, answer_of, errors_of, json_of, plain_of, query_of
from ._described_memory import MEMORY_PATHS, MEMORY_SCHEMAS
from .execute import ExecuteBody
from .hitl import AnswerBody, PendingPage, Resumed
from .sse import UNBUFFERED
from .tasks import Cancelled, Deleted, MessagePage, TaskPage
from .wire import ErrorBody, json_response

__all__ = ["document", "openapi"]

AT = "2026-01-02T03:04:05.678Z"

DESCRIPTION = """\
An embeddable agent engine. Every request but GET /health needs exactly one X-Engine-Key header, which is checked before
anything else; a server without a key only listens on its own machine and answers to the names of that machine.

Errors are flat JSON. A stream's first events tell nothing that a status could have told: what is known before the turn
starts is a status. Later errors are an `error` event, the very last one. Skip event types that you do not know.

A task id in a path is one percent-encoded segment (`/` is `%2F`). An id that is just `.` or `..` cannot be put into a
path: clients take it for a step in the tree."""

INSIDE = (
    "INTERNAL_ERROR",
    "STORE_BUSY",
    "STORE_FULL",
    *ModelError.STATUSES,
    "BUDGET_EXCEEDED",
    "CANCELLED",
    "INTERRUPTED",
    "INVALID_OUTPUT",
    "HITL_EXPIRED",
)
"""What an `error` event may say today; more may come."""


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    return json_response(document())


@cache
def document() -> Object:
    """The OpenAPI document. It is made once: do not change it."""
    return {
        "openapi": "3.2.0",
        "info": {"title": "September Engine", "version": _version(), "description": DESCRIPTION},
        "security": [{"key": []}],
        "paths": {
            "/execute": {"post": _execute()},
            "/execute/replay": {"get": _replay()},
            "/hitl/pending": {"get": _pending()},
            "/hitl/respond": {"post": _respond()},
            "/tasks": {"get": _tasks()},
            "/tasks/{task_id}": {"parameters": [_task_id()], "get": _task(), "delete": _delete()},
            "/tasks/{task_id}/messages": {"parameters": [_task_id()], "get": _messages()},
            "/tasks/{task_id}/media/{sha256}": {"parameters": [_task_id(), _sha256()], "get": _media()},
            "/tasks/{task_id}/cancel": {"parameters": [_task_id()], "post": _cancel()},
            **MEMORY_PATHS,
            "/health": {"get": _health()},
            "/openapi.json": {"get": _openapi()},
        },
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Engine-Key"}},
            "schemas": _schemas(),
        },
    }


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _execute() -> Object:
    body = ExecuteBody(message="Find the latest commit and summarize it.", task_id="task-001")
    return {
        "operationId": "execute",
        "summary": "Start a turn on a task and follow it",
        "description": "The turn goes on when the client leaves; GET /execute/replay takes it up again.",
        "requestBody": {
            "required": True,
            "content": json_of(ExecuteBody, {"message": body.message, "task_id": "task-001"}),
        },
        "responses": {"200": _stream("The turn's events, to its end.", turn_id=True)} | errors_of("404", "409", "422"),
    }


def _replay() -> Object:
    after = query_of(
        "after", {"type": "integer", "minimum": 0, "default": 0}, "Unix ms; 0 for everything that is kept."
    )
    task_id = query_of("task_id", {"type": "string"}, "Left out: the task whose turn started last.")
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "The id of the last event that was seen. Where it is one, it counts instead of `after`.",
    }
    return {
        "operationId": "replay",
        "summary": "The stored events after a cursor, then the live turn to its end",
        "description": "Read-only. Where nothing is kept, an empty stream. A cursor far ahead: a heartbeat first.",
        "parameters": [after, task_id, last],
        "responses": {"200": _stream("Events.", turn_id=False)} | errors_of(),
    }


def _pending() -> Object:
    item: Object = {
        "request_id": "hitl-1",
        "task_id": "task-001",
        "kind": "permission",
        "question": "May bash run with this input? It uses the network: example.org.",
        "created_at": AT,
        "tool_call_id": "toolu_1",
        "tool": "bash",
        "input": {"command": "curl https://example.org"},
        "remember": ["allow bash: run curl https://example.org"],
    }
    return {
        "operationId": "listPending",
        "summary": "What waits for a person, over all tasks, oldest first",
        "responses": {"200": {"description": "OK", "content": json_of(PendingPage, {"pending": [item]})}} | errors_of(),
    }


def _respond() -> Object:
    body = {"task_id": "task-001", "answer": "yes", "request_id": "hitl-1"}
    return {
        "operationId": "respond",
        "summary": "Answer a request; the turn goes on",
        "description": (
            'A permission is answered "yes" or "no"; anything else is refused and the request stays open. Exactly one '
            "answer counts. Without `request_id`, the oldest open request of the task is meant."
        ),
        "requestBody": {"required": True, "content": json_of(AnswerBody, body)},
        "responses": {"200": answer_of(Resumed(request_id="hitl-1"))} | errors_of("404", "409", "422"),
    }


def _tasks() -> Object:
    page = TaskPage(tasks=[_a_task()], next=None)
    return {
        "operationId": "listTasks",
        "summary": "Tasks, newest created first",
        "parameters": _paging("the task id that `next` gave", 50),
        "responses": {"200": answer_of(page)} | errors_of("404"),
    }


def _task() -> Object:
    branch = Branch(turn_id="turn_1", message_id="msg_1", created_at=AT, current=True)
    return {
        "operationId": "getTask",
        "summary": "One task with its branches",
        "responses": {"200": answer_of(_a_detail([branch]))} | errors_of("404"),
    }


def _delete() -> Object:
    return {
        "operationId": "deleteTask",
        "summary": "Remove a task with everything in it; a running turn is cancelled first",
        "description": "Idempotent: `deleted` is false where there was no such task.",
        "responses": {"200": answer_of(Deleted(deleted=True))} | errors_of(),
    }


def _messages() -> Object:
    message = Message(
        id="msg_1",
        role="user",
        content=[{"type": "text", "text": "Hello"}],
        parent_id=None,
        turn_id="turn_1",
        created_at=AT,
    )
    return {
        "operationId": "listMessages",
        "summary": "The last messages of the branch the thread stands on, or of another one, oldest first",
        "parameters": [
            *_paging("the message id that `next` gave", 100),
            query_of("branch", {"type": "string"}, "The `turn_id` of another branch of the task."),
        ],
        "responses": {"200": answer_of(MessagePage(messages=[message], next=None))} | errors_of("404"),
    }


def _media() -> Object:
    types = (
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "application/pdf",
        "text/plain",
        "application/octet-stream",
    )
    return {
        "operationId": "getMedia",
        "summary": "The content of an image or document, by the `sha256` in its block's source",
        "responses": {"200": {"description": "OK", "content": {name: {} for name in types}}} | errors_of("404"),
    }


def _cancel() -> Object:
    return {
        "operationId": "cancelTask",
        "summary": "Stop the running turn and wait for its end; what was shown stays",
        "description": "Idempotent: `cancelled` is false where no turn was running.",
        "responses": {"200": answer_of(Cancelled(cancelled=True))} | errors_of("404"),
    }


def _health() -> Object:
    well = Health(status="ok", uptime_seconds=12.5, subsystems={"database": "ok", "llm_provider": "ok"})
    ill = Health(status="shutting_down", uptime_seconds=12.5, subsystems={"database": "ok", "llm_provider": "ok"})
    return {
        "operationId": "health",
        "summary": "Whether a turn could be taken now",
        "security": [],
        "responses": {
            "200": answer_of(well),
            "503": answer_of(ill, "Not now; `status` and `subsystems` say why."),
            **{status: error for status, error in errors_of().items() if status in ("400", "413")},
        },
    }


def _openapi() -> Object:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": "openapi",
        "summary": "This document",
        "responses": {"200": {"description": "OpenAPI 3.2", "content": content}} | errors_of(),
    }


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _a_task() -> Task:
    return Task(task_id="task-001", status="idle", turn_id=None, created_at=AT, updated_at=AT)


def _a_detail(branches: list[Branch]) -> TaskDetail:
    return TaskDetail(**msgspec.structs.asdict(_a_task()), branches=branches, tokens=52, cost_usd=0.0004)


def _task_id() -> Object:
    schema = {"type": "string", "minLength": 1, "maxLength": 512}
    return {"name": "task_id", "in": "path", "required": True, "schema": schema}


def _sha256() -> Object:
    return {"name": "sha256", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"}}


def _paging(before: str, limit: int) -> list[Object]:
    return [
        query_of("before", {"type": "string"}, f"Go on from here: {before}."),
        query_of("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": limit}, "How many at most."),
    ]


def _stream(description: str, *, turn_id: bool) -> Object:
    names = {
        "X-Task-Id": "The task; what is not visible ASCII, and `%`, is percent-encoded.",
        "X-Turn-Id": "The turn that started.",
    }
    shown = [name for name in names if turn_id or name != "X-Turn-Id"]
    headers = {name: {"schema": {"type": "string"}, "description": names[name]} for name in shown}
    headers |= {name: {"schema": {"const": value}} for name, value in UNBUFFERED.items()}
    item = {"oneOf": [_item(kind) for kind in get_args(Event)]}
    return {
        "description": description,
        "headers": headers,
        "content": {"text/event-stream": {"itemSchema": item, "examples": {"turn": {"value": _a_stream()}}}},
    }


def _item(kind: type[msgspec.Struct]) -> Object:
    """One frame: `id` is there unless the event was not stored, and then it is no place to go on from."""
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": REF.format(name=kind.__name__)},
    }
    name = kind.__struct_config__.tag
    properties = {"id": {"type": "string", "pattern": "^[0-9]+$"}, "event": {"const": name}, "data": data}
    return {"type": "object", "title": str(name), "required": ["event", "data"], "properties": properties}


def _a_stream() -> list[Object]:
    events: list[Event] = [
        ThreadLifecycle(phase="started", task_id="task-001", turn_id="turn_1", timestamp=AT, message_id="msg_1"),
        TextDelta(text="Looking up the latest commit..."),
        ToolCall(tool="git_log", tool_call_id="toolu_1", input={"count": 1}),
        ToolResult(tool="git_log", tool_call_id="toolu_1", output="8c44ab1..."),
        UsageEvent(input_tokens=40, output_tokens=12, cache_hit_tokens=0),
        Heartbeat(timestamp=AT),
        ThreadLifecycle(
            phase="completed",
            task_id="task-001",
            turn_id="turn_1",
            timestamp=AT,
            message_id="msg_4",
            stop_reason="end_turn",
            usage=Usage(input_tokens=40, output_tokens=12, cache_hit_tokens=0),
            cost_usd=0.0004,
        ),
    ]
    return [
        {"id": str(1777293296123 + place), "event": event.__struct_config__.tag, "data": encode(event).decode()}
        for place, event in enumerate(events)
    ]


def _schemas() -> Object:
    """The structs as JSON Schema. On the wire an event's name is in its frame, so `type` is not in its body."""
    events = get_args(Event)
    answers = (Health, TaskPage, TaskDetail, MessagePage, PendingPage, Resumed, Cancelled, Deleted)
    bodies = (ExecuteBody, AnswerBody, ErrorBody, *answers, *MEMORY_SCHEMAS)
    _, schemas = msgspec.json.schema_components((*events, *bodies), ref_template=REF)
    for kind in events:
        schema = schemas[kind.__name__]
        del schema["properties"]["type"]
        schema["required"].remove("type")
    schemas["Error"]["properties"]["error"]["examples"] = list(INSIDE)
    for name, default in (("media", []), ("direct", False)):
        schemas["ExecuteBody"]["properties"][name]["default"] = default
    for schema in schemas.values():
        schema["description"] = cleandoc(schema["description"])
    as_read: Object = plain_of(schemas)
    return as_read


def _version() -> str:
    try:
        return version("september-engine")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
