"""Clients that go away at any moment, or never read: the turn runs on, and a replay is whole."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest

from september_engine import Engine
from september_engine._runtime.world import World
from september_engine.http import create_app, execute
from september_engine.http.sse import HEARTBEAT_SECONDS, SEND_SECONDS, SSEResponse
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, hold, say, think, turn
from september_engine.testing.fakes import FakeClock
from tests.engines import careful, look

from .server import Frame, Served, answer_of, engine_with, parsed, request, serving, status_of, streams, until

GOOD = {"message": "Hello", "task_id": "t"}


def test_the_times_that_clients_are_promised() -> None:
    assert (HEARTBEAT_SECONDS, SEND_SECONDS) == (15, 30)
    assert inspect.signature(create_app).parameters["body_seconds"].default == 10


async def test_a_stream_is_never_silent_for_more_than_fifteen_seconds() -> None:
    clock, gate = FakeClock(), anyio.Event()
    model = ScriptedModel([turn(hold(gate), say("Hello."))])
    async with serving(engine_with(model, world=World(clock=clock))) as served:
        async with served.client.stream("POST", "/execute", json=GOOD) as response:
            chunks, seen = response.aiter_text(), ""
            while "started" not in seen:
                seen += await anext(chunks)
            await until(lambda: clock.sleeping >= 2)
            await clock.advance(16)
            while "event: heartbeat" not in seen:
                seen += await anext(chunks)
            gate.set()
            async for chunk in chunks:
                seen += chunk
    assert seen.count("event: heartbeat") == 1


async def test_a_client_that_never_reads_is_cut_off_and_the_turn_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "SSEResponse", partial(SSEResponse, send_seconds=0.5))
    text = "x" * 12_000_000
    model = ScriptedModel([say(text)], piece=100_000)
    async with serving(engine_with(model)) as served, await anyio.connect_tcp("127.0.0.1", served.port) as deaf:
        await deaf.send(request("POST", "/execute", body=json.dumps(GOOD).encode()))
        await until(lambda: streams() == 1)
        await until(lambda: streams() == 0)
        frames = await served.replay("task_id=t")
        assert status_of(await deaf.receive(100)) == 200  # it had not read a thing
    assert answer_of(frames) == text
    assert frames[-1].data["phase"] == "completed"


# ── a cut after every frame ──────────────────────────────────────────────────────────────────────────────────────────


def script(request: ModelRequest) -> Step | Answer:
    messages = request.prompt.messages
    if messages[-1]["content"][0]["type"] == "tool_result":
        return turn(think("So it is."), say("It is done."))
    return turn(think("Hm."), say("Let me."), call("look", id="a"), call("careful", id="b"))


async def frame_by_frame(chunks: AsyncIterator[str]) -> AsyncIterator[Frame]:
    seen = ""
    async for chunk in chunks:
        *whole, seen = (seen + chunk).split("\n\n")
        for each in whole:
            yield parsed(each + "\n\n")[0]


def story(frames: list[Frame]) -> Counter[Any]:
    """What happened, however text was cut into deltas, and whether the person or the tool came first."""
    told = [frame for frame in frames if not frame.event.endswith("_delta")]
    return Counter((frame.event, frame.data.get("phase"), frame.data.get("tool")) for frame in told)


async def answer_it(engine: Engine, task_id: str) -> None:
    """A person says yes, as soon as there is something to answer."""
    with anyio.fail_after(10):
        while task_id not in [asked.task_id for asked in await engine.pending()]:
            await anyio.lowlevel.checkpoint()
    await engine.respond(task_id, "yes")


async def cut_after(served: Served, task_id: str, count: int) -> list[Frame]:
    """The replay of a turn whose client read so many frames, and was gone."""
    read: list[Frame] = []
    answered = False
    body = {"message": "Go", "task_id": task_id}
    async with served.client.stream("POST", "/execute", json=body) as response:
        async for frame in frame_by_frame(response.aiter_text()):
            read.append(frame)
            if len(read) == count:
                break
            if frame.event == "hitl_request":
                await answer_it(served.engine, task_id)
                answered = True
    await until(lambda: streams() == 0)
    if not answered:
        await answer_it(served.engine, task_id)
    frames = await served.replay(f"task_id={task_id}")
    assert frames[: len(read)] == read
    return frames


async def test_a_client_that_is_cut_off_after_any_frame_misses_nothing() -> None:
    async with serving(engine_with(ScriptedModel(script), tools=[look, careful])) as served:
        whole = await cut_after(served, "whole", 1_000)
        assert len(whole) > 15
        for count in range(1, len(whole) + 1):
            frames = await cut_after(served, f"t{count}", count)
            assert story(frames) == story(whole)
            assert answer_of(frames) == "Let me.It is done."
