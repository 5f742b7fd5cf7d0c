"""People: the requests that wait for somebody, and the way an answer takes to its turn."""

from __future__ import annotations

from .._turn.facts import HumanAnswered
from .._turn.inputs import Answered
from .._turn.request import open_request
from .._turn.state import TurnState, fold
from ..errors import EngineClosed, HitlNotPending, InvalidRequest, StoreCorrupt
from ..events import HitlRequest, timestamp
from ..messages import Block
from ..store.base import TaskRow
from .supervisor import Supervisor
from .threads import read_turn

__all__ = ["pending", "respond"]


async def pending(supervisor: Supervisor) -> list[HitlRequest]:
    """Every open request, over all tasks, oldest first."""
    found: list[HitlRequest] = []
    for row in await supervisor.store.open_tasks():
        try:
            state = await _state(supervisor, row)
        except StoreCorrupt:  # one damaged task must not hide what the others wait for
            continue
        if state.status != "running":
            continue
        for request in state.open_requests:
            call = next(call for call in state.calls if call.id == request.tool_call_id)
            found.append(
                HitlRequest(
                    request_id=request.id,
                    task_id=row.task_id,
                    kind=request.kind,
                    question=request.question,
                    created_at=timestamp(request.asked_at),
                    tool_call_id=call.id,
                    tool=call.tool,
                    input=call.input,
                )
            )
    return sorted(found, key=lambda request: request.created_at)


async def respond(
    supervisor: Supervisor,
    task_id: str,
    answer: str,
    *,
    request_id: str | None,
    feedback: str | None,
    content_blocks: list[Block],
) -> str:
    """Give one answer to one request; exactly one answer wins. Raises as `Engine.respond` says."""
    ticket = await supervisor.attend(task_id)
    if ticket is None or ticket.runner is None:
        if not supervisor.accepting:
            raise EngineClosed("The engine is shutting down. The request stays open; answer it again later.")
        raise HitlNotPending("No request waits for an answer here.")
    runner = ticket.runner
    request = open_request(runner.state, request_id)
    if request.kind == "permission" and answer not in ("yes", "no"):
        raise InvalidRequest('A permission is answered with "yes" or "no". The request stays open.')
    answered = Answered(
        now=supervisor.resources.world.clock.now_ms(),
        request_id=request.id,
        answer=answer,
        feedback=feedback,
        content_blocks=content_blocks,
    )
    facts = await runner.tell(answered)
    if not any(isinstance(fact, HumanAnswered) for fact in facts):
        if runner.channel.failure is not None:
            raise runner.channel.failure
        open_request(runner.state, request.id)
        raise HitlNotPending("The turn ended before the answer came.")
    return request.id


async def _state(supervisor: Supervisor, row: TaskRow) -> TurnState:
    ticket = supervisor.live.get(row.task_id)
    if ticket is not None and ticket.runner is not None:
        return ticket.runner.state
    return TurnState() if row.open_turn is None else fold(await read_turn(supervisor.store, row.task_id, row.open_turn))
