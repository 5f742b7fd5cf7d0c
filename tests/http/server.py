"""A real server on 127.0.0.1, in the test's own loop, and what tests say to it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import attrs
import httpx2
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from starlette.types import ASGIApp

from september_engine import Engine, Limits, Settings, Tool
from september_engine._runtime.world import World
from september_engine.http import create_app
from september_engine.models.base import Model
from september_engine.models.scripted import ScriptedModel, say
from september_engine.permissions import Policy
from september_engine.store.base import Store
from september_engine.store.memory import MemoryStore

KEY = "k3y-0f-th3-t3sts"


@attrs.frozen(kw_only=True)
class Served:
    """A running server. `client` sends the key; `raw` sends bytes."""

    engine: Engine
    client: httpx2.AsyncClient
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def raw(self, request: bytes) -> bytes:
        """Send these bytes and read until the server closes; ask it to by `Connection: close`."""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            await stream.send(request)
            return await read_all(stream)

    async def execute(self, message: str = "Hello", task_id: str = "t", **fields: Any) -> list[Frame]:
        """One turn, read to its end."""
        response = await self.client.post("/execute", json={"message": message, "task_id": task_id, **fields})
        assert response.status_code == 200, response.text
        return parsed(response.text)

    async def replay(self, query: str = "", **headers: str) -> list[Frame]:
        """A replay, read to its end."""
        response = await self.client.get(f"/execute/replay?{query}", headers=headers)
        assert response.status_code == 200, response.text
        return parsed(response.text)


@attrs.frozen(kw_only=True)
class Frame:
    """One frame, read strictly."""

    id: int | None
    event: str
    data: dict[str, Any]


def parsed(text: str) -> list[Frame]:
    """The frames of a stream, held against the contract's form to the letter."""
    frames = []
    assert text == "" or text.endswith("\n\n")
    for block in text.removesuffix("\n\n").split("\n\n") if text else ():
        lines = block.split("\n")
        frame_id = int(lines.pop(0).removeprefix("id: ")) if lines[0].startswith("id: ") else None
        assert len(lines) == 2, block
        assert lines[0].startswith("event: "), block
        assert lines[1].startswith("data: {"), block
        data = json.loads(lines[1].removeprefix("data: "))
        frames.append(Frame(id=frame_id, event=lines[0].removeprefix("event: "), data=data))
    return frames


def answer_of(frames: Sequence[Frame]) -> str:
    return "".join(frame.data["text"] for frame in frames if frame.event == "text_delta")


def names_of(frames: Sequence[Frame]) -> list[str]:
    return [frame.event for frame in frames]


def request(method: str, path: str, *headers: str, body: bytes = b"", key: str | None = KEY) -> bytes:
    """An HTTP/1.1 request as bytes; the server closes after it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    if key is not None:
        lines.append(f"X-Engine-Key: {key}")
    if body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def code_of(response: bytes) -> str:
    return str(json.loads(response.partition(b"\r\n\r\n")[2])["error"])


async def read_all(stream: anyio.abc.ByteStream) -> bytes:
    parts = []
    try:
        with anyio.fail_after(20):
            while True:
                parts.append(await stream.receive())
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return b"".join(parts)


def engine_with(
    model: Model | None = None,
    *,
    store: Store | None = None,
    tools: Iterable[Tool[..., Any]] = (),
    policy: Policy | None = None,
    limits: Limits | None = None,
    memory: bool = False,
    world: World | None = None,
    **settings: Any,
) -> Engine:
    """An engine that is not open yet: in memory, with the tests' key, answering "Hello." unless told otherwise."""
    options = {"engine_api_key": KEY, **settings}
    return Engine(
        store or MemoryStore(),
        model=model or ScriptedModel(lambda request: say("Hello.")),
        tools=tools,
        policy=policy,
        limits=limits,
        memory=memory,
        settings=Settings(**options),
        world=world,
    )


@asynccontextmanager
async def serving(
    engine: Engine, *, key: str | None = KEY, idle_seconds: float = 5.0, **options: Any
) -> AsyncIterator[Served]:
    """The engine behind a real Hypercorn, both closed at the end."""
    async with engine, running(create_app(engine, **options), idle_seconds=idle_seconds) as port:
        headers = {} if key is None else {"X-Engine-Key": key}
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20) as client:
            yield Served(engine=engine, client=client, port=port)
        await engine.drain(0.0)


@asynccontextmanager
async def running(app: ASGIApp, *, idle_seconds: float = 5.0) -> AsyncIterator[int]:
    """The application behind a real Hypercorn, in a task of its own; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = Config()
    config.bind = f"fd://{listener.detach()}"
    config.errorlog = None
    config.graceful_timeout = 1.0
    config.keep_alive_timeout = idle_seconds
    stop = anyio.Event()
    task = asyncio.create_task(serve(cast("ASGIFramework", app), config, shutdown_trigger=stop.wait, mode="asgi"))
    try:
        yield port
    finally:
        stop.set()
        with anyio.fail_after(10):
            await task


async def until(condition: Callable[[], object]) -> None:
    """Let everybody else run until this is so."""
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


def connections() -> int:
    """How many connections Hypercorn holds."""
    return sum("_server_callback" in repr(task.get_coro()) for task in asyncio.all_tasks())


def streams() -> int:
    """How many event streams are being sent."""
    return sum("_until_gone" in task.get_name() for task in asyncio.all_tasks())
