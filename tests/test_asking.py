"""Whoever waits for a turn learns at once that a person is asked, may answer, and finds an open turn again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from september_engine import BlockingEngine, Settings
from september_engine._turn.facts import HumanAnswered
from september_engine.errors import EngineClosed, EngineError, HitlNotPending, InvalidRequest, TaskNotFound, TurnFailed
from september_engine.events import HitlRequest, TextDelta
from september_engine.models.scripted import ScriptedModel, call, say, turn
from september_engine.store.memory import MemoryStore
from september_engine.tools.ask_user import ask_user
from tests.engines import Bench, careful, echo, held, until
from tests.programs import environment

ASKS = [call("careful", at="home"), say("Done.")]


def blocking(script: Any, **options: Any) -> BlockingEngine:
    return BlockingEngine(MemoryStore(), model=ScriptedModel(script), settings=Settings(), **options)


# ── awaiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["execute", "result", "turn"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_callback_is_asked_and_its_answer_counts(bench: Bench, where: str, kind: str) -> None:
    asked: list[HitlRequest] = []

    def answers(request: HitlRequest) -> str:
        asked.append(request)
        return "yes"

    async def answers_later(request: HitlRequest) -> str:
        await anyio.lowlevel.checkpoint()
        return answers(request)

    on_request = answers if kind == "sync" else answers_later
    async with bench.running(ASKS, tools=[careful]) as engine:
        if where == "execute":
            result = await engine.execute("go", task_id="t", on_request=on_request)
        else:
            one = engine.execute("go", task_id="t")
            await until(one, HitlRequest)  # it came before anybody waits
            result = await (one if where == "result" else engine.turn("t")).result(on_request=on_request)
        assert result.text == "Done."
        assert [request.question for request in asked] == [asked[0].question]
        assert asked[0].input == {"at": "home"}


async def test_each_request_is_asked_once_and_one_after_the_other(bench: Bench) -> None:
    script = [turn(call("careful", at="a"), call("ask_user", question="Which?"), call("careful", at="b")), say("Done.")]
    asked: list[str] = []
    now = 0

    async def answers(request: HitlRequest) -> str:
        nonlocal now
        now += 1
        assert now == 1
        await anyio.lowlevel.checkpoint()
        asked.append(request.request_id)
        now -= 1
        return "no" if request.kind == "permission" else "This one."

    async with bench.running(script, tools=[careful, ask_user]) as engine:
        result = await engine.execute("go", task_id="t", on_request=answers)
    assert result.text == "Done."
    assert len(asked) == len(set(asked)) == 3


async def test_somebody_else_may_answer_while_a_callback_thinks() -> None:
    script = [turn(call("careful", at="a")), turn(call("careful", at="b")), say("Done.")]
    asked: list[HitlRequest] = []
    cancelled: list[HitlRequest] = []

    async with Bench().running(script, tools=[careful]) as engine:

        async def thinks(request: HitlRequest) -> str | None:
            asked.append(request)
            if len(asked) == 2:
                return None  # somebody else answers this one, too
            try:
                await engine.respond("t", "yes")
                await anyio.sleep_forever()
            finally:
                cancelled.append(request)
            return None

        async def other() -> None:
            while len(asked) < 2:
                await anyio.lowlevel.checkpoint()
            await engine.respond("t", "yes")

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            assert (await engine.execute("go", task_id="t", on_request=thinks)).text == "Done."
        assert cancelled == asked[:1]


@pytest.mark.parametrize(("answer", "says"), [("maybe", '"yes" or "no"'), (7, "answer must be text"), (True, "answer")])
async def test_what_is_no_answer_is_raised_and_the_request_stays_open(answer: Any, says: str) -> None:
    async with Bench().running(ASKS, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        with pytest.raises(InvalidRequest, match=says):
            await one.result(on_request=lambda request: answer)
        assert len(await engine.pending()) == 1
        with pytest.raises(ZeroDivisionError):
            await one.result(on_request=lambda request: str(1 // 0))
        assert (await one.result(on_request=lambda request: "yes")).text == "Done."
        wrong: Any = "yes"
        with pytest.raises(InvalidRequest, match="on_request='yes' must be a function"):
            await one.result(on_request=wrong)
        with pytest.raises(InvalidRequest, match="on_request='yes' must be a function"):
            engine.execute("go", task_id="u", on_request=wrong)


async def test_an_answer_of_another_text_type_is_stored_as_plain_text() -> None:
    class Word(str):
        def __str__(self) -> str:
            return "something else"

    async with Bench().running(ASKS, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        assert (await one.result(on_request=lambda request: Word("yes"))).text == "Done."
        answered = [fact for fact in one._facts if isinstance(fact, HumanAnswered)]
        assert [type(fact.answer) for fact in answered] == [str]


async def test_the_line_names_the_task_the_call_and_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    async with Bench().running(ASKS, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        async with anyio.create_task_group() as group:
            group.start_soon(one.result)
            await until(one, HitlRequest)
            while "engine.respond" not in (said := capsys.readouterr().err):
                await anyio.lowlevel.checkpoint()
            assert said.startswith("Task 't' waits for a person: ")
            assert '{"at":"home"}' in said
            [request] = await engine.pending()
            assert f"engine.respond('t', \"yes\", request_id='{request.request_id}') (or \"no\")" in said
            await engine.respond("t", "yes")
        assert capsys.readouterr().err == ""


# ── attaching ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_open_turn_is_found_again_with_its_events_and_its_result(bench: Bench) -> None:
    gate = anyio.Event()
    async with bench.running([say("Hello you", hold=gate, at=1)]) as engine:
        first = engine.execute("go", task_id="t", output=None)
        await until(first, TextDelta)
        again = engine.turn("t")
        assert again.turn_id == first.turn_id
        gate.set()
        assert (await again).text == "Hello you"
        assert [event async for event in again] == [event async for event in first]


async def test_the_value_that_was_asked_for_comes_with_the_turn() -> None:
    gate = anyio.Event()
    async with Bench().running([say('{"value":[1,2]}', hold=gate)]) as engine:
        engine.execute("go", task_id="t", output=list[int])
        again = engine.turn("t")
        gate.set()
        assert (await again).output == [1, 2]


async def test_a_turn_that_an_earlier_process_left_waiting_is_found(bench: Bench) -> None:
    async with bench.running(ASKS[:1], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
    async with bench.running(ASKS[1:], tools=[careful]) as engine:
        one = engine.turn("t")
        assert one.turn_id == ""
        assert (await one.result(on_request=lambda request: "yes")).text == "Done."
        assert one.turn_id != ""


async def test_where_no_turn_is_open_it_says_where_to_look(bench: Bench) -> None:
    async with bench.running(echo) as engine:
        with pytest.raises(TaskNotFound, match="There is no task 't'"):
            await engine.turn("t")
        await engine.execute("go", task_id="t")
        with pytest.raises(TaskNotFound, match=r"No turn is open on task 't'.*engine\.messages\('t'\)"):
            await engine.turn("t").started()
        with pytest.raises(TaskNotFound):
            [event async for event in engine.turn("t")]
        with pytest.raises(InvalidRequest):
            engine.turn("")
    with pytest.raises(EngineClosed):
        engine.turn("t")


# ── without await ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plain_callback_is_called_in_the_thread_that_waits_and_an_async_one_in_the_engines() -> None:
    threads: list[threading.Thread] = []

    def answers(request: HitlRequest) -> str:
        threads.append(threading.current_thread())
        return "yes"

    async def answers_there(request: HitlRequest) -> str:
        return answers(request)

    with blocking([*ASKS, *ASKS], tools=[careful]) as engine:
        assert engine.execute("go", task_id="t", on_request=answers).text == "Done."
        assert engine.execute("go", task_id="t").result(on_request=answers_there).text == "Done."
        assert threads == [threading.current_thread(), engine._thread]


def test_what_a_callback_raises_is_raised_and_the_turn_still_waits() -> None:
    def fails(request: HitlRequest) -> str:
        raise LookupError("nobody there")

    with blocking(ASKS, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t", on_request=fails)
        with pytest.raises(LookupError):
            one.result()
        assert engine.turn("t").result(on_request=lambda request: "yes").text == "Done."
        with pytest.raises(TaskNotFound):
            engine.turn("t")


def test_another_thread_answers_what_the_line_told(capsys: pytest.CaptureFixture[str]) -> None:
    with blocking(ASKS, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        texts: list[str] = []
        waits = threading.Thread(target=lambda: texts.append(one.text))
        waits.start()
        for event in one:
            if isinstance(event, HitlRequest):
                engine.respond("t", "yes")
        waits.join(20)
        assert texts == ["Done."]


INTERRUPTED = """
import os, signal, sys, threading
import asyncio
from september_engine import BlockingEngine, Settings
from september_engine.models.scripted import ScriptedModel, say

