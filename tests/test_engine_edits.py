"""Edit and retry: the thread moves, and nothing is lost."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from september_engine.errors import (
    InvalidRequest,
    MessageNotFound,
    ModelError,
    TaskBusy,
    TurnFailed,
)
from september_engine.events import ThreadLifecycle
from september_engine.messages import Message
from september_engine.models.scripted import ScriptedModel, call, fail, say, turn
from tests._context.pictures import image
from tests.engines import Bench, echo, look, names, soon, until


def said(messages: list[Message]) -> list[str]:
    return [block["text"] for message in messages for block in message.content if block["type"] == "text"]


async def test_an_edit_replaces_a_message_and_what_followed_and_the_old_branch_stays_readable(bench: Bench) -> None:
    model = ScriptedModel(echo)
    async with bench.running(model) as engine:
        for message in ("one", "two", "three"):
            await engine.execute(message, task_id="t")
        old = await engine.messages("t")
        edited = await engine.execute("TWO", task_id="t", edit_message_id=old[2].id)
        assert said(await engine.messages("t")) == ["one", "You said: one", "TWO", "You said: TWO"]
        detail = await engine.task("t")
        [left, current] = detail.branches
        assert (left.current, current.current, current.turn_id) == (False, True, edited.turn_id)
        assert await engine.messages("t", branch=left.turn_id) == old
        await engine.execute("four", task_id="t")
        assert said(await engine.messages("t"))[-2:] == ["four", "You said: four"]
        with pytest.raises(MessageNotFound):
            await engine.messages("t", branch="unknown")
    sent = model.requests[-1].prompt.messages
    assert [message["content"][0]["text"] for message in sent][::2] == ["one", "TWO", "four"]


async def test_an_edit_of_the_first_message_begins_anew() -> None:
    async with Bench().running(echo) as engine:
        first = await engine.execute("one", task_id="t")
        await engine.execute("two", task_id="t")
        await engine.execute("ONE", task_id="t", edit_message_id=first.user_message_id)
        assert said(await engine.messages("t")) == ["ONE", "You said: ONE"]


@pytest.mark.parametrize("of", ["user", "assistant"])
async def test_a_retry_runs_again_from_the_stored_text_with_the_state_up_to_it(bench: Bench, of: str) -> None:
    answers = iter(["one!", "two!", "two, again!"])
    model = ScriptedModel(lambda request: say(next(answers)))
    async with bench.running(model) as engine:
        await engine.execute("one", task_id="t")
        second = await engine.execute("two", task_id="t")
        old = await engine.messages("t")
        target = second.user_message_id if of == "user" else second.message_id
        one = engine.execute("ignored", task_id="t", retry_message_id=target)
        events = await soon(one)
        assert names(events)[:2] == ["started", "rewound"]
        assert said(await engine.messages("t")) == ["one", "one!", "two", "two, again!"]
        assert await engine.messages("t", branch=second.turn_id) == old
    assert model.requests[2].prompt.messages == model.requests[1].prompt.messages


async def test_a_retry_keeps_the_pictures() -> None:
    picture = image()
    model = ScriptedModel(lambda request: say("A picture."))
    async with Bench().running(model) as engine:
        first = await engine.execute("What is it?", task_id="t", media=[picture])
        await engine.execute("ignored", task_id="t", retry_message_id=first.user_message_id)
    assert model.requests[1].prompt.messages == model.requests[0].prompt.messages


@pytest.mark.parametrize("kind", ["edit_message_id", "retry_message_id"])
async def test_an_id_that_is_unknown_or_of_another_task_is_not_found_and_nothing_is_written(
    bench: Bench, kind: str
) -> None:
    async with bench.running(echo) as engine:
        mine = await engine.execute("one", task_id="mine")
        await engine.execute("one", task_id="yours")
        before = [await bench.store.events(task_id, after=0) for task_id in ("mine", "yours")]
        rows = [await bench.store.task(task_id) for task_id in ("mine", "yours", "fresh")]
        told = []
        ids = (mine.user_message_id, mine.message_id, f"{mine.message_id}-results", "unknown", "unknown-results", "")
        for message_id in ids:
            for task_id in ("yours", "fresh"):
                options: dict[str, Any] = {kind: message_id}
                one = engine.execute("go", task_id=task_id, **options)
                with pytest.raises(MessageNotFound) as missing:
                    await one
                told.append(missing.value.message.replace(repr(message_id), "it"))
                with pytest.raises(MessageNotFound):
                    await soon(one)
        assert len(set(told)) == 1
        assert before == [await bench.store.events(task_id, after=0) for task_id in ("mine", "yours")]
        assert rows == [await bench.store.task(task_id) for task_id in ("mine", "yours", "fresh")]


async def test_only_what_a_person_said_can_be_edited_and_results_are_nobodys_message() -> None:
    async with Bench().running([call("look", id="c1"), say("Seen.")], tools=[look]) as engine:
        result = await engine.execute("go", task_id="t")
        _, assistant, results, _ = await engine.messages("t")
        refused: list[dict[str, Any]] = [
            {"edit_message_id": result.message_id},
            {"edit_message_id": assistant.id},
            {"edit_message_id": results.id},
            {"retry_message_id": results.id},
        ]
        for options in refused:
            with pytest.raises(InvalidRequest):
                await engine.execute("go", task_id="t", **options)
        assert len(await engine.messages("t")) == 4


@pytest.mark.parametrize("kind", ["edit_message_id", "retry_message_id"])
async def test_a_running_task_can_be_neither_edited_nor_retried(kind: str) -> None:
    gate = anyio.Event()
    async with Bench().running([say("Hello", hold=gate, at=0)]) as engine:
        one = engine.execute("go", task_id="t")
        started = await until(one, ThreadLifecycle)
        options: dict[str, Any] = {kind: started.message_id}
        with pytest.raises(TaskBusy):
            engine.execute("go", task_id="t", **options)
        gate.set()
        assert (await one).text == "Hello"


async def test_a_turn_that_failed_can_be_retried_and_one_that_was_refused_does_not_count() -> None:
    script = [fail(ModelError("No.")), say("Yes."), turn(say("I will not"), stop_reason="refusal"), say("Fine.")]
    model = ScriptedModel(script)
    async with Bench().running(model) as engine:
        one = engine.execute("one", task_id="t")
        with pytest.raises(TurnFailed):
            await one
        first = (await engine.messages("t"))[0]
        await engine.execute("ignored", task_id="t", retry_message_id=first.id)
        refused = await engine.execute("two", task_id="t")
        assert refused.stop_reason == "refusal"
        await engine.execute("three", task_id="t")
    sent = [message["content"][0]["text"] for message in model.requests[-1].prompt.messages]
    assert sent == ["one", "Yes.", "three"]
