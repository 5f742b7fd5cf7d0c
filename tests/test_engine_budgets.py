"""Budgets as a caller meets them: what a turn cost, and what ends one that costs too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import attrs
import pytest

from september_engine import Engine, Limits, Settings
from september_engine.errors import ConfigurationError, InvalidRequest, ModelError, TurnFailed
from september_engine.events import Error, ThreadLifecycle
from september_engine.messages import Usage
from september_engine.models.base import Chunk, ModelRequest, Progress
from september_engine.models.prices import Price, PriceList
from september_engine.models.scripted import Answer, ScriptedModel, call, fail, hold, say, turn
from september_engine.store.base import Store
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench, held, look, soon, until

PRICES = PriceList({"scripted": Price(input=1, output=1)})
MILLION = Usage(input_tokens=400_000, output_tokens=600_000)
"""What costs one US dollar."""


def dear(text: str = "Done.") -> Answer:
    return turn(say(text), usage=MILLION)


def looking() -> Answer:
    return turn(call("look"), usage=MILLION)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "brain.sqlite")


async def test_a_turn_says_what_it_cost_in_its_last_event_and_its_result(bench: Bench) -> None:
    async with bench.running([looking(), dear()], tools=[look], prices=PRICES) as engine:
        running = engine.execute("Look.", task_id="t")
        last = (await soon(running))[-1]
        assert isinstance(last, ThreadLifecycle)
        assert (last.usage, last.cost_usd) == (MILLION + MILLION, 2.0)
        result = await running
        assert (result.usage, result.cost_usd, result.output) == (MILLION + MILLION, 2.0, None)


async def test_an_attempt_that_failed_is_in_the_result_too(bench: Bench) -> None:
    broke = fail(ModelError("It broke.", retryable=False))
    async with bench.running([broke], fallback=ScriptedModel([dear()]), prices=PRICES) as engine:
        assert (await engine.execute("Hi", task_id="t")).cost_usd == 1.0


async def test_a_cost_that_nobody_knows_is_none_and_no_number(bench: Bench) -> None:
    async with bench.running([dear()], prices=PriceList({})) as engine:
        running = engine.execute("Hi", task_id="t")
        last = (await soon(running))[-1]
        assert isinstance(last, ThreadLifecycle)
        assert last.cost_usd is None
        assert (await running).cost_usd is None


async def test_a_turn_that_costs_too_much_ends_and_says_what_it_spent(bench: Bench) -> None:
    script = [looking(), looking(), dear()]
    async with bench.running(script, tools=[look], prices=PRICES, limits=Limits(usd=1.5)) as engine:
        running = engine.execute("Look.", task_id="t")
        error = (await soon(running))[-1]
        assert isinstance(error, Error)
        assert error.error == "BUDGET_EXCEEDED"
        assert error.message == "The turn has cost 2 USD of 1.5 (limit: usd)."
        assert error.details == {
            "steps": 2,
            "tool_calls": 2,
            "input_tokens": 800_000,
            "output_tokens": 1_200_000,
            "cost_usd": 2.0,
            "task_tokens": 2_000_000,
            "task_usd": 2.0,
            "retry_message_id": "msg_1",
        }
        with pytest.raises(TurnFailed, match="limit: usd"):
            await running


async def test_a_task_has_a_budget_over_all_its_turns_and_branches_and_restarts(store: Store) -> None:
    bench, limits = Bench(store=store), Limits(task_usd=3)
    async with bench.running(lambda request: dear(), prices=PRICES, limits=limits) as engine:
        first = await engine.execute("One", task_id="t")
        await engine.execute("Another", task_id="t", edit_message_id=first.user_message_id)
    async with bench.running(lambda request: dear(), prices=PRICES, limits=limits) as engine:
        third = await engine.execute("Three", task_id="t")
        assert third.cost_usd == 1.0
        before = await engine.messages("t")
        with pytest.raises(TurnFailed, match=r"The task has cost 3 USD of 3 \(limit: task_usd\)") as failed:
            await engine.execute("Four", task_id="t")
        assert failed.value.details["steps"] == 0
        # a message that no model was asked is not left in the thread
        assert await engine.messages("t") == before
        assert (await engine.execute("Elsewhere", task_id="u")).cost_usd == 1.0
    async with bench.running(lambda request: dear(), prices=PRICES) as engine:
        assert (await engine.execute("Without a limit", task_id="t")).text == "Done."


async def test_tokens_of_a_task_need_no_prices(bench: Bench) -> None:
    async with bench.running(lambda request: dear(), limits=Limits(task_tokens=2_000_000)) as engine:
        for text in ("One", "Two"):
            await engine.execute(text, task_id="t")
        with pytest.raises(TurnFailed, match="limit: task_tokens"):
            await engine.execute("Three", task_id="t")


async def test_a_cancelled_turn_has_spent_what_it_had_spent(bench: Bench) -> None:
    never = anyio.Event()
    script = [turn(call("look"), usage=MILLION), hold(never), dear()]
    limits = Limits(task_usd=1)
    async with bench.running(script, tools=[look], prices=PRICES, limits=Limits(usd=9)) as engine:
        running = engine.execute("Look.", task_id="t")
        async for event in running:
            if event.type == "tool_result":
                break
        await engine.cancel("t")
    async with bench.running([dear()], prices=PRICES, limits=limits) as engine:
        with pytest.raises(TurnFailed, match="limit: task_usd"):
            await engine.execute("More.", task_id="t")


@attrs.define
class Halfway:
    """A model that says what it has used so far, and no more."""

    used: anyio.Event = attrs.field(factory=anyio.Event)
    name: str = "scripted"

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        yield Progress(MILLION)
        self.used.set()
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        pass


async def test_what_an_attempt_had_cost_when_it_was_cancelled_is_kept(bench: Bench) -> None:
    model = Halfway()
    async with bench.running(model, prices=PRICES) as engine:
        engine.execute("Hi", task_id="t")
        await model.used.wait()
        await engine.cancel("t")
        assert (await engine.task("t")).cost_usd == 1.0


async def test_a_model_that_goes_round_in_circles_is_stopped(bench: Bench) -> None:
    async with bench.running(lambda request: call("look"), tools=[look], limits=Limits(repeats=3)) as engine:
        with pytest.raises(TurnFailed, match="limit: repeats") as failed:
            await engine.execute("Look.", task_id="t")
        assert failed.value.details["steps"] == 4


class TestLimitsOfOneTurn:
    async def test_they_stand_for_the_engines(self, bench: Bench) -> None:
        def script(request: ModelRequest) -> Answer:
            return looking() if len(request.prompt.messages) % 4 != 3 else dear()

        async with bench.running(script, tools=[look], prices=PRICES, limits=Limits(steps=9)) as engine:
            with pytest.raises(TurnFailed, match=r"1 model calls \(limit: steps\)"):
                await engine.execute("Look.", task_id="a", limits=Limits(steps=1))
            with pytest.raises(TurnFailed, match=r"limit: usd"):
                await engine.execute("Look.", task_id="b", limits=Limits(usd=0.5))
            assert (await engine.execute("Look.", task_id="c")).cost_usd == 2.0
            with pytest.raises(TurnFailed, match=r"The task has cost 2 USD of 1.5 \(limit: task_usd\)"):
                await engine.execute("More.", task_id="c", limits=Limits(task_usd=1.5))
            assert (await engine.execute("More.", task_id="c", limits=Limits(task_usd=9))).cost_usd == 2.0

    async def test_a_turn_that_is_resumed_keeps_its_own(self) -> None:
        bench = Bench()
        async with bench.running([held()], tools=[look]) as engine:
            await until(engine.execute("Look.", task_id="t", limits=Limits(steps=1)), ThreadLifecycle)
        async with bench.running([looking()], tools=[look], recovery="resume") as engine:
            last = (await soon(engine.replay(task_id="t")))[-1]
            assert isinstance(last, Error)
            assert "limit: steps" in last.message

    async def test_what_cannot_be_kept_is_refused_at_once(self, bench: Bench) -> None:
        async with bench.running([say("Hi.")], prices=PriceList({})) as engine:
            for limits, why in ((Limits(usd=1), "none is known for scripted"), (Limits(steps=-1), "is no limit")):
                with pytest.raises(InvalidRequest, match=why):
                    engine.execute("Hi", task_id="t", limits=limits)
            with pytest.raises(InvalidRequest, match="must be Limits"):
                engine.execute("Hi", task_id="t", limits={"usd": 1})  # type: ignore[call-overload]
            assert (await engine.execute("Hi", task_id="t")).text == "Hi."


class TestConfiguration:
    @pytest.mark.parametrize(("limits", "most"), [(None, 900), (Limits(steps=3), 900), (Limits(max_tokens=70), 70)])
    async def test_a_budget_leaves_the_settings_as_they_are(self, limits: Limits | None, most: int) -> None:
        model = ScriptedModel([say("Hi."), say("Hi.")])
        async with Bench().running(model, limits=limits, max_tokens=900) as engine:
            await engine.execute("Hi", task_id="t")
            await engine.execute("Hi", task_id="t", limits=limits)
        assert [request.max_tokens for request in model.requests] == [most, most]

    @pytest.mark.parametrize("limits", [Limits(usd=1), Limits(task_usd=1)])
    async def test_a_limit_in_money_for_a_model_without_a_price_keeps_the_engine_closed(self, limits: Limits) -> None:
        engine = Bench().engine([], limits=limits)
        with pytest.raises(ConfigurationError, match=r"is known for scripted\. Install september-engine\[prices\]"):
            await engine.open()

    async def test_the_fallback_needs_a_price_too(self) -> None:
        fallback = ScriptedModel([], "other")
        engine = Bench().engine([], fallback=fallback, prices=PRICES, limits=Limits(usd=1))
        with pytest.raises(ConfigurationError, match="none is known for other"):
            await engine.open()

    @pytest.mark.parametrize(
        "limits",
        [Limits(usd=-1), Limits(task_usd=float("nan")), Limits(task_tokens=1.5), Limits(repeats=0)],  # type: ignore[arg-type]
    )
    def test_a_limit_is_a_number(self, limits: Limits) -> None:
        with pytest.raises(ConfigurationError, match="is no limit"):
            Engine(":memory:", limits=limits, settings=Settings())

    def test_a_price_list_is_one(self) -> None:
        with pytest.raises(ConfigurationError, match="is no price list"):
            Engine(":memory:", prices={"m": 1}, settings=Settings())  # type: ignore[arg-type]


@pytest.mark.parametrize("said", ['{"worthwhile": false, "steps": []}', "I think not."])
async def test_the_planner_is_paid_for_like_any_call_whether_it_is_of_use_or_not(bench: Bench, said: str) -> None:
    planner = ScriptedModel([turn(say(said), usage=MILLION)], name="planner")
    prices = PriceList({"scripted": Price(input=1, output=1), "planner": Price(input=0.5, output=0.5)})
    async with bench.running([dear()], planner=planner, prices=prices) as engine:
        result = await engine.execute("Find the fox and tell everybody.", task_id="t")
        assert (result.usage, result.cost_usd) == (MILLION + MILLION, 1.5)
        assert (await engine.task("t")).cost_usd == 1.5


async def test_a_summary_is_paid_for_like_any_call(bench: Bench) -> None:
    light = ScriptedModel(lambda request: turn(say("In short."), usage=MILLION), name="light")
    nearly_full = Usage(input_tokens=1_700, output_tokens=400)
    model = ScriptedModel(lambda request: turn(say("word " * 300), usage=nearly_full))
    prices = PriceList({"scripted": Price(input=1000, output=1000), "light": Price(input=0.25, output=0.25)})
    limits = Limits(context_tokens=2_400, max_tokens=300)
    async with bench.running(model, light=light, prices=prices, limits=limits) as engine:
        first = await engine.execute("Say much.", task_id="t")
        second = await engine.execute("Say more.", task_id="t")
        assert (first.cost_usd, second.cost_usd) == (2.1, 2.35)
        assert (await engine.task("t")).cost_usd == 4.45
    assert len(light.requests) == 1
