"""Rows: what a row of each table says, and whether it can be believed.

Every row carries a checksum of all its columns, keys included, so a flipped bit or a row in the wrong place is found
before it is shown.
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any, TypeAlias

from ..errors import StoreCorrupt
from .base import EventRow, FactRow, TaskRow, TurnRow

__all__ = [
    "TASK",
    "TURN",
    "Row",
    "blob_body",
    "corrupt",
    "crc_of",
    "event_row",
    "fact_row",
    "find_task",
    "find_turn",
    "task_crc",
    "task_row",
    "turn_row",
]

Row: TypeAlias = tuple[Any, ...]

TASK = """
SELECT task, task_id, epoch, last_ts, last_seq, head, open_turn, waiting_since, prefix, created_at, updated_at,
       trimmed_to, spent_tokens, spent_usd, crc
FROM tasks
"""
LAST_EVENT = "SELECT task, ts, turn, type, body, crc FROM events WHERE task = ? ORDER BY ts DESC LIMIT 1"
TURN = """
SELECT turn, task, turn_id, parent, message_id, started_at, ended_at, first_ts, last_ts, first_seq, last_seq, crc
FROM turns
"""


def crc_of(row: Row, body: bytes = b"") -> int:
    """The checksum of one row's columns."""
    return zlib.crc32(body, zlib.crc32(repr(row).encode()))


def task_crc(row: Row) -> int:
    """The checksum of a task's row. What it has spent counts only where there is something to say.

    So the rows of before it was kept are good as they are: a migration is SQL, which cannot make a checksum.
    """
    *older, spent_tokens, spent_usd = row
    return crc_of(tuple(older) if (spent_tokens, spent_usd) == (0, 0.0) else row)


def event_row(row: Row) -> EventRow:
    task, ts, turn, type_, body, crc, turn_id = row
    if turn_id is None or not isinstance(body, bytes) or crc_of((task, ts, turn, type_), body) != crc:
        raise corrupt("an event")
    return EventRow(ts=ts, turn_id=turn_id, type=type_, body=body)


def find_task(db: sqlite3.Connection, task_id: str) -> tuple[int, TaskRow] | None:
    row = db.execute(f"{TASK} WHERE task_id = ?", (task_id.encode(),)).fetchone()
    return None if row is None else (row[0], task_row(db, row))


def task_row(db: sqlite3.Connection, row: Row) -> TaskRow:
    """The index row, with the last number of its events: those of deltas are in no other place."""
    *values, crc = row
    if task_crc(tuple(values)) != crc:
        raise corrupt("a task")
    last_event = db.execute(LAST_EVENT, row[:1]).fetchone()
    if last_event is not None and crc_of(last_event[:4], last_event[4]) != last_event[5]:
        raise corrupt("an event")
    _, task_id, epoch, last_ts, last_seq, head, open_turn, waiting_since, prefix, *more = values
    created, updated, trimmed_to, spent_tokens, spent_usd = more
    return TaskRow(
        task_id=task_id.decode(),
        epoch=epoch,
        last_ts=last_ts if last_event is None else max(last_ts, last_event[1]),
        last_seq=last_seq,
        head=head,
        open_turn=open_turn,
        waiting_since=waiting_since,
        prefix=prefix,
        created_at=created,
        updated_at=updated,
        trimmed_to=trimmed_to,
        spent_tokens=spent_tokens,
        spent_usd=spent_usd,
    )


def find_turn(db: sqlite3.Connection, task: int, turn_id: str) -> Row | None:
    row: Row | None = db.execute(f"{TURN} WHERE task = ? AND turn_id = ?", (task, turn_id)).fetchone()
    if row is not None:
        turn_row(row)
    return row


def turn_row(row: Row) -> TurnRow:
    *values, crc = row
    if crc_of(tuple(values)) != crc:
        raise corrupt("a turn")
    _, _, turn_id, parent, message_id, started_at, ended_at, *_ = values
    return TurnRow(turn_id=turn_id, parent=parent, message_id=message_id, started_at=started_at, ended_at=ended_at)


def fact_row(row: Row, turn_id: str) -> FactRow:
    _, seq, _, ts, message_id, body, crc = row
    if not isinstance(body, bytes) or crc_of(row[:5], body) != crc:
        raise corrupt("a fact")
    return FactRow(seq=seq, ts=ts, turn_id=turn_id, body=body, message_id=message_id)


def blob_body(row: Row) -> bytes:
    key, sha256, body, crc = row
    if not isinstance(body, bytes) or crc_of((key, sha256), body) != crc:
        raise corrupt("an attachment or an output")
    return body


def corrupt(what: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"The checksum of {what} of this task does not match: the file was damaged. It is not shown. Restore the "
        "database from a backup, or delete the task."
    )
