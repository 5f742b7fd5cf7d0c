from __future__ import annotations

import asyncio
import gc
import hashlib
import random
from contextlib import aclosing, suppress
from typing import Any
from weakref import ref

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine import Engine, tool
from september_engine._runtime.channel import TAIL
from september_engine.errors import EngineClosed, ModelError, TurnFailed
from september_engine.events import Event, HitlRequest, TextDelta, ThreadLifecycle, ToolCall, encode, name_of
from september_engine.messages import Usage
from september_engine.models.scripted import call, fail, say, think, turn
from september_engine.store.base import Batch, EventRow
from tests.engines import Bench, FlakyStore, idle, look, names, soon, text, ticks, until, well_formed

SCRIPT = [turn(think("Hm."), say("Let me look. "), call("look")), say("I saw it.")]


# ── a turn ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_turn_is_its_events_in_the_contracts_order(bench: Bench) -> None:
    async with bench.running(SCRIPT, tools=[look]) as engine:
        events = await soon(engine.execute("go", task_id="t"))
    well_formed(events)
    assert [name for name in names(events) if "delta" not in name] == [
        "started",
        *("content_block_start", "content_block_stop") * 3,
        *("usage", "tool_call", "tool_result"),
        *("content_block_start", "content_block_stop"),
        *("usage", "completed"),
    ]
    assert text(events) == "Let me look. I saw it."


async def test_a_turn_can_be_iterated_again_and_awaited_in_any_order(bench: Bench) -> None:
    async with bench.running(SCRIPT, tools=[look]) as engine:
        one = engine.execute("go", task_id="t")
        first = await soon(one)
        result = await one
        assert await soon(one) == first
        assert await one == result == await one.result()
        again = engine.execute("and", task_id="other")
        with pytest.raises(TurnFailed):
            await again
        assert names(await soon(again))[-1] == "error"


async def test_the_result_sums_the_turn_up() -> None:
    script = [
        turn(say("Let me look. "), call("look", id="c1"), usage=Usage(input_tokens=10, output_tokens=5)),
        turn(say("Seen."), usage=Usage(input_tokens=20, output_tokens=2, cache_hit_tokens=10)),
    ]
    async with Bench().running(script, tools=[look]) as engine:
        result = await engine.execute("go", task_id="t")
        first, *_, last = await engine.messages("t")
    assert result.text == "Let me look.\n\nSeen."
    assert (result.task_id, result.turn_id, result.stop_reason) == ("t", first.turn_id, "end_turn")
    assert (result.user_message_id, result.message_id) == (first.id, last.id)
    assert result.usage == Usage(input_tokens=30, output_tokens=7, cache_hit_tokens=10)
    assert [use["id"] for use in result.tool_calls] == ["c1"]


async def test_awaiting_a_turn_that_failed_raises_the_code_of_its_error_event() -> None:
    async with Bench().running([fail(ModelError("No key.", code="LLM_AUTH", hint="set it"))]) as engine:
        one = engine.execute("go", task_id="t")
        with pytest.raises(TurnFailed) as failure:
            await one
        last = (await soon(one))[-1]
    assert (failure.value.code, failure.value.turn_id) == ("LLM_AUTH", one.turn_id)
    assert failure.value.details == {"hint": "set it", "retry_message_id": "msg_1"}
    assert name_of(last) == "error"


async def test_anext_goes_on_across_calls_while_iterating_begins_anew() -> None:
    async with Bench().running(SCRIPT, tools=[look]) as engine:
        one = engine.execute("go", task_id="t")
        begin = [await anext(one) for _ in range(3)]
        everything = await soon(one)
        assert everything[:3] == begin
        assert await anext(one) == everything[3]


async def test_a_turn_that_ended_gives_its_result_and_events_after_the_engine_was_closed() -> None:
    async with Bench().running([say("Hello")]) as engine:
        one = engine.execute("go", task_id="t")
        expected = await soon(one)
    assert (await one).text == "Hello"
    assert await soon(one) == expected


