"""Reads: the port's questions to the file. Plain functions that run in the reading connection's thread.

Rows are fetched before they are looked at: a cursor in the middle, kept by the error that a bad row raises, would keep
the connection at the moment of that reading.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..errors import StoreCorrupt
from ._rows import TASK, TURN, Row, blob_body, corrupt, event_row, fact_row, find_task, find_turn, task_row, turn_row
from .base import EventRow, FactRow, TaskRow, TurnRow

__all__ = [
    "find_fact",
    "latest_task",
    "quoting_tasks",
    "read_blob",
    "read_events",
    "read_open_tasks",
    "read_task",
    "read_tasks",
    "read_thread",
    "read_turn",
    "read_turns",
]

LINE = """
WITH RECURSIVE line (turn, turn_id, parent) AS (
    SELECT turn, turn_id, parent FROM turns WHERE task = :task AND turn_id = :turn_id
    UNION ALL
    SELECT turns.turn, turns.turn_id, turns.parent FROM line
    JOIN turns ON turns.task = :task AND turns.turn_id = line.parent AND turns.turn < line.turn
    WHERE line.turn_id IS NOT :since
)
"""
LATEST_TS = 2**63 - 1


def read_events(db: sqlite3.Connection, task_id: str, after: int, limit: int) -> list[EventRow]:
    """Events after a cursor, oldest first."""
    found = db.execute("SELECT task, last_ts, trimmed_to FROM tasks WHERE task_id = ?", (task_id.encode(),)).fetchone()
    if found is None:
        return []
    task, last_ts, trimmed_to = found
    rows = db.execute(
        "SELECT events.task, ts, events.turn, type, body, events.crc, turn_id FROM events "
        "LEFT JOIN turns ON turns.turn = events.turn WHERE events.task = ? AND ts > ? ORDER BY ts LIMIT ?",
        (task, min(after, LATEST_TS), limit),
    ).fetchall()
    events = [event_row(row) for row in rows]
    if len(events) < limit and max(after, trimmed_to, events[-1].ts if events else 0) < last_ts:
        raise corrupt("an event")  # the last ones are missing
    if after <= trimmed_to and events and trimmed_to < _first_kept(db, task) < events[0].ts:
        raise corrupt("an event")  # the first ones are missing: damage to one key hides what stands around it
    return events


def _first_kept(db: sqlite3.Connection, task: int) -> int:
    """Where the events begin of the first turn that was not trimmed: each turn begins with one."""
    row = db.execute(f"{TURN} WHERE task = ? AND trimmed = 0 ORDER BY turn LIMIT 1", (task,)).fetchone()
    if row is None:
        return 0
    turn_row(row)
    *_, first_ts, _, _, _, _ = row
    return int(first_ts)


def read_task(db: sqlite3.Connection, task_id: str) -> TaskRow | None:
    """One task's row."""
    found = find_task(db, task_id)
    return None if found is None else found[1]


def read_tasks(db: sqlite3.Connection, before: str | None, limit: int) -> list[TaskRow]:
    """A page of tasks, the newest first."""
    if before is None:
        return _readable(db, f"{TASK} ORDER BY task DESC LIMIT ?", limit)
    where = "WHERE task < (SELECT task FROM tasks WHERE task_id = ?) ORDER BY task DESC LIMIT ?"
    return _readable(db, f"{TASK} {where}", before.encode(), limit)


def read_open_tasks(db: sqlite3.Connection) -> list[TaskRow]:
    """The tasks with an open turn."""
    return _readable(db, f"{TASK} WHERE open_turn IS NOT NULL ORDER BY task")


def _readable(db: sqlite3.Connection, query: str, *values: object) -> list[TaskRow]:
    """A damaged row is not shown, and does not keep the others from being."""
    tasks: list[TaskRow] = []
    for row in db.execute(query, values).fetchall():
        try:
            tasks.append(task_row(db, row))
        except StoreCorrupt:
            continue
    return tasks


