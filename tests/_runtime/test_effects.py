from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec
import pytest
from anyio.abc import TaskGroup
from msgspec.structs import replace

from september_engine import ToolError, tool
from september_engine._media.files import read_media
from september_engine._runtime.effects import ModelCall
from september_engine._runtime.media import Attachments
from september_engine._runtime.resources import AnyTool, Resources
from september_engine._runtime.tool_calls import run_tool
from september_engine._runtime.world import World
from september_engine._turn.commands import CallModel, RunTool
from september_engine._turn.inputs import ModelFailed, ModelReplied, ToolReturned
from september_engine._turn.present import delta
from september_engine._turn.state import Request
from september_engine.errors import ModelError
from september_engine.events import ContentBlockStart, ContentBlockStop, Event, TextDelta, ThinkingDelta
from september_engine.messages import Usage
from september_engine.models.base import BlockStarted, Chunk, Model, ModelRequest, Progress, TextChunk
from september_engine.models.prices import PriceList
from september_engine.models.scripted import Script, ScriptedModel, call, fail, hold, say, think, turn
from september_engine.permissions import Policy, Write
from september_engine.store.base import TaskRow
from september_engine.store.memory import MemoryStore
from september_engine.testing.fakes import FakeClock, FakeIds, SequenceRandom
from september_engine.tools.files import file_tools
from september_engine.tools.workspace import Workspace
from tests._turn.build import Turn
from tests.engines import ticks


class Screen:
    """Stands in for a channel: what was emitted."""

    row = TaskRow(task_id="t", epoch=1, last_ts=0, last_seq=0)

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def show(self, block_type: Literal["text", "thinking"], text: str) -> None:
        self.events.append(delta(block_type, text))


def resources(
    *tools: AnyTool, model: Model | None = None, fallback: Model | None = None, clock: FakeClock | None = None
) -> Resources:
    return Resources(
        attachments=Attachments(MemoryStore(), read=read_media),
        world=World(clock=clock or FakeClock(), ids=FakeIds(), chance=SequenceRandom()),
        model=model or ScriptedModel([]),
        planner=None,
        fallback=fallback,
        light=None,
        prices=PriceList({}),
        tools={tool.name: tool for tool in tools},
        policy=Policy(),
        threads=anyio.CapacityLimiter(4),
        concurrency=10,
        progress_timeout=30.0,
    )


async def run(*tools: AnyTool, clock: FakeClock | None = None, **input: Any) -> ToolReturned:
    command = RunTool(id="call_1", tool=tools[0].name if tools else "nothing", input=input)
    shared = resources(*tools, clock=clock)
    return await run_tool(command, shared, task_id="t", stored=nothing_stored, page=100)


async def nothing_stored(sha256: str) -> bytes | None:
    return None


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_async_and_a_sync_tool_return_their_output() -> None:
    @tool
    async def waits(count: int) -> int:
        """Wait."""
        await anyio.lowlevel.checkpoint()
        return count + 1

    @tool
    def blocks(count: int) -> str:
        """Block."""
        return f"{count} in {threading.current_thread().name}"

    assert (await run(waits, count=1)).output == 2
    assert (await run(blocks, count=1)).output == "1 in september-engine-tool-blocks"


async def test_an_awaitable_that_a_sync_tool_returns_is_awaited() -> None:
    async def later() -> str:
        await anyio.lowlevel.checkpoint()
        return "awaited"

    @tool
    def starts() -> Any:
        """Return a coroutine."""
        return later()

    assert (await run(starts)).output == "awaited"


async def test_an_awaitable_that_an_async_tool_returns_is_awaited_once() -> None:
    class Lazy:
        """Awaiting it gives itself, as with some database clients."""

        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return self

    @tool
    async def starts() -> Any:
        """Return a coroutine."""
        return anyio.to_thread.run_sync(lambda: "awaited")

    @tool
    async def lazy() -> Any:
        """Return something lazy."""
        return Lazy()

    assert (await run(starts)).output == "awaited"
    assert (await run(lazy)).output == "<Lazy>"


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_output_that_takes_long_to_show_is_under_the_tools_timeout(is_async: bool) -> None:
    clock, let_go = FakeClock(), threading.Event()

    class Slow:
        def __repr__(self) -> str:
            let_go.wait(20)
            return "slow"

    @tool(timeout=5.0)
    async def asynchronous() -> Any:
        """Give something slow."""
        return Slow()

    @tool(timeout=5.0)
    def synchronous() -> Any:
        """Give something slow."""
        return Slow()

    async with anyio.create_task_group() as group:
        group.start_soon(_advance, clock, 5.0)
        returned = await run(asynchronous if is_async else synchronous, clock=clock)
    let_go.set()
    assert returned.error is not None
    assert returned.error.reason == "timeout"


