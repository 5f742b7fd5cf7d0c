"""Branches in the file: which turns are part of their conversation, and what that makes of memories.

Both change in the transaction that moves a task to another turn, so nobody ever reads the one without the other. Plain
functions in the connection's thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial

from .._memory.branches import Turn, displaced_by, moved, said_in, turns_of, with_turn
from ..memory.base import MemoryRow
from . import _memories as memories

__all__ = ["adopt", "left_turns", "move", "put_memories"]

LEAVE = """
WITH RECURSIVE line (turn, parent) AS (
    SELECT turn, parent FROM turns WHERE task = :task AND turn_id = :turn_id
    UNION ALL
    SELECT turns.turn, turns.parent FROM line
    JOIN turns ON turns.task = :task AND turns.turn_id = line.parent AND turns.turn < line.turn
)
UPDATE turns SET left_behind = turn NOT IN (SELECT turn FROM line)
WHERE task = :task AND left_behind <> (turn NOT IN (SELECT turn FROM line)) RETURNING turn_id, left_behind
"""


def move(db: sqlite3.Connection, *, task: int, task_id: str, turn_id: str | None, at: int) -> None:
    """The task stands at this turn now: mark which turns that leaves or brings back, and what they say in memory."""
    marks = db.execute(LEAVE, {"task": task, "turn_id": turn_id}).fetchall()
    _apply(db, {(task_id, turn): bool(left) for turn, left in marks}, at=at)


def put_memories(db: sqlite3.Connection, rows: Sequence[MemoryRow], model: str, vectors: Mapping[str, bytes]) -> None:
    """Write memories and vectors. What comes of a turn that was left meanwhile is left, too, and displaces nothing."""
    memories.put_memories(db, rows, model, vectors)
    marks = {turn: left for row in rows for turn, left in turns_of(row).items()}
    now = left_turns(db, [*marks])
    _apply(db, {turn: left for turn, left in now.items() if left is not marks[turn]})
    displaced = {row.id: by for row in rows if (by := displaced_by(row)) is not None}
    gone = memories.left_behind(db, [*displaced.values()])
    _apply(db, {}, rows=memories.readable(db, [id_ for id_, by in displaced.items() if by in gone]))


def left_turns(db: sqlite3.Connection, turns: Sequence[Turn]) -> dict[Turn, bool]:
    """Of these turns those that the file knows, and whether each is left."""
    query = "SELECT left_behind FROM turns JOIN tasks USING (task) WHERE tasks.task_id = ? AND turn_id = ?"
    found = {turn: db.execute(query, (turn[0].encode(), turn[1])).fetchone() for turn in turns}
    return {turn: bool(row[0]) for turn, row in found.items() if row is not None}


def _apply(
    db: sqlite3.Connection, marks: Mapping[Turn, bool], *, rows: Sequence[MemoryRow] = (), at: int | None = None
) -> None:
    if not (rows := [*rows, *memories.of_turns(db, [*marks])]):
        return
    beside, known = partial(memories.in_slot, db), partial(memories.readable, db)
    for row in moved(rows, marks, at=at, beside=beside, known=known):
        memories.put_row(db, row, renumber=True)


def adopt(db: sqlite3.Connection) -> None:
    """Note the turns of what releases before this one remembered, and leave what was left then. For the migration."""
    query = (
        "SELECT turns.turn_id, left_behind FROM tasks JOIN facts ON facts.task = tasks.task "
        "JOIN turns ON turns.turn = facts.turn WHERE tasks.task_id = ? AND facts.message_id = ?"
    )
    left: dict[Turn, bool] = {}
    for row in memories.of_tasks(db):
        if (place := said_in(row)) is None:
            continue
        for turn_id, is_left in db.execute(query, (place[0].encode(), place[1])).fetchall():
            memories.put_row(db, with_turn(row, (place[0], turn_id)))
            left[place[0], turn_id] = bool(is_left)
    _apply(db, {turn: True for turn, is_left in left.items() if is_left})