model = ScriptedModel([say("a long answer", hold=asyncio.Event(), at=1), say("ok")], strict=False)
engine = BlockingEngine("brain.sqlite", model=model, settings=Settings())
turn = engine.execute("Write a book.", task_id="t")
for event in turn:
    if event.type == "text_delta":
        break
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    %s
except KeyboardInterrupt as interrupt:
    print(getattr(interrupt, "__notes__", None))
print(engine.tasks()[0].status)
if engine.tasks()[0].status == "running":
    print(engine.turn("t").turn_id == turn.turn_id)
    engine.cancel("t")
print(engine.execute("Never mind.", task_id="t").text)
engine.close()
"""


@pytest.mark.parametrize(
    ("wait", "cancels"),
    [
        ("turn.result()", True),
        ("list(turn)", True),
        ("list(engine.replay(task_id='t'))", False),
    ],
)
def test_ctrl_c_cancels_the_turn_that_is_waited_for_and_no_other(tmp_path: Path, wait: str, cancels: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED % wait],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    notes, status, *found, answer = done.stdout.splitlines()
    assert (status, found, answer) == (("idle", [], "ok") if cancels else ("running", ["True"], "ok")), done.stderr
    assert ("engine.replay(task_id='t')" in notes) is cancels


def test_ctrl_c_in_a_callback_cancels_the_turn() -> None:
    def presses(request: HitlRequest) -> str:
        raise KeyboardInterrupt

    with blocking([*ASKS[:1], say("Never mind.")], tools=[careful]) as engine:
        with pytest.raises(KeyboardInterrupt):
            engine.execute("go", task_id="t").result(on_request=presses)
        assert engine.pending() == []
        assert engine.execute("and now?", task_id="t").text == "Never mind."


def test_ctrl_c_that_comes_while_a_turn_begins_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with blocking([held(), say("ok")]) as engine:
        engine.open()
        execute = engine._engine.execute

        def interrupted(*args: Any, **options: Any) -> Any:
            begun = execute(*args, **options)
            signal.raise_signal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else os.kill(
                os.getpid(), signal.SIGINT
            )
            return begun

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(engine._engine, "execute", interrupted)
            engine.execute("go", task_id="t").result()
        assert engine.execute("again", task_id="t").text == "ok"


def test_closing_wakes_a_wait_for_a_person() -> None:
    engine = blocking(ASKS, tools=[careful]).open()
    one = engine.execute("go", task_id="t")
    asked = threading.Event()
    told: list[type[BaseException]] = []

    def wait() -> None:
        try:
            one.result(on_request=lambda request: asked.set())
        except EngineError as error:
            told.append(type(error))

    waits = threading.Thread(target=wait)
    waits.start()
    assert asked.wait(20)
    engine.close(drain=0)
    waits.join(20)
    assert told == [EngineClosed]


def test_cancelling_elsewhere_ends_a_wait_for_a_person() -> None:
    with blocking(ASKS, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t", on_request=lambda request: str(engine.cancel("t")) and None)
        with pytest.raises(TurnFailed, match="CANCELLED"):
            one.result()
        with pytest.raises(HitlNotPending):
            engine.respond("t", "yes")
