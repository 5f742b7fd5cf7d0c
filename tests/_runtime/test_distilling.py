"""Distilling happens behind the turns, in batches, and goes on where it stopped."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from september_engine import Engine, Settings
from september_engine._memory.distilling import DISTIL_SCHEMA
from september_engine._runtime.distilling import ATTEMPTS, PATIENCE_SECONDS, TURNS, Distilling
from september_engine.errors import ConfigurationError, ModelError
from september_engine.memory.base import Knowledge
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import ScriptedModel, Step, call, fail, say
from september_engine.store.memory import MemoryStore
from tests.engines import Bench, echo, held, look, ticks

LIKES = {"line": 1, "subject": "user", "attribute": "", "content": "Tea.", "type": "fact", "confidence": 1.0}


def drawing(*facts: dict[str, Any]) -> Step:
    return say(msgspec.json.encode({"knowledge": list(facts), "people": [], "relations": []}).decode())


async def facts(engine: Engine) -> list[str]:
    return [each.content for each in await engine.memory.page(kinds=["knowledge"]) if isinstance(each, Knowledge)]


async def until(model: ScriptedModel, requests: int) -> None:
    with anyio.fail_after(10):
        while len(model.requests) < requests:
            await ticks(1)
    await ticks(200)


async def talk(engine: Engine, turns: int, task: str = "a") -> None:
    for number in range(turns):
        await engine.execute(f"I like tea number {number}.", task_id=task)
    await engine.remembered()


async def test_several_turns_are_distilled_by_one_call_that_no_turn_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="september_engine._runtime.distilling")
    light = ScriptedModel([drawing(LIKES)], name="light")
    async with Bench().running(echo, memory=True, distil=light) as engine:
        await talk(engine, TURNS - 1)
        assert light.requests == []
        await talk(engine, 1)
        await until(light, 1)
        assert await facts(engine) == ["Tea."]
        [fact] = await engine.memory.page(kinds=["knowledge"])
        assert (fact.source.task_id, fact.source.trust, fact.source.detail) == ("a", "inferred", "distilled")
    [request] = light.requests
    assert request.output_schema == DISTIL_SCHEMA
    assert request.prompt.messages[0]["content"][0]["text"].count("I like tea number") == 2 * TURNS
    [record] = [each for each in caplog.records if each.getMessage() == "distilled"]
    assert record.__dict__["extra"].keys() == {"model", "input_tokens", "output_tokens"}


async def test_a_few_turns_are_distilled_after_a_while() -> None:
    bench, light = Bench(), ScriptedModel([drawing(LIKES)], name="light")
    async with bench.running(echo, memory=True, distil=light) as engine:
        await talk(engine, 1)
        await ticks(50)
        await bench.clock.advance(PATIENCE_SECONDS)
        await until(light, 1)
        assert await facts(engine) == ["Tea."]


async def test_it_goes_on_after_a_restart_and_begins_with_what_is_new() -> None:
    bench = Bench()
    async with bench.running(echo, memory=True) as engine:
        await talk(engine, 1, "old")
    light = ScriptedModel([drawing(LIKES), drawing()], name="light")
    async with bench.running(echo, memory=True, distil=light) as engine:
        await ticks(100)
        await talk(engine, 1)
    async with bench.running(echo, memory=True, distil=light) as engine:
        await until(light, 1)
        assert await facts(engine) == ["Tea."]
    async with bench.running(echo, memory=True, distil=light) as engine:
        await ticks(200)
    assert len(light.requests) == 1
    assert '"task":"old"' not in str(light.requests[0].prompt.messages)


async def test_a_batch_that_was_not_ticked_off_is_not_remembered_twice() -> None:
    bench = Bench()
    async with bench.running(echo, memory=True) as engine:
        await talk(engine, 1)
        memory = engine.memory
        await memory.mark("distilled", "")
        light = ScriptedModel([drawing(LIKES), drawing({**LIKES, "content": "Much tea."})], name="light")
        distilling = Distilling(memory, model=light, clock=bench.clock)
        assert await distilling.step()
        await memory.mark("distilled", "")
        assert await distilling.step()
        assert not await distilling.step()
        assert await facts(engine) == ["Tea."]


async def test_an_answer_that_is_no_use_is_given_up_and_a_provider_that_fails_is_not() -> None:
    bench = Bench()
    async with bench.running(echo, memory=True) as engine:
        await talk(engine, 1)
        await engine.memory.mark("distilled", "")
        busy = [fail(ModelError("Busy.", retryable=True)) for _ in range(ATTEMPTS + 1)]
        useless = [say("I cannot.") for _ in range(ATTEMPTS)]
        distilling = Distilling(engine.memory, model=ScriptedModel([*busy, *useless]), clock=bench.clock)
        for _ in busy:
            with pytest.raises(ModelError):
                await distilling.step()
        for _ in useless[1:]:
            with pytest.raises(ValueError, match="JSON"):
                await distilling.step()
        assert await distilling.step()
        assert not await distilling.step()


@pytest.mark.parametrize("refusal", [{"code": "CONTEXT_OVERFLOW"}, {"bad_history": True}])
async def test_a_request_that_the_provider_refuses_is_halved_and_does_not_stop_the_rest(
    refusal: dict[str, Any],
) -> None:
    bench = Bench()

    def at_most_ten(request: ModelRequest) -> Step:
        lines = request.prompt.messages[0]["content"][0]["text"].count('"kind":"episode"')
        return drawing(LIKES) if lines <= 10 else fail(ModelError("Too long.", **refusal))

    async with bench.running(echo, memory=True) as engine:
        await talk(engine, 20)
        await engine.memory.mark("distilled", "")
        distilling = Distilling(engine.memory, model=ScriptedModel(at_most_ten, strict=False), clock=bench.clock)
        for _ in range(2):
            with pytest.raises(ModelError):
                await distilling.step()
        assert await distilling.step()
        assert await facts(engine) == ["Tea."]
        refused = Distilling(
            engine.memory, model=ScriptedModel(lambda _: fail(ModelError("No.", **refusal))), clock=bench.clock
        )
        for _ in range(ATTEMPTS - 1):
            with pytest.raises(ModelError):
                await refused.step()
        assert await refused.step(), "given up, and the next ones come"


async def test_what_came_from_outside_is_not_shown_and_ticked_off_with_the_rest() -> None:
    bench, light = Bench(), ScriptedModel([drawing(LIKES)], name="light")
    async with bench.running([call("look"), say("Obey the page.")], memory=True, tools=[look]) as engine:
        await talk(engine, 1)
        await engine.memory.mark("distilled", "")
        distilling = Distilling(engine.memory, model=light, clock=bench.clock)
        assert await distilling.step()
        assert not await distilling.step()
    assert "Obey the page." not in str(light.requests[0].prompt.messages)


async def test_what_failed_is_asked_again_though_nobody_says_anything_more() -> None:
    bench = Bench()
    light = ScriptedModel([fail(ModelError("Busy.", retryable=True)), drawing(LIKES)], name="light", strict=False)
    async with bench.running(echo, memory=True, distil=light) as engine:
        await talk(engine, TURNS)
        await until(light, 1)
        await bench.clock.advance(PATIENCE_SECONDS)
        await until(light, 2)
        assert await facts(engine) == ["Tea."]


async def test_each_batch_has_its_own_attempts() -> None:
    bench = Bench()
    async with bench.running(echo, memory=True) as engine:
        await talk(engine, 1)
        await engine.memory.mark("distilled", "")
        distilling = Distilling(
            engine.memory, model=ScriptedModel(lambda _: say("I cannot."), strict=False), clock=bench.clock
        )
        for _ in range(2):
            for _ in range(ATTEMPTS - 1):
                with pytest.raises(ValueError, match="JSON"):
                    await distilling.step()
            assert await distilling.step()
            await talk(engine, 1, "b")


async def test_a_call_that_never_ends_delays_neither_turns_nor_the_end() -> None:
    def never(request: ModelRequest) -> Step:
        return held()

    light = ScriptedModel(never, name="light")
    async with Bench().running(echo, memory=True, distil=light) as engine:
        await talk(engine, TURNS)
        await until(light, 1)
        assert (await engine.execute("Still there?", task_id="a")).text.endswith("Still there?")


def test_what_cannot_be_is_said_before_it_begins() -> None:
    model = ScriptedModel([])
    for wrong in ({"distil": model}, {"memory": True, "distil": "haiku"}):
        options: dict[str, Any] = wrong
        with pytest.raises(ConfigurationError):
            Engine(MemoryStore(), model=model, settings=Settings(), **options)


@pytest.mark.parametrize("options", [{"distil": True}, {}])
async def test_without_a_light_model_it_does_not_open(options: dict[str, Any]) -> None:
    engine = Engine(
        MemoryStore(), model=ScriptedModel([]), memory=True, settings=Settings(distil=not options), **options
    )
    with pytest.raises(ConfigurationError, match="LIGHT_MODEL"):
        await engine.open()
