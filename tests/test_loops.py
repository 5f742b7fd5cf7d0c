"""Everything an engine hands out, used from where it does not live: it works or says what to do, and never hangs."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from september_engine import BlockingEngine, Engine, Settings
from september_engine._home import Home, at_home
from september_engine.blocking import BlockingMemory, BlockingNotes, BlockingTurn
from september_engine.errors import EngineClosed, EngineError, WrongLoop
from september_engine.events import TextDelta
from september_engine.memory.base import Knowledge
from september_engine.memory.longterm import LongTermMemory
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import ScriptedModel, Step, say
from september_engine.notes import Notes
from september_engine.store.memory import MemoryStore
from september_engine.streams import EventStream, Pages, Replay, Turn
from tests.engines import ticks
from tests.programs import environment

SECONDS = 20
"""How long a call may take before the test says that it hangs."""

FACT = Knowledge(subject="Ana", attribute="town", content="Voss")
BUNDLE = b'{"format":"september-memories","version":1,"memories":[]}'

Use = Callable[[Any], Any]
READS: dict[str, Use] = {
    "__aiter__": lambda one: one.__aiter__(),
    "__anext__": lambda one: one.__anext__(),
    "aclose": lambda one: one.aclose(),
}
STREAM: dict[str, Use] = {
    **READS,
    "cursor": lambda one: one.cursor,
    "started": lambda one: one.started(),
    "pages": lambda one: one.pages(heartbeat=5).__anext__(),
}
NOTES: dict[str, Use] = {
    "get": lambda one: one.get("t"),
    "set": lambda one: one.set("noted", "city", "Rome"),
    "update": lambda one: one.update("noted", {"city": "Oslo"}),
    "delete": lambda one: one.delete("noted", "city"),
}
MEMORY: dict[str, Use] = {
    "remember": lambda one: one.remember(FACT),
    "forget": lambda one: one.forget("mem_none", because="of a test"),
    "erase": lambda one: one.erase("mem_none", because="of a test"),
    "erase_all": lambda one: one.erase_all(["mem_none"], because="of a test"),
    "tidy": lambda one: one.tidy(),
    "of_task": lambda one: one.of_task("t"),
    "recall": lambda one: one.recall("Where does Ana live?"),
    "get": lambda one: one.get("mem_none"),
    "history": lambda one: one.history("mem_none"),
    "page": lambda one: one.page(),
    "soul": lambda one: one.soul(),
    "export_bundle": lambda one: one.export_bundle(),
    "import_bundle": lambda one: one.import_bundle(BUNDLE),
    "embed_missing": lambda one: one.embed_missing(),
}
ENGINE: dict[str, Use] = {
    "execute": lambda one: one.execute("go", task_id="other"),
    "turn": lambda one: one.turn("t"),
    "replay": lambda one: one.replay(task_id="t"),
    "cancel": lambda one: one.cancel("none"),
    "pending": lambda one: one.pending(),
    "respond": lambda one: one.respond("t", "yes"),
    "tasks": lambda one: one.tasks(),
    "task": lambda one: one.task("t"),
    "messages": lambda one: one.messages("t"),
    "plan": lambda one: one.plan("t"),
    "notes": lambda one: one.notes,
    "memory": lambda one: one.memory,
    "remembered": lambda one: one.remembered(),
    "media": lambda one: one.media("t", "0" * 64),
    "delete": lambda one: one.delete("none"),
    "compact": lambda one: one.compact(),
    "health": lambda one: one.health(),
}
USES: dict[type, dict[str, Use]] = {
    Engine: {
        **ENGINE,
        "open": lambda one: one.open(),
        "aclose": lambda one: one.aclose(drain=0),
        "drain": lambda one: one.drain(0),
        "stop_streams": lambda one: one.stop_streams(),
        "model_name": lambda one: one.model_name,
    },
    Turn: {**STREAM, "__await__": lambda one: one, "result": lambda one: one.result()},
    Replay: STREAM,
    EventStream: READS,
    Pages: READS,
    Notes: NOTES,
    LongTermMemory: {
        **MEMORY,
        "forget_all": lambda one: one.forget_all(["mem_none"], because="of a test"),
        "known": lambda one: one.known(["mem_none"]),
        "mark": lambda one: one.mark("test", "1"),
        "marked": lambda one: one.marked("test"),
        "warm": lambda one: one.warm(),
    },
    BlockingEngine: {**ENGINE, "open": lambda one: one.open(), "close": lambda one: one.close(drain=0)},
    BlockingTurn: {
        "__iter__": lambda one: next(iter(one)),
        "result": lambda one: one.result(),
        "text": lambda one: one.text,
    },
    BlockingNotes: NOTES,
    BlockingMemory: MEMORY,
}
"""Every way to use every object that is handed out: a new method belongs in here."""

PROTOCOL = ("__aiter__", "__anext__", "__await__", "__iter__")


@pytest.mark.parametrize("kind", USES, ids=lambda kind: kind.__name__)
def test_every_method_is_tried(kind: type) -> None:
    found = {
        name
        for base in kind.__mro__
        if base.__module__.startswith("september_engine")
        for name, value in vars(base).items()
        if (callable(value) or isinstance(value, property)) and (not name.startswith("_") or name in PROTOCOL)
    }
    assert found == set(USES[kind])


def script(request: ModelRequest) -> Step:
    said = request.prompt.messages[-1]["content"][-1]["text"]
    return say("Hello you", hold=asyncio.Event(), at=1) if said == "hold" else say("ok")


@attrs.define
class House:
    """An engine at home in a thread's event loop, with one of everything in use."""

    loop: asyncio.AbstractEventLoop
    engine: Engine
    objects: dict[type, list[Any]] = attrs.field(factory=dict)

    def home(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(SECONDS)

    async def furnish(self) -> None:
        """One of each, in the middle of its use: a turn that is held, a reader that waits, a turn that has ended."""
        await self.engine.open()
        ended = self.engine.execute("go", task_id="t")
        await ended
        running = self.engine.execute("hold", task_id="held")
        stream = running.__aiter__()
        async for event in stream:
            if isinstance(event, TextDelta):
                break
        replay = self.engine.replay(task_id="held")
        await anext(replay)
        pages = running.pages()
        await anext(pages)
        self.objects = {
            Engine: [self.engine],
            Turn: [ended, running, self.engine.turn("held"), self.engine.turn("t")],
            Replay: [replay, self.engine.replay(task_id="t")],
            EventStream: [stream, ended.__aiter__()],
            Pages: [pages, ended.pages()],
            Notes: [self.engine.notes],
            LongTermMemory: [self.engine.memory],
        }

    async def works(self) -> None:
        """Home is as it was: everything goes on."""
        assert (await self.engine.execute("go", task_id="after")).text == "ok"
        facts = [Knowledge(subject=f"S{number}", attribute="town", content="Voss") for number in range(3)]
        await asyncio.gather(*(self.engine.memory.remember(fact) for fact in facts))
        await self.engine.notes.set("after", "city", "Rome")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(SECONDS)
    if not loop.is_closed():
        loop.close()


def made(store: Any) -> Engine:
    return Engine(store, model=ScriptedModel(script, strict=False), memory=True, settings=Settings())


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else tmp_path / "brain.sqlite"


@pytest.fixture
def house(loop: asyncio.AbstractEventLoop, store: Any) -> Iterator[House]:
    engine = made(store)
    house = House(loop, engine)
    house.home(house.furnish())
    yield house
    house.home(engine.aclose(drain=0))


async def used(use: Use, one: Any) -> str:
    """What came of it: "works", or the name of an error of ours. Anything else is a fault, and so is a hang."""
    try:
        value = use(one)
        if inspect.isawaitable(value):
            await asyncio.wait_for(_awaited(value), SECONDS)
    except (EngineError, StopAsyncIteration) as error:
        return type(error).__name__
    return "works"


async def _awaited(value: Any) -> Any:
    return await value


def test_from_a_second_loop_everything_works_or_says_so_and_home_is_not_disturbed(house: House) -> None:
    for kind, objects in house.objects.items():
        for one in objects:
            for name, use in USES[kind].items():
                outcome = asyncio.run(used(use, one))  # in this thread, while the first loop runs
                assert outcome in ("works", "WrongLoop", "StopAsyncIteration"), (kind, name, outcome)
                if kind in (Notes, LongTermMemory) or name in ("open", "execute", "tasks", "turn", "respond"):
                    assert outcome == "WrongLoop", (kind, name)
    house.home(house.works())


def test_without_a_loop_everything_works_or_says_what_to_do(house: House) -> None:
    for kind, objects in house.objects.items():
        for one in objects:
            for name, use in USES[kind].items():
                try:
                    value = use(one)
                    if inspect.isawaitable(value):
                        step = value.__await__()
                        with suppress(StopIteration, StopAsyncIteration):
                            step.send(None)
                            raise AssertionError(f"{kind}.{name} waits for something that cannot come")
                except EngineError as error:
                    assert isinstance(error, WrongLoop), (kind, name)
                    assert "BlockingEngine" in error.message, (kind, name)
    house.home(house.works())


@pytest.mark.parametrize("when", ["closed", "loop ended", "opened again"])
def test_after_the_end_everything_works_or_says_so(when: str, store: Any) -> None:
    engine = made(store)
    first = asyncio.new_event_loop()
    house = House(first, engine)
    first.run_until_complete(house.furnish())
    if when == "loop ended":
        first.close()
    else:
        first.run_until_complete(engine.aclose(drain=0))

    async def use_all() -> None:
        if when == "opened again":
            await engine.open()
        for kind, objects in house.objects.items():
            for one in objects:
                for name, use in USES[kind].items():
                    outcome = await used(use, one)
                    allowed = ["works", "EngineClosed", "WrongLoop", "StopAsyncIteration"]
                    if when == "opened again" and kind in (Engine, Notes):
                        allowed += ["TaskNotFound", "HitlNotPending", "MessageNotFound", "ShuttingDown"]
                    assert outcome in allowed, (kind, name, outcome)
                    if when == "opened again":
                        await engine.open()
        await engine.aclose(drain=0)
        async with engine:
            await house.works()

    if when == "loop ended":
        asyncio.run(use_all())
    else:
        first.run_until_complete(use_all())
        first.close()


async def test_before_it_is_open_an_engine_says_how_to_open_it() -> None:
    engine = Engine(MemoryStore(), model=ScriptedModel(script), memory=True, settings=Settings())
    for name, use in USES[Engine].items():
        if name != "open":
            harmless = name in ("aclose", "drain", "health", "notes", "stop_streams")
            assert await used(use, engine) == ("works" if harmless else "EngineClosed"), name
    for name, use in NOTES.items():
        assert await used(use, engine.notes) == "EngineClosed", name


@pytest.mark.parametrize("situation", ["at once", "in a loop", "closed"])
def test_without_await_everything_works_from_any_thread(situation: str) -> None:
    engine = BlockingEngine(MemoryStore(), model=ScriptedModel(script, strict=False), memory=True, settings=Settings())
    turn = engine.execute("go", task_id="t")
    turn.result()
    objects = {BlockingEngine: engine, BlockingTurn: turn, BlockingNotes: engine.notes, BlockingMemory: engine.memory}
    if situation == "closed":
        engine.close()
    uses = [(kind, name, use) for kind, all_ in USES.items() if kind in objects for name, use in all_.items()]

    def use_it(kind: type, name: str, use: Use) -> None:
        try:
            use(objects[kind])
            assert situation != "closed" or name in ("notes", "memory", "close"), (kind, name)
        except EngineError as error:
            assert isinstance(error, EngineClosed) is (situation == "closed"), (kind, name, error)

    async def all_of_them() -> None:
        for kind, name, use in uses:
            if name != "close":
                use_it(kind, name, use)

    if situation == "in a loop":
        asyncio.run(all_of_them())
    else:
        threads = [threading.Thread(target=use_it, args=one) for one in uses if one[1] != "close"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
    engine.close(drain=0)


# ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["memory", "sqlite"])
def test_opened_in_many_loops_at_once_one_has_it_and_the_others_say_so(where: str, tmp_path: Path) -> None:
    store = MemoryStore() if where == "memory" else tmp_path / "brain.sqlite"
    engine = Engine(store, model=ScriptedModel(script, strict=False), settings=Settings())
    gate, told, wait = threading.Barrier(4), list[str](), threading.Barrier(4)

    async def opens() -> None:
        gate.wait(SECONDS)
        outcome = await used(lambda one: one.open(), engine)
        told.append(outcome)
        wait.wait(SECONDS)  # whoever has it stays until everybody has tried
        if outcome == "works":
            assert (await engine.execute("go", task_id="t")).text == "ok"
            await engine.aclose()

    threads = [threading.Thread(target=asyncio.run, args=(opens(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert sorted(told) == ["WrongLoop"] * 3 + ["works"]

    async def again() -> None:
        async with engine:
            assert (await engine.execute("go", task_id="t")).text == "ok"

    asyncio.run(again())
    asyncio.run(again())


def test_a_loop_that_ended_while_it_was_opening_has_no_claim(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "brain.sqlite", model=ScriptedModel(script), settings=Settings())
    loop = asyncio.new_event_loop()
    opening = loop.create_task(engine.open())
    loop.run_until_complete(asyncio.sleep(0))
    opening.cancel()
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(opening)
    loop.close()

    async def again() -> None:
        async with engine:
            assert (await engine.execute("go", task_id="t")).text == "ok"

    asyncio.run(again())


# ── outside of a task ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_callback_of_the_loop_may_use_everything_that_does_not_await() -> None:
    async with Engine(MemoryStore(), model=ScriptedModel(script, strict=False), settings=Settings()) as engine:
        made: Future[Turn[Any]] = Future()

        def callback() -> None:
            assert asyncio.current_task() is None
            try:
                made.set_result(engine.execute("go", task_id="t"))
                engine.replay(task_id="t").__aiter__()
                engine.turn("t")
                engine.stop_streams()
            except BaseException as error:
                made.set_exception(error)

        asyncio.get_running_loop().call_soon(callback)
        turn = await asyncio.wrap_future(made)
        assert (await turn).text == "ok"
        assert engine.model_name == "scripted"


async def test_a_turn_that_began_in_a_callback_when_the_engine_was_closed_says_so() -> None:
    engine = await Engine(MemoryStore(), model=ScriptedModel(script), settings=Settings()).open()
    made: list[Turn[Any]] = []

    def callback() -> None:
        made.append(engine.execute("go", task_id="t"))
        engine._host.supervisor._group = None  # type: ignore[union-attr]  # as if it closed before the next callback

    asyncio.get_running_loop().call_soon(callback)
    await ticks(2)
    with pytest.raises(EngineClosed):
        await made[0]
    await engine.aclose(drain=0)


PROMPT = """\
from september_engine import Engine, Settings
from september_engine.models.scripted import ScriptedModel, say
engine = await Engine("prompt.sqlite", model=ScriptedModel([say("ok"), say("again")]), settings=Settings()).open()
turn = engine.execute("Hello!", task_id="first")
print("said", (await turn).text)
print("said", (await engine.execute("Hello!", task_id="first")).text)
await engine.aclose()
"""


@pytest.mark.parametrize("version", ["", "3_12", "3_13", "3_14"])
def test_the_prompt_of_python_m_asyncio_works_as_the_tutorial_says(version: str, tmp_path: Path) -> None:
    python = os.environ.get(f"SEPTEMBER_TEST_PYTHON_{version}") if version else sys.executable
    if python is None:
        pytest.skip(f"no newer Python; set SEPTEMBER_TEST_PYTHON_{version} to one")
    done = subprocess.run(
        [python, "-m", "asyncio"],
        input=PROMPT,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    said = [line[line.index("said") :] for line in done.stdout.splitlines() if "said" in line]
    assert said == ["said ok", "said again"], done.stderr
    assert "Traceback" not in done.stderr


# ── the guard itself ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_home_is_the_first_loop_that_checks_until_it_ends() -> None:
    home = Home()
    with pytest.raises(WrongLoop, match="No asyncio event loop runs here"):
        home.check()

    async def check() -> None:
        home.check()

    first = asyncio.new_event_loop()
    first.run_until_complete(check())
    with pytest.raises(WrongLoop, match="another event loop"):
        asyncio.run(check())
    first.run_until_complete(check())
    first.close()
    with pytest.raises(EngineClosed, match="has ended"):
        asyncio.run(check())


async def test_every_coroutine_method_of_a_class_at_home_checks_first() -> None:
    @at_home
    class Pet:
        """What it is."""

        def __init__(self) -> None:
            self._home = Home()
            self.calls = 0

        async def eat(self, what: str = "bread") -> str:
            """Eat it."""
            self.calls += 1
            return what

        def sleep(self) -> None:
            """No wait, no check."""

    pet = Pet()
    assert await pet.eat("fish") == "fish"
    assert (inspect.iscoroutinefunction(Pet.eat), Pet.eat.__doc__) == (True, "Eat it.")
    assert list(inspect.signature(Pet.eat).parameters) == ["self", "what"]
    pet._home.closed = True
    with pytest.raises(EngineClosed, match="was closed"):
        await pet.eat()
    pet.sleep()
    assert pet.calls == 1
