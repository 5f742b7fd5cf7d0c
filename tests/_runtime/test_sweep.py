"""What time does to a log: events that are trimmed, requests that expire, turns that were lost."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from september_engine import Engine, tool
from september_engine._runtime.supervisor import SWEEP_SECONDS
from september_engine._turn.inputs import Expired
from september_engine.errors import (
    HitlNotPending,
    StoreFull,
    TurnFailed,
)
from september_engine.events import Error, HitlRequest, ReplayGap, TextDelta
from september_engine.models.scripted import ScriptedModel, call, say
from tests.engines import Bench, FlakyStore, careful, names, soon, text, until, well_formed


async def sweep(engine: Engine) -> None:
    """What the timer does every minute."""
    await engine._running.sweep()


async def test_events_live_for_their_time_after_the_turn_and_messages_for_ever(bench: Bench) -> None:
    async with bench.running([say("one"), say("two")], channel_state_ttl_active=3600) as engine:
        first = engine.replay(task_id="t")
        await engine.execute("go", task_id="t")
        cursors = [row.ts for row in await bench.store.events("t", after=0)]
        await bench.clock.advance(3000)
        await engine.execute("and", task_id="t")
        await bench.clock.advance(600)
        await sweep(engine)
        assert len(await soon(first)) == len(cursors) * 2
        await bench.clock.advance(1)
        await sweep(engine)
        kept = await soon(engine.replay(task_id="t"))
        assert text(kept) == "two"
        told = await soon(engine.replay(task_id="t", after=cursors[1]))
        assert told[0] == ReplayGap(oldest=(await bench.store.events("t", after=0))[0].ts)
        assert told[1:] == kept
        assert len(await engine.messages("t")) == 4
        await bench.clock.advance(3600)
        await sweep(engine)
        assert await soon(engine.replay(task_id="t")) == []
        assert names(await soon(engine.replay(task_id="t", after=cursors[1]))) == ["replay_gap"]
        assert len(await engine.messages("t")) == 4


async def test_a_turn_that_runs_longer_than_the_channel_lives_keeps_its_events() -> None:
    bench = Bench()
    gate = anyio.Event()
    async with bench.running([say("Hello you", hold=gate, at=1)], progress_timeout=10**6) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, TextDelta)
        await bench.clock.advance(3_500)
        await sweep(engine)
        gate.set()
        assert text(await soon(engine.replay(task_id="t"))) == "Hello you"


async def test_one_sweep_trims_all_there_is_to_trim() -> None:
    bench = Bench()
    async with bench.running(lambda request: say("Yes."), channel_state_ttl_active=60) as engine:
        for number in range(230):
            await engine.execute("go", task_id=f"t{number}")
        bench.clock.wall += 61_000
        await sweep(engine)
        assert [await soon(engine.replay(task_id=f"t{number}")) for number in range(230)] == [[]] * 230


async def test_the_timer_itself_sweeps() -> None:
    bench = Bench()
    async with bench.running([say("one")], channel_state_ttl_active=60) as engine:
        await engine.execute("go", task_id="t")
        await bench.clock.advance(60 + 2 * SWEEP_SECONDS)
        assert await soon(engine.replay(task_id="t")) == []


async def test_a_short_lifetime_is_looked_at_more_often() -> None:
    bench = Bench()
    async with bench.running([say("one")], channel_state_ttl_active=8) as engine:
        await engine.execute("go", task_id="t")
        await bench.clock.advance(6)
        assert await soon(engine.replay(task_id="t")) != []
        await bench.clock.advance(4)
        assert await soon(engine.replay(task_id="t")) == []


@pytest.mark.parametrize("where", ["here", "next process"])
async def test_what_nobody_answers_in_time_ends_the_turn_and_never_runs(bench: Bench, where: str) -> None:
    ran: list[int] = []

    @tool(requires_permission=True)
    async def risky() -> None:
        """Run."""
        ran.append(1)

    options: dict[str, Any] = {"tools": [risky], "channel_state_ttl_hitl": 100.0}

    async def expire(engine: Engine) -> None:
        await bench.clock.advance(99)
        await sweep(engine)
        assert (await engine.task("t")).status == "waiting"
        await bench.clock.advance(1)
        await sweep(engine)
        events = await soon(engine.replay(task_id="t"))
        well_formed(events)
        assert isinstance(events[-1], Error)
        assert events[-1].error == "HITL_EXPIRED"
        with pytest.raises(HitlNotPending):
            await engine.respond("t", "yes")
        assert (await engine.execute("again", task_id="t")).text == "fine"

    model = ScriptedModel([call("risky"), say("fine")])
    async with bench.running(model, **options) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
        if where == "here":
            await expire(engine)
    if where == "next process":
        async with bench.running([say("fine")], **options) as engine:
            await expire(engine)
    assert ran == []


async def test_what_expired_while_no_process_ran_is_ended_at_the_start(bench: Bench) -> None:
    async with bench.running([call("careful")], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
    bench.clock.wall += 80 * 3600 * 1000
    async with bench.running([say("fine")], tools=[careful]) as engine:
        await sweep(engine)
        assert await engine.pending() == []
        assert (await engine.execute("again", task_id="t")).text == "fine"


async def test_an_expiry_that_comes_too_late_stops_nothing() -> None:
    """An answer and the sweep cross: the answer counted, its tool runs on, the turn ends well."""
    let_go = anyio.Event()

    @tool(requires_permission=True, timeout=None)
    async def risky() -> str:
        """Run."""
        await let_go.wait()
        return "ran"

    bench = Bench()
    async with bench.running([call("risky"), say("fine")], tools=[risky], channel_state_ttl_hitl=100.0) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, HitlRequest)
        bench.clock.wall += 100_000
        [row] = await bench.store.open_tasks()
        await engine.respond("t", "yes")
        await engine._running._look_after(row, bench.clock.now_ms())
        ticket = engine._running.live["t"]
        assert ticket.runner is not None
        assert await ticket.runner.tell(Expired(now=bench.clock.now_ms())) == ()
        let_go.set()
        assert (await one).text == "fine"


async def test_an_expiry_is_of_the_pause_it_was_meant_for_and_not_of_the_next_one() -> None:
    bench = Bench()
    script = [call("careful", at="first"), call("careful", at="second")]
    async with bench.running(script, tools=[careful], channel_state_ttl_hitl=100.0) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, HitlRequest)
        bench.clock.wall += 100_000
        [row] = await bench.store.open_tasks()
        first = await engine.respond("t", "yes")
        async for event in one:
            if isinstance(event, HitlRequest) and event.request_id != first:
                break
        await engine._running._look_after(row, bench.clock.now_ms())
        assert [request.input for request in await engine.pending()] == [{"at": "second"}]


async def test_a_turn_whose_end_could_not_be_written_is_closed_by_the_sweep() -> None:
    store = FlakyStore()
    bench = Bench(store=store)
    async with bench.running([say("Hello"), say("fine")]) as engine:
        store.failing, store.healthy = StoreFull("full"), 1
        with pytest.raises(TurnFailed):
            await engine.execute("go", task_id="t")
        await sweep(engine)  # still full: nothing can be done
        assert (await engine.task("t")).status == "running"
        store.failing = None
        await sweep(engine)
        assert (await engine.task("t")).status == "idle"
        assert names(await soon(engine.replay(task_id="t")))[-2:] == ["errored", "error"]
        await sweep(engine)
        assert names(await soon(engine.replay(task_id="t"))).count("errored") == 1


async def test_a_cancel_closes_a_turn_that_no_process_runs() -> None:
    store = FlakyStore()
    async with Bench(store=store).running([say("Hello")]) as engine:
        store.failing, store.healthy = StoreFull("full"), 1
        with pytest.raises(TurnFailed):
            await engine.execute("go", task_id="t")
        with pytest.raises(StoreFull):
            await engine.cancel("t")
        store.failing = None
        assert await engine.cancel("t") is True
        assert (await engine.task("t")).status == "idle"
        assert await engine.cancel("t") is False


async def test_sweeps_that_fail_harm_nobody_and_are_repeated() -> None:
    store = FlakyStore()
    bench = Bench(store=store)
    async with bench.running([say("one"), say("two")], channel_state_ttl_active=60) as engine:
        await engine.execute("go", task_id="t")
        store.failing = ZeroDivisionError("a bug in the store")
        await bench.clock.advance(60 + 2 * SWEEP_SECONDS)
        assert len(await soon(engine.replay(task_id="t"))) > 0
        store.failing = None
        await bench.clock.advance(SWEEP_SECONDS)
        assert await soon(engine.replay(task_id="t")) == []
        assert (await engine.execute("go", task_id="t")).text == "two"
