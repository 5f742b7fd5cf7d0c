"""The loop of one turn, seen through an engine on a bench."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from september_engine import Limits, tool
from september_engine.errors import ModelError, TurnFailed
from september_engine.events import (
    ContentBlockStart,
    HitlRequest,
    Retry,
    ThreadLifecycle,
    ToolCall,
    ToolResult,
)
from september_engine.models.scripted import ScriptedModel, call, fail, say, think, turn
from tests._context.pictures import image
from tests.engines import Bench, careful, look, names, soon, text, ticks, until, well_formed

OVERLOADED = ModelError("Overloaded.", retryable=True)


# ── the order of things ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_calls_are_shown_at_once_results_as_they_land_and_the_model_gets_call_order() -> None:
    gates = {name: anyio.Event() for name in ("a", "b", "c")}
    landed: list[str] = []

    @tool
    async def wait_for(name: str) -> str:
        """Wait for a gate."""
        await gates[name].wait()
        return name

    calls = turn(*[call("wait_for", id=name, name=name) for name in gates])
    model = ScriptedModel([calls, say("done")])
    async with Bench().running(model, tools=[wait_for]) as engine:
        one = engine.execute("go", task_id="t")
        async for event in one:
            if isinstance(event, ToolCall) and event.tool_call_id == "c":
                gates["b"].set()
            if isinstance(event, ToolResult):
                landed.append(event.tool_call_id)
                gates["c" if len(landed) == 1 else "a"].set()
        assert landed == ["b", "c", "a"]
        well_formed(await soon(one))
    results = model.requests[1].prompt.messages[-1]["content"]
    assert [block["tool_use_id"] for block in results] == ["a", "b", "c"]


@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_no_more_tools_run_at_once_than_allowed_and_all_are_run(limit: int) -> None:
    running, most = 0, 0

    @tool
    async def count() -> None:
        """Count who is here."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        await ticks(10)
        running -= 1

    script = [turn(*[call("count", id=f"c{number}") for number in range(12)]), say("done")]
    async with Bench().running(script, tools=[count], tool_use_concurrency=limit) as engine:
        events = await soon(engine.execute("go", task_id="t"))
    well_formed(events)
    assert sum(isinstance(event, ToolResult) for event in events) == 12
    assert most == limit if limit < 10 else most == 10


async def test_one_failing_tool_of_five_leaves_four_good_results_in_call_order() -> None:
    @tool
    async def odd(number: int) -> int:
        """Fail for three."""
        if number == 3:
            raise ValueError("three!")
        return number

    model = ScriptedModel([turn(*[call("odd", id=f"c{n}", number=n) for n in range(5)]), say("done")])
    async with Bench().running(model, tools=[odd]) as engine:
        events = await soon(engine.execute("go", task_id="t"))
    well_formed(events)
    failed = [event for event in events if isinstance(event, ToolResult) and event.error]
    assert [event.tool_call_id for event in failed] == ["c3"]
    results = model.requests[1].prompt.messages[-1]["content"]
    assert [(block["tool_use_id"], block.get("is_error", False)) for block in results] == [
        (f"c{n}", n == 3) for n in range(5)
    ]


async def test_a_picture_that_a_tool_returns_is_seen_by_the_model_and_an_unusable_one_is_named() -> None:
    @tool
    async def camera() -> list[dict[str, Any]]:
        """Take pictures."""
        return [{"type": "text", "text": "Two pictures:"}, image(), image(b"no picture")]

    model = ScriptedModel([call("camera"), say("Nice.")])
    async with Bench().running(model, tools=[camera]) as engine:
        well_formed(await soon(engine.execute("go", task_id="t")))
    [result] = model.requests[1].prompt.messages[-1]["content"]
    assert result["content"][:2] == [{"type": "text", "text": "Two pictures:"}, image()]
    assert [block["type"] for block in result["content"]] == ["text", "image", "text"]
    assert "left out" in result["content"][2]["text"]


