"""Somebody at the terminal is asked, and answers."""

from __future__ import annotations

import io
import os

import anyio
import pytest

from september_engine import Engine, tool
from september_engine._person import Person
from september_engine._terminal import Terminal
from september_engine.events import HitlRequest, HitlResolved, ToolResult
from september_engine.messages import JSON
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.permissions import Write
from september_engine.tools.ask_user import ask_user
from tests.engines import Bench, soon

RAN: list[str] = []


@tool(actions=lambda input: [Write(path="/out")])
async def bash(command: str) -> str:
    """Run a command."""
    RAN.append(command)
    return "done"


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


async def asked(said: str, engine: Engine, message: str = "go") -> tuple[str, bool, list[HitlResolved]]:
    """What the terminal shows, whether the request was answered, and how."""
    out = io.StringIO()
    person = Person(io.StringIO(said), Terminal(out))
    answered = False
    turn = engine.execute(message, task_id="t")
    async for event in turn:
        if isinstance(event, HitlRequest):
            answered = await person.answer(engine, event)
            break
    events = await soon(turn) if answered else []
    return out.getvalue(), answered, [event for event in events if isinstance(event, HitlResolved)]


def calling(**input: JSON) -> ScriptedModel:
    return ScriptedModel([call("bash", **input), say("So.")])


@pytest.mark.parametrize(
    ("said", "answer"), [("y\n", "yes"), ("YES\n", "yes"), ("n\n", "no"), ("\n", "no"), ("No\n", "no"), ("y", "yes")]
)
async def test_a_permission_needs_a_y(said: str, answer: str) -> None:
    async with Bench().running(calling(command="touch /out"), tools=[bash]) as engine:
        shown, answered, resolved = await asked(said, engine)
    assert answered
    assert [event.answer for event in resolved] == [answer]
    assert RAN == (["touch /out"] if answer == "yes" else [])
    assert shown.startswith(
        "? May bash run with this input? It writes outside of the allowed folders: /out.\n"
        "  command: touch /out\n"
        "  (always: allow bash: write /out)\n"
        "[y]es, [N]o, [a]lways in this task, or say what to do instead: "
    )


async def test_any_other_text_is_a_no_that_the_model_is_told() -> None:
    async with Bench().running(calling(command="touch /out"), tools=[bash]) as engine:
        await asked("use /tmp, please\n", engine)
        events = await soon(engine.replay(task_id="t"))
    [result] = [event for event in events if isinstance(event, ToolResult)]
    assert result.error is not None
    assert (result.error.reason, result.error.message) == ("permission_denied", "use /tmp, please")
    assert RAN == []


async def test_always_is_for_the_task() -> None:
    model = ScriptedModel(
        [call("bash", command="touch /out"), say("One."), call("bash", command="touch /out"), say("Two.")]
    )
    async with Bench().running(model, tools=[bash]) as engine:
        await asked("a\n", engine)
        assert (await engine.execute("again", task_id="t")).text == "Two."
    assert RAN == ["touch /out"] * 2


async def test_all_of_what_would_run_is_shown_and_steers_no_terminal() -> None:
    command = "echo hidden\x1b[2K\rls \u202etxt.exe\nrm -rf /" + "x" * 5000
    async with Bench().running(calling(command=command), tools=[bash]) as engine:
        shown, _, _ = await asked("n\n", engine)
    assert "  command: echo hidden\\x1b[2K\\rls \\u202etxt.exe\n           rm -rf /" + "x" * 5000 in shown
    assert "\x1b" not in shown


async def test_a_question_takes_any_text_that_is_not_blank() -> None:
    model = ScriptedModel([call("ask_user", question="Which night?"), say("So.")])
    async with Bench().running(model, tools=[ask_user]) as engine:
        shown, answered, resolved = await asked(" \ntonight\n", engine)
    assert answered
    assert [event.answer for event in resolved] == ["tonight"]
    assert shown.startswith("? Which night?\n> \nA question is answered with text that is not blank.")


async def test_where_nobody_is_the_request_stays_open() -> None:
    async with Bench().running(calling(command="x"), tools=[bash]) as engine:
        shown, answered, _ = await asked("", engine)
        assert not answered
        assert len(await engine.pending()) == 1
    assert shown.endswith("Nobody is here to answer. The request stays open; the same command asks again.\n")


async def test_somebody_else_was_faster() -> None:
    async with Bench().running(calling(command="x"), tools=[bash]) as engine:
        turn = engine.execute("go", task_id="t")
        async for event in turn:
            if isinstance(event, HitlRequest):
                await engine.respond("t", "no")
                out = io.StringIO()
                assert await Person(io.StringIO("y\n"), Terminal(out)).answer(engine, event)
                assert "Somebody answered first." in out.getvalue()
    assert RAN == []


async def test_who_leaves_at_the_question_is_told_that_it_stays_open() -> None:
    reader, writer = os.pipe()
    out = io.StringIO()
    async with Bench().running(calling(command="touch /out"), tools=[bash]) as engine:
        turn = engine.execute("go", task_id="t")
        with open(reader, encoding="utf-8") as lines:
            async for event in turn:
                if isinstance(event, HitlRequest):
                    async with anyio.create_task_group() as group:
                        group.start_soon(Person(lines, Terminal(out)).answer, engine, event)
                        await anyio.wait_all_tasks_blocked()
                        group.cancel_scope.cancel()
                    break
            os.close(writer)  # and the thread that still reads ends
        assert len(await engine.pending()) == 1
    assert out.getvalue().endswith("The request stays open; the same command asks again.\n")
