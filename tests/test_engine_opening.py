"""Making, opening and closing an engine, and many turns in one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from september_engine import BlockingEngine, Engine, Limits, Settings, tool
from september_engine.errors import (
    ConfigurationError,
    EngineClosed,
    InvalidType,
    StoreInUse,
)
from september_engine.events import Error, HitlRequest, TextDelta, ThreadLifecycle, ToolCall, ToolResult
from september_engine.messages import Message
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import ScriptedModel, call, say, turn
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from september_engine.streams import Turn
from tests.engines import Bench, FlakyStore, echo, idle, look, soon, ticks, until, well_formed


def said(messages: list[Message]) -> list[str]:
    return [block["text"] for message in messages for block in message.content if block["type"] == "text"]


# ── making, opening, closing ─────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_not_a_tool_and_two_of_one_name_are_refused() -> None:
    def plain() -> None: ...

    wrong: Any = plain
    with pytest.raises(ConfigurationError, match="not a tool"):
        Engine(MemoryStore(), tools=[wrong], settings=Settings())
    with pytest.raises(ConfigurationError, match="'look'"):
        Engine(MemoryStore(), tools=[look, look], settings=Settings())


async def test_without_arguments_the_store_is_a_file_and_the_offline_model_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with Engine() as engine:
        assert engine.model_name == "offline"
        assert (await engine.execute("Hello", task_id="t")).text != ""
    assert (tmp_path / "brain.sqlite").exists()


async def test_a_claude_without_a_key_is_refused_when_opening_and_leaves_nothing_open(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "brain.sqlite", model="claude-something", settings=Settings())
    with pytest.raises(ConfigurationError, match="key"):
        await engine.open()
    assert (await engine.health()).status == "closed"
    async with Engine(tmp_path / "brain.sqlite", settings=Settings()):
        pass


async def test_one_file_has_one_engine_and_is_free_again_after_closing(tmp_path: Path) -> None:
    path = tmp_path / "brain.sqlite"
    store = SQLiteStore(path)  # of no engine, so none can take it over
    await store.open()
    engine = Engine(path, model=ScriptedModel(echo), settings=Settings())
    with pytest.raises(StoreInUse):
        await engine.open()
    await store.aclose()
    async with engine:
        assert (await engine.execute("Hi", task_id="t")).text == "You said: Hi"


async def test_opening_and_closing_again_and_reopening_are_harmless(bench: Bench) -> None:
    engine = bench.engine(echo)
    await engine.aclose()
    for number in range(3):
        assert await engine.open() is engine
        await engine.open()
        await engine.execute(str(number), task_id="t")
        await engine.aclose()
        await engine.aclose()
    async with engine:
        assert len(await engine.messages("t")) == 6


async def test_engines_opened_many_times_at_once_open_once(bench: Bench) -> None:
    engine = bench.engine(echo)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(engine.open)
    assert (await engine.execute("Hi", task_id="t")).text == "You said: Hi"
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(engine.aclose)


async def test_an_engine_may_be_closed_in_another_task_than_it_was_opened_in(bench: Bench) -> None:
    engine = bench.engine([say("Hello you", hold=anyio.Event(), at=1)])
    await asyncio.create_task(engine.open())
    one = engine.execute("go", task_id="t")
    await until(one, TextDelta)
    await asyncio.create_task(engine.aclose(drain=0))
    with pytest.raises(EngineClosed):
        await one


@pytest.mark.parametrize("tidy", [True, False])
def test_an_engine_whose_event_loop_has_ended_can_be_closed_and_opened_again(tmp_path: Path, tidy: bool) -> None:
    path = tmp_path / "brain.sqlite"
    engine = Engine(path, model=ScriptedModel(echo), settings=Settings())

    def run_open() -> None:
        if tidy:
            asyncio.run(engine.open())
            return
        loop = asyncio.new_event_loop()  # closed with everything that runs in it
        loop.run_until_complete(engine.open())
        loop.close()

    async def closed() -> None:
        assert (await engine.health()).status == "closed"
        with pytest.raises(EngineClosed, match="loop it was opened in has ended"):
            engine.execute("go", task_id="t")
        await engine.drain(0)

    async def use() -> None:
        async with engine:
            assert (await engine.execute("Hi", task_id="t")).text == "You said: Hi"

    run_open()
    asyncio.run(closed())
    asyncio.run(engine.aclose())
    asyncio.run(use())
    run_open()

    async def take() -> None:
        async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as other:
            assert (await other.execute("Hi", task_id="t")).text == "You said: Hi"
            with pytest.raises(EngineClosed, match="Another engine"):
                await engine.tasks()

    asyncio.run(take())
    asyncio.run(use())
    gc.collect()


async def test_a_second_event_loop_is_told_where_the_engine_is(bench: Bench) -> None:
    async with bench.running(echo) as engine:

        async def elsewhere() -> None:
            assert (await engine.health()).status == "closed"
            for use in (engine.open, engine.aclose, engine.tasks):
                with pytest.raises(EngineClosed, match="another event loop"):
                    await use()

        await anyio.to_thread.run_sync(asyncio.run, elsewhere())
        assert (await engine.execute("Hi", task_id="t")).text == "You said: Hi"


@pytest.mark.parametrize("cancel", ["anyio", "asyncio"])
async def test_a_cancelled_opening_or_closing_leaves_the_engine_closed(tmp_path: Path, cancel: str) -> None:
    path = tmp_path / "brain.sqlite"
    for count in range(0, 40, 3):
        engine = Bench(store=SQLiteStore(path)).engine([say("Hello", hold=anyio.Event())])
        await _cancelled(engine.open, count, cancel)
        await engine.aclose(drain=0)
    for count in range(1, 12):
        engine = await Bench(store=SQLiteStore(path)).engine([say("Hello", hold=anyio.Event())]).open()
        engine.execute("go", task_id=f"t{count}")
        await _cancelled(engine.aclose, count, cancel)
        assert (await engine.health()).status == "closed"
    async with Bench(store=SQLiteStore(path)).running(echo) as engine:
        assert (await engine.execute("Hi", task_id="t")).text == "You said: Hi"
        assert {task.status for task in await engine.tasks()} == {"idle"}


@pytest.mark.parametrize("cancel", ["anyio", "asyncio"])
async def test_a_cancelled_closing_returns_only_when_all_is_closed(cancel: str) -> None:
    class Slow(FlakyStore):
        closed = False

        async def aclose(self) -> None:
            await ticks(30)
            await super().aclose()
            self.closed = True

    for count in range(1, 25, 4):
        store = Slow()
        engine = await Bench(store=store).engine([]).open()
        await _cancelled(engine.aclose, count, cancel)
        assert store.closed


async def _cancelled(work: Callable[[], Any], count: int, how: str) -> None:
    if how == "asyncio":
        task = asyncio.create_task(work())
        await ticks(count)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await ticks(count)
        group.cancel_scope.cancel()


async def test_an_error_in_the_body_closes_without_waiting_for_turns() -> None:
    bench = Bench()
    with pytest.raises(ZeroDivisionError):
        async with bench.engine([say("Hello", hold=anyio.Event())]) as engine:
            await engine.execute("go", task_id="t").started()
            raise ZeroDivisionError
    assert bench.clock.monotonic() == 0.0


async def test_the_engine_closes_what_it_made_and_leaves_what_it_was_given() -> None:
    bench, model = Bench(), ScriptedModel(echo)
    async with bench.running(model):
        pass
    assert not model.closed


async def test_after_closing_nothing_of_ours_is_left_running(tmp_path: Path) -> None:
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())

    @tool
    def sync() -> str:
        """Run in a thread."""
        return "ran"

    def answer(request: ModelRequest) -> Any:
        last = request.prompt.messages[-1]["content"][-1]
        if last["type"] == "tool_result":
            return say("Done.")
        return turn(call("sync"), call("look")) if last["text"] == "ends" else say("Hello", hold=anyio.Event())

    engine = Engine(tmp_path / "brain.sqlite", model=ScriptedModel(answer), tools=[sync, look], settings=Settings())
    await engine.open()
    for number in range(5):
        await engine.execute("ends", task_id=f"ends {number}")
        stays = engine.execute("stays", task_id=f"stays {number}")
        await until(stays, ThreadLifecycle)
    await engine.aclose(drain=0)
    await ticks(3)
    assert asyncio.all_tasks() == tasks
    left = set(threading.enumerate()) - threads
    assert [thread.name for thread in left if thread.name != "AnyIO worker thread"] == []


# ── many ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_two_hundred_turns_at_once_all_complete(bench: Bench) -> None:
    def answer(request: ModelRequest) -> Any:
        last = request.prompt.messages[-1]["content"][-1]
        return (
            say("Seen.") if last["type"] == "tool_result" else turn(say("Let me see. "), call("look", at=last["text"]))
        )

    async with bench.running(answer, tools=[look]) as engine:
        turns = [engine.execute(f"number {number}", task_id=f"t{number}") for number in range(200)]
        for number, one in enumerate(turns):
            events = await soon(one)
            well_formed(events)
            [result] = [event for event in events if isinstance(event, ToolResult)]
            assert result.output == f"saw number {number}"
            assert (await one).text == "Let me see.\n\nSeen."
        await idle(engine)
        assert len(await engine.tasks(limit=1000)) == 200


async def test_a_turn_runs_in_the_context_it_was_started_in() -> None:
    request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")
    seen: list[str] = []

    @tool
    async def note() -> None:
        """Note."""
        seen.append(request_id.get())

    @tool
    def note_sync() -> None:
        """Note."""
        seen.append(request_id.get())

    def answer(request: ModelRequest) -> Any:
        last = request.prompt.messages[-1]["content"][0]
        return say("Done.") if last["type"] == "tool_result" else turn(call("note"), call("note_sync"))

    async with Bench().running(answer, tools=[note, note_sync]) as engine:
        for name in ("first", "second"):
            request_id.set(name)
            await engine.execute("go", task_id="t")
    assert seen == ["first", "first", "second", "second"]


async def test_an_engine_uses_the_limits_it_was_given() -> None:
    model = ScriptedModel([say("Hello"), say("Hello")])
    async with Bench().running(model, limits=Limits(max_tokens=77)) as engine:
        await engine.execute("go", task_id="t")
    async with Bench().running(model, max_tokens=99) as engine:
        await engine.execute("go", task_id="t")
    assert [request.max_tokens for request in model.requests] == [77, 99]


async def test_an_engine_a_turn_and_a_replay_say_what_they_are(tmp_path: Path) -> None:
    async with Bench(store=MemoryStore()).running([say("Hello")]) as engine:
        assert repr(engine) == "<Engine on MemoryStore(), open>"
        one: Turn = engine.execute("go", task_id="t")
        assert repr(one) == f"<Turn {one.turn_id} of task 't'>"
        await one
        replay = engine.replay()
        assert repr(replay) == "<Replay of the latest task>"
        await replay.started()
        assert repr(replay) == "<Replay of task 't'>"
    assert repr(engine) == "<Engine on MemoryStore(), closed>"
    path = tmp_path / "brain.sqlite"
    assert repr(BlockingEngine(path)) == f"<BlockingEngine on SQLiteStore({str(path)!r}), closed>"


async def test_tools_that_were_taken_away_or_changed_do_not_poison_a_thread(bench: Bench) -> None:
    async with bench.running([call("look", id="c1"), say("Seen.")], tools=[look]) as engine:
        await engine.execute("go", task_id="t")
    async with bench.running(ScriptedModel([call("look", id="c2"), say("Without it, then.")])) as engine:
        events = await soon(engine.execute("again", task_id="t"))
    well_formed(events)
    [result] = [event for event in events if isinstance(event, ToolResult)]
    assert result.error is not None
    assert result.error.reason == "unknown_tool"


async def test_a_cancelled_turn_leaves_a_history_the_model_takes() -> None:
    @tool(timeout=None)
    async def wait() -> None:
        """Wait."""
        await anyio.sleep_forever()

    model = ScriptedModel([turn(call("wait", id="c1"), call("wait", id="c2")), say("Fine.")])
    async with Bench().running(model, tools=[wait]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, ToolCall)
        assert await engine.cancel("t") is True
        events = await soon(one)
        well_formed(events)
        assert isinstance(events[-1], Error)
        await engine.execute("and now?", task_id="t")
    assert [block["tool_use_id"] for block in model.requests[1].prompt.messages[2]["content"]] == ["c1", "c2"]


async def test_a_person_who_never_answers_can_be_given_up_by_a_cancel(bench: Bench) -> None:
    @tool(requires_permission=True)
    async def careful() -> None:
        """Do something that must be allowed."""

    async with bench.running([call("careful")], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
    async with bench.running([say("Fine.")], tools=[careful]) as engine:
        assert await engine.cancel("t") is True
        assert await engine.pending() == []
        events = await soon(engine.replay(task_id="t"))
        well_formed(events)
        assert (await engine.execute("and now?", task_id="t")).text == "Fine."


# ── what cannot be meant is told at the start ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limits", [Limits(steps=-1), Limits(seconds=float("nan")), Limits(tool_calls="5")])  # type: ignore[arg-type]
def test_limits_that_are_no_limits_are_refused(limits: Limits) -> None:
    with pytest.raises(ConfigurationError, match="is no limit"):
        Engine(MemoryStore(), limits=limits, settings=Settings())


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "x", None, True])
def test_a_model_may_be_silent_for_some_seconds_only(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be seconds above 0"):
        Engine(MemoryStore(), progress_timeout=seconds, settings=Settings())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"store": 5}, "5 is not a store"),
        ({"store": b"x"}, "b'x' is not a store"),
        ({"store": ""}, "The store is empty text"),
        ({"settings": 5}, r"settings=5 must be Settings\(…\)"),
        ({"limits": 5}, r"limits=5 must be Limits\(…\)"),
        ({"system": "\ud800"}, "system must be text in valid Unicode"),
        ({"system": 5}, "system must be text in valid Unicode"),
        ({"store": "postgresql://localhost/brain"}, "The store is a URL"),
        ({"model": 5}, "model=5 is not a model"),
        ({"fallback": 5}, "fallback=5 is not a model"),
        ({"model": " "}, "model=' ' is no name of a model"),
        ({"light": "claude\0"}, "light=.* is no name of a model"),
        ({"planner": "\ud800"}, "planner is not valid Unicode"),
        ({"tools": look}, "is not a list of tools"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_in_words(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Engine(**{"store": MemoryStore(), "settings": Settings(), **options})


async def test_a_path_may_begin_at_home_and_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for engine in (
        Engine("~/one.sqlite", model=ScriptedModel(echo), settings=Settings()),
        Engine(model=ScriptedModel(echo), settings=Settings.from_env({"SQLITE_DB_PATH": "~/two.sqlite"})),
    ):
        async with engine:
            pass
    assert {path.name for path in tmp_path.iterdir()} >= {"one.sqlite", "two.sqlite"}
    assert not (tmp_path / "~").exists()
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        await Engine("a\0b", settings=Settings()).open()


async def test_a_call_with_a_value_of_another_type_is_refused_in_words(bench: Bench) -> None:
    wrong: Any = "5"
    async with bench.running(echo) as engine:
        with pytest.raises(InvalidType, match="after must be a whole number"):
            engine.replay(after=wrong)
        with pytest.raises(InvalidType, match="limit must be a whole number"):
            await engine.tasks(limit=wrong)
        with pytest.raises(InvalidType, match="media must be a list"):
            engine.execute("go", task_id="t", media=wrong)


def test_a_database_that_this_release_cannot_use_is_refused_and_not_replaced() -> None:
    settings = Settings(database_url="postgresql://user:secret@host/db")
    with pytest.raises(ConfigurationError, match="SEPTEMBER_DATABASE_URL") as refused:
        Engine(settings=settings)
    assert "secret" not in str(refused.value)
    Engine(MemoryStore(), settings=settings)


async def test_two_engines_do_not_share_a_store() -> None:
    store = MemoryStore()
    async with Engine(store, settings=Settings()) as first:
        async with Engine(store, settings=Settings()):
            assert await store.check() == "ok"
            with pytest.raises(EngineClosed, match="Another engine"):
                await first.tasks()
            await first.aclose()
            assert await store.check() == "ok"
    async with Engine(store, settings=Settings()):
        pass
