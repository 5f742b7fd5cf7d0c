"""`update_plan`: the agent keeps the plan of its task up to date."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import attrs
import msgspec
from msgspec import Meta

from .._turn.inputs import WritePlan
from ..events import PlanStep
from ..messages import JSON
from .tool import Tool, ToolInputError, tool

__all__ = ["Step", "update_plan"]

MOST_STEPS = 50


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step, as the model gives it."""

    id: Annotated[str, Meta(description="The step's id; it keeps it for good.", min_length=1, max_length=32)]
    title: Annotated[str, Meta(description="What is to be done, in one short line.", min_length=1, max_length=200)]
    status: Annotated[
        Literal["pending", "active", "done", "dropped"],
        Meta(description="'active' is what you work on now; 'dropped' is what turned out not to be needed."),
    ]


@tool(safe_to_repeat=True)
def _update_plan(
    steps: Annotated[list[Step], Meta(description="All steps, in order. [] ends the plan.", max_length=MOST_STEPS)],
) -> str:
    """Say how far the plan has come, by giving all of it again; or make one, for work of several steps.

    Call it when you begin or finish a step, and when the plan turns out to be wrong. The person sees the plan: keep it
    true and short, and finish or drop every step before you are done.
    """
    raise AssertionError("the call is its own result; nothing runs")


def _write(input: Mapping[str, JSON]) -> WritePlan:
    given = _update_plan.decode(input)["steps"]
    assert isinstance(given, list)
    steps = [PlanStep(id=step.id, title=step.title, status=step.status) for step in given]
    if len({step.id for step in steps}) < len(steps):
        raise ToolInputError("Two steps have the same id. Give each one of its own.")
    return WritePlan(steps=steps)


update_plan: Tool[[list[Step]], str] = attrs.evolve(_update_plan, name="update_plan", writes=_write)
"""An engine with a planner offers it by itself."""
