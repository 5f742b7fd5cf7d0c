from __future__ import annotations

from typing import Any

import pytest

from september_engine._context.definitions import definition_problems
from september_engine._turn.inputs import WritePlan
from september_engine.events import PlanStep
from september_engine.tools.tool import ToolInputError
from september_engine.tools.update_plan import update_plan


def written(*steps: Any) -> object:
    assert update_plan.writes is not None
    return update_plan.writes({"steps": list(steps)})


def step(id: str = "1", title: str = "Look", status: str = "done") -> dict[str, str]:
    return {"id": id, "title": title, "status": status}


def test_the_tool_is_one_that_models_take() -> None:
    assert list(definition_problems([update_plan.definition()])) == []


def test_the_whole_plan_is_written() -> None:
    assert written(step(), step("b", "Tell", "active")) == WritePlan(
        steps=[PlanStep(id="1", title="Look", status="done"), PlanStep(id="b", title="Tell", status="active")]
    )
    assert written() == WritePlan(steps=[])


@pytest.mark.parametrize(
    "steps",
    [
        [step(), step()],
        [step(status="never")],
        [step(id="")],
        [step(title="x" * 201)],
        [{**step(), "why": "so"}],
        ["Look"],
        [step(str(number)) for number in range(51)],
    ],
)
def test_what_is_no_plan_is_refused(steps: list[Any]) -> None:
    with pytest.raises(ToolInputError):
        written(*steps)
