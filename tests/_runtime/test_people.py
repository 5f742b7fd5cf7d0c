from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from september_engine import Engine, tool
from september_engine._turn.facts import HumanAnswered, decode_fact
from september_engine._turn.limits import Limits
from september_engine.errors import (
    EngineError,
    HitlAlreadyAnswered,
    HitlNotPending,
    InvalidRequest,
    InvalidType,
    StoreFull,
    TaskNotFound,
    TurnFailed,
)
from september_engine.events import Error, HitlRequest, HitlResolved, ToolResult
from september_engine.models.scripted import ScriptedModel, call, say, turn
from september_engine.permissions import Policy, Rule, Unknown, Write
from september_engine.store.base import Batch, TaskRow
from september_engine.tools.ask_user import ask_user
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


# ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_answer_to_a_question_is_its_result_across_a_restart() -> None:
    bench = Bench()
    asks = turn(say("One thing."), call("ask_user", question="Which night?"))
    async with bench.running([asks], tools=[ask_user]) as engine:
        event = await until(engine.execute("go", task_id="t"), HitlRequest)
        assert (event.kind, event.question) == ("question", "Which night?")
        assert (event.tool, event.tool_call_id, event.input, event.remember) == (None, None, None, None)
    model = ScriptedModel([say("Tonight, then.")])
    async with bench.running(model, tools=[ask_user]) as engine:
        assert await engine.pending() == [event]
        for nothing in ("", " \n"):
            with pytest.raises(InvalidRequest, match="not blank"):
                await engine.respond("t", nothing)
        with pytest.raises(InvalidRequest, match="remembered"):
            await engine.respond("t", "yes", remember=True)
        await engine.respond("t", "tonight", feedback="After ten.")
        events = await soon(engine.replay(task_id="t"))
    well_formed(events)
    [result] = [each for each in events if isinstance(each, ToolResult)]
    assert (result.tool, result.output, result.error) == ("ask_user", "tonight", None)
    said = model.requests[0].prompt.messages[-1]["content"]
    assert [block.get("content", block.get("text")) for block in said] == ["tonight", "A person added: After ten."]


async def test_a_question_that_does_not_fit_is_nobodys_business() -> None:
    model = ScriptedModel([turn(call("ask_user", id="c1", question=""), call("careful", id="c2", at=5)), say("So.")])
    async with Bench().running(model, tools=[ask_user, careful]) as engine:
        events = await soon(engine.execute("go", task_id="t"))
    results = [event.error.reason for event in events if isinstance(event, ToolResult) and event.error is not None]
    assert results == ["invalid_input", "invalid_input"]
    assert "hitl_request" not in names(events)


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def touching() -> Any:
    """A tool that says which files it would write."""

    @tool(actions=lambda input: [Write(path=str(input["path"]))])
    async def touch(path: str) -> str:
        """Write a file."""
        RAN.append(path)
        return f"wrote {path}"

    return touch


async def test_the_rules_look_into_a_call_before_it_runs() -> None:
    policy = Policy(roots=("/in",), rules=(Rule(effect="deny", write="/in/secret/**", reason="That is secret."),))
    paths = ["/in/a", "/in/secret/b", "/out/c"]
    script = turn(*[call("touch", id=f"c{number}", path=path) for number, path in enumerate(paths)])
    model = ScriptedModel([script, say("So.")])
    async with Bench().running(model, tools=[touching()], policy=policy) as engine:
        one = engine.execute("go", task_id="t")
        asked = await until(one, HitlRequest)
        assert asked.input == {"path": "/out/c"}
        assert asked.question == ("May touch run with this input? It writes outside of the allowed folders: /out/c.")
        assert asked.remember == ["allow touch: write /out/c"]
        await engine.respond("t", "yes")
        events = await soon(one)
    well_formed(events)
    assert RAN == ["/in/a", "/out/c"]
    results = {event.tool_call_id: event for event in events if isinstance(event, ToolResult)}
    assert results["c1"].error is not None
    assert (results["c1"].error.reason, results["c1"].error.message) == (
        "permission_denied",
        "Not run: That is secret.",
    )


