"""Recall waits for what ended just now, and never for long."""

from __future__ import annotations

from september_engine._runtime.recall import RECALL_SECONDS
from september_engine._turn.facts import Recalled, decode_fact
from september_engine.models.scripted import ScriptedModel, say
from tests.engines import Bench, echo


async def test_a_turn_knows_what_was_said_in_a_turn_that_ended_just_before() -> None:
    model = ScriptedModel(echo)
    async with Bench().running(model, memory=True) as engine:
        for number in range(5):
            await engine.execute(f"The number {number} is my favourite.", task_id=f"task-{number}")
            await engine.execute("Which number is my favourite?", task_id=f"asks-{number}")
            assert f"The number {number} is" in str(model.requests[-1].prompt.messages[-1])


async def test_a_memory_that_never_settles_is_not_waited_for_longer_than_a_moment() -> None:
    bench = Bench()
    async with bench.running([say("Nice.")], memory=True) as engine:
        remembering = engine._running.resources.remembering
        assert remembering is not None
        async with remembering.writing:
            remembering.went_on("nobody")
            running = engine.execute("Where is Ana?", task_id="a")
            await running.started()
            await bench.clock.advance(RECALL_SECONDS)
            assert (await running).text == "Nice."
        store = engine._running.store
        facts = [decode_fact(row.body) for row in await store.turn("a", running.turn_id)]
    assert [fact.items for fact in facts if isinstance(fact, Recalled)] == [[]]
