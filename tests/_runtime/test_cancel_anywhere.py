"""A cancel at every instant of every kind of wait: the turn ends, and the next message works."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from september_engine.errors import ModelError
from september_engine.events import Error, Event, HitlRequest, Retry, Rewound
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, fail, say, think, turn
from tests.engines import Bench, careful, look, soon, ticks, well_formed

TICKS = 60
"""More turns of the loop than any of these takes to come to rest."""


@attrs.frozen
class Scene:
    """What the model answers, attempt by attempt, and the event by which one sees that the moment was reached."""

    answers: tuple[Step | Answer, ...]
    reached: type[Event]
    edit: bool = False
    ends: bool = False

    def script(self) -> Callable[[ModelRequest], Step | Answer]:
        left = iter(self.answers)

        def answer(request: ModelRequest) -> Step | Answer:
            said = request.prompt.messages[-1]["content"]
            if any(block.get("text") in ("before", "next") for block in said):
                return say("Fine.")
            return next(left, say("Enough."))

        return answer


SCENES = {
    "a pause for a person": Scene((turn(say("May I?"), call("look", id="a"), call("careful", id="b")),), HitlRequest),
    "a wait before a retry": Scene((turn(say("I w"), fail(ModelError("Overloaded.", retryable=True))),), Retry),
    "a repair": Scene(
        (turn(think("Hm."), fail(ModelError("No.", bad_history=True))), turn(think("So."), say("Yes."))),
        Retry,
        ends=True,
    ),
    "an edit": Scene((turn(think("Hm."), call("look", id="a")), say("Seen.")), Rewound, edit=True, ends=True),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
async def test_a_cancel_at_every_instant_ends_the_turn_and_the_next_one_works(scene: Scene) -> None:
    outcomes: set[str] = set()
    events: list[Event] = []
    for count in range(TICKS):
        async with Bench().running(ScriptedModel(scene.script()), tools=[look, careful]) as engine:
            edited = await engine.execute("before", task_id="t") if scene.edit else None
            one = engine.execute("go", task_id="t", edit_message_id=None if edited is None else edited.user_message_id)
            await ticks(count)
            cancelled = await engine.cancel("t")
            events = await soon(one)
            well_formed(events)
            outcomes.add(events[-1].error if isinstance(events[-1], Error) else "completed")
            assert cancelled or not isinstance(events[-1], Error)
            assert await engine.cancel("t") is False
            assert await engine.pending() == []
            assert (await engine.execute("next", task_id="t")).text == "Fine."
    assert outcomes == ({"CANCELLED", "completed"} if scene.ends else {"CANCELLED"})
    assert any(isinstance(event, scene.reached) for event in events)