async def test_an_unknown_tool_is_a_result_that_names_the_known_ones() -> None:
    @tool
    def here() -> None:
        """Be here."""

    gone = RunTool(id="c", tool="gone", input={})
    returned = await run_tool(gone, resources(here), task_id="t", stored=nothing_stored, page=9)
    assert returned.error is not None
    assert returned.error.reason == "unknown_tool"
    assert "here" in returned.error.message


async def test_bad_input_is_a_result_that_says_what_is_wrong() -> None:
    @tool
    def add(count: int) -> int:
        """Add."""
        return count

    returned = await run(add, count="three")
    assert returned.error is not None
    assert returned.error.reason == "invalid_input"
    assert "count" in returned.error.message


RAISED: list[BaseException] = [
    ValueError("wrong"),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    StopIteration(),
    StopAsyncIteration(),
    GeneratorExit(),
    ExceptionGroup("many", [ValueError("a")]),
    BaseExceptionGroup("worse", [KeyboardInterrupt()]),
    MemoryError(),
    RecursionError("deep"),
]


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
async def test_whatever_a_tool_raises_is_its_result(raised: BaseException) -> None:
    @tool
    async def asynchronous() -> None:
        """Fail."""
        raise raised

    @tool
    def synchronous() -> None:
        """Fail."""
        raise raised

    for failing in (asynchronous, synchronous):
        returned = await run(failing)
        assert returned.error is not None
        assert returned.error.reason == "tool_failed"
    # and the loop is still ours
    await ticks(5)


async def test_a_tool_error_speaks_for_itself() -> None:
    @tool
    async def fussy() -> None:
        """Refuse."""
        raise ToolError("Not like this.", reason="not_like_this")

    returned = await run(fussy)
    assert returned.error is not None
    assert (returned.error.reason, returned.error.message) == ("not_like_this", "Not like this.")


async def test_a_tool_that_is_out_of_time_is_stopped_and_says_so() -> None:
    clock = FakeClock()

    @tool(timeout=5.0)
    async def slow() -> None:
        """Take for ever."""
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(_advance, clock, 5.0)
        returned = await run(slow, clock=clock)
    assert returned.error is not None
    assert returned.error.reason == "timeout"
    assert "5 seconds" in returned.error.message
    assert returned.duration_ms == 5_000


async def test_a_sync_tool_that_is_out_of_time_is_left_to_itself() -> None:
    clock, let_go = FakeClock(), threading.Event()

    @tool(timeout=5.0)
    def slow() -> str:
        """Take long."""
        let_go.wait(20)
        return "late"

    async with anyio.create_task_group() as group:
        group.start_soon(_advance, clock, 5.0)
        returned = await run(slow, clock=clock)
    let_go.set()
    assert returned.error is not None
    assert returned.error.reason == "timeout"


@pytest.mark.parametrize(
    "value",
    ["half \ud83d pair", float("nan"), 2**70, {1, 2}, object(), b"\xff", [{"type": "text", "text": "  "}], {"a": ...}],
    ids=["surrogate", "nan", "long", "set", "object", "bytes", "blank", "ellipsis"],
)
async def test_any_value_a_tool_returns_has_a_json_form(value: object) -> None:
    @tool
    def gives() -> Any:
        """Give something odd."""
        return value

    returned = await run(gives)
    assert returned.error is None
    assert msgspec.json.decode(msgspec.json.encode(returned.output)) == returned.output


async def test_cancelling_stops_an_async_tool() -> None:
    stopped = anyio.Event()

    @tool
    async def waits() -> None:
        """Wait."""
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run, waits)
        await ticks(10)
        group.cancel_scope.cancel()
    assert stopped.is_set()