def read_turn(db: sqlite3.Connection, task_id: str, turn_id: str) -> list[FactRow]:
    """The facts of one turn."""
    row = find_turn(db, _task_key(db, task_id), turn_id)
    return [] if row is None else _facts_of(db, row)


def read_thread(db: sqlite3.Connection, task_id: str, turn_id: str, since: str | None) -> list[FactRow]:
    """The facts of a turn and its ancestors, the oldest turn first, or from the ancestor `since` on."""
    place = {"task": _task_key(db, task_id), "turn_id": turn_id, "since": since}
    line = db.execute(f"{LINE} {TURN} WHERE turn IN (SELECT turn FROM line) ORDER BY turn", place).fetchall()
    if line and turn_row(line[0]).turn_id != since:
        if turn_row(line[0]).parent is not None:
            raise corrupt("a turn")
        line = line if since is None else []
    return [fact for row in line for fact in _facts_of(db, row)]


def _facts_of(db: sqlite3.Connection, turn: Row) -> list[FactRow]:
    """All facts of one turn, none missing at the start, between, or, where it has ended, at the end."""
    about = turn_row(turn)
    columns = "SELECT turn, seq, task, ts, message_id, body, crc FROM facts"
    rows = db.execute(f"{columns} WHERE turn = ? ORDER BY seq", turn[:1]).fetchall()
    facts = [fact_row(row, about.turn_id) for row in rows]
    *_, first_seq, last_seq, _ = turn
    there = [fact.seq for fact in facts]
    last = last_seq if about.ended_at is not None else max(there, default=first_seq)
    if first_seq and there != list(range(first_seq, last + 1)):
        raise corrupt("a fact")
    return facts


def read_turns(db: sqlite3.Connection, task_id: str) -> list[TurnRow]:
    """All turns of a task as they started, none missing that another one or the task names."""
    found = find_task(db, task_id)
    if found is None:
        return []
    task, about = found
    turns = [turn_row(row) for row in db.execute(f"{TURN} WHERE task = ? ORDER BY turn", (task,)).fetchall()]
    named = {about.head, about.open_turn, *(turn.parent for turn in turns)} - {None}
    if not named <= {turn.turn_id for turn in turns}:
        raise corrupt("a turn")
    return turns


def find_fact(db: sqlite3.Connection, task_id: str, message_id: str) -> FactRow | None:
    """The fact that is this message of this task."""
    row = db.execute(
        "SELECT facts.turn, seq, facts.task, ts, facts.message_id, body, facts.crc, turn_id FROM facts "
        "JOIN turns ON turns.turn = facts.turn WHERE facts.task = ? AND facts.message_id = ?",
        (_task_key(db, task_id), message_id),
    ).fetchone()
    return None if row is None else fact_row(row[:7], row[7])


def quoting_tasks(db: sqlite3.Connection, memory_ids: Sequence[str]) -> list[str]:
    """The tasks whose facts hold copies of these memories."""
    query = "SELECT task_id FROM quotes JOIN tasks USING (task) WHERE memory_id = ?"
    found = [row[0].decode() for each in memory_ids for row in db.execute(query, (each,)).fetchall()]
    return list(dict.fromkeys(found))


def read_blob(db: sqlite3.Connection, task_id: str, sha256: str) -> bytes | None:
    """The content that this task refers to under this hash."""
    row = db.execute(
        "SELECT blobs.blob, sha256, body, crc FROM blobs JOIN blob_uses ON blob_uses.blob = blobs.blob "
        "WHERE sha256 = ? AND task = ?",
        (sha256, _task_key(db, task_id)),
    ).fetchone()
    return None if row is None else blob_body(row)


def latest_task(db: sqlite3.Connection) -> str | None:
    """The task whose turn started last."""
    row = db.execute("SELECT task_id FROM turns JOIN tasks USING (task) ORDER BY turn DESC LIMIT 1").fetchone()
    return None if row is None else row[0].decode()


def _task_key(db: sqlite3.Connection, task_id: str) -> int:
    row = db.execute("SELECT task FROM tasks WHERE task_id = ?", (task_id.encode(),)).fetchone()
    return -1 if row is None else int(row[0])
