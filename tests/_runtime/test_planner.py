"""The planning step, seen through an engine: what it costs, what it shows, and that it never fails a turn."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from september_engine import Limits
from september_engine._runtime.planner import PLANNING_SECONDS
from september_engine._turn.planning import PLAN_SCHEMA
from september_engine.errors import ConfigurationError, ModelError, TurnFailed
from september_engine.events import Plan, PlanStep, TextDelta, ThreadLifecycle
from september_engine.models.base import Progress
from september_engine.models.scripted import ScriptedModel, call, fail, hold, say, turn
from september_engine.permissions import Policy, Rule
from september_engine.tools import tool
from tests.engines import Bench, idle, look, names, phases, soon, text, ticks, until, well_formed

GO = "Find the fox and tell everybody."


def plan(*titles: str) -> Any:
    return say(json.dumps({"worthwhile": bool(titles), "steps": list(titles)}))


def planning(*script: Any) -> ScriptedModel:
    return ScriptedModel(script, name="planner")


def steps(*rows: tuple[str, str]) -> list[dict[str, str]]:
    return [{"id": str(n), "title": title, "status": status} for n, (title, status) in enumerate(rows, 1)]


def stored(*rows: tuple[str, Any]) -> list[PlanStep]:
    return [PlanStep(id=str(n), title=title, status=status) for n, (title, status) in enumerate(rows, 1)]


async def test_a_plan_is_made_shown_told_to_the_model_and_kept_up_to_date() -> None:
    planner = planning(plan("Look", "Tell"))
    update = call("update_plan", steps=steps(("Look", "done"), ("Tell", "active")))
    model = ScriptedModel([update, say("Done.")])
    async with Bench().running(model, planner=planner) as engine:
        asked = engine.execute(GO, task_id="t")
        events = await soon(asked)
        well_formed(events)
        assert names(events)[:3] == ["started", "usage", "plan"]
        assert [event for event in events if isinstance(event, Plan)] == [
            Plan(steps=stored(("Look", "pending"), ("Tell", "pending"))),
            Plan(steps=stored(("Look", "done"), ("Tell", "active"))),
        ]
        assert text(events) == "Done."
        assert await engine.plan("t") == stored(("Look", "done"), ("Tell", "active"))
        (request,) = planner.requests
        usage = sum(each.usage.input_tokens for each in events if isinstance(each, ThreadLifecycle) and each.usage)
        assert (await asked).usage.input_tokens == usage > 0
    assert request.output_schema == PLAN_SCHEMA
    assert request.prompt.tools == []
    first, second = model.requests
    assert "1. [pending] Look" in first.prompt.messages[0]["content"][1]["text"]
    assert second.prompt.messages[0] == first.prompt.messages[0]
    assert [each["name"] for each in first.prompt.tools] == ["update_plan"]


@pytest.mark.parametrize(
    ("message", "direct", "calls"),
    [(GO, True, 0), ("Hello! How are you?", False, 0), ("Hi, what is your name?", False, 1)],
)
async def test_small_talk_costs_at_most_one_call_and_direct_none(message: str, direct: bool, calls: int) -> None:
    planner = planning(plan())
    async with Bench().running([say("Hello.")], planner=planner) as engine:
        events = await soon(engine.execute(message, task_id="t", direct=direct))
        assert "plan" not in names(events)
        assert await engine.plan("t") == []
    assert len(planner.requests) == calls


async def test_without_a_planner_there_is_no_step_and_no_tool() -> None:
    model = ScriptedModel([say("Done.")])
    async with Bench().running(model) as engine:
        assert names(await soon(engine.execute(GO, task_id="t")))[:2] == ["started", "content_block_start"]
    assert model.requests[0].prompt.tools == []


class Odd:
    """A planner that breaks the rules of the port."""

    name = "odd"

    async def stream(self, request: Any, /) -> Any:
        yield Progress()
        if request.max_tokens < 0:
            yield Progress()
        raise SystemError("odd")

    async def aclose(self) -> None:
        return


@pytest.mark.parametrize(
    "planner",
    [
        planning(fail(ModelError("Overloaded.", retryable=True))),
        planning(say("I think that no plan is needed.")),
        planning(),
        planning(turn(say("{"), stop_reason="max_tokens")),
        planning(turn(say("I will not."), stop_reason="refusal")),
        planning(call("look")),
        Odd(),
    ],
    ids=["fails", "prose", "no answer", "cut", "refuses", "calls", "odd"],
)
async def test_a_planner_that_fails_never_fails_the_turn(planner: Any) -> None:
    async with Bench().running([say("Done.")], planner=planner) as engine:
        events = await soon(engine.execute(GO, task_id="t"))
        well_formed(events)
        assert phases(events) == ["started", "completed"]
        assert text(events) == "Done."
        assert "plan" not in names(events)
        assert (await engine.health()).status == "ok"


async def test_one_that_is_silent_is_done_without() -> None:
    bench = Bench()
    planner = planning(hold(anyio.Event()))
    async with bench.running([say("Done.")], planner=planner) as engine:
        asked = engine.execute(GO, task_id="t")
        await until(asked, ThreadLifecycle)
        while not planner.open_streams:
            await ticks(1)
        await bench.clock.advance(PLANNING_SECONDS)
        assert (await asked).text == "Done."
    assert planner.open_streams == 0


async def test_cancelling_ends_the_step_and_the_turn() -> None:
    planner, model = planning(hold(anyio.Event())), ScriptedModel([say("Again.")])
    async with Bench().running(model, planner=planner) as engine:
        asked = engine.execute(GO, task_id="t")
        await until(asked, ThreadLifecycle)
        while not planner.open_streams:
            await ticks(1)
        assert await engine.cancel("t")
        assert planner.open_streams == 0
        with pytest.raises(TurnFailed) as caught:
            await asked
        assert caught.value.code == "CANCELLED"
        assert (await engine.execute("hi", task_id="t")).text == "Again."


async def test_the_turn_may_run_out_of_time_meanwhile() -> None:
    bench = Bench()
    planner = planning(hold(anyio.Event()))
    async with bench.running([], planner=planner, limits=Limits(seconds=5)) as engine:
        asked = engine.execute(GO, task_id="t")
        await until(asked, ThreadLifecycle)
        await bench.clock.advance(6)
        with pytest.raises(TurnFailed) as caught:
            await asked
        assert caught.value.code == "BUDGET_EXCEEDED"


async def test_the_plan_survives_a_restart_and_rewinds_with_an_edit_and_a_retry() -> None:
    bench = Bench()
    planner = planning(plan("Look", "Tell"), plan("Sit", "Wait"))
    async with bench.running(lambda request: say("Yes."), planner=planner) as engine:
        first = await engine.execute(GO, task_id="t")
        await engine.execute("Now sit for a while, then wait.", task_id="t")
    again = planning(plan(), plan("Run", "Hide"))
    async with bench.running(lambda request: say("Yes."), planner=again) as engine:
        assert [step.title for step in await engine.plan("t")] == ["Sit", "Wait"]
        assert "1. [pending] Sit" not in str(again.requests)
        await engine.execute("Go on with what you do, please.", task_id="t")
        assert [step.title for step in await engine.plan("t")] == ["Sit", "Wait"], "no new plan: the old one stays"
        assert "1. [pending] Sit" in again.requests[0].prompt.messages[0]["content"][0]["text"]
        await engine.execute("(again)", task_id="t", retry_message_id=first.message_id)
        assert [step.title for step in await engine.plan("t")] == ["Run", "Hide"]
        await engine.execute("Hi!", task_id="t", edit_message_id=first.user_message_id)
        assert await engine.plan("t") == []


@pytest.mark.parametrize("has_planner", [True, False])
async def test_the_next_process_makes_the_plan_that_is_owed_where_it_can(has_planner: bool) -> None:
    bench = Bench()
    planner = planning(hold(anyio.Event()))
    async with bench.running([], planner=planner) as engine:
        await until(engine.execute(GO, task_id="t"), ThreadLifecycle)
        while not planner.open_streams:
            await ticks(1)
    other = planning(plan("Look", "Tell")) if has_planner else None
    async with bench.running([say("Done.")], planner=other, recovery="resume") as engine:
        events = await soon(engine.replay(task_id="t"))
        well_formed(events)
        assert text(events) == "Done."
        assert ("plan" in names(events)) is has_planner
        await idle(engine)


async def test_a_call_of_update_plan_that_is_wrong_is_told_so_and_a_rule_may_forbid_it() -> None:
    twice = call("update_plan", id="a", steps=[{"id": "1", "title": "Look", "status": "done"}] * 2)
    strange = call("update_plan", id="b", steps=steps(("Look", "never")))
    model = ScriptedModel([turn(twice, strange), say("Sorry.")])
    async with Bench().running(model, planner=planning(plan("Look", "Tell"))) as engine:
        events = await soon(engine.execute(GO, task_id="t"))
        assert names(events).count("plan") == 1
    results = model.requests[1].prompt.messages[-1]["content"]
    assert [result["content"].split(":")[0] for result in results] == ["invalid_input", "invalid_input"]

    never = Policy(rules=(Rule(effect="deny", tool="update_plan"),))
    model = ScriptedModel([call("update_plan", steps=[]), say("Sorry.")])
    async with Bench().running(model, planner=planning(plan("Look", "Tell")), policy=never) as engine:
        await engine.execute(GO, task_id="t")
        assert [step.title for step in await engine.plan("t")] == ["Look", "Tell"]


async def test_nothing_of_the_planner_is_text() -> None:
    async with Bench().running([call("look"), say("Done.")], planner=planning(plan("Look", "Tell")), tools=[look]) as e:
        events = await soon(e.execute(GO, task_id="t"))
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Done."


async def test_the_name_of_the_planners_tool_is_taken() -> None:
    @tool
    async def update_plan() -> str:
        """Mine."""
        return ""

    engine = Bench().engine([], tools=[update_plan], planner=planning())
    with pytest.raises(ConfigurationError, match="update_plan"):
        await engine.open()