# ── the model ────────────────────────────────────────────────────────────────────────────────────────────────────────


def command(**changes: Any) -> CallModel:
    values: dict[str, Any] = {
        "step": 0,
        "attempt": 1,
        "wait_ms": 0,
        "first_block": 0,
        "max_tokens": 100,
        "fallback": False,
        "prefix": "p1",
    }
    return CallModel(**values | changes)


async def attempt(
    model: Script | Model, *, clock: FakeClock | None = None, other: Model | None = None, **changes: Any
) -> tuple[ModelReplied | ModelFailed, list[Event], ModelCall]:
    answering: Any = model if hasattr(model, "stream") else ScriptedModel(model)
    screen: Any = Screen()
    shared = resources(model=answering, fallback=other, clock=clock)
    one = ModelCall(command(**changes), facts=Turn().facts, channel=screen, resources=shared)
    return await one.run(), screen.events, one


async def test_an_answer_is_shown_as_it_comes_and_comes_back_whole() -> None:
    outcome, events, one = await attempt([turn(think("Hm."), say("Hello you"), call("look", id="c1"))], first_block=4)
    assert isinstance(outcome, ModelReplied)
    assert [block["type"] for block in outcome.content] == ["thinking", "text", "tool_use"]
    assert (outcome.blocks, outcome.stop_reason, outcome.message_id) == (3, "tool_use", "msg_1")
    assert events == [
        ContentBlockStart(block_index=4, block_type="thinking"),
        ThinkingDelta(text="Hm."),
        ContentBlockStop(block_index=4, block_type="thinking"),
        ContentBlockStart(block_index=5, block_type="text"),
        TextDelta(text="Hello"),
        TextDelta(text=" you"),
        ContentBlockStop(block_index=5, block_type="text"),
        ContentBlockStart(block_index=6, block_type="tool_use"),
        ContentBlockStop(block_index=6, block_type="tool_use"),
    ]
    assert "".join(one.text) == "Hello you"


async def test_a_failure_carries_what_the_model_said_about_it() -> None:
    error = ModelError("Slow down.", code="LLM_RATE_LIMITED", retryable=True, retry_after=7.0)
    outcome, events, _ = await attempt([turn(say("Hel", at=0), fail(error))])
    assert isinstance(outcome, ModelFailed)
    assert (outcome.code, outcome.retryable, outcome.retry_after, outcome.blocks) == ("LLM_RATE_LIMITED", True, 7.0, 1)
    assert outcome.chance == 0.5
    assert events[-1] == ContentBlockStop(block_index=0, block_type="text")


async def test_an_attempt_that_fails_has_cost_what_it_last_said() -> None:
    class Costly:
        name = "costly"

        async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
            yield Progress(Usage(input_tokens=90_000, output_tokens=1))
            yield Progress()
            raise ModelError("Overloaded.", retryable=True)

        async def aclose(self) -> None: ...

    outcome, _, one = await attempt(Costly())
    assert isinstance(outcome, ModelFailed)
    assert outcome.usage == one.usage == Usage(input_tokens=90_000, output_tokens=1)


@pytest.mark.parametrize("raised", [RuntimeError, asyncio.CancelledError])
async def test_a_model_that_fails_inside_a_block_has_the_block_closed(raised: type[BaseException]) -> None:
    class Breaks:
        name = "breaks"

        async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
            yield BlockStarted(0, "text")
            yield TextChunk("Hel")
            raise raised("the adapter has a bug")

        async def aclose(self) -> None: ...

    breaks: Any = Breaks()
    outcome, events, _ = await attempt(breaks)
    assert isinstance(outcome, ModelFailed)
    assert (outcome.code, outcome.retryable) == ("LLM_PROVIDER_ERROR", False)
    assert raised.__name__ in outcome.message
    starts = [event.block_index for event in events if isinstance(event, ContentBlockStart)]
    assert [event.block_index for event in events if isinstance(event, ContentBlockStop)] == starts


async def test_a_stream_that_just_ends_is_a_cut_stream() -> None:
    class Ends:
        name = "ends"

        async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
            yield BlockStarted(0, "text")
            yield TextChunk("Hel")

        async def aclose(self) -> None: ...

    ends: Any = Ends()
    outcome, _, _ = await attempt(ends)
    assert isinstance(outcome, ModelFailed)
    assert outcome.retryable


