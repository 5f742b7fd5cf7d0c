"""How a turn is cut short: by a cancel at any instant, or by a log that cannot be written."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from september_engine import Limits, tool
from september_engine._runtime import runner
from september_engine._runtime.resources import Resources
from september_engine._turn.commands import RunTool
from september_engine._turn.compaction import SUMMARISE
from september_engine._turn.decide import decide
from september_engine._turn.facts import Fact
from september_engine._turn.inputs import Input, ModelReplied, ToolReturned
from september_engine._turn.state import TurnState
from september_engine.errors import EngineClosed, EngineError, ModelError, StoreBusy, StoreFull, TurnFailed
from september_engine.events import (
    Error,
    Event,
    TextDelta,
    ThreadLifecycle,
    ToolCall,
    ToolResult,
)
from september_engine.messages import text_of
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import ScriptedModel, Step, call, say, think, turn
from september_engine.store.base import Batch, FactRow
from september_engine.streams import Turn
from september_engine.testing.log_checker import check_task
from tests.engines import Bench, FlakyStore, look, names, soon, text, ticks, until, well_formed

OVERLOADED = ModelError("Overloaded.", retryable=True)


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


SCRIPT = [turn(think("Hm."), say("Let me look. "), call("look", id="c1"), call("look", id="c2")), say("I saw it all.")]


async def _uncancelled() -> int:
    """How many turns of the loop the whole turn takes."""
    async with Bench().running(SCRIPT, tools=[look]) as engine:
        one = engine.execute("go", task_id="t")
        for count in range(10_000):
            assert one._ticket is not None
            if one._ticket.closed.is_set():
                return count
            await ticks(1)
    raise AssertionError("it never ends")


async def test_a_cancel_at_every_instant_ends_the_turn_and_the_next_one_works() -> None:
    outcomes: set[str] = set()
    for count in range(await _uncancelled() + 2):
        async with Bench().running(lambda request: _answer(request), tools=[look]) as engine:
            one = engine.execute("go", task_id="t")
            await ticks(count)
            cancelled = await engine.cancel("t")
            events = await soon(one)
            well_formed(events)
            last = events[-1]
            outcomes.add(last.error if isinstance(last, Error) else "completed")
            assert cancelled or not isinstance(last, Error)
            assert await engine.cancel("t") is False
            shown = text(events)
            kept = "".join(
                block["text"]
                for message in await engine.messages("t")
                if message.role == "assistant"
                for block in message.content
                if block["type"] == "text"
            )
            assert kept == shown
            assert (await engine.execute("next", task_id="t")).text == "Fine."
    assert outcomes == {"CANCELLED", "completed"}


def _answer(request: Any) -> Any:
    said = request.prompt.messages[-1]["content"]
    if any(block.get("text") == "next" for block in said):
        return say("Fine.")
    return SCRIPT[1] if said[0]["type"] == "tool_result" else SCRIPT[0]


async def test_cancelling_again_or_twice_at_once_is_the_same_cancel() -> None:
    async with Bench().running([say("Hello", hold=anyio.Event(), at=0)]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, ThreadLifecycle)
        answers: list[bool] = []

        async def cancel() -> None:
            answers.append(await engine.cancel("t"))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(cancel)
        assert answers == [True] * 5
        events = await soon(one)
        well_formed(events)
        assert isinstance(events[-1], Error)
        assert events[-1].error == "CANCELLED"
        assert await engine.cancel("t") is False


async def test_a_tool_that_ignores_its_cancellation_does_not_keep_the_turn_open() -> None:
    bench, let_go = Bench(), asyncio.Event()

    @tool(timeout=None)
    async def stubborn() -> None:
        """Never obey."""
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with bench.running([call("stubborn"), say("later")], tools=[stubborn]) as engine:
        try:
            one = engine.execute("go", task_id="t")
            await until(one, ToolCall)
            async with anyio.create_task_group() as group:
                group.start_soon(engine.cancel, "t")
                await bench.clock.until_asleep(4)
                await bench.clock.advance(1.0)
            events = await soon(one)
            well_formed(events)
            assert (await engine.execute("next", task_id="t")).text == "later"
        finally:
            let_go.set()


@pytest.mark.parametrize("end", ["cancel", "time"])
async def test_what_comes_back_before_a_turn_is_ended_from_outside_counts(end: str) -> None:
    """The log is slow: when the turn gets to its end, a tool has long been done."""

    class Slow(FlakyStore):
        async def append(self, batch: Batch, /) -> None:
            if any(b"tool_finished" in fact.body for fact in batch.facts):
                writing.set()
                await log.wait()
            await super().append(batch)

    writing, log, gate = anyio.Event(), anyio.Event(), anyio.Event()

    @tool(timeout=None)
    async def late() -> str:
        """Return when told."""
        await gate.wait()
        return "in time"

    calls, bench = turn(call("look", id="c1"), call("late", id="c2")), Bench(store=Slow())
    async with bench.running([calls], tools=[look, late], limits=Limits(seconds=60.0)) as engine:
        one = engine.execute("go", task_id="t")
        await writing.wait()
        async with anyio.create_task_group() as group:
            if end == "cancel":
                group.start_soon(engine.cancel, "t")
                await ticks(5)
            else:
                await bench.clock.advance(60)
            gate.set()
            await ticks(20)
            log.set()
        results = [event for event in await soon(one) if isinstance(event, ToolResult)]
    assert [(result.output, result.error) for result in results] == [("saw it", None), ("in time", None)]


async def test_a_summary_that_has_come_back_before_a_cancel_is_kept() -> None:
    """It was paid for. The log is slow: a note is being written when first the cancel comes, and then the summary."""

    class Slow(FlakyStore):
        async def append(self, batch: Batch, /) -> None:
            if any(b'"noted"' in fact.body for fact in batch.facts):
                writing.set()
                await log.wait()
            await super().append(batch)

    def answer(request: ModelRequest) -> Step:
        if text_of(request.prompt.messages[-1]["content"]) == SUMMARISE:
            asked.set()
            return say("In short", hold=summary, at=0)
        return say("Yes. " * 50)

    writing, log, asked, summary = anyio.Event(), anyio.Event(), anyio.Event(), anyio.Event()
    limits, bench = Limits(context_tokens=2_400, max_tokens=300), Bench(store=Slow())
    async with bench.running(answer, limits=limits) as engine:
        while not asked.is_set():
            one = engine.execute("Tell me. " * 20, task_id="t")
            while not asked.is_set() and engine._running.live:
                await ticks(1)
        async with anyio.create_task_group() as group:
            group.start_soon(engine.notes.set, "t", "city", "Rome")
            await writing.wait()
            group.start_soon(engine.cancel, "t")
            await ticks(5)
            summary.set()
            await ticks(20)
            log.set()
        kinds = [event.type for event in await soon(one)]
    assert kinds[-4:] == ["compaction_event", "working_memory_update", "thread_lifecycle", "error"]
    assert await check_task(bench.store, "t") == []


async def test_text_that_was_shown_before_a_cancel_is_kept_and_sent_to_the_model() -> None:
    model = ScriptedModel([say("Hello you", hold=anyio.Event(), at=1), say("Yes?")])
    async with Bench().running(model) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, TextDelta)
        await engine.cancel("t")
        await engine.execute("next", task_id="t")
    assert [message["role"] for message in model.requests[1].prompt.messages] == ["user", "assistant", "user"]
    assert model.requests[1].prompt.messages[1]["content"] == [{"type": "text", "text": "Hello"}]


# ── a log that cannot be written ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [StoreFull("full"), StoreBusy("busy"), RuntimeError("a bug in the store")])
async def test_a_store_that_fails_at_any_append_ends_the_turn_visibly_and_the_next_works_when_it_recovers(
    error: Exception,
) -> None:
    code = error.code if isinstance(error, EngineError) else "INTERNAL_ERROR"
    healthy, failed = 0, 0
    while True:
        store = FlakyStore()
        async with Bench(store=store).running(lambda request: _answer(request), tools=[look]) as engine:
            store.failing, store.healthy = error, healthy
            one = engine.execute("go", task_id="t")
            events: list[Event] = []
            try:
                events = await soon(one)
                await one
            except EngineError as told:
                failed += 1
                assert told.code == code
            else:
                assert names(events)[-1] == "completed"
                break
            if events:
                shown = names(events)
                assert (shown[0], shown[-2:]) == ("started", ["errored", "error"])
                stored = await store.events("t", after=0)
                assert len(stored) == len(events) - 2
            store.failing = None
            again = engine.execute("next", task_id="t")
            assert (await again).text == "Fine."
            replayed = await soon(engine.replay(task_id="t"))
            assert names(replayed).count("started") == (1 if healthy == 0 else 2)
            ends = [name for name in names(replayed) if name in ("completed", "errored")]
            assert ends == (["completed"] if healthy == 0 else ["errored", "completed"])
        healthy += 1
    assert failed >= 6


async def test_a_log_that_fails_under_a_model_that_hangs_ends_the_turn_at_once() -> None:
    store = FlakyStore()
    model = ScriptedModel([say("Hello you", hold=anyio.Event(), at=1)])
    async with Bench(store=store).running(model) as engine:
        store.failing, store.healthy = StoreFull("full"), 1
        one = engine.execute("go", task_id="t")
        with pytest.raises(TurnFailed):
            await one
        assert model.open_streams == 0


async def test_a_thread_that_cannot_be_read_fails_the_turn_with_an_event() -> None:
    class Unreadable(FlakyStore):
        async def thread(self, task_id: str, turn_id: str, /, *, since: str | None = None) -> list[FactRow]:
            raise StoreBusy("It cannot be read now.")

    bench = Bench(store=Unreadable())
    async with bench.running([say("one")]) as engine:
        await engine.execute("go", task_id="t")
    async with bench.running([say("two")]) as engine:
        events = await soon(engine.execute("again", task_id="t"))
        well_formed(events)
        assert isinstance(events[-1], Error)
        assert events[-1].error == "STORE_BUSY"


async def test_the_result_of_a_turn_that_the_end_of_the_engine_cut_is_engine_closed() -> None:
    bench = Bench()
    async with bench.running([say("Hello", hold=anyio.Event(), at=0)]) as engine:
        cut: Turn = engine.execute("go", task_id="t")
        await until(cut, ThreadLifecycle)
    with pytest.raises(EngineClosed):
        await cut
    assert names(await soon(cut))[:2] == ["started", "content_block_start"]


# ── a fault of ours ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_fault_of_ours_ends_the_turn_as_an_event_and_the_next_turn_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(state: TurnState, input: Input) -> list[Fact]:
        if isinstance(input, ModelReplied):
            raise ZeroDivisionError("a bug in a rule")
        return decide(state, input)

    async with Bench().running([say("Hello"), say("Fine.")]) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(runner, "decide", faulty)
            one = engine.execute("go", task_id="t")
            events = await soon(one)
        well_formed(events)
        assert isinstance(events[-1], Error)
        assert events[-1].error == "INTERNAL_ERROR"
        assert "ZeroDivisionError" in events[-1].message
        with pytest.raises(TurnFailed):
            await one
        assert (await engine.execute("and", task_id="t")).text == "Fine."


async def test_a_fault_around_a_tool_ends_the_turn_and_closes_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def faulty(command: RunTool, resources: Resources) -> ToolReturned:
        raise ZeroDivisionError("a bug around tools")

    async with Bench().running([turn(call("look"), call("look")), say("Fine.")], tools=[look]) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(runner, "run_tool", faulty)
            events = await soon(engine.execute("go", task_id="t"))
        well_formed(events)
        assert isinstance(events[-1], Error)
        assert events[-1].error == "INTERNAL_ERROR"
        assert (await engine.execute("and", task_id="t")).text == "Fine."
