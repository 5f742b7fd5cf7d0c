"""The engine without `await`: from plain threads, and where a loop is already running, as in a notebook's kernel."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from september_engine import BlockingEngine, Engine, Limits, Settings, tool
from september_engine.blocking import BlockingMemory, BlockingNotes
from september_engine.errors import (
    ConfigurationError,
    EngineClosed,
    InvalidRequest,
    MessageNotFound,
    StoreInUse,
    TaskBusy,
    TaskNotFound,
    TurnFailed,
)
from september_engine.events import HitlRequest, TextDelta, ToolResult
from september_engine.memory.longterm import LongTermMemory
from september_engine.models.scripted import Script, ScriptedModel, call, say, turn
from september_engine.notes import Notes
from september_engine.store._lock import FileLock
from september_engine.store.memory import MemoryStore
from tests.engines import echo, names, text
from tests.programs import environment


class Latch:
    """A gate for a model in the engine's loop that any thread may open."""

    def __init__(self) -> None:
        self._open = threading.Event()

    async def wait(self) -> None:
        while not self._open.is_set():
            await anyio.to_thread.run_sync(self._open.wait, 0.5, abandon_on_cancel=True)

    def open(self) -> None:
        self._open.set()


def made(script: Script = echo, **options: Any) -> BlockingEngine:
    return BlockingEngine(MemoryStore(), model=ScriptedModel(script), settings=Settings(), **options)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert [thread.name for thread in left if thread.name == "september-engine"] == []


def conversation(engine: BlockingEngine) -> None:
    """Everything once, as a script would."""
    turn = engine.execute("one", task_id="t")
    assert turn.text == "You said: one"
    assert names(list(turn))[-1] == "completed"
    assert list(turn) == list(turn)
    assert repr(turn) == f"<BlockingTurn {turn.turn_id} of task 't'>"
    result = engine.execute("two", task_id="t").result()
    assert text(engine.replay(task_id="t")) == "You said: oneYou said: two"
    assert text(engine.replay()) == "You said: oneYou said: two"
    edited = engine.execute("TWO", task_id="t", edit_message_id=result.user_message_id).result()
    assert [message.role for message in engine.messages("t")] == ["user", "assistant"] * 2
    [old, _] = engine.task("t").branches
    assert engine.messages("t", branch=old.turn_id)[-1].id == result.message_id
    assert engine.messages("t", limit=1)[0].id == edited.message_id
    assert [task.task_id for task in engine.tasks(limit=5)] == ["t"]
    assert engine.pending() == []
    assert engine.cancel("t") is False
    assert engine.health().status == "ok"
    assert engine.delete("t") is True
    with pytest.raises(TaskNotFound):
        engine.messages("t")


def test_everything_works_in_a_script() -> None:
    with made() as engine:
        conversation(engine)


async def test_everything_works_inside_a_running_loop() -> None:
    """A cell of a notebook is code in a loop that must not be run again."""
    with made() as engine:
        conversation(engine)


def test_an_engine_opens_when_it_is_first_used() -> None:
    engine = made()
    assert engine.execute("one", task_id="t").text == "You said: one"
    assert engine.open() is engine
    engine.close()


def test_many_threads_use_one_engine_which_opens_once(tmp_path: Path) -> None:
    engine = BlockingEngine(tmp_path / "brain.sqlite", model=ScriptedModel(echo), settings=Settings())

    def use(number: int) -> str:
        return engine.execute(f"number {number}", task_id=f"t{number}").text

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(use, range(64)))
    assert answers == [f"You said: number {number}" for number in range(64)]
    assert len(engine.tasks(limit=100)) == 64
    engine.close()


def test_a_turn_goes_on_between_two_calls() -> None:
    latch = Latch()
    with made([say("Hello you", hold=latch, at=1), say("Next.")]) as engine:
        turn = engine.execute("go", task_id="t")
        for event in turn:
            if isinstance(event, TextDelta):
                break
        with pytest.raises(TaskBusy):
            engine.execute("too soon", task_id="t")
        latch.open()
        assert turn.text == "Hello you"
        assert text(turn) == "Hello you"


