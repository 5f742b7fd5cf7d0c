"""People: the requests that wait for somebody, and the way an answer takes to its turn."""

from __future__ import annotations

from collections.abc import Sequence

from .._turn.facts import HumanAnswered
from .._turn.inputs import Answered
from .._turn.present import request_event
from .._turn.request import is_answer, open_request
from .._turn.state import TurnState, fold
from ..errors import EngineError, HitlAlreadyAnswered, HitlNotPending, InvalidRequest, ShuttingDown, StoreCorrupt
from ..events import HitlRequest
from ..messages import Media
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
        found += [request_event(state, request) for request in state.open_requests]
    return sorted(found, key=lambda request: request.created_at)  # of one moment: in the order of tasks and calls


async def respond(
    supervisor: Supervisor,
    task_id: str,
    answer: str,
    *,
    request_id: str | None,
    feedback: str | None,
    content_blocks: Sequence[Media],
    remember: bool,
) -> str:
    """Give one answer to one request; exactly one answer wins. Raises as `Engine.respond` says."""
    ticket = await supervisor.attend(task_id)
    if ticket is None or ticket.runner is None:
        if not supervisor.accepting:
            raise ShuttingDown("The engine is shutting down. The request stays open; answer it again later.")
        raise await _not_open(supervisor, task_id, request_id)
    runner = ticket.runner
    request = open_request(runner.state, request_id)
    if not is_answer(request, answer):
        form = '"yes" or "no"' if request.kind == "permission" else "text that is not blank"
        raise InvalidRequest(f"A {request.kind} is answered with {form}. The request stays open.")
    if remember and (answer != "yes" or not request.remember):
        raise InvalidRequest('Only a "yes" to a permission can be remembered. The request stays open.')
    taken = await supervisor.resources.attachments.take(task_id, content_blocks, "content_blocks")
    answered = Answered(
        now=supervisor.resources.world.clock.now_ms(),
        request_id=request.id,
        answer=answer,
        feedback=feedback,
        content_blocks=taken.blocks,
        remember=remember,
        blobs=taken.contents,
    )
    facts = await runner.tell(answered)
    if not any(isinstance(fact, HumanAnswered) for fact in facts):
        if runner.channel.failure is not None:
            raise runner.channel.failure
        open_request(runner.state, request.id)
        raise HitlNotPending("The turn ended before the answer came.")
    return request.id


async def _not_open(supervisor: Supervisor, task_id: str, request_id: str | None) -> EngineError:
    """What to say of a task on which nothing waits: who asks for a request that was answered is told the answer."""
    row = await supervisor.store.task(task_id)
    if request_id is not None and row is not None and row.head is not None:
        state = fold(await read_turn(supervisor.store, task_id, row.head))
        for request in state.requests:
            if request.id == request_id and request.answer is not None:
                return HitlAlreadyAnswered("Somebody answered first.", request_id=request_id, answer=request.answer)
    return HitlNotPending("No request waits for an answer here.")


async def _state(supervisor: Supervisor, row: TaskRow) -> TurnState:
    ticket = supervisor.live.get(row.task_id)
    if ticket is not None and ticket.runner is not None:
        return ticket.runner.state
    return TurnState() if row.open_turn is None else fold(await read_turn(supervisor.store, row.task_id, row.open_turn))
