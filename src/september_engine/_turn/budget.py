"""budget: what a turn has spent, what its limits say to that, and what an unknown cost means. Pure.

A cost is known or it is not: None is unknown, and a sum with an unknown part is unknown. It is never taken for 0.
"""

from __future__ import annotations

from ..messages import JSON
from .state import TurnState

__all__ = ["exceeded", "spent"]


def exceeded(state: TurnState) -> str | None:
    """Why no further model call may be made, or None."""
    limits, turn, task = state.limits, state.usage.tokens, state.task_tokens_now
    if state.step >= limits.steps:
        return f"The turn has used all of its {limits.steps} model calls (limit: steps)."
    if state.tool_calls > limits.tool_calls:
        return f"The turn has made more than {limits.tool_calls} tool calls (limit: tool_calls)."
    if limits.tokens is not None and turn >= limits.tokens:
        return f"The turn has used {turn} tokens of {limits.tokens} (limit: tokens)."
    if limits.task_tokens is not None and task >= limits.task_tokens:
        return f"All turns of the task have used {task} tokens of {limits.task_tokens} (limit: task_tokens)."
    if limits.repeats is not None and 0 < limits.repeats <= state.progress.repeats:
        return (
            f"The model made the same tool calls with the same results over and over: {state.progress.repeats} steps "
            "in a row brought nothing new (limit: repeats)."
        )
    return _too_dear("The turn", "usd", limits.usd, state.cost_usd) or _too_dear(
        "The task", "task_usd", limits.task_usd, state.task_usd_now
    )


def _too_dear(whose: str, name: str, limit: float | None, cost: float | None) -> str | None:
    if limit is None:
        return None
    if cost is None:
        return (
            f"What {whose.lower()} has cost is unknown, because a model that it used has no price: it ends here, since "
            f"it might pass {_plain(limit)} USD (limit: {name})."
        )
    return f"{whose} has cost {_plain(cost)} USD of {_plain(limit)} (limit: {name})." if cost >= limit else None


def _plain(usd: float) -> str:
    """An amount as people write it, however small."""
    return f"{usd:.10f}".rstrip("0").rstrip(".")


def spent(state: TurnState) -> dict[str, JSON]:
    """What the turn has spent, and its task with it; a cost of None is unknown."""
    return {
        "steps": state.step,
        "tool_calls": state.tool_calls,
        "input_tokens": state.usage.input_tokens,
        "output_tokens": state.usage.output_tokens,
        "cost_usd": state.cost_usd,
        "task_tokens": state.task_tokens_now,
        "task_usd": state.task_usd_now,
    }