def test_errors_are_those_of_the_engine() -> None:
    with made() as engine:
        with pytest.raises(InvalidRequest):
            engine.execute(" ", task_id="t")
        with pytest.raises(MessageNotFound):
            engine.execute("go", task_id="t", edit_message_id="unknown").result()
        with pytest.raises(MessageNotFound):
            list(engine.execute("go", task_id="t", retry_message_id="unknown"))
        with pytest.raises(TaskNotFound):
            engine.cancel("unknown")


def test_a_turn_can_be_cancelled() -> None:
    with made([say("Hello you", hold=Latch(), at=1)]) as engine:
        turn = engine.execute("go", task_id="t")
        assert engine.cancel("t") is True
        with pytest.raises(TurnFailed) as failure:
            turn.result()
        assert failure.value.code == "CANCELLED"


def test_a_person_is_asked_and_answers() -> None:
    @tool(requires_permission=True)
    def careful() -> str:
        """Do something that must be allowed."""
        return "done"

    with made([call("careful"), say("It is not done.")], tools=[careful]) as engine:
        for event in engine.execute("go", task_id="t"):
            if isinstance(event, HitlRequest):
                assert engine.pending() == [event]
                blocks = [{"type": "text", "text": "Rather not."}]
                assert engine.respond("t", "no", feedback="No.", content_blocks=blocks) == event.request_id
        assert engine.messages("t")[-1].content == [{"type": "text", "text": "It is not done."}]


def test_options_reach_the_engine() -> None:
    model = ScriptedModel(echo)
    engine = BlockingEngine(
        MemoryStore(), model=model, settings=Settings(), system="Be brief.", limits=Limits(max_tokens=7)
    )
    with engine:
        assert engine.execute("go", task_id="t", direct=True, media=()).text == "You said: go"
    [request] = model.requests
    assert (request.prompt.system, request.max_tokens) == ("Be brief.", 7)


@pytest.mark.parametrize(
    ("blocking", "awaited", "without"),
    [
        (BlockingEngine, Engine, {"aclose", "drain", "stop_streams", "model_name"}),
        (BlockingNotes, Notes, set()),
        (BlockingMemory, LongTermMemory, {"forget_all", "known", "mark", "marked", "warm"}),
    ],
)
def test_what_can_be_awaited_can_be_had_without(blocking: type, awaited: type, without: set[str]) -> None:
    def parameters(kind: type, name: str) -> list[tuple[str, Any, Any]]:
        method = getattr(kind, name)
        found = [] if isinstance(method, property) else inspect.signature(method).parameters.values()
        return [(each.name, each.kind, each.default) for each in found]

    names = {name for name in vars(awaited) if not name.startswith("_")} - without
    assert names <= vars(blocking).keys()
    for name in names:
        assert parameters(blocking, name) == [each for each in parameters(awaited, name) if each[0] != "repeat"], name
    if blocking is BlockingEngine:
        assert parameters(blocking, "__init__") == parameters(awaited, "__init__")


def test_closing_again_is_harmless_and_using_it_afterwards_says_so() -> None:
    engine = made()
    turn = engine.execute("one", task_id="t")
    assert turn.text == "You said: one"
    stream = iter(turn)
    next(stream)
    engine.close()
    engine.close()
    uses: list[Callable[[], object]] = [
        engine.open,
        turn.result,
        engine.health,
        lambda: list(stream),
        lambda: list(turn),
        lambda: engine.replay(task_id="t"),
        lambda: engine.execute("go", task_id="t"),
    ]
    for use in uses:
        with pytest.raises(EngineClosed):
            use()


def test_an_engine_that_was_never_used_closes() -> None:
    made().close()


def test_closing_wakes_who_waits_in_another_thread() -> None:
    engine = made([say("Hello you", hold=Latch(), at=1)]).open()
    turn = engine.execute("go", task_id="t")
    told: list[str] = []
    waiting = threading.Barrier(3)

    def wait(use: Callable[[], object]) -> None:
        waiting.wait(20)
        try:
            use()
            told.append("ended")
        except EngineClosed:
            told.append("closed")

    threads = [threading.Thread(target=wait, args=(use,)) for use in (turn.result, lambda: list(turn))]
    for thread in threads:
        thread.start()
    waiting.wait(20)
    engine.close(drain=0)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert len(told) == 2


