"""The end of an engine: turns drain or are left as they are, and every stream ends."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from september_engine import tool
from september_engine.errors import (
    EngineClosed,
)
from september_engine.events import HitlRequest, TextDelta, ToolCall
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Step, call, say
from september_engine.store.base import TaskRow
from tests.engines import Bench, FlakyStore, careful, held, names, soon, text, ticks, until


async def test_draining_takes_no_new_turns_and_waits_for_those_that_run() -> None:
    gate = anyio.Event()
    bench = Bench()
    engine = await bench.engine([say("Hello you", hold=gate, at=1)]).open()
    one = engine.execute("go", task_id="t")
    await until(one, TextDelta)
    async with anyio.create_task_group() as group:
        group.start_soon(engine.drain, 25.0)
        await ticks(5)
        with pytest.raises(EngineClosed):
            engine.execute("more", task_id="other")
        assert (await engine.health()).status == "shutting_down"
        gate.set()
    assert (await one).text == "Hello you"
    await engine.aclose()


async def test_what_does_not_end_in_its_time_is_left_as_it_is_with_cursors_that_stay_good() -> None:
    bench = Bench()
    engine = await bench.engine([held("Hello you", at=1)]).open()
    stream = engine.execute("go", task_id="t").__aiter__()
    seen = []
    async with anyio.create_task_group() as group:

        async def read() -> None:
            async for event in stream:
                seen.append(event)  # noqa: PERF401

        group.start_soon(read)
        await ticks(50)
        group.start_soon(engine.aclose)
        await ticks(5)
        await bench.clock.advance(25)
    assert text(seen) == "Hello"
    assert "error" not in names(seen)
    async with bench.running([say("fine")]) as engine:
        rest = await soon(engine.replay(task_id="t", after=stream.cursor))
        assert names(rest)[-2:] == ["errored", "error"]
        assert names(seen + rest) == names(await soon(engine.replay(task_id="t")))


async def test_a_turn_that_waits_or_comes_to_wait_for_a_person_does_not_hold_the_end_up() -> None:
    bench = Bench()
    gate = anyio.Event()

    @tool(timeout=None)
    async def wait() -> None:
        """Wait."""
        await gate.wait()

    def answer(request: ModelRequest) -> Step:
        said = request.prompt.messages[-1]["content"][-1]
        return call("careful") if said["type"] == "tool_result" or said["text"] == "now" else call("wait")

    engine = await bench.engine(answer, tools=[wait, careful]).open()
    await until(engine.execute("now", task_id="waits"), HitlRequest)
    later = engine.execute("later", task_id="will wait")
    await until(later, ToolCall)
    async with anyio.create_task_group() as group:
        group.start_soon(engine.aclose)
        await ticks(20)
        gate.set()
    assert bench.clock.monotonic() == 0.0
    async with bench.running(lambda request: say("fine"), tools=[careful, wait]) as engine:
        assert {request.task_id for request in await engine.pending()} == {"waits", "will wait"}


async def test_a_turn_that_was_only_just_submitted_does_not_hold_the_end_up() -> None:
    for count in range(12):
        bench = Bench()
        engine = await bench.engine([held()]).open()
        one = engine.execute("go", task_id="t")
        await ticks(count)
        with anyio.fail_after(5):
            await engine.aclose(drain=0)
            with pytest.raises(EngineClosed):
                await one


class SlowToRead(FlakyStore):
    """A turn that starts here has not looked at its task yet."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = None
        self.gate = anyio.Event()

    async def task(self, task_id: str, /) -> TaskRow | None:
        await self.gate.wait()
        return await super().task(task_id)


async def test_a_turn_that_has_not_begun_when_the_time_is_up_does_not_begin() -> None:
    store = SlowToRead()
    engine = await Bench(store=store).engine([held()]).open()
    one = engine.execute("go", task_id="t")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(engine.aclose, drain=0))
            await ticks(10)
            store.gate.set()
    with pytest.raises(EngineClosed):
        await one
    assert store.appended == []


async def test_a_turn_that_never_begins_because_the_closing_was_cut_short_says_so() -> None:
    store = SlowToRead()
    engine = await Bench(store=store).engine([held()]).open()
    one = engine.execute("go", task_id="t")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await engine.aclose()
    for use in (one.started, one.result, partial(soon, one)):
        with anyio.fail_after(5), pytest.raises(EngineClosed):
            await use()


async def test_an_answer_that_comes_while_the_engine_closes_is_refused_and_the_request_stays() -> None:
    bench = Bench()
    engine = await bench.engine([call("careful")], tools=[careful]).open()
    await until(engine.execute("go", task_id="t"), HitlRequest)
    await engine.drain(0)
    with pytest.raises(EngineClosed):
        await engine.respond("t", "yes")
    await engine.aclose()
    async with bench.running([say("done")], tools=[careful]) as engine:
        await engine.respond("t", "yes")
        assert text(await soon(engine.replay(task_id="t"))) == "done"


async def test_streams_end_when_the_engine_closes_wherever_they_stand() -> None:
    bench = Bench()
    engine = await bench.engine([held("Hello you", at=1)]).open()
    one = engine.execute("go", task_id="t")
    await one.started()
    ended: list[str] = []

    async def read(stream: Any) -> None:
        ended.append(text(await soon(stream)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for stream in (one, engine.replay(task_id="t"), engine.replay(), engine.replay(task_id="t", after=1)):
                group.start_soon(read, stream)
            await ticks(60)
            assert ended == []
            await engine.aclose(drain=0)
    assert ended == ["Hello"] * 4


async def test_stopping_the_streams_stops_no_turn() -> None:
    gate = anyio.Event()
    async with Bench().running([say("Hello you", hold=gate, at=1)]) as engine:
        one = engine.execute("go", task_id="t")
        seen: list[str] = []

        async def read() -> None:
            seen.append(text(await soon(one)))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await ticks(60)
            engine.stop_streams()
        assert seen == ["Hello"]
        gate.set()
        assert (await one).text == "Hello you"
