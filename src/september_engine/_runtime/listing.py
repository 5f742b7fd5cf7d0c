"""Listing: tasks, branches and messages as people see them, from the store's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..errors import MessageNotFound
from ..messages import Branch, Message, Task, TaskDetail
from ..store.base import TaskRow, TurnRow

__all__ = ["detail_of", "last_of", "task_of"]


def task_of(row: TaskRow) -> Task:
    """One line of a listing."""
    return Task(
        task_id=row.task_id,
        status=_status(row),
        turn_id=row.open_turn,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def detail_of(row: TaskRow, turns: Sequence[TurnRow]) -> TaskDetail:
    """One task. A branch ends in a turn that no other goes on from; the thread stands at the open turn or the head."""
    parents = {turn.parent for turn in turns}
    stands_at = row.open_turn or row.head
    return TaskDetail(
        task_id=row.task_id,
        status=_status(row),
        turn_id=row.open_turn,
        created_at=row.created_at,
        updated_at=row.updated_at,
        branches=[
            Branch(
                turn_id=turn.turn_id,
                message_id=turn.message_id,
                created_at=turn.started_at,
                current=turn.turn_id == stands_at,
            )
            for turn in turns
            if turn.turn_id not in parents or turn.turn_id == stands_at
        ],
        tokens=row.spent_tokens,
        cost_usd=row.spent_usd,
    )


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
