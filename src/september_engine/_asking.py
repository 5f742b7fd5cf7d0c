"""Asking: whoever waits for a turn learns at once that the turn waits for a person, and may answer there and then."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from inspect import isawaitable
from typing import TypeAlias

import msgspec

from ._context.text import visible
from ._display import in_kernel, show
from ._notebook import Requests
from ._plain import shown
from ._runtime.people import respond
from ._runtime.runner import Runner
from ._runtime.supervisor import Supervisor
from ._runtime.tickets import Ticket
from ._turn.present import request_event
from ._turn.request import check_answer
from .errors import HitlAlreadyAnswered, HitlNotPending, InvalidRequest
from .events import HitlRequest

__all__ = [
    "Ask",
    "OnRequest",
    "asking",
    "checked",
    "give_answer",
    "news",
    "say_it_goes_on",
    "say_who_waits",
    "until_closed",
    "waiting",
]

OnRequest: TypeAlias = Callable[[HitlRequest], str | Awaitable[str | None] | None]
"""Called with a request that waits for a person. Returns the answer, or None where somebody else answers."""

Ask: TypeAlias = Callable[[HitlRequest], Awaitable[str | None]]

INPUT_CHARS = 2_000
"""Of a call's input, what the line shows; all of it is in the request."""


def checked(on_request: OnRequest | None) -> OnRequest | None:
    """Raises `InvalidRequest` for what cannot be called."""
    if on_request is not None and not callable(on_request):
        raise InvalidRequest(f"on_request={shown(on_request)} must be a function that takes a request, or None.")
    return on_request


def asking(on_request: OnRequest | None) -> Ask:
    """Ask this function, which may be async. Without one it is said that somebody must answer, and how."""

    async def ask(request: HitlRequest) -> str | None:
        answer = (on_request or say_who_waits)(request)
        return await answer if isawaitable(answer) else answer

    return ask


def say_who_waits(request: HitlRequest) -> None:
    """Say that a person is asked, what for, and how to answer: in the cell of a notebook, else on stderr."""
    if show(Requests([request])):
        return
    lines = [f"Task {request.task_id!r} waits for a person: {visible(request.question)}"]
    if request.input:
        text = msgspec.json.encode(request.input).decode()
        lines.append(f"  {visible(text[:INPUT_CHARS])}{'…' if len(text) > INPUT_CHARS else ''}")
    answer, other = ('"yes"', ' (or "no")') if request.kind == "permission" else ('"…"', "")
    call = f"engine.respond({request.task_id!r}, {answer}, request_id={request.request_id!r}){other}"
    lines.append(f"  Answer from another thread, task or cell: {call}")
    lines.append("  To answer here, pass a function: on_request=lambda request: input(request.question)")
    _write(lines)


def say_it_goes_on(task_id: str) -> None:
    """In a notebook, after the wait for a turn was cancelled: say that the turn goes on, and how to come back to it.

    A cell that is interrupted is cancelled like any other task. Programs that cancel a wait know what they do, and so
    does BlockingEngine, whose thread is not the one that cells run in.
    """
    if in_kernel() is None or threading.current_thread() is not threading.main_thread():
        return
    _write(
        [
            f"The wait was cancelled; the turn on task {task_id!r} goes on.",
            f"  Wait for it again: await engine.turn({task_id!r})",
            f"  Stop it: await engine.cancel({task_id!r})",
        ]
    )


def _write(lines: Sequence[str]) -> None:
    """To stderr, where there is one that takes it."""
    if sys.stderr is None:
        return
    text = "\n".join(lines) + "\n"
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    with suppress(OSError, ValueError):  # nobody reads it
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()


async def until_closed(supervisor: Supervisor, ticket: Ticket, ask: Ask) -> None:
    """Wait for the turn's end; ask for each request that is open, one at a time, and give its answer to the turn.

    Raises what `ask` raises, and `InvalidRequest` for an answer that is none; the request stays open then. Where the
    turn ends or another answer comes first, asking is cancelled.
    """
    asked: set[str] = set()
    now: HitlRequest | None = None
    under_way: asyncio.Task[None] | None = None
    runner = ticket.runner
    assert runner is not None  # the turn has begun
    try:
        while not ticket.closed.is_set():
            now_open = waiting(runner)
            if under_way is not None and under_way.done():
                under_way.result()
                under_way = None
            elif under_way is not None and now is not None and now.request_id not in now_open:
                _drop(under_way)
                under_way = None
            if under_way is None and (unasked := now_open.keys() - asked):
                now = next(request for id_, request in now_open.items() if id_ in unasked)
                asked.add(now.request_id)
                under_way = asyncio.create_task(_answer(supervisor, now, ask))
            await news(ticket, runner, under_way)
    finally:
        if under_way is not None:
            _drop(under_way)


def waiting(runner: Runner) -> dict[str, HitlRequest]:
    """The requests of a turn that wait for a person, by their ids, oldest first."""
    state = runner.state
    if state.status != "running":
        return {}
    return {one.id: request_event(state, one) for one in state.open_requests}


def _drop(task: asyncio.Task[None]) -> None:
    """Cancel it without waiting: the code of others runs in it. What it raises then is nobody's."""
    task.cancel()
    task.add_done_callback(lambda ended: None if ended.cancelled() else ended.exception())


async def news(ticket: Ticket, runner: Runner, under_way: asyncio.Task[None] | None = None) -> None:
    """Wait for the next publication, the turn's end, or the end of asking."""
    if runner.channel.ended:
        await ticket.closed.wait()
        return
    wake = asyncio.Event()  # nothing can come between the look and the wait: neither awaits
    runner.channel.waiters.add(wake)

    def told(task: asyncio.Task[None]) -> None:
        wake.set()

    if under_way is not None:
        under_way.add_done_callback(told)
    try:
        await wake.wait()
    finally:
        runner.channel.waiters.discard(wake)
        if under_way is not None:
            under_way.remove_done_callback(told)


async def _answer(supervisor: Supervisor, request: HitlRequest, ask: Ask) -> None:
    answer = await ask(request)
    if answer is None:
        return
    answer, _ = check_answer(answer, None)
    await give_answer(supervisor, request.task_id, request.request_id, answer)


async def give_answer(supervisor: Supervisor, task_id: str, request_id: str, answer: str) -> None:
    """Answer a request, unless somebody else was first. Raises what `Engine.respond` raises otherwise."""
    with suppress(HitlAlreadyAnswered, HitlNotPending):
        await respond(
            supervisor,
            task_id,
            answer,
            request_id=request_id,
            feedback=None,
            content_blocks=(),
            remember=False,
        )