async def test_the_cursor_continues_where_the_reading_stopped(bench: Bench) -> None:
    async with bench.running(SCRIPT, tools=[look]) as engine:
        one = engine.execute("go", task_id="t")
        everything = await soon(one)
        for count in range(1, len(everything) + 1):
            read = []
            async for event in one:
                read.append(event)
                if len(read) == count:
                    break
            assert read + await soon(engine.replay(task_id="t", after=one.cursor)) == everything
        assert engine.execute("and", task_id="other").cursor == 0


# ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["break", "drop", "close", "close elsewhere", "cancel", "never look"])
async def test_leaving_a_stream_at_any_event_stops_neither_turn_nor_replay(how: str) -> None:
    async with Bench().running(SCRIPT, tools=[look]) as engine:
        expected = names(await soon(engine.execute("go", task_id="whole")))
    for count in range(len(expected)):
        async with Bench().running(SCRIPT, tools=[look]) as engine:
            await _leave(engine, how, count)
            await idle(engine)
            assert names(await soon(engine.replay(task_id="t"))) == expected
            assert (await engine.task("t")).status == "idle"


async def _leave(engine: Engine, how: str, count: int) -> None:
    one: Any = engine.execute("go", task_id="t")
    if how == "never look":
        return
    stream = one.__aiter__()
    for _ in range(count):
        await anext(stream)
    match how:
        case "break":
            async for _ in one:
                break
        case "drop":
            watched = ref(stream)
            del stream, one
            gc.collect(1)  # what is this young
            assert watched() is None
        case "close":
            async with aclosing(stream):
                pass
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        case "close elsewhere":
            await asyncio.create_task(one.aclose())
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        case "cancel":
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(stream)


async def test_a_close_from_another_task_ends_a_reading_that_waits() -> None:
    async with Bench().running([say("Hello you", hold=anyio.Event(), at=1)]) as engine:
        one = engine.execute("go", task_id="t")
        seen: list[str] = []

        async def read() -> None:
            seen.append(text(await soon(one)))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(read)
            await ticks(60)
            assert seen == []
            await one.aclose()
        assert seen == ["Hello", "Hello"]
        assert (await engine.task("t")).status == "running"


async def test_a_dropped_turn_that_fails_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    store = FlakyStore(failing=ZeroDivisionError())
    async with Bench(store=store).running([say("Hello")]) as engine:
        engine.execute("go", task_id="t")
        await idle(engine)
        gc.collect()
        store.failing = None
        assert (await engine.execute("go", task_id="t")).text == "Hello"
    assert {record.name for record in caplog.records} == {"september_engine._runtime.channel"}  # and not the loop


async def test_a_reader_that_stops_reading_holds_one_page_and_slows_nobody() -> None:
    bench = Bench()
    async with bench.running([say("word " * TAIL * 2)]) as engine:
        one = engine.execute("go", task_id="t")
        slow = one.__aiter__()
        await anext(slow)
        await one
        assert len(slow._ready) <= TAIL
        rest = [event async for event in slow]
        assert names([*rest])[-1] == "completed"
        assert text(rest) == "word " * TAIL * 2


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hundred_replays_of_a_running_turn_are_identical(bench: Bench) -> None:
    gate = anyio.Event()
    script = [turn(say("Let me look. "), call("look")), say("I saw it all.", hold=gate, at=1)]
    async with bench.running(script, tools=[look]) as engine:
        await until(engine.execute("go", task_id="t"), ToolCall)
        seen: list[str] = []

        async def read(number: int) -> None:
            await ticks(number)
            digest = hashlib.sha256()
            stream = engine.replay(task_id="t").__aiter__()
            async for event in stream:
                digest.update(b"%d %b\n" % (stream.cursor, encode(event)))
            seen.append(digest.hexdigest())

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(read, number)
            await ticks(50)
            gate.set()
    assert len(seen) == 100
    assert len(set(seen)) == 1


async def test_a_reconnect_after_every_single_event_gives_the_full_log(bench: Bench) -> None:
    async with bench.running(SCRIPT * 3, tools=[look]) as engine:
        for number in range(3):
            await engine.execute(f"turn {number}", task_id="t")
        everything = await soon(engine.replay(task_id="t"))
        one_by_one, after = [], 0
        while True:
            stream = engine.replay(task_id="t", after=after).__aiter__()
            try:
                one_by_one.append(await anext(stream))
            except StopAsyncIteration:
                break
            after = stream.cursor
    assert one_by_one == everything
    assert names(everything).count("completed") == 3


