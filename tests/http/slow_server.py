"""Serves an engine whose answer stops half-way until something comes on stdin. Run by tests, as a process."""

from __future__ import annotations

import asyncio
import sys

from september_engine import Engine, Settings, tool
from september_engine.http.serve import serve_engine
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, hold, say, turn


class Line:
    """Something on stdin."""

    async def wait(self) -> None:
        came = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), came.set)
        try:
            await came.wait()
        finally:
            loop.remove_reader(sys.stdin.fileno())


@tool(timeout=None)
async def stubborn() -> str:
    """Takes no notice of being cancelled."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


def script(request: ModelRequest) -> Step | Answer:
    if "stubborn" in str(request.prompt.messages[-1]):
        return turn(say("Before."), call("stubborn"))
    if "much" in str(request.prompt.messages[-1]):
        return turn(say("x" * 20_000_000), hold(Line()))
    return turn(say("Before."), hold(Line()), say("After."))


if __name__ == "__main__":
    engine = Engine(
        model=ScriptedModel(script, piece=100_000), settings=Settings.from_env(dotenv=None), tools=[stubborn]
    )
    sys.exit(serve_engine(engine, host="127.0.0.1", port=0))
