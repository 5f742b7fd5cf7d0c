"""Whatever size the world's words have, every stored event fits one frame, and the thread goes on."""

from __future__ import annotations

import pytest

from september_engine.errors import ModelError
from september_engine.models.scripted import Answer, Step, call, fail, say, turn
from september_engine.store.memory import MemoryStore
from september_engine.tools.output import ToolError
from september_engine.tools.tool import tool
from tests.engines import Bench, look, soon

HUGE = "x" * 3_000_000
FRAME = 1_000_000


@tool
async def loud() -> str:
    """Fail at great length."""
    raise ToolError(HUGE, reason=HUGE)


@pytest.mark.parametrize(
    "answers",
    [
        [fail(ModelError(HUGE, code="LLM_AUTH", body=HUGE))],
        [fail(ModelError(HUGE, bad_history=True))] * 4,
        [turn(say("Hm."), stop_reason=HUGE)],
        [call(HUGE, at=HUGE), say("Then not.")],
        [turn(call("look", id=HUGE), call("look", id=HUGE), call("look", id=HUGE + "2")), say("Seen.")],
        [call("look", id="a", broken=HUGE), say("Then not.")],
        [call("loud"), say("It is loud.")],
    ],
)
async def test_every_stored_event_is_under_a_megabyte_and_the_next_message_works(answers: list[Step | Answer]) -> None:
    store = MemoryStore()
    async with Bench(store=store).running([*answers, say("Fine.")], tools=[look, loud]) as engine:
        await soon(engine.execute("go", task_id="t"))
        assert (await engine.execute("and now?", task_id="t")).text == "Fine."
        rows = await store.events("t", after=0)
        assert max(len(row.body) for row in rows) < FRAME
