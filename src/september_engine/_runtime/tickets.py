"""Tickets: the place of each turn that lives in this process, and what is said to whoever cannot have one."""

from __future__ import annotations

import anyio

from .._turn.state import TurnState
from ..errors import EngineClosed, EngineError, HitlRequired, ShuttingDown, TaskBusy
from .channel import Channel
from .runner import Runner

__all__ = ["Ticket", "busy_error", "closed_error", "waiting_error"]


class Ticket:
    """A turn's place: taken before anything is awaited, so that one task never has two turns.

    One that is `quiet` only writes notes: it is over in a moment, and nobody is told to come again.
    """

    def __init__(self, task_id: str, turn_id: str, *, quiet: bool = False) -> None:
        self.task_id = task_id
        self.turn_id = turn_id
        self.quiet = quiet
        self.runner: Runner | None = None
        self.error: EngineError | None = None
        self.reading: anyio.CancelScope | None = None
        self.opened = anyio.Event()
        self.closed = anyio.Event()

    @property
    def channel(self) -> Channel | None:
        return None if self.runner is None else self.runner.channel

    @property
    def over(self) -> bool:
        """The turn has nothing more to say, even if its tasks are still folding up."""
        return self.closed.is_set() or (self.channel is not None and self.channel.ended)


def busy_error(ticket: Ticket) -> EngineError:
    """For whoever wants the task while this ticket has it."""
    if ticket.runner is not None and ticket.runner.state.waiting_since is not None:
        return waiting_error(ticket.runner.state)
    if not ticket.turn_id:
        return TaskBusy("The task is being deleted. Send the message again in a moment.")
    return TaskBusy(
        "A turn is already running on this task. Follow it with replay, cancel it, or wait for its end.",
        turn_id=ticket.turn_id,
    )


def closed_error(because: str | None = None) -> EngineClosed:
    """For whoever waited for a turn that cannot begin any more; `because` is why another engine ended this one."""
    if because is not None:
        return EngineClosed(because)
    return ShuttingDown("The engine was closed before this turn began. Send the message again.")


def waiting_error(state: TurnState) -> HitlRequired:
    """For whoever wants the task while a person is asked."""
    return HitlRequired(
        "The task waits for a person's answer. Answer the request or cancel the turn.",
        request_id=state.open_requests[0].id,
        turn_id=state.turn_id,
    )
