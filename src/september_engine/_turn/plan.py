"""plan: the plan of a thread, as the fold of its facts, and as the model reads it. Pure.

It is the last one that was chosen, by the planner or the agent. An edit or retry that leaves a turn behind leaves its
plan behind, and a turn that does not count has chosen none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .._context.asides import aside
from ..events import PlanStep
from ..messages import Block
from .facts import Compacted, Fact, PlanChosen
from .state import counting

__all__ = ["listed", "plan_block", "plan_of"]


def plan_of(facts: Iterable[Fact]) -> list[PlanStep]:
    """The plan that a thread has now; [] where there is none."""
    steps: list[PlanStep] = []
    for fact in counting(facts):
        if isinstance(fact, PlanChosen):
            steps = fact.steps
        elif isinstance(fact, Compacted):
            steps = fact.plan
    return steps


def plan_block(steps: Sequence[PlanStep]) -> Block:
    """A planner's plan as the model reads it. A planner reads what anybody has said: no title ends the block."""
    steps_only = listed(steps).replace("</", "< /")
    return aside("plan", f"A plan for this. Keep it up to date with update_plan as you work.\n{steps_only}")


def listed(steps: Sequence[PlanStep]) -> str:
    return "\n".join(f"{step.id}. [{step.status}] {step.title}" for step in steps)
