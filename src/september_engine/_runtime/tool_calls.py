"""tool calls: running one call, so that whatever the tool does, the model gets a result."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from .._turn.calls import DONE
from .._turn.commands import RunTool
from .._turn.exchange import outside_before, outside_tools, said_by_person
from .._turn.facts import Fact, TurnStarted
from .._turn.inputs import Refuse, ToolReturned, Write, WriteNote
from .._turn.notes import note_problem
from .._turn.results import page_of
from ..events import ToolResultError
from ..messages import JSON
from ..permissions import Effect
from ..tools.output import ToolError, encode_error, encode_output
from ..tools.tool import Called
from .effects import write_of
from .isolation import in_thread, isolated
from .resources import AnyTool, Resources

__all__ = ["Stored", "inside_tools", "run_tool"]

_Outcome: TypeAlias = tuple[JSON, ToolResultError | None]
Stored: TypeAlias = Callable[[str], Awaitable[bytes | None]]
"""Finds the whole of a large output by its id."""


async def run_tool(
    command: RunTool, resources: Resources, turn: Sequence[Fact] = (), *, task_id: str, stored: Stored, page: int
) -> ToolReturned:
    """Run one call of this turn. Whatever the tool does, the model gets a result; cancelling cancels an async tool.

    A tool that reads on in large outputs gets them from `stored`, `page` bytes at a time. What the store raises then
    is raised here.

    A sync tool runs in a thread, which nothing can stop: when it is cancelled or out of time it is left to itself, and
    what it returns later counts for nothing. An async tool that does not obey a cancellation is left in the same way.
    """
    clock = resources.world.clock
    tool = resources.tools.get(command.tool)
    if tool is not None and tool.writes is not None:
        return _written(command, write_of(tool, command.input), clock.now_ms())
    began = clock.monotonic()
    output, error = await _outcome(command, resources, turn, stored, page)
    output, blobs = await resources.attachments.kept(task_id, output)
    return ToolReturned(
        now=clock.now_ms(),
        tool_call_id=command.id,
        output=output,
        error=error,
        duration_ms=round((clock.monotonic() - began) * 1000),
        blobs=blobs,
    )


def _written(command: RunTool, write: Write | Refuse, now: int) -> ToolReturned:
    """The end of a call that a person has let write."""
    problem = note_problem(write, {}) if isinstance(write, WriteNote) else None
    if problem is not None:
        write = Refuse(reason=problem, code="invalid_input")
    if isinstance(write, Refuse):
        error = ToolResultError(reason=write.code, message=write.reason)
        return ToolReturned(now=now, tool_call_id=command.id, output=None, error=error)
    return ToolReturned(now=now, tool_call_id=command.id, output=DONE, write=write)


async def _outcome(command: RunTool, resources: Resources, turn: Sequence[Fact], stored: Stored, page: int) -> _Outcome:
    tool = resources.tools.get(command.tool)
    if tool is None:
        known = ", ".join(sorted(resources.tools)) or "none"
        message = f"There is no tool {command.tool!r}. Tools: {known}."
        return None, ToolResultError(reason="unknown_tool", message=message)
    try:
        arguments = tool.decode(command.input)
        if tool.told:
            arguments["called"] = _called_by(command, resources, turn)
    except ToolError as error:
        return None, encode_error(error)
    if tool.reads_results:
        return await _read_on(arguments, stored, page)
    work = _guarded(tool, arguments, command.granted, resources)
    outcome = await isolated(work, clock=resources.world.clock, seconds=tool.timeout)
    if outcome is None:
        message = f"{tool.name} did not end within {tool.timeout:g} seconds and was stopped."
        return None, ToolResultError(reason="timeout", message=message)
    return outcome


async def _read_on(arguments: Mapping[str, object], stored: Stored, page: int) -> _Outcome:
    id, offset = str(arguments["result_id"]), arguments.get("offset", 0)
    body = await stored(id)
    if body is None:
        message = f"There is no stored result {id!r} in this conversation. Copy the id as it stands in the result."
        return None, ToolResultError(reason="not_found", message=message)
    assert isinstance(offset, int)
    return page_of(body, offset, page), None


async def _guarded(
    tool: AnyTool, arguments: Mapping[str, object], granted: Sequence[Effect], resources: Resources
) -> _Outcome:
    """Nothing a tool raises leaves here: not SystemExit, not KeyboardInterrupt, not a cancellation of its own."""
    function = tool.function if tool.opened is None or not granted else tool.opened(granted)
    call: Callable[[], Any] = partial(function, **arguments)
    encode = partial(encode_output, prepare=resources.attachments.prepare)
    thread = partial(in_thread, limiter=resources.threads, name=f"september-engine-tool-{tool.name}")
    try:
        if tool.is_async:
            value = await call()
            if inspect.isawaitable(value):
                value = await value
        else:
            outcome = await thread(partial(_called, call, encode))
            if isinstance(outcome, tuple):
                return outcome
            value = await outcome
        if value is None or isinstance(value, str | int | float):
            return encode(value), None
        # what is large, or has code of its own, must not hold up the event loop
        return await thread(partial(encode, value)), None
    except BaseException as error:
        return None, encode_error(error)


def _called_by(command: RunTool, resources: Resources, turn: Sequence[Fact]) -> Called:
    """Where a call stands. A tool that only writes the log, asks a person or is told this brings in nothing."""
    started = next(fact for fact in turn if isinstance(fact, TurnStarted))
    inside = inside_tools(resources.tools)
    return Called(
        tool_call_id=command.id,
        task_id=started.task_id,
        turn_id=started.turn_id,
        message_id=started.message_id,
        said=said_by_person(turn),
        outside=tuple(outside_tools(turn, inside)),
        outside_before=tuple(outside_before(turn, inside)),
    )


def inside_tools(tools: Mapping[str, AnyTool]) -> frozenset[str]:
    """The names of those that bring nothing in from outside: the engine's own, and questions to a person."""
    return frozenset(name for name, tool in tools.items() if tool.told or tool.asks_person or tool.writes is not None)


def _called(call: Callable[[], Any], encode: Callable[[Any], JSON]) -> _Outcome | Awaitable[Any]:
    """In the tool's thread: the outcome, or what must be awaited to get there."""
    value = call()
    return value if inspect.isawaitable(value) else (encode(value), None)
