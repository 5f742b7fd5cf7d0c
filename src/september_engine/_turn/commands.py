"""Commands: what is owed now. The shell obeys; it never thinks of one itself."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ..messages import JSON
from ..permissions import Effect
from .size import budget_of, room_for_answer
from .state import TurnState

__all__ = ["CallModel", "Command", "Compact", "MakePlan", "RunTool", "todo"]

RAISE = 4
"""An answer that was cut inside a tool call is worth one try with this much more room."""


class CallModel(msgspec.Struct, frozen=True, kw_only=True):
    """Make one attempt at step `step`, after `wait_ms`. `first_block` is the number of its first block."""

    step: int
    attempt: int
    wait_ms: int
    first_block: int
    max_tokens: int
    fallback: bool
    prefix: str
    output_schema: dict[str, JSON] | None = None


class MakePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Ask the planner whether this turn is worth a plan, and for the plan."""

    prefix: str


class Compact(msgspec.Struct, frozen=True, kw_only=True):
    """Summarise what came before, so that the next request fits into `budget` tokens; it would have `context` now.

    `budget` is None where the window is unknown: then the aim is half of `context`. With `all_of_it` nothing is kept
    but this turn, because a provider refuses something in what came before.
    """

    step: int
    context: int
    budget: int | None
    max_tokens: int
    window: int | None
    attempts: int
    fallback: bool
    prefix: str
    all_of_it: bool = False


class RunTool(msgspec.Struct, frozen=True, kw_only=True):
    """Run one call, after its intent is in the log (`ToolsStarting`).

    `granted` is what this call may reach outside of its tool's own folders: what a person or a rule has opened for it.
    """

    id: str
    tool: str
    input: dict[str, JSON]
    granted: tuple[Effect, ...] = ()


Command: TypeAlias = CallModel | Compact | MakePlan | RunTool


def todo(state: TurnState, *, concurrency: int = 10) -> tuple[Command, ...]:
    """What is owed: the plan, else the tools that may run now, else a compaction or the next model call, else nothing.

    Asking again without a new fact gives the same commands; the shell starts those that are not in flight.
    """
    if state.status != "running":
        return ()
    if state.planning:
        return (MakePlan(prefix=state.prefix),)
    limits = state.limits
    if state.owes_compaction:
        return (
            Compact(
                step=state.step,
                context=state.context,
                budget=budget_of(limits),
                max_tokens=limits.answer_tokens,
                window=limits.context_tokens,
                attempts=limits.attempts,
                fallback=state.fallback,
                prefix=state.prefix,
                all_of_it=state.refused,
            ),
        )
    if not state.open_calls:
        most = limits.answer_tokens * (RAISE if state.raised else 1)
        return (
            CallModel(
                step=state.step,
                attempt=state.attempt,
                wait_ms=state.wait_ms,
                first_block=state.next_block,
                max_tokens=room_for_answer(limits, state.context, most),
                fallback=state.fallback,
                prefix=state.prefix,
                output_schema=state.output_schema,
            ),
        )
    free = concurrency - sum(call.status == "running" for call in state.calls)
    owed = [call for call in state.calls if call.status == "owed"]
    return tuple(RunTool(id=call.id, tool=call.tool, input=call.input) for call in owed[: max(free, 0)])