async def test_an_answer_for_good_counts_in_the_rest_of_the_task_and_nowhere_else() -> None:
    def script(request: Any) -> Any:
        last = request.prompt.messages[-1]["content"]
        return say("Done.") if last[0]["type"] == "tool_result" else call("touch", path=last[-1]["text"])

    bench = Bench()
    async with bench.running(script, tools=[touching()]) as engine:
        first = engine.execute("/out/a", task_id="t")
        await until(first, HitlRequest)
        await engine.respond("t", "yes", remember=True)
        before = (await first).user_message_id
        assert "hitl_request" not in names(await soon(engine.execute("/out/a", task_id="t")))
    async with bench.running(script, tools=[touching()]) as engine:
        assert "hitl_request" not in names(await soon(engine.execute("/out/a", task_id="t")))
        for message, task_id, edited in (
            ("/out/b", "t", None),
            ("/out/a", "another", None),
            ("/out/a", "t", before),  # an edit takes the answer back with what it answered
        ):
            with anyio.fail_after(5):
                await until(engine.execute(message, task_id=task_id, edit_message_id=edited), HitlRequest)
            await engine.cancel(task_id)
    assert RAN == ["/out/a"] * 3


async def test_a_rule_that_came_during_the_pause_outranks_the_answer() -> None:
    bench = Bench()
    three = turn(*[call("touch", id=f"c{number}", path=f"/out/{number}") for number in range(3)])
    async with bench.running([three], tools=[touching()]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
        assert len(await engine.pending()) == 3
    stricter = Policy(rules=(Rule(effect="deny", write="/out/1", reason="Not this one any more."),))
    model = ScriptedModel([say("So.")])
    async with bench.running(model, tools=[touching()], policy=stricter) as engine:
        for _ in range(3):
            await engine.respond("t", "yes")
        events = await soon(engine.replay(task_id="t"))
    well_formed(events)
    assert sorted(RAN) == ["/out/0", "/out/2"]
    results = [block["content"] for block in model.requests[0].prompt.messages[-1]["content"]]
    assert results == ["wrote /out/0", "permission_denied: Not run: Not this one any more.", "wrote /out/2"]


async def test_a_turn_that_is_resumed_under_stricter_rules_does_not_run_what_nobody_allowed() -> None:
    """The reply is in the log and the intent to run is not; every call of the step is refused, and the turn goes on."""

    class DiesBeforeTools(FlakyStore):
        async def append(self, batch: Batch, /) -> None:
            if self.failing is not None and any(b'"tool_started"' in fact.body for fact in batch.facts):
                raise self.failing
            await self.inner.append(batch)

    store = DiesBeforeTools(failing=StoreFull("full"))
    bench = Bench(store=store)
    lenient = Policy(roots=("/in",))
    async with bench.running([call("touch", path="/in/a")], tools=[touching()], policy=lenient) as engine:
        with pytest.raises(TurnFailed):
            await engine.execute("go", task_id="t")
    store.failing = None
    async with bench.running([say("So.")], tools=[touching()], recovery="resume") as engine:
        events = await soon(engine.replay(task_id="t"))
    [result] = [event for event in events if isinstance(event, ToolResult)]
    assert result.error is not None
    assert "the rules have changed" in result.error.message
    assert names(events)[-1] == "completed"
    assert RAN == []


@pytest.mark.parametrize("actions", [lambda input: input["nothing"], lambda input: [Unknown(why="it is odd")]])
async def test_a_tool_that_cannot_say_what_it_would_do_asks(actions: Any) -> None:
    @tool(actions=actions)
    async def odd() -> str:
        """Do something."""
        return "done"

    async with Bench().running([call("odd")], tools=[odd]) as engine:
        asked = await until(engine.execute("go", task_id="t"), HitlRequest)
        assert "It was not understood" in asked.question
        assert asked.remember == ["allow odd: exactly this call"]


async def test_a_dear_tool_asks() -> None:
    @tool(high_cost=True)
    async def render() -> str:
        """Render the film."""
        return "done"

    async with Bench().running([call("render")], tools=[render]) as engine:
        asked = await until(engine.execute("go", task_id="t"), HitlRequest)
        assert asked.question == "May render run with this input? A call of render is expensive."


# ── answers that come at a bad time ──────────────────────────────────────────────────────────────────────────────────


async def test_an_answer_that_was_given_is_told_after_the_end_too() -> None:
    async with Bench().running([call("careful"), say("Done.")], tools=[careful]) as engine:
        one = engine.execute("go", task_id="t")
        request = await until(one, HitlRequest)
        await engine.respond("t", "no")
        await one
        with pytest.raises(HitlAlreadyAnswered) as found:
            await engine.respond("t", "yes", request_id=request.request_id)
        assert found.value.details["answer"] == "no"
        for request_id in (None, "hitl-of-nobody"):
            with pytest.raises(HitlNotPending):
                await engine.respond("t", "yes", request_id=request_id)
        with pytest.raises(HitlNotPending):
            await engine.respond("elsewhere", "yes", request_id=request.request_id)


async def test_nobody_answered_for_three_days(bench: Bench) -> None:
    async with bench.running([call("careful")], tools=[careful]) as engine:
        request = await until(engine.execute("go", task_id="t"), HitlRequest)
    bench.clock.wall += (72 * 3600 - 1) * 1000
    async with bench.running([], tools=[careful]) as engine:
        assert await engine.pending() == [request]
        await bench.clock.until_asleep(2)  # the sweep, too: it has looked once
        await bench.clock.advance(120)
        events = await soon(engine.replay(task_id="t"))
        assert [event.error for event in events if isinstance(event, Error)] == ["HITL_EXPIRED"]
        assert await engine.pending() == []
        with pytest.raises(HitlNotPending):
            await engine.respond("t", "yes", request_id=request.request_id)
    assert RAN == []


@pytest.mark.campaign
async def test_ten_thousand_races_have_one_winner_each() -> None:
    """Two answers at once to each of 10,000 requests: one counts, the other is told which."""
    each = 16
    turns = 10_000 // each + 1
    calls = turn(*[call("careful", id=f"c{number}") for number in range(each)])
    model = ScriptedModel(lambda request: say("Done.") if len(request.prompt.messages) > 1 else calls)
    wins: list[str] = []

    async def answer(engine: Engine, request: HitlRequest, which: str) -> None:
        try:
            await engine.respond(request.task_id, which, request_id=request.request_id)
            wins.append(request.request_id)
        except HitlAlreadyAnswered as error:
            assert error.details["answer"] != which

    bench = Bench()
    engine = await bench.engine(model, tools=[careful], limits=Limits(tool_calls=each)).open()
    for number in range(turns):
        one = engine.execute("go", task_id=f"t{number}")
        await until(one, HitlRequest)
        requests = await engine.pending()
        assert len(requests) == each
        async with anyio.create_task_group() as group:
            for request in requests:
                for which in ("yes", "no"):
                    group.start_soon(answer, engine, request, which)
        await one
    await engine.aclose()
    assert len(wins) == len(set(wins)) == turns * each >= 10_000


@pytest.mark.parametrize("recovery", ["abandon", "resume"])
async def test_a_question_that_is_out_outlives_a_crash_in_the_middle_of_another_call(recovery: str) -> None:
    """One call is allowed and running, one is denied, one waits: each runs once or not at all, whatever dies."""
    ran: list[str] = []
    begun, never = anyio.Event(), anyio.Event()

    @tool(requires_permission=True)
    async def work(at: str) -> str:
        """Work."""
        ran.append(at)
        if at == "first":
            begun.set()
            await never.wait()
        return f"did {at}"

    bench = Bench()
    three = turn(*(call("work", id=f"c{at}", at=at) for at in ("first", "second", "third")))
    async with bench.running([three], tools=[work]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest)
        first, second, third = await engine.pending()
        await engine.respond("t", "no", request_id=second.request_id)
        await engine.respond("t", "yes", request_id=first.request_id)
        await begun.wait()
    model = ScriptedModel([say("done")])
    async with bench.running(model, tools=[work], recovery=recovery) as engine:
        assert await engine.pending() == [third]
        await engine.respond("t", "yes", request_id=third.request_id)
        events = await soon(engine.replay(task_id="t"))
    well_formed(events)
    results = [block["content"] for block in model.requests[0].prompt.messages[-1]["content"]]
    assert [text.partition(":")[0] for text in results] == ["outcome_unknown", "permission_denied", "did third"]
    assert ran == ["first", "third"]
