"""Notes: the way that what the program notes takes into the log of a task."""

from __future__ import annotations

from .._turn.inputs import NotesSet, WriteNote
from ..errors import HitlRequired, ShuttingDown, TaskBusy
from .supervisor import Supervisor
from .threads import TurnRequest

__all__ = ["write_notes"]


async def write_notes(supervisor: Supervisor, task_id: str, notes: list[WriteNote]) -> None:
    """Write them into the turn that is open, else in a turn of their own. Durable when this returns.

    Raises `EngineClosed`, `TaskBusy` where another process began a turn meanwhile, and what the store raises; nothing
    was written then.
    """
    clock = supervisor.resources.world.clock
    while supervisor.accepting:
        ticket = await supervisor.attend(task_id)
        if ticket is None or ticket.runner is None:
            if await _by_itself(supervisor, task_id, notes):
                return
            continue
        runner = ticket.runner
        if await runner.tell(NotesSet(now=clock.now_ms(), notes=notes)):
            return
        if runner.channel.failure is not None:
            raise runner.channel.failure
        await ticket.closed.wait()  # the turn ended first
    raise ShuttingDown("The engine is shutting down: nothing was noted.")


async def _by_itself(supervisor: Supervisor, task_id: str, notes: list[WriteNote]) -> bool:
    """Write them in a turn that does nothing else; False where another turn was faster."""
    turn_id = supervisor.resources.world.ids("turn_")
    request = TurnRequest(task_id=task_id, turn_id=turn_id, message_id="", content=[], kind="note", notes=notes)
    try:
        ticket = supervisor.begin(request)
    except (TaskBusy, HitlRequired):
        return False
    await ticket.closed.wait()
    if ticket.error is not None:
        raise ticket.error
    return True