@given(
    steps=st.lists(st.tuples(st.integers(-3_600_000, 3_600_000), st.integers(1, 4)), min_size=4, max_size=12),
    seed=st.integers(0, 1_000),
)
async def test_reconnecting_anywhere_while_the_clock_jumps_loses_and_repeats_nothing(
    steps: list[tuple[int, int]], seed: int
) -> None:
    bench, chance = Bench(), random.Random(seed)
    gates = [anyio.Event() for _ in steps]
    parts = [say("x" * 5 * count, hold=gate) for (_, count), gate in zip(steps, gates, strict=True)]
    async with bench.running([turn(*parts)]) as engine:
        one = engine.execute("go", task_id="t")
        await one.started()
        seen: list[Event] = []
        after, jumps = 0, list(zip(steps, gates, strict=True))
        while not seen or not isinstance(seen[-1], ThreadLifecycle) or seen[-1].phase == "started":
            stream = engine.replay(task_id="t", after=after).__aiter__()
            for _ in range(chance.randint(1, 5)):
                if jumps and not await _ready(stream):
                    (step, _), gate = jumps.pop(0)
                    bench.clock.wall += step
                    gate.set()
                try:
                    seen.append(await anext(stream))
                except StopAsyncIteration:
                    break
                after = stream.cursor
        assert seen == await soon(one)
        rows = await bench.store.events("t", after=0)
        assert [row.ts for row in rows] == sorted({row.ts for row in rows})


async def _ready(stream: Any) -> bool:
    """Whether the stream has an event now, as far as a few turns of the loop can tell."""
    if stream._ready:
        return True
    with anyio.CancelScope() as scope:

        async def give_up() -> None:
            await ticks(20)
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(give_up)
            page = await anext(stream._pages)
            stream._ready = list(reversed(page))
            group.cancel_scope.cancel()
    return bool(stream._ready)


async def test_without_a_task_the_one_whose_turn_started_last_is_replayed() -> None:
    async with Bench().running(lambda request: say(request.prompt.messages[-1]["content"][0]["text"])) as engine:
        nothing = engine.replay()
        assert await soon(nothing) == []
        assert nothing.task_id is None
        for task_id in ("one", "two", "one"):
            await engine.execute(f"to {task_id}", task_id=task_id)
        latest = engine.replay()
        assert text(await soon(latest)) == "to oneto one"
        assert latest.task_id == "one"


async def test_an_unknown_task_and_a_task_whose_events_are_gone_give_an_empty_replay() -> None:
    bench = Bench()
    async with bench.running([say("Hello")], channel_state_ttl_active=60) as engine:
        assert await soon(engine.replay(task_id="unknown")) == []
        assert await soon(engine.replay(task_id="unknown", after=10**15)) == []
        await engine.execute("go", task_id="t")
        await bench.clock.advance(200)
        assert await soon(engine.replay(task_id="t")) == []


@pytest.mark.parametrize("after", [2**63 - 1, 10**30, 1_700_000_000_000 * 2])
async def test_a_cursor_in_the_future_gives_what_comes_from_now_on(bench: Bench, after: int) -> None:
    gate = anyio.Event()
    async with bench.running([say("Hello you", hold=gate, at=1)]) as engine:
        await until(engine.execute("go", task_id="t"), TextDelta)
        stream = engine.replay(task_id="t", after=after)
        readers, others = engine._running.readers, set(engine._running.readers)
        seen: list[str] = []

        async def read() -> None:
            seen.append(text(await soon(stream)))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            while set(readers) == others:
                await anyio.lowlevel.checkpoint()
            await ticks(30)
            gate.set()
        assert seen == [" you"]
        assert await soon(engine.replay(task_id="t", after=after)) == []


