"""The same store opened again in one process: the new engine has it, and the former one says so. Nothing hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from september_engine import BlockingEngine, Engine, Settings, _takeover
from september_engine.errors import ConfigurationError, EngineClosed, EngineError, StoreInUse
from september_engine.events import Error, ThreadLifecycle
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from september_engine.streams import Replay, Turn

from .engines import careful, echo, held
from .programs import run

TAKEN = "Another engine in this process opened"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "brain.sqlite"


def made(store: object, model: object = echo, **options: object) -> BlockingEngine:
    return BlockingEngine(store, model=ScriptedModel(model), settings=Settings(), **options)  # type: ignore[arg-type]


def engine_of(store: object, model: object = echo, **options: object) -> Engine:
    return Engine(store, model=ScriptedModel(model), settings=Settings(), **options)  # type: ignore[arg-type]


def engine_threads() -> int:
    return sum(thread.name == "september-engine" for thread in threading.enumerate())


class Latch:
    """What is never set, whatever loop waits."""

    async def wait(self) -> None:
        await anyio.sleep_forever()


# ── the set-up cell ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_set_up_cell_may_run_again_and_again(path: Path) -> None:
    before = engine_threads()
    for number in range(5):
        engine = made(path)
        assert engine.execute(f"{number}", task_id="t").text == f"You said: {number}"
        assert engine_threads() == before + 1
        gc.collect()
    assert len(engine.messages("t")) == 10
    engine.close()
    assert engine_threads() == before


@pytest.mark.parametrize(
    "way", ["text", "relative", "a link to the folder", "a hard link", "a store", "the same store"]
)
def test_the_same_file_by_another_name_is_the_same_file(path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    store = SQLiteStore(path)
    first = made(store)
    assert first.execute("one", task_id="t").text == "You said: one"
    if way == "a hard link":
        os.link(path, "linked.sqlite")
    elif way == "a link to the folder":
        (path.parent / "link").symlink_to(".")
    names: dict[str, object] = {
        "text": str(path),
        "relative": path.name,
        "a link to the folder": path.parent / "link" / path.name,
        "a hard link": path.parent / "linked.sqlite",
        "a store": SQLiteStore(path),
        "the same store": store,
    }
    with made(names[way]) as second:
        assert second.execute("two", task_id="t").text == "You said: two"
        with pytest.raises(EngineClosed, match=TAKEN):
            first.tasks()
        first.close()
        assert len(second.messages("t")) == 4


def test_what_cannot_be_opened_takes_nothing_over(path: Path) -> None:
    link = path.with_name("link.sqlite")
    with made(path) as first:
        assert first.execute("one", task_id="t").text == "You said: one"
        link.symlink_to(path)
        with pytest.raises(ConfigurationError, match="symbolic link"):
            made(link).open()
        with pytest.raises(ConfigurationError):
            BlockingEngine(path, model="claude-something", settings=Settings()).open()
        assert first.execute("two", task_id="t").text == "You said: two"


def test_another_file_is_left_alone(path: Path) -> None:
    with made(path) as first, made(path.with_name("other.sqlite")) as second:
        assert [engine.execute("Hi", task_id="t").text for engine in (first, second)] == ["You said: Hi"] * 2
    with made(MemoryStore()) as first, made(MemoryStore()) as second:
        assert [engine.execute("Hi", task_id="t").text for engine in (first, second)] == ["You said: Hi"] * 2


OPENS = """
import sys
from september_engine import BlockingEngine, Settings
from september_engine.errors import StoreInUse

try:
    BlockingEngine(sys.argv[1], settings=Settings()).open()
except StoreInUse as error:
    print(error.details["pid"])
