"""Listing: tasks, branches and messages as people see them, from the store's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from .._turn.facts import Fact, TurnStarted
from ..errors import MessageNotFound, StoreCorrupt, TaskNotFound
from ..events import timestamp
from ..messages import Branch, Message, Task, TaskDetail
from ..store.base import Store, TaskRow, TurnRow
from .threads import read_thread, read_turn

__all__ = ["detail_of", "facts_at", "facts_now", "last_of", "row_of", "task_of"]


async def row_of(store: Store, task_id: str) -> TaskRow:
    """The task's row. Raises `TaskNotFound`."""
    row = await store.task(task_id)
    if row is None:
        raise TaskNotFound(f"There is no task {task_id!r}.")
    return row


def task_of(row: TaskRow) -> Task:
    """One line of a listing."""
    return Task(
        task_id=row.task_id,
        status=_status(row),
        turn_id=row.open_turn,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def detail_of(row: TaskRow, turns: Sequence[TurnRow]) -> TaskDetail:
    """One task. A branch ends in a turn that no other goes on from; the thread stands at the open turn or the head."""
    parents = {turn.parent for turn in turns}
    by_id = {turn.turn_id: turn for turn in turns}
    stands_at = row.open_turn or row.head
    return TaskDetail(
        task_id=row.task_id,
        status=_status(row),
        turn_id=row.open_turn,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        branches=[
            Branch(
                turn_id=turn.turn_id,
                message_id=_spoke(turn, by_id).message_id,
                created_at=timestamp(turn.started_at),
                current=turn.turn_id == stands_at,
            )
            for turn in turns
            if turn.turn_id not in parents or turn.turn_id == stands_at
        ],
        tokens=row.spent_tokens,
        cost_usd=row.spent_usd,
    )


def _spoke(turn: TurnRow, by_id: Mapping[str, TurnRow]) -> TurnRow:
    """The turn itself, or, where it only wrote notes, the one before it in which somebody spoke."""
    while not turn.message_id and turn.parent is not None:
        turn = by_id[turn.parent]
    return turn


async def facts_at(store: Store, task_id: str, branch: str | None = None) -> list[Fact]:
    """The facts of the branch that ends in this turn; without one, of that on which the thread stands.

    Raises `MessageNotFound` for an unknown turn, `TaskNotFound`, also for a task that is deleted meanwhile, and
    `StoreCorrupt`.
    """
    row = await row_of(store, task_id)
    if branch is not None and all(turn.turn_id != branch for turn in await store.turns(task_id)):
        raise MessageNotFound(f"This task has no branch that ends in a turn {branch!r}.")
    try:
        return await read_thread(store, task_id, branch or row.open_turn or row.head)
    except StoreCorrupt:
        await row_of(store, task_id)  # a task that was deleted meanwhile is not a damaged one
        raise


async def facts_now(store: Store, task_id: str) -> list[Fact]:
    """The facts that say which plan and notes the thread has now: from where its requests read it. As `facts_at`."""
    row = await row_of(store, task_id)
    turn_id = row.open_turn or row.head
    if turn_id is None:
        return []
    try:
        started = (await read_turn(store, task_id, turn_id))[0]
        since = started.since if isinstance(started, TurnStarted) else None
        return await read_thread(store, task_id, turn_id, since=since)
    except StoreCorrupt:
        await row_of(store, task_id)  # as above
        raise


def last_of(messages: Sequence[Message], *, before: str | None, limit: int) -> list[Message]:
    """The last `limit` messages, of those before this one where it is given. Raises `MessageNotFound`."""
    if before is None:
        return list(messages[-limit:])
    for place, message in enumerate(messages):
        if message.id == before:
            return list(messages[:place][-limit:])
    raise MessageNotFound(f"This branch has no message {before!r}.")


def _status(row: TaskRow) -> Literal["idle", "running", "waiting"]:
    if row.open_turn is None:
        return "idle"
    return "running" if row.waiting_since is None else "waiting"