async def begun(model: Model, clock: FakeClock, group: TaskGroup, **changes: Any) -> tuple[ModelCall, list[Any]]:
    """An attempt under way, and what will come of it."""
    outcomes: list[Any] = []
    screen: Any = Screen()
    one = ModelCall(
        command(**changes), facts=Turn().facts, channel=screen, resources=resources(model=model, clock=clock)
    )

    async def run_it() -> None:
        outcomes.append(await one.run())

    group.start_soon(run_it)
    await ticks(10)
    return one, outcomes


async def test_silence_is_given_up_and_the_stream_is_closed() -> None:
    clock, model = FakeClock(), ScriptedModel([say("Hello", hold=anyio.Event())])
    async with anyio.create_task_group() as group:
        one, outcomes = await begun(model, clock, group)
        assert one.patience.left(clock.monotonic() + 29.0) == 1.0
        assert model.open_streams == 1
        assert one.patience.left(clock.monotonic() + 30.0) == 0.0
    [outcome] = outcomes
    assert isinstance(outcome, ModelFailed)
    assert (outcome.code, outcome.retryable) == ("LLM_TIMEOUT", True)
    assert model.open_streams == 0


async def test_progress_puts_the_end_off() -> None:
    clock, first, second = FakeClock(), anyio.Event(), anyio.Event()
    model = ScriptedModel([turn(hold(first), say("more"), hold(second), say("and more"))])
    async with anyio.create_task_group() as group:
        one, outcomes = await begun(model, clock, group)
        await clock.advance(29.0)
        first.set()
        await ticks(10)
        assert one.patience.left(clock.monotonic() + 29.0) == 1.0
        second.set()
    assert isinstance(outcomes[0], ModelReplied)
    assert one.patience.left(clock.monotonic() + 99.0) == 30.0, "it is over"


async def test_a_retry_waits_first_and_its_silence_is_not_counted_then() -> None:
    clock = FakeClock()
    async with anyio.create_task_group() as group:
        one, outcomes = await begun(ScriptedModel([say("Hello")]), clock, group, wait_ms=60_000)
        assert one.patience.left(clock.monotonic() + 59.0) == 30.0
        await clock.advance(60.0)
    assert isinstance(outcomes[0], ModelReplied)


async def test_the_fallback_answers_where_it_is_meant_to() -> None:
    first, second = ScriptedModel([], name="first"), ScriptedModel([say("from the second")], name="second")
    outcome, _, _ = await attempt(first, other=second, fallback=True)
    assert isinstance(outcome, ModelReplied)
    assert outcome.model == "second"
    assert first.requests == []


async def test_cancelling_closes_the_stream_and_the_block_and_leaves_what_was_shown() -> None:
    model, screen = ScriptedModel([say("Hello you", hold=anyio.Event(), at=1)]), Screen()
    channel: Any = screen
    one = ModelCall(command(), facts=Turn().facts, channel=channel, resources=resources(model=model))
    async with anyio.create_task_group() as group:
        group.start_soon(one.run)
        await ticks(10)
        group.cancel_scope.cancel()
    assert screen.events[-1] == ContentBlockStop(block_index=0, block_type="text")
    assert one.text == ["Hello"]
    assert model.open_streams == 0


async def _advance(clock: FakeClock, *seconds: float) -> None:
    for each in seconds:
        await clock.until_asleep()
        await clock.advance(each)


def test_a_question_of_an_earlier_release_opens_what_it_named(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    shared = resources(*file_tools(Workspace(tmp_path / "ws")))
    command = RunTool(id="c", tool="write_file", input={"path": f"{tmp_path}/n", "content": "x"})
    said = f"May write_file run with this input? It writes outside of the allowed folders: {tmp_path}/n."
    asked = Request(id="hitl_1", kind="permission", question=said, tool_call_id="c", asked_at=0, answer="yes")
    assert shared.verdict(command, (), asked) == (Write(path=f"{tmp_path}/n"),)
    assert shared.verdict(command, (), replace(asked, question="May it run?")) == ()
    assert shared.verdict(command, (), replace(asked, opens=())) == ()