async def test_a_replay_that_begins_while_the_turn_starts_follows_it() -> None:
    for count in range(20):
        async with Bench().running([say("Hello")]) as engine:
            engine.execute("go", task_id="t")
            await ticks(count)
            assert text(await soon(engine.replay(task_id="t"))) == "Hello"


async def test_a_replay_of_a_turn_that_waits_for_a_person_follows_it_in_the_next_process(bench: Bench) -> None:
    @tool(requires_permission=True)
    async def careful() -> str:
        """Do something that must be allowed."""
        return "done"

    async with bench.running([call("careful")], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
    async with bench.running([say("It is done.")], tools=[careful]) as engine:
        async for event in engine.replay(task_id="t"):
            if isinstance(event, HitlRequest):
                await engine.respond("t", "yes")
        assert isinstance(event, ThreadLifecycle)
        assert event.phase == "completed"


async def test_an_edit_is_an_event_and_the_old_ones_stay_before_it() -> None:
    async with Bench().running(lambda request: say(request.prompt.messages[-1]["content"][0]["text"])) as engine:
        first = await engine.execute("one", task_id="t")
        before = await soon(engine.replay(task_id="t"))
        await engine.execute("uno", task_id="t", edit_message_id=first.user_message_id)
        everything = await soon(engine.replay(task_id="t"))
    assert everything[: len(before)] == before
    after = everything[len(before) :]
    assert names(after)[:2] == ["started", "rewound"]
    rewound = after[1]
    assert (rewound.message_id, rewound.kind) == (first.user_message_id, "edit")  # type: ignore[union-attr]
    assert text(everything) == "oneuno"


# ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("which", ["turn", "replay"])
async def test_a_silent_stream_gives_an_empty_page_in_time(which: str) -> None:
    bench = Bench()
    async with bench.running([say("Hello you", hold=anyio.Event(), at=1)]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, TextDelta)
        pages = (one if which == "turn" else engine.replay(task_id="t")).pages(heartbeat=15.0)
        await anext(pages)
        beats: list[float] = []

        async def read() -> None:
            with suppress(StopAsyncIteration):
                while True:
                    assert await anext(pages) == ()
                    beats.append(bench.clock.monotonic())

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await ticks(30)
            for _ in range(45):
                await bench.clock.advance(1)
            await pages.aclose()
        assert len(beats) == 3
        assert all(later - earlier <= 15 for earlier, later in zip([0.0, *beats], [*beats, 45.0], strict=True))


# ── the engine is gone ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_needs_a_closed_engine_says_so() -> None:
    async with Bench().running([say("Hello")]) as engine:
        stream = engine.replay(task_id="t")
    with pytest.raises(EngineClosed):
        engine.execute("go", task_id="t")
    with pytest.raises(EngineClosed):
        engine.replay(task_id="t")
    with pytest.raises(EngineClosed):  # not an empty stream, which would look like a task without events
        await soon(stream)


async def test_a_store_that_cannot_be_read_fails_the_reading_and_not_the_turn() -> None:
    class Unreadable(FlakyStore):
        async def events(self, task_id: str, /, *, after: int, limit: int = 500) -> list[EventRow]:
            raise EngineClosed("It cannot be read.")

    async with Bench(store=Unreadable()).running([say("Hello"), say("Hello")]) as engine:
        assert text(await soon(engine.execute("go", task_id="t"))) == "Hello"
        with pytest.raises(EngineClosed):
            await soon(engine.replay(task_id="t"))
        assert (await engine.execute("go", task_id="t")).text == "Hello"


async def test_an_event_that_only_a_later_release_knows_is_passed_over(bench: Bench) -> None:
    async with bench.running([say("Hello.")]) as engine:
        await engine.execute("go", task_id="t")
        known = await soon(engine.replay(task_id="t"))
        row = await bench.store.task("t")
        assert row is not None
        new = EventRow(ts=row.last_ts + 1, turn_id="turn_1", type="hologram", body=b'{"depth":3}')
        await bench.store.append(Batch(task_id="t", epoch=row.epoch, events=[new]))
        stream = engine.replay(task_id="t").__aiter__()
        assert [event async for event in stream] == known
        assert stream.cursor == new.ts
        await engine.delete("t")
