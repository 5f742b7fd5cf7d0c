"""The public face: what a caller may do, what is refused at once, and what it leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from september_engine import Engine, Settings
from september_engine._context.stored import take_out
from september_engine.errors import (
    InvalidRequest,
    InvalidType,
    MessageNotFound,
    ModelError,
    StoreFull,
    TaskNotFound,
    TurnFailed,
)
from september_engine.events import TextDelta
from september_engine.messages import Message, Usage
from september_engine.models.base import Chunk, ModelRequest, Reply
from september_engine.models.scripted import ScriptedModel, call, fail, say, turn
from september_engine.store.base import FactRow
from tests._context.pictures import image
from tests.engines import Bench, FlakyStore, echo, look, soon, text, ticks, until


def said(messages: list[Message]) -> list[str]:
    return [block["text"] for message in messages for block in message.content if block["type"] == "text"]


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────

REFUSED: list[tuple[dict[str, Any], type[InvalidRequest]]] = [
    ({"message": ""}, InvalidRequest),
    ({"message": " \n\t"}, InvalidRequest),
    ({"message": None}, InvalidRequest),
    ({"message": 7}, InvalidType),
    ({"message": "half \ud83d"}, InvalidRequest),
    ({"task_id": ""}, InvalidRequest),
    ({"task_id": None}, InvalidRequest),
    ({"task_id": 7}, InvalidType),
    ({"task_id": "x" * 513}, InvalidRequest),
    ({"task_id": "é" * 257}, InvalidRequest),
    ({"task_id": "\udc00"}, InvalidRequest),
    ({"edit_message_id": "a", "retry_message_id": "b"}, InvalidRequest),
    ({"edit_message_id": 7}, InvalidType),
    ({"retry_message_id": "\ud800"}, InvalidRequest),
    ({"media": [{"type": "video"}]}, InvalidRequest),
    (
        {"media": [image(), {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "no"}}]},
        InvalidRequest,
    ),
]


@pytest.mark.parametrize(("changes", "error"), REFUSED, ids=lambda value: repr(value)[:40])
async def test_what_cannot_be_meant_is_refused_at_once_and_nothing_is_written(
    changes: dict[str, Any], error: type[InvalidRequest]
) -> None:
    store = FlakyStore()
    async with Bench(store=store).running([say("Hello")]) as engine:
        with pytest.raises(error):
            engine.execute(**{"message": "Hi", "task_id": "t", **changes})
        await ticks(20)
        assert store.appended == []
        assert (await engine.execute("Hi", task_id="t")).text == "Hello"


async def test_a_refused_picture_is_named_by_its_index() -> None:
    async with Bench().running([]) as engine:
        with pytest.raises(InvalidRequest) as refused:
            engine.execute("Look", task_id="t", media=[image(), {"type": "image", "source": {"type": "url"}}])
        assert refused.value.details["index"] == 1


@pytest.mark.parametrize("task_id", ["x" * 512, "é" * 256, "../../etc/passwd", "a\0b", "🦊", "\u202eabc", "A", " "])
async def test_a_task_id_is_any_text_and_nothing_but_itself(bench: Bench, task_id: str) -> None:
    async with bench.running(echo) as engine:
        await engine.execute("mine", task_id=task_id)
        await engine.execute("other", task_id="a")
        assert said(await engine.messages(task_id)) == ["mine", "You said: mine"]
        assert {task.task_id for task in await engine.tasks()} == {task_id, "a"}
        assert text(await soon(engine.replay(task_id=task_id))) == "You said: mine"


async def test_names_that_look_the_same_are_two_tasks(bench: Bench) -> None:
    async with bench.running(echo) as engine:
        for task_id in ("caf\u00e9", "cafe\u0301"):
            await engine.execute(task_id, task_id=task_id)
        assert len(await engine.tasks()) == 2


# ── a conversation ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_task_goes_on_with_its_history_in_the_next_turn_and_the_next_process(bench: Bench) -> None:
    model = ScriptedModel([turn(say("Let me see. "), call("look", id="c1")), say("I saw it."), say("As I said.")])
    async with bench.running(model, tools=[look]) as engine:
        await engine.execute("What is there?", task_id="t")
        await engine.execute("Sure?", task_id="t")
    assert [message["role"] for message in model.requests[2].prompt.messages] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    later = ScriptedModel([say("Yes.")])
    async with bench.running(later, tools=[look]) as engine:
        await engine.execute("Really?", task_id="t")
    sent = later.requests[0].prompt
    assert sent.messages[: len(model.requests[2].prompt.messages)] == model.requests[2].prompt.messages
    assert (sent.system, [each["name"] for each in sent.tools]) == ("Be kind.", ["look", "read_result"])


async def test_media_stand_before_the_text_and_are_stored(bench: Bench) -> None:
    model = ScriptedModel([say("A picture.")])
    picture = image()
    async with bench.running(model) as engine:
        await engine.execute("What is it?", task_id="t", media=[picture], direct=True)
        [first, _] = await engine.messages("t")
    text = {"type": "text", "text": "What is it?"}
    assert first.content == [*take_out([picture])[0], text]
    assert model.requests[0].prompt.messages[0]["content"] == [picture, text]


async def test_sqlites_name_for_memory_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for engine in (Engine(":memory:", settings=Settings()), Engine(settings=Settings(sqlite_db_path=Path(":memory:")))):
        async with engine:
            assert (await engine.execute("Hello!", task_id="t")).text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("direct", [False, True])
async def test_direct_is_kept_with_the_turn(direct: bool) -> None:
    bench = Bench()
    async with bench.running(echo) as engine:
        one = engine.execute("go", task_id="t", direct=direct)
        await one
        [started, *_] = await bench.store.turn("t", one.turn_id)
    assert (b'"direct":true' in started.body) is direct


async def test_messages_say_who_said_what_after_what(bench: Bench) -> None:
    script = [turn(say("Let me see. "), call("look", id="c1")), say("Seen."), say("Again.")]
    async with bench.running(script, tools=[look]) as engine:
        first = engine.execute("one", task_id="t")
        result = await first
        await engine.execute("two", task_id="t")
        messages = await engine.messages("t")
    assert [message.role for message in messages] == ["user", "assistant", "user", "assistant", "user", "assistant"]
    assert messages[0].parent_id is None
    assert [message.parent_id for message in messages[1:]] == [message.id for message in messages[:-1]]
    assert {message.turn_id for message in messages[:4]} == {first.turn_id}
    assert messages[2].id == f"{messages[1].id}-results"
    assert messages[2].content[0]["tool_use_id"] == "c1"
    assert (messages[0].id, messages[3].id) == (result.user_message_id, result.message_id)


async def test_a_task_that_is_deleted_while_its_messages_are_read_is_not_found() -> None:
    class Meanwhile(FlakyStore):
        async def thread(self, task_id: str, turn_id: str, /, *, since: str | None = None) -> list[FactRow]:
            await self.delete(task_id)
            return await super().thread(task_id, turn_id)

    async with Bench(store=Meanwhile()).running([say("Hello")]) as engine:
        await engine.execute("go", task_id="t")
        with pytest.raises(TaskNotFound):
            await engine.messages("t")


async def test_messages_come_in_pages_from_the_end() -> None:
    async with Bench().running(echo) as engine:
        for number in range(5):
            await engine.execute(str(number), task_id="t")
        everything = await engine.messages("t")
        paged: list[Message] = []
        before: str | None = None
        while page := await engine.messages("t", before=before, limit=3):
            assert len(page) <= 3
            paged = page + paged
            before = page[0].id
        assert paged == everything
        for limit in (0, -1, 1002):
            with pytest.raises(InvalidRequest):
                await engine.messages("t", limit=limit)
        with pytest.raises(MessageNotFound):
            await engine.messages("t", before="unknown")
        with pytest.raises(TaskNotFound):
            await engine.messages("unknown")


async def test_tasks_come_in_pages_newest_first(bench: Bench) -> None:
    async with bench.running(echo) as engine:
        for number in range(5):
            await engine.execute("go", task_id=str(number))
        first = await engine.tasks(limit=2)
        second = await engine.tasks(limit=3, before=first[-1].task_id)
        assert [task.task_id for task in first + second] == ["4", "3", "2", "1", "0"]
        assert await engine.tasks(before="0") == []
        with pytest.raises(InvalidRequest):
            await engine.tasks(limit=0)
        with pytest.raises(TaskNotFound):
            await engine.tasks(before="unknown")
        with pytest.raises(TaskNotFound):
            await engine.task("unknown")
        assert {task.status for task in first} == {"idle"}


# ── deleting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_deleted_task_is_gone_with_its_running_turn(bench: Bench) -> None:
    async with bench.running([say("Hello you", hold=anyio.Event(), at=1)]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, TextDelta)
        assert await engine.delete("t") is True
        assert await engine.delete("t") is False
        assert await engine.tasks() == []
        assert await soon(engine.replay(task_id="t")) == []
        with pytest.raises(TaskNotFound):
            await engine.messages("t")
        with pytest.raises(TaskNotFound):
            await engine.cancel("t")


# ── what others say ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong", [{"model": None}, {"stop_details": 5}, {"usage": Usage(input_tokens=1.5)}])  # type: ignore[arg-type]
async def test_a_model_that_says_what_is_of_the_wrong_type_ends_its_turn_and_not_the_thread(wrong: Any) -> None:
    class Odd(ScriptedModel):
        async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
            async for chunk in super().stream(request):
                yield replace(chunk, **wrong) if isinstance(chunk, Reply) else chunk

    bench = Bench()
    async with bench.running(Odd([say("one")])) as engine:
        with pytest.raises(TurnFailed, match="The model adapter failed: in its Reply"):
            await engine.execute("go", task_id="t")
    async with bench.running([say("two")]) as engine:
        assert (await engine.execute("go", task_id="t")).text == "two"


@pytest.mark.parametrize(("direct", "asked"), [(None, 2), (0, 2), (1, 0)])
async def test_direct_is_true_or_false_whatever_says_so(direct: Any, asked: int) -> None:
    bench, planner = Bench(), ScriptedModel(lambda request: say('{"worthwhile": false, "steps": []}'))
    for _ in range(2):  # the second reads what the first has written
        async with bench.running(echo, planner=planner) as engine:
            await engine.execute("Paint the house.", task_id="t", direct=direct)
    assert len(planner.requests) == asked


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_health_is_ok_only_when_a_turn_could_be_taken() -> None:
    store = FlakyStore()
    bench = Bench(store=store)
    too_long = ModelError("Too long.", code="CONTEXT_OVERFLOW")
    engine = bench.engine([fail(ModelError("No key.", code="LLM_AUTH")), say("Hello"), fail(too_long)])
    assert (await engine.health()).status == "closed"
    async with engine:
        await bench.clock.advance(12.5)
        found = await engine.health()
        assert (found.status, found.uptime_seconds) == ("ok", 12.5)
        assert found.subsystems == {"database": "ok", "llm_provider": "ok"}
        with pytest.raises(TurnFailed):
            await engine.execute("go", task_id="t")
        found = await engine.health()
        assert (found.status, found.subsystems["llm_provider"]) == ("degraded", "LLM_AUTH")
        await engine.execute("go", task_id="t")
        assert (await engine.health()).status == "ok"
        with pytest.raises(TurnFailed):
            await engine.execute("a whole library", task_id="t")
        assert (await engine.health()).subsystems["llm_provider"] == "ok"
        store.failing = StoreFull("The disk is full.")
        found = await engine.health()
        assert (found.status, found.subsystems["database"]) == ("degraded", "STORE_FULL: The disk is full.")
        store.failing = None
        await engine.drain(0)
        assert (await engine.health()).status == "shutting_down"
    assert (await engine.health()).status == "closed"
