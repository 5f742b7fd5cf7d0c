from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from september_engine import Settings
from september_engine.errors import TaskBusy
from september_engine.http.auth import Door
from september_engine.http.gate import Gate

from .server import KEY

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def gate(app: object) -> Gate:
    door = Door(settings=Settings(engine_api_key=KEY), now=lambda: 0.0)
    return Gate(app, door=door, max_body_bytes=1000, body_seconds=1.0)  # type: ignore[arg-type]


def scope(**fields: object) -> Scope:
    headers = [(b"x-engine-key", KEY.encode())]
    return {"type": "http", "method": "POST", "path": "/x", "http_version": "1.1", "headers": headers, **fields}


async def pass_through(app: object, *messages: Message, **fields: object) -> list[Message]:
    left, sent = list(messages), list[Message]()

    async def receive() -> Message:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await gate(app)(scope(**fields), receive, send)
    return sent


async def test_the_application_gets_the_body_in_one_piece_then_what_else_comes() -> None:
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.extend([await receive(), await receive()])

    parts: list[Message] = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c", "more_body": False},
    ]
    await pass_through(app, *parts)
    assert got == [{"type": "http.request", "body": b"abc", "more_body": False}, {"type": "http.disconnect"}]


async def test_an_error_before_the_answer_has_begun_is_the_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise TaskBusy("A turn is running.")

    start, body = await pass_through(app, {"type": "http.request"})
    assert (start["status"], b"TASK_BUSY" in body["body"]) == (409, True)


async def test_a_fault_after_the_answer_has_begun_is_the_servers_to_see() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise ConnectionError("the socket is gone")

    with pytest.raises(ConnectionError):
        await pass_through(app, {"type": "http.request"})


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_a_connection_with_an_unwanted_body_is_closed_where_closing_is_a_header(version: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody gets here")

    headers = [(b"content-length", b"5"), (b"x-engine-key", b"wrong")]
    start, _ = await pass_through(app, http_version=version, headers=headers)
    assert start["status"] == 401
    assert ((b"connection", b"close") in start["headers"]) == (version == "1.1")


async def test_a_connection_without_a_body_stays_open_for_a_better_key() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody gets here")

    start, _ = await pass_through(app, {"type": "http.request"}, headers=[])
    assert start["status"] == 401
    assert b"connection" not in dict(start["headers"])
