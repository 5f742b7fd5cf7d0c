from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from september_engine import Engine, tool
from september_engine._turn.facts import HumanAnswered, decode_fact
from september_engine.errors import (
    EngineError,
    HitlAlreadyAnswered,
    HitlNotPending,
    InvalidRequest,
    InvalidType,
    StoreFull,
    TaskNotFound,
)
from september_engine.events import HitlRequest, HitlResolved, ToolResult
from september_engine.models.scripted import ScriptedModel, call, say, turn
from september_engine.store.base import TaskRow
from tests.engines import Bench, FlakyStore, names, soon, text, until, well_formed

RAN: list[str] = []


@tool(requires_permission=True)
async def careful(at: str = "it") -> str:
    """Do something that must be allowed."""
    RAN.append(at)
    return f"did {at}"


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


async def test_an_answer_given_the_moment_the_request_is_seen_counts(bench: Bench) -> None:
    async with bench.running([call("careful", at="noon"), say("Done.")], tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        async for event in one:
            if isinstance(event, HitlRequest):
                [listed] = await engine.pending()
                assert listed == event
                assert await engine.respond("t", "yes") == event.request_id
        events = await soon(one)
    well_formed(events)
    assert RAN == ["noon"]
    at = names(events).index
    assert at("hitl_request") < at("hitl_resolved") < at("tool_result")


async def test_no_means_a_result_with_the_reason_and_the_feedback() -> None:
    model = ScriptedModel([call("careful"), say("Then not.")])
    async with Bench().running(model, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, HitlRequest)
        await engine.respond("t", "no", feedback="Not today.")
        events = await soon(one)
    well_formed(events)
    [result] = [event for event in events if isinstance(event, ToolResult)]
    assert result.error is not None
    assert (result.error.reason, result.error.message) == ("permission_denied", "Not today.")
    assert RAN == []
    assert names(events)[-1] == "completed"


@pytest.mark.parametrize("answer", ["", "Yes", "YES", "y", "ok", "yes ", "no\n", "\u202eyes"])
async def test_anything_but_yes_or_no_is_refused_and_the_request_stays_open(answer: str) -> None:
    async with Bench().running([call("careful"), say("Done.")], tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, HitlRequest)
        with pytest.raises(InvalidRequest):
            await engine.respond("t", answer)
        assert len(await engine.pending()) == 1
        assert RAN == []
        await engine.respond("t", "yes")
        assert (await one).text == "Done."


async def test_of_many_answers_at_once_exactly_one_wins_and_the_others_are_told_which(bench: Bench) -> None:
    async with bench.running([call("careful"), say("Done.", hold=anyio.Event(), at=0)], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
        await _race(engine, answered_here=True)


async def test_the_same_where_the_turn_has_to_be_taken_up_first(bench: Bench) -> None:
    async with bench.running([call("careful")], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
    async with bench.running([say("Done.", hold=anyio.Event(), at=0)], tools=[careful]) as engine:
        await _race(engine, answered_here=False)


async def _race(engine: Engine, *, answered_here: bool) -> None:
    [request] = await engine.pending()
    won: list[str] = []
    lost: list[Any] = []

    async def answer(which: str) -> None:
        try:
            await engine.respond("t", which, request_id=request.request_id)
            won.append(which)
        except HitlAlreadyAnswered as error:
            lost.append(error.details["answer"])

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(answer, "yes" if number % 2 else "no")
    assert len(won) == 1
    assert lost == won * 19
    assert await engine.pending() == []
    facts = [decode_fact(row.body) for row in await engine._running.store.turn("t", request_turn(engine))]
    assert sum(isinstance(fact, HumanAnswered) for fact in facts) == 1
    assert len(RAN) == (1 if won == ["yes"] else 0)


def request_turn(engine: Engine) -> str:
    return engine._running.live["t"].turn_id


async def test_an_answer_that_meets_a_submit_after_a_restart_counts(bench: Bench) -> None:
    """The submit holds the task's place for a moment, only to be told that a person is awaited."""
    async with bench.running([call("careful")], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
    async with bench.running([say("Done.")], tools=[careful]) as engine:
        refused = engine.execute("again", task_id="t")
        await engine.respond("t", "yes")
        with pytest.raises(EngineError):
            await refused
        assert text(await soon(engine.replay(task_id="t"))) == "Done."


async def test_an_answer_whose_log_is_full_is_not_lost_silently() -> None:
    store = FlakyStore()
    bench = Bench(store=store)
    async with bench.running([call("careful")], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
    async with bench.running([say("Done.")], tools=[careful]) as engine:
        store.failing = StoreFull("full")
        with pytest.raises(StoreFull):
            await engine.respond("t", "yes")
        assert len(await engine.pending()) == 1
        assert RAN == []
        store.failing = None
        await engine.respond("t", "yes")
        assert text(await soon(engine.replay(task_id="t"))) == "Done."
    assert RAN == ["it"]


async def test_what_is_not_asked_cannot_be_answered() -> None:
    async with Bench().running([say("Hello"), call("careful")], tools=[careful]) as engine:
        for task_id in ("unknown", "t"):
            with pytest.raises(HitlNotPending):
                await engine.respond(task_id, "yes")
        await engine.execute("go", task_id="t")
        await until(engine.execute("go", task_id="t"), HitlRequest)
        with pytest.raises(HitlNotPending):
            await engine.respond("t", "yes", request_id="hitl_of_another_task")
        await engine.cancel("t")
        with pytest.raises(HitlNotPending):
            await engine.respond("t", "yes")
        assert await engine.pending() == []
        with pytest.raises(TaskNotFound):
            await engine.cancel("unknown")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"answer": 1}, InvalidType),
        ({"answer": "\ud800"}, InvalidRequest),
        ({"feedback": 1}, InvalidType),
        ({"feedback": "\ud800"}, InvalidRequest),
        ({"content_blocks": [{"type": "text"}]}, InvalidRequest),
        ({"content_blocks": ["text"]}, InvalidRequest),
        ({"content_blocks": [{"type": "image", "source": {"type": "base64", "data": "?"}}]}, InvalidRequest),
    ],
)
async def test_nothing_unusable_gets_into_the_log_with_an_answer(
    changes: dict[str, Any], error: type[InvalidRequest]
) -> None:
    async with Bench().running([call("careful"), say("Done.")], tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, HitlRequest)
        arguments: dict[str, Any] = {"answer": "yes", **changes}
        with pytest.raises(error):
            await engine.respond("t", **arguments)
        assert len(await engine.pending()) == 1
        await engine.respond("t", "yes")
        assert (await one).text == "Done."


async def test_content_that_comes_with_an_answer_is_given_to_the_model() -> None:
    model = ScriptedModel([call("careful"), say("Done.")])
    async with Bench().running(model, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, HitlRequest)
        await engine.respond("t", "no", content_blocks=[{"type": "text", "text": "Use the other door."}])
        await one
    said = model.requests[1].prompt.messages[-1]["content"]
    assert [block["type"] for block in said] == ["tool_result", "text"]
    assert said[1]["text"] == "Use the other door."


async def test_every_pause_is_listed_until_it_ends_over_all_tasks_oldest_first() -> None:
    bench = Bench()
    script = turn(call("careful", id="c1", at="a"), call("careful", id="c2", at="b"))
    async with bench.running(lambda request: script, tools=[careful]) as engine:
        for task_id in ("one", "two"):
            await until(engine.execute("go", task_id=task_id), HitlRequest)
            await bench.clock.advance(1)
        listed = await engine.pending()
        assert [(request.task_id, request.input) for request in listed] == [
            ("one", {"at": "a"}),
            ("one", {"at": "b"}),
            ("two", {"at": "a"}),
            ("two", {"at": "b"}),
        ]
        for request in listed:
            assert (request.kind, request.tool) == ("permission", "careful")
            msgspec.json.encode(request)
        await engine.respond("one", "no", request_id=listed[1].request_id)
        await engine.cancel("two")
        assert await engine.pending() == [listed[0]]
        async for event in engine.replay(task_id="one"):
            if isinstance(event, HitlResolved):
                assert (event.request_id, event.answer) == (listed[1].request_id, "no")
                break
        # without a name the oldest open one is meant
        assert await engine.respond("one", "yes") == listed[0].request_id


async def test_a_second_pause_in_the_same_turn_is_a_request_of_its_own() -> None:
    model = ScriptedModel([call("careful", at="first"), call("careful", at="second"), say("Done.")])
    async with Bench().running(model, tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        answered: list[str] = []
        async for event in one:
            if isinstance(event, HitlRequest):
                assert [request.request_id for request in await engine.pending()] == [event.request_id]
                answered.append(await engine.respond("t", "yes"))
        assert len(set(answered)) == 2
        assert (await one).text == "Done."
    assert RAN == ["first", "second"]


async def test_parallel_permissions_are_separate_and_survive_apart() -> None:
    bench = Bench()
    both = turn(call("careful", id="c1", at="one"), call("careful", id="c2", at="two"))
    async with bench.running([both], tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, HitlRequest)
        first, second = await engine.pending()
        await engine.respond("t", "no", request_id=second.request_id, feedback="Not two.")
        assert await engine.pending() == [first]
    model = ScriptedModel([say("done")])
    async with bench.running(model, tools=[careful]) as engine:
        assert await engine.pending() == [first]
        await engine.respond("t", "yes")
        events = await soon(engine.replay(task_id="t"))
    well_formed(events)
    results = model.requests[0].prompt.messages[-1]["content"]
    assert [block["content"] for block in results] == ["did one", "permission_denied: Not two."]


async def test_an_answer_that_finds_an_old_index_takes_up_no_turn_that_has_ended() -> None:
    class Late(FlakyStore):
        old: TaskRow | None = None

        async def task(self, task_id: str, /) -> TaskRow | None:
            old, self.old = self.old, None
            return old or await super().task(task_id)

    store = Late()
    bench = Bench(store=store)
    async with bench.running([call("careful"), say("Done.")], tools=[careful]) as engine:
        turn = engine.execute("go", task_id="t")
        await until(turn, HitlRequest)
        waiting = await store.task("t")
        await engine.respond("t", "yes")
        assert (await turn).text == "Done."
        store.old = waiting
        with pytest.raises(HitlNotPending):
            await engine.respond("t", "yes")
        assert engine._running.live == {}
