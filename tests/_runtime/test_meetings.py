"""Where compaction meets what else may happen to a thread: notes that come meanwhile, a turn that was lost."""

from __future__ import annotations

import anyio
import pytest

from september_engine import Limits
from september_engine.events import CompactionEvent
from september_engine.messages import Usage, text_of
from september_engine.models.scripted import ScriptedModel, say, turn
from tests.engines import Bench, held, soon, ticks

LIMITS = Limits(context_tokens=2_400, max_tokens=300)


@pytest.mark.parametrize("value", ["Rome", None], ids=["written", "removed"])
async def test_what_the_program_notes_while_a_thread_is_summed_up_is_not_left_behind(value: str | None) -> None:
    gate = anyio.Event()
    light = ScriptedModel(lambda request: say("In short.", hold=gate), name="light")
    model = ScriptedModel(lambda request: say("Yes. " * 50))
    async with Bench().running(model, light=light, limits=LIMITS) as engine:
        await engine.notes.update("t", {"city": "Oslo", "kept": 1})
        while not light.requests:
            waiting = engine.execute("Tell me more. " * 20, task_id="t")
            while engine._running.live and not light.requests:
                await ticks(1)
        await engine.notes.set("t", "city", value)
        expected = {"kept": 1} if value is None else {"kept": 1, "city": value}
        assert await engine.notes.get("t") == expected
        gate.set()
        assert any(isinstance(event, CompactionEvent) for event in await soon(waiting))
        assert await engine.notes.get("t") == expected
        shown = text_of(model.requests[-1].prompt.messages[-1]["content"])
        assert "working_memory" in shown
        assert ("Oslo" in shown, "Rome" in shown) == (False, value is not None)


async def test_what_a_thread_begins_with_is_counted_once_though_a_turn_was_lost() -> None:
    bench, system = Bench(), "Be kind. " * 300  # 900 tokens
    model = ScriptedModel([turn(say("Yes."), usage=Usage(input_tokens=1_500, output_tokens=9)), held(), say("Well.")])
    async with bench.running(model, system=system, limits=LIMITS) as engine:
        await engine.execute("Hello?", task_id="t")
        engine.execute("Are you there?", task_id="t")
        await ticks(60)
    async with bench.running(model, system=system, limits=LIMITS) as engine:
        events = await soon(engine.execute("And now?", task_id="t"))
        assert not any(isinstance(event, CompactionEvent) for event in events)
        assert len(model.requests) == 3