async def test_huge_output_is_clipped_in_the_log_and_fits_one_frame() -> None:
    @tool
    async def shout() -> str:
        """Return three megabytes."""
        return "x" * 3_000_000

    model = ScriptedModel([call("shout"), say("done")])
    bench = Bench()
    async with bench.running(model, tools=[shout], limits=Limits(output_bytes=400_000)) as engine:
        events = await soon(engine.execute("go", task_id="t"))
        rows = await bench.store.events("t", after=0)
    well_formed(events)
    assert max(len(row.body) for row in rows) < 1_000_000
    [result] = model.requests[1].prompt.messages[-1]["content"]
    assert 390_000 < len(result["content"]) < 410_000
    assert "left out" in result["content"]
    [shown] = [event for event in events if isinstance(event, ToolResult)]
    assert isinstance(shown.output, dict)
    assert shown.output["truncated"] is True


async def test_a_huge_input_and_a_huge_chunk_of_text_fit_one_frame_each() -> None:
    said = "word " * 600_000
    model = ScriptedModel([turn(say(said), call("look", at="y" * 2_000_000)), say("done")], piece=10**7)
    bench = Bench()
    async with bench.running(model, tools=[look]) as engine:
        events = await soon(engine.execute("go", task_id="t"))
        rows = await bench.store.events("t", after=0, limit=10_000)
    well_formed(events)
    assert text(events) == said + "done"
    assert max(len(row.body) for row in rows) < 1_000_000


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_failed_attempt_is_shown_as_a_retry_that_retracts_what_was_shown() -> None:
    bench = Bench()
    async with bench.running([turn(say("Hel"), fail(OVERLOADED)), say("Hello")]) as engine:
        one = engine.execute("go", task_id="t")
        retry = await until(one, Retry)
        assert (retry.attempt, retry.reason, retry.wait_ms, retry.retracts) == (1, "LLM_PROVIDER_ERROR", 375, [0])
        await bench.clock.advance(0.375)
        result = await one
        assert result.text == "Hello"
        events = await soon(one)
    well_formed(events)
    starts = [event.block_index for event in events if isinstance(event, ContentBlockStart)]
    assert starts == [0, 1]


async def test_a_failure_before_anything_was_shown_retracts_nothing() -> None:
    bench = Bench()
    async with bench.running([fail(OVERLOADED), say("Hello")]) as engine:
        one = engine.execute("go", task_id="t")
        assert (await until(one, Retry)).retracts is None
        await bench.clock.advance(1)
        assert (await one).text == "Hello"


async def test_a_model_that_keeps_failing_ends_the_turn_with_its_code() -> None:
    bench = Bench()
    limited = ModelError("Slow down.", code="LLM_RATE_LIMITED", retryable=True, retry_after=2.0)
    async with bench.running([fail(limited)] * 4) as engine:
        one = engine.execute("go", task_id="t")
        for _ in range(3):
            await bench.clock.until_asleep(4)  # the pulse, the sweep, the turn's time, and the wait
            await bench.clock.advance(2)
        with pytest.raises(TurnFailed) as failure:
            await one
        events = await soon(one)
    assert failure.value.code == "LLM_RATE_LIMITED"
    assert failure.value.details["retry_after"] == 2.0
    assert [event.wait_ms for event in events if isinstance(event, Retry)] == [2_000] * 3
    well_formed(events)


async def test_the_fallback_takes_over_for_the_rest_of_the_turn() -> None:
    refusing = ScriptedModel([fail(ModelError("No.", code="LLM_AUTH"))], name="first")
    other = ScriptedModel([call("look"), say("from the other")], name="other")
    async with Bench().running(refusing, fallback=other, tools=[look]) as engine:
        result = await engine.execute("go", task_id="t")
        messages = await engine.messages("t")
    assert result.text == "from the other"
    assert len(refusing.requests) == 1
    assert {message.model for message in messages if message.role == "assistant"} == {"other"}


async def test_silence_of_the_model_is_a_timeout_that_is_retried() -> None:
    bench = Bench()
    script = [say("Hello", hold=anyio.Event(), at=0), say("again")]
    async with bench.running(script, progress_timeout=30.0) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, ThreadLifecycle)
        await bench.clock.until_asleep(3)  # the pulse, the sweep, and the turn's timer
        await bench.clock.advance(30)
        assert (await until(one, Retry)).reason == "LLM_TIMEOUT"
        await bench.clock.advance(1)
        assert (await one).text == "again"