"""


def test_another_process_takes_nothing_over(path: Path) -> None:
    with made(path), made(path) as engine:
        engine.open()
        assert run("-c", OPENS, path, cwd=path.parent).stdout.split() == [str(os.getpid())]


# ── what the former one was doing ────────────────────────────────────────────────────────────────────────────────────


def test_a_turn_that_runs_is_left_as_by_closing_and_who_waits_for_it_is_told(path: Path) -> None:
    first = made(path, [say("Hello you", hold=Latch(), at=1)], memory=True)
    turn = first.execute("go", task_id="t")
    stream, replay = iter(turn), first.replay(task_id="t")
    next(stream)
    memory, notes = first.memory, first.notes
    told: list[str] = []
    waiting = threading.Event()

    def waits() -> None:
        waiting.set()
        with pytest.raises(EngineClosed) as closed:
            turn.result()
        told.append(closed.value.message)

    thread = threading.Thread(target=waits)
    thread.start()
    waiting.wait(20)
    with made(path) as second:
        second.open()
        thread.join(20)
        assert not thread.is_alive()
        assert TAKEN in told[0]
        uses: list[Callable[[], object]] = [
            turn.result,
            lambda: list(turn),
            lambda: list(stream),
            lambda: list(replay),
            first.open,
            first.health,
            first.pending,
            lambda: first.execute("go", task_id="t"),
            lambda: notes.get("t"),
            lambda: memory.page(),
        ]
        for use in uses:
            with pytest.raises(EngineClosed, match=TAKEN):
                use()
        first.close()
        last = list(second.replay(task_id="t"))[-1]
        assert isinstance(last, Error)
        assert last.error == "INTERRUPTED"
        assert second.execute("again", task_id="t").text == "You said: again"


def test_a_person_who_is_asked_is_asked_by_the_next_one(path: Path) -> None:
    first = made(path, [call("careful")], tools=[careful])
    turn = first.execute("go", task_id="t")
    while not first.pending():
        next(iter(turn))
    with made(path, [say("Done.")], tools=[careful]) as second:
        [request] = second.pending()
        with pytest.raises(EngineClosed, match=TAKEN):
            first.respond("t", "yes")
        second.respond("t", "yes", request_id=request.request_id)
        last = list(second.replay(task_id="t"))[-1]
        assert isinstance(last, ThreadLifecycle)
        assert last.phase == "completed"


async def test_in_one_event_loop_everything_handed_out_says_so(path: Path) -> None:
    first = await engine_of(path, [held("Hello you", at=1)], memory=True).open()
    turn, replay = first.execute("go", task_id="t"), first.replay(task_id="t")
    await turn.started()
    memory, notes = first.memory, first.notes
    async with engine_of(path) as second:
        uses: list[Callable[[], Awaitable[object]]] = [
            turn.result,
            first.tasks,
            first.pending,
            replay.started,
            lambda: memory.recall("Hello"),
            lambda: notes.get("t"),
            first.remembered,
        ]
        for use in uses:
            with pytest.raises(EngineClosed, match=TAKEN):
                await use()
        assert (await first.health()).status == "closed"
        await first.aclose()
        assert (await second.execute("Hi", task_id="t")).text == "You said: Hi"
        await first.open()  # said so, so done: it takes over in its turn
        with pytest.raises(EngineClosed, match=TAKEN):
            await second.tasks()
        await first.aclose()


async def test_an_engine_of_the_same_loop_is_found_though_it_has_no_name_any_more(path: Path) -> None:
    for number in range(3):
        engine = await engine_of(path).open()
        assert (await engine.execute(f"{number}", task_id="t")).text == f"You said: {number}"
        del engine
        gc.collect()
    async with engine_of(path) as last:
        assert len(await last.messages("t")) == 6


# ── loops that do not answer ─────────────────────────────────────────────────────────────────────────────────────────


async def test_an_engine_whose_loop_is_blocked_loses_its_store_and_says_so_afterwards(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_takeover, "ANSWER_SECONDS", 0.05)
    async with engine_of(path, [held("Hello you", at=1)]) as first:
        turn = first.execute("go", task_id="t")
        await turn.started()
        with made(path) as second:  # which blocks this loop while it opens
            assert second.execute("Hi", task_id="u").text == "You said: Hi"
            with pytest.raises(EngineClosed, match=TAKEN):
                await turn
            with pytest.raises(EngineClosed, match=TAKEN):
                await first.tasks()
            assert second.execute("again", task_id="t").text == "You said: again"


@pytest.mark.parametrize("closed", [False, True])
def test_an_engine_whose_loop_has_stopped_loses_its_store_at_once(path: Path, closed: bool) -> None:
    loop = asyncio.new_event_loop()
    first = engine_of(path)

    async def begin() -> None:
        await first.open()
        await first.execute("one", task_id="t")

    loop.run_until_complete(begin())
    if closed:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    with made(path) as second:
        assert second.execute("two", task_id="t").text == "You said: two"
        if not closed:
            with pytest.raises(EngineClosed, match=TAKEN):
                loop.run_until_complete(first.tasks())
            loop.run_until_complete(first.aclose())
            loop.close()
        assert len(second.messages("t")) == 4


@pytest.mark.parametrize("model", [[call("careful")], [say("Hello you", hold=Latch(), at=1)]])
@pytest.mark.parametrize("back", [False, True])
def test_who_waits_in_a_loop_that_had_stopped_is_told_when_it_goes_on(path: Path, model: object, back: bool) -> None:
    loop = asyncio.new_event_loop()
    first = engine_of(path, model, tools=[careful])

    async def begin() -> tuple[Turn[None], Replay]:
        await first.open()
        turn = first.execute("go", task_id="t")
        await anext(turn)
        return turn, first.replay(task_id="t")

    async def use(turn: Turn[None], replay: Replay) -> None:
        if back:  # before anything else had its turn in this loop
            await first.open()
        with pytest.raises(EngineClosed, match=TAKEN):
            await turn
        with pytest.raises(EngineClosed, match=TAKEN):
            await anext(replay)
        assert (await first.health()).status == ("ok" if back else "closed")
        assert [event async for event in turn]
        await first.aclose()

    handed_out = loop.run_until_complete(begin())
    with made(path, tools=[careful]) as second:
        second.open()
        loop.run_until_complete(asyncio.wait_for(use(*handed_out), 60))
        if back:
            with pytest.raises(EngineClosed, match=TAKEN):
                second.tasks()
    loop.close()


async def test_two_that_take_over_from_each_other_at_once_both_come_to_an_end(path: Path) -> None:
    one, other = engine_of(path), engine_of(path)
    await one.open()
    for _ in range(5):
        await asyncio.wait_for(asyncio.gather(other.open(), one.open(), return_exceptions=True), 60)
        await asyncio.wait_for(asyncio.gather(one.open(), other.open(), return_exceptions=True), 60)
    assert sorted([(await one.health()).status, (await other.health()).status]) == ["closed", "ok"]
    await one.aclose()
    await other.aclose()


async def test_a_store_that_cannot_be_taken_is_still_in_use_where_its_engine_does_not_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_takeover, "ANSWER_SECONDS", 0.05)

    class Plain(MemoryStore):
        seize = None  # type: ignore[assignment]

    store = Plain()
    first = await engine_of(store).open()
    with pytest.raises(StoreInUse):
        made(store).open()
    await anyio.lowlevel.checkpoint()
    await first.aclose()


# ── at once ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_many_that_open_at_once_the_last_one_has_it(path: Path) -> None:
    engines = [made(path) for _ in range(6)]

    def use(engine: BlockingEngine) -> str:
        try:
            return engine.execute("Hi", task_id="t").text
        except EngineError as error:
            return error.message

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(use, engines, timeout=60))
    assert all(outcome == "You said: Hi" or TAKEN in outcome for outcome in outcomes)
    assert sum(TAKEN not in use(engine) for engine in engines) == 1
    for engine in engines:
        engine.close()
    with made(path) as engine:
        assert engine.execute("Hi", task_id="t").text == "You said: Hi"


async def test_opened_at_once_in_one_loop_each_is_open_or_says_why_not(path: Path) -> None:
    engines = [engine_of(path) for _ in range(4)]
    opened = await asyncio.gather(*(engine.open() for engine in engines), return_exceptions=True)
    assert all(isinstance(each, Engine | EngineClosed) for each in opened)
    assert [(await engine.health()).status for engine in engines].count("ok") == 1
    for engine in engines:
        await engine.aclose()
