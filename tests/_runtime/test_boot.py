"""What the last process left open: abandoned, resumed, or still waiting for a person."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from msgspec.structs import replace

from september_engine import Limits, tool
from september_engine._turn.facts import TurnResumed, decode_fact
from september_engine.errors import (
    EngineClosed,
    StoreCorrupt,
    TaskBusy,
)
from september_engine.events import Error, HitlRequest, TextDelta, ThreadLifecycle, ToolCall, ToolResult
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.store.base import FactRow, Store
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench, FlakyStore, careful, held, names, phases, soon, text, ticks, until, well_formed


async def facts_of(store: Store, task_id: str, turn_id: str) -> list[Any]:
    return [decode_fact(row.body) for row in await store.turn(task_id, turn_id)]


async def test_a_turn_that_a_process_left_open_is_closed_at_the_next_start(bench: Bench) -> None:
    async with bench.running([held("Hello you", at=1)]) as engine:
        left = engine.execute("go", task_id="t")
        await until(left, TextDelta)
    model = ScriptedModel([say("Again then.")])
    async with bench.running(model) as engine:
        events = await soon(engine.replay(task_id="t"))
        well_formed(events)
        assert isinstance(events[-1], Error)
        assert events[-1].error == "INTERRUPTED"
        assert text(events) == "Hello"
        assert (await engine.task("t")).status == "idle"
        assert (await engine.execute("once more", task_id="t")).text == "Again then."
        # what was abandoned does not count towards context
        assert [message["role"] for message in model.requests[0].prompt.messages] == ["user"]


async def test_a_resumed_turn_asks_the_model_again_and_takes_back_what_was_shown(bench: Bench) -> None:
    async with bench.running([held("Hello you", at=1)]) as engine:
        await until(engine.execute("go", task_id="t"), TextDelta)
    async with bench.running([say("Hello there")], recovery="resume") as engine:
        stream = engine.replay(task_id="t")
        events = await soon(stream)
    well_formed(events)
    shown = names(events)
    assert shown[-1] == "completed"
    retry = next(event for event in events if event.__class__.__name__ == "Retry")
    assert (retry.reason, retry.retracts) == ("INTERRUPTED", [0])  # type: ignore[union-attr]
    after = events[events.index(retry) :]
    assert text(after) == "Hello there"


async def test_a_step_that_was_completed_is_not_repeated(bench: Bench) -> None:
    ledger: list[str] = []

    @tool
    async def note(word: str) -> str:
        """Note."""
        ledger.append(word)
        return "noted"

    model = ScriptedModel([call("note", id="c1", word="once"), held()])
    async with bench.running(model, tools=[note]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, ThreadLifecycle)
        while len(model.requests) < 2:
            await ticks(1)
    again = ScriptedModel([say("done")])
    async with bench.running(again, tools=[note], recovery="resume") as engine:
        assert text(await soon(engine.replay(task_id="t"))).endswith("done")
    assert ledger == ["once"]
    assert len(again.requests) == 1


@pytest.mark.parametrize("safe", [False, True])
async def test_a_tool_that_may_have_run_is_repeated_only_where_that_is_safe(bench: Bench, safe: bool) -> None:
    ledger: list[str] = []
    hang = anyio.Event()

    @tool(safe_to_repeat=safe, timeout=None)
    async def note(word: str) -> str:
        """Note."""
        ledger.append(word)
        await hang.wait()
        return "noted"

    async with bench.running([call("note", id="c1", word="x")], tools=[note]) as engine:
        await until(engine.execute("go", task_id="t"), ToolCall)
        while not ledger:
            await ticks(1)
    hang.set()
    model = ScriptedModel([say("done")])
    async with bench.running(model, tools=[note], recovery="resume") as engine:
        events = await soon(engine.replay(task_id="t"))
    well_formed(events)
    [result] = model.requests[0].prompt.messages[-1]["content"]
    assert ledger == (["x", "x"] if safe else ["x"])
    assert ("unknown" in result["content"]) is not safe
    assert result.get("is_error", False) is not safe


async def test_a_turn_is_resumed_twice_and_then_given_up(bench: Bench) -> None:
    async with bench.running([held()]) as engine:
        left = engine.execute("go", task_id="t")
        await until(left, ThreadLifecycle)
    for _ in range(2):
        async with bench.running([held()], recovery="resume") as engine:
            assert (await engine.task("t")).status == "running"
            with pytest.raises(TaskBusy):
                engine.execute("again", task_id="t")
    async with bench.running([held()], recovery="resume") as engine:
        events = await soon(engine.replay(task_id="t"))
        assert isinstance(events[-1], Error)
        assert events[-1].error == "INTERRUPTED"
        assert (await engine.task("t")).status == "idle"
        facts = await facts_of(bench.store, "t", left.turn_id)
    assert sum(isinstance(fact, TurnResumed) for fact in facts) == 2


@pytest.mark.parametrize("recovery", ["abandon", "resume"])
async def test_a_turn_that_waits_for_a_person_survives_the_process(bench: Bench, recovery: str) -> None:
    async with bench.running([call("careful", at="noon")], tools=[careful]) as engine:
        asked = await until(engine.execute("go", task_id="t"), HitlRequest)
        before = await bench.store.events("t", after=0)
    async with bench.running([say("It is done.")], tools=[careful], recovery=recovery) as engine:
        assert await bench.store.events("t", after=0) == before
        assert [request.request_id for request in await engine.pending()] == [asked.request_id]
        assert (await engine.task("t")).status == "waiting"
        assert await engine.respond("t", "yes") == asked.request_id
        events = await soon(engine.replay(task_id="t"))
    well_formed(events)
    assert text(events) == "It is done."


async def test_boot_reads_only_what_was_open(tmp_path: Path) -> None:
    """The statements of opening do not follow the number of tasks; nor do the rows."""
    counts: list[Counter[str]] = []
    for tasks in (3, 60):
        path = tmp_path / f"{tasks}.sqlite"
        inner = SQLiteStore(path)
        async with Bench(store=inner).running(lambda request: say("Yes.")) as engine:
            for number in range(tasks):
                await engine.execute("go", task_id=f"t{number}")
        counting = CountingStore(inner=SQLiteStore(path))
        bench = Bench(store=counting)
        async with bench.running([]):
            while "trim" not in counting.asked:  # the last thing that the first sweep does
                await ticks(1)
            counts.append(Counter(counting.asked))
    assert counts[0] == counts[1]
    # the constructor looks whether it is a store by one of the three
    assert counts[0] == {"open": 1, "open_tasks": 3, "trim": 1}


@attrs.define(slots=False)
class CountingStore(FlakyStore):
    """Notes the name of every method that is called."""

    asked: Counter[str] = attrs.field(factory=Counter)

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith("_") and callable(value):
            self.asked[name] += 1
        return value


async def test_a_turn_that_cannot_be_read_keeps_no_engine_from_opening() -> None:
    bench = Bench()
    async with bench.running(lambda request: held()) as engine:
        turns = [engine.execute("go", task_id=task_id) for task_id in ("bad", "good")]
        for each in turns:
            await each.started()
    store = Damaged(inner=bench.store)
    other = Bench(store=store)
    other.world = bench.world
    async with other.running([say("Yes.")]) as engine:
        assert phases(await soon(engine.replay(task_id="good"))) == ["started", "errored"]
        with pytest.raises(StoreCorrupt):
            await engine.execute("go", task_id="bad")
        assert (await engine.execute("go", task_id="good")).text == "Yes."
        assert await engine.pending() == []


class Damaged(FlakyStore):
    async def turn(self, task_id: str, turn_id: str, /) -> list[FactRow]:
        rows = await super().turn(task_id, turn_id)
        if task_id != "bad":
            return rows
        return [replace(row, body=b'{"type":"from the future"}') for row in rows]


async def test_a_store_that_cannot_list_its_open_tasks_keeps_the_engine_closed_and_is_closed_again() -> None:
    store = FlakyStore(reading=StoreCorrupt("damaged"))
    engine = Bench(store=store).engine([say("Yes.")])
    with pytest.raises(StoreCorrupt):
        await engine.open()
    with pytest.raises(EngineClosed):
        engine.execute("go", task_id="t")
    assert await store.inner.check() == "the store is closed"
    store.reading = None
    async with engine:
        assert (await engine.execute("go", task_id="t")).text == "Yes."


async def test_a_resumed_turn_has_only_the_time_that_is_left_of_its_budget(bench: Bench) -> None:
    @tool(timeout=None)
    async def dig() -> str:
        """Dig for a while."""
        await bench.clock.advance(90)
        return "a hole"

    limits = Limits(seconds=100)
    async with bench.running([call("dig"), held()], tools=[dig], limits=limits) as engine:
        await until(engine.execute("Dig.", task_id="t"), ToolResult)
    await bench.clock.advance(10_000)
    async with bench.running([held()], tools=[dig], limits=limits, recovery="resume") as engine:
        await bench.clock.until_asleep(3)  # the pulse, the sweep, and the turn's timer
        await bench.clock.advance(5)
        assert (await engine.task("t")).status == "running"
        await bench.clock.advance(6)
        events = await soon(engine.replay(task_id="t"))
        assert isinstance(events[-1], Error)
        assert events[-1].message == "The turn took longer than 100 seconds (limit: seconds)."