async def test_a_refused_history_is_repaired_once_each_way_and_then_told() -> None:
    refused = ModelError("messages.0: no.", bad_history=True, code="LLM_PROVIDER_ERROR")
    model = ScriptedModel([*[fail(refused)] * 4, say("fine again")], strict=False)
    async with Bench().running(model) as engine:
        one = engine.execute("go", task_id="t")
        with pytest.raises(TurnFailed):
            await one
        assert len(model.requests) == 4
        assert (await engine.execute("and now", task_id="t")).text == "fine again"


async def test_a_repair_takes_the_thinking_out_and_goes_on() -> None:
    refused = ModelError("This thinking is not valid.", bad_history=True)
    model = ScriptedModel([turn(think("Hm."), say("one")), fail(refused), say("two")], strict=False)
    async with Bench().running(model) as engine:
        await engine.execute("a", task_id="t")
        assert (await engine.execute("b", task_id="t")).text == "two"
    kinds = [[block["type"] for block in message["content"]] for message in model.requests[2].prompt.messages]
    assert kinds == [["text"], ["text"], ["text"]]
    assert "thinking" in [block["type"] for block in model.requests[1].prompt.messages[1]["content"]]


async def test_a_call_cut_by_the_token_limit_is_not_run_and_gets_more_room_once() -> None:
    ran: list[str] = []

    @tool
    async def note(word: str) -> None:
        """Note."""
        ran.append(word)

    cut = turn(call("note", id="c1", broken="it ends in the middle"), stop_reason="max_tokens")
    model = ScriptedModel([cut, call("note", id="c2", word="whole"), say("done")])
    async with Bench().running(model, tools=[note], limits=Limits(max_tokens=100)) as engine:
        events = await soon(engine.execute("go", task_id="t"))
    well_formed(events)
    assert ran == ["whole"]
    assert [request.max_tokens for request in model.requests] == [100, 400, 400]
    first = next(event for event in events if isinstance(event, ToolResult))
    assert first.error is not None
    assert first.error.reason == "invalid_input"


# ── budgets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "word", "requests"),
    [
        (Limits(steps=2), "steps", 2),
        (Limits(tool_calls=2), "tool_calls", 3),
        (Limits(tokens=1), "tokens", 1),
    ],
)
async def test_a_budget_ends_the_turn_and_says_what_was_spent(limits: Limits, word: str, requests: int) -> None:
    model = ScriptedModel(lambda request: call("look", at=str(len(request.prompt.messages))))
    async with Bench().running(model, tools=[look], limits=limits) as engine:
        one = engine.execute("go", task_id="t")
        with pytest.raises(TurnFailed) as failure:
            await one
        well_formed(await soon(one))
    assert failure.value.code == "BUDGET_EXCEEDED"
    assert word in failure.value.message
    assert failure.value.details["steps"] == requests == len(model.requests)


async def test_the_turns_time_ends_it_and_stops_what_runs() -> None:
    bench, stopped = Bench(), anyio.Event()

    @tool(timeout=None)
    async def wait() -> None:
        """Wait."""
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with bench.running([call("wait")], tools=[wait], limits=Limits(seconds=60.0)) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, ToolCall)
        await bench.clock.advance(59)
        assert not stopped.is_set()
        await bench.clock.advance(1)
        with pytest.raises(TurnFailed) as failure:
            await one
        well_formed(await soon(one))
    assert failure.value.code == "BUDGET_EXCEEDED"
    assert stopped.is_set()


@pytest.mark.parametrize("restart", [False, True])
async def test_waiting_for_a_person_is_not_the_turns_time_in_this_process_or_the_next(restart: bool) -> None:
    bench = Bench()
    options: dict[str, Any] = {"tools": [careful], "limits": Limits(seconds=60.0)}
    async with bench.running([call("careful"), say("thanks")], **options) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
        if not restart:
            await bench.clock.advance(3_000)
            await engine.respond("t", "yes")
            assert names(await soon(engine.replay(task_id="t")))[-1] == "completed"
            return
    async with bench.running([say("thanks")], **options) as engine:
        reading = engine.replay(task_id="t")
        await until(reading, HitlRequest)  # which takes the turn up
        await bench.clock.advance(3_000)
        await engine.respond("t", "yes")
        assert names(await soon(reading))[-1] == "completed"
