"""Commands: what is owed now. The shell obeys; it never thinks of one itself."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ..messages import JSON
from .state import TurnState

__all__ = ["CallModel", "Command", "RunTool", "todo"]

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


class RunTool(msgspec.Struct, frozen=True, kw_only=True):
    """Run one call, after its intent is in the log (`ToolsStarting`)."""

    id: str
    tool: str
    input: dict[str, JSON]


Command: TypeAlias = CallModel | RunTool


def todo(state: TurnState, *, concurrency: int = 10) -> tuple[Command, ...]:
    """What is owed in this state: the tools that may run now, else the next model call, else nothing.

    Asking again without a new fact gives the same commands; the shell starts those that are not in flight.
    """
    if state.status != "running":
        return ()
    if not state.open_calls:
        return (
            CallModel(
                step=state.step,
                attempt=state.attempt,
                wait_ms=state.wait_ms,
                first_block=state.next_block,
                max_tokens=state.limits.max_tokens * (RAISE if state.raised else 1),
                fallback=state.fallback,
                prefix=state.prefix,
                output_schema=state.output_schema,
            ),
        )
    free = concurrency - sum(call.status == "running" for call in state.calls)
    owed = [call for call in state.calls if call.status == "owed"]
    return tuple(RunTool(id=call.id, tool=call.tool, input=call.input) for call in owed[: max(free, 0)])
