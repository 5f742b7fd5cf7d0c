"""Embed: an application of your own with an engine in it, served over HTTP.

It serves itself on a free port, talks to itself as a client would, and stops.

It prints:

    GET / says: Our shop
    POST /agent/execute streams:
      thread_lifecycle
      content_block_start
      text_delta
      content_block_stop
      content_block_start
      content_block_stop
      usage
      tool_call {'day': 'Sunday'}
      tool_result closed
      content_block_start
      text_delta
      content_block_stop
      usage
      thread_lifecycle
    GET /agent/execute/replay from the tool_call on streams:
      tool_result closed
      content_block_start
      text_delta
      content_block_stop
      usage
      thread_lifecycle
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import cast

import httpx2
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from september_engine import Engine, Settings, tool
from september_engine.http import create_app

KEY = "example-key"


@tool
def opening_hours(day: str) -> str:
    """When the shop is open: the opening hours of a day."""
    return "closed" if day.lower() == "sunday" else "9 to 18"


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Our shop")


def shop(engine: Engine) -> Starlette:
    """An application with a page of its own, and the engine below /agent."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with engine:
            yield

    return Starlette(routes=[Route("/", home), Mount("/agent", create_app(engine))], lifespan=lifespan)


async def main(database: str) -> None:
    engine = Engine(database, tools=[opening_hours], settings=Settings(engine_api_key=KEY))
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config, stop = Config(), asyncio.Event()
    config.bind, config.errorlog = f"fd://{listener.detach()}", None
    server = asyncio.create_task(serve(cast("ASGIFramework", shop(engine)), config, shutdown_trigger=stop.wait))
    async with httpx2.AsyncClient(base_url=url, headers={"X-Engine-Key": KEY}) as client:
        await talk(client)
    stop.set()
    await server


async def talk(client: httpx2.AsyncClient) -> None:
    print("GET / says:", (await client.get("/")).text)
    question = {"message": "What are the opening hours on 'Sunday'?", "task_id": "question"}
    print("POST /agent/execute streams:")
    async with client.sse("/agent/execute", method="POST", json=question) as stream:
        ids = await show(stream)
    print("GET /agent/execute/replay from the tool_call on streams:")
    async with client.sse("/agent/execute/replay", headers={"Last-Event-ID": ids["tool_call"]}) as stream:
        await show(stream)


async def show(stream: httpx2.EventSource) -> dict[str, str]:
    """Print the events as they come, pieces of one text once; gives the last id of each kind of event."""
    ids: dict[str, str] = {}
    last = ""
    async for event in stream:
        data = json.loads(event.data)
        match event.event:
            case "tool_call":
                print("  tool_call", data["input"])
            case "tool_result":
                print("  tool_result", data["output"])
            case name if name != last:
                print(f"  {name}")
        last = event.event
        ids[event.event] = event.id or ""
    return ids


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else f"{folder}/brain.sqlite"))