def test_an_error_in_the_body_closes_without_waiting_for_turns() -> None:
    with pytest.raises(ZeroDivisionError), made([say("Hello", hold=Latch())]) as engine:
        engine.execute("go", task_id="t")
        raise ZeroDivisionError


def test_what_keeps_the_engine_from_opening_is_raised_each_time_and_leaves_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "brain.sqlite"
    lock = FileLock(path)
    lock.acquire()
    second = BlockingEngine(path, model=ScriptedModel(echo), settings=Settings())
    for _ in range(2):
        with pytest.raises(StoreInUse):
            second.open()
    lock.release()
    with second:
        assert second.execute("two", task_id="t").text == "You said: two"
    with pytest.raises(ConfigurationError):
        BlockingEngine(model="claude-something", settings=Settings(sqlite_db_path=path)).open()


def test_ctrl_c_that_comes_when_the_engine_has_just_opened_leaves_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = BlockingEngine(tmp_path / "brain.sqlite", model=ScriptedModel(echo), settings=Settings())
    open_it = engine._engine.open

    async def interrupted() -> None:
        await open_it()
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep(5)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(engine._engine, "open", interrupted)
        engine.open()
    with BlockingEngine(tmp_path / "brain.sqlite", model=ScriptedModel(echo), settings=Settings()) as other:
        assert other.execute("one", task_id="t").text == "You said: one"
    assert engine.execute("two", task_id="t").text == "You said: two"
    engine.close()


def test_an_async_tool_that_calls_its_own_engine_is_told_what_to_do() -> None:
    @tool
    async def recursive() -> str:
        """Ask again."""
        return engine.execute("go", task_id="other").text

    @tool
    def plain() -> str:
        """Ask again."""
        return engine.execute("go", task_id="other").text

    model = ScriptedModel([turn(call("recursive"), call("plain")), say("From within."), say("Done.")])
    with BlockingEngine(MemoryStore(), model=model, tools=[recursive, plain], settings=Settings()) as engine:
        results = [event for event in engine.execute("go", task_id="t") if isinstance(event, ToolResult)]
    failed, well = sorted(results, key=lambda result: result.tool, reverse=True)
    assert failed.error is not None
    assert "Make the tool sync" in failed.error.message
    assert well.output == "From within."


FORKS = """
import os, sys
from september_engine import BlockingEngine, EngineClosed, Settings
from september_engine.models.scripted import ScriptedModel, say

engine = BlockingEngine("brain.sqlite", model=ScriptedModel([say("Hello"), say("again")]), settings=Settings())
print(engine.execute("one", task_id="t").text, flush=True)
if (child := os.fork()) == 0:
    for use in (lambda: engine.execute("two", task_id="t"), engine.close, engine.open):
        try:
            use()
        except EngineClosed as error:
            print(error.message.split(",")[0], flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(engine.execute("two", task_id="t").text)
engine.close()
"""


def test_a_forked_process_is_told_that_the_engine_is_not_in_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    told = "This engine was opened before the process forked\n"
    assert (done.stdout, done.returncode) == (f"Hello\n{told * 3}again\n", 0), done.stderr


FORGETS = """
from september_engine import BlockingEngine, Settings
from september_engine.models.scripted import ScriptedModel, hold, say
import anyio

engine = BlockingEngine("brain.sqlite", model=ScriptedModel([say("Hello"), hold(anyio.Event())]), settings=Settings())
print(engine.execute("one", task_id="t").text)
for event in engine.execute("two", task_id="t"):
    break
"""


def test_a_program_that_forgets_to_close_ends_and_keeps_its_log(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGETS],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("Hello\n", "", 0)
    with BlockingEngine(tmp_path / "brain.sqlite", model=ScriptedModel(echo), settings=Settings()) as engine:
        assert names(list(engine.replay(task_id="t")))[-1] == "error"
        assert engine.execute("three", task_id="t").text == "You said: three"
