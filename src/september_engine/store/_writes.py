"""Writes: what each operation of the port does to the file. Plain functions that run in the connection's thread.

`Fenced` and `StoreCorrupt` are raised before anything is written, so one batch of a group can be refused alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec.structs import replace

from ..errors import Fenced, StoreCorrupt
from . import _branches as branches
from ._rows import TASK, TURN, Row, crc_of, find_task, find_turn, task_crc, task_row, turn_row
from .base import Batch, Blob, FactRow, TaskRow, leaves_turns, stands_at

__all__ = ["OpenTurns", "delete_task", "holds", "rewrite_facts", "trim_events", "write_batch"]


class OpenTurns:
    """The turns that are being written, as the last write left them: a batch of deltas need not read them again.

    Only one connection writes to the file, so what it wrote last is what is stored.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str, int, int]] = {}

    def note(self, batch: Batch, *, turn: int, task: int) -> None:
        """Remember the keys of a batch that was written; its turn may go on."""
        self._known[batch.task_id] = (batch.epoch, _turn_id(batch), turn, task)

    def keys_for(self, batch: Batch) -> tuple[int, int] | None:
        """The keys of turn and task, where this is a batch of events alone for the turn that is being written."""
        known = self._known.get(batch.task_id)
        if known is None or batch.claim or batch.facts or batch.blobs or batch.task or batch.turn or not batch.events:
            return None
        epoch, turn_id, turn, task = known
        return (turn, task) if (epoch, turn_id) == (batch.epoch, batch.events[0].turn_id) else None

    def forget(self, task_id: str | None = None) -> None:
        """Of one task, or of all: what was written may not be there."""
        if task_id is None:
            self._known.clear()
        else:
            self._known.pop(task_id, None)


def write_batch(db: sqlite3.Connection, batch: Batch, open_turns: OpenTurns) -> None:
    """Write one batch, where its epoch is the one that is stored. What can be refused is looked at first."""
    keys = open_turns.keys_for(batch)
    if keys is None:
        found = find_task(db, batch.task_id)
        stored = 0 if found is None else found[1].epoch
        if stored != batch.epoch - batch.claim or (found is None and batch.task is None):
            raise Fenced(f"Epoch {batch.epoch} of this task is over; {stored} is stored.", epoch=stored)
        stored_turn = None if found is None else find_turn(db, found[0], _turn_id(batch))
        task = _put_task(db, found, batch)
        turn = _put_turn(db, task, stored_turn, batch)
        if batch.task is not None and leaves_turns(None if found is None else stands_at(found[1]), batch):
            stands, at = stands_at(batch.task), batch.task.last_ts
            branches.move(db, task=task, task_id=batch.task_id, turn_id=stands, at=at)
        if batch.turn is not None and batch.turn.ended_at is not None:
            open_turns.forget(batch.task_id)
        else:
            open_turns.note(batch, turn=turn, task=task)
    else:
        turn, task = keys
    if batch.facts:
        facts = [_checked((turn, fact.seq, task, fact.ts, fact.message_id, fact.body)) for fact in batch.facts]
        db.executemany("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?, ?)", facts)
    for blob in batch.blobs:
        _put_blob(db, task, blob)
    db.executemany("INSERT OR IGNORE INTO quotes VALUES (?, ?)", [(memory_id, task) for memory_id in batch.quotes])
    events = [_checked((task, event.ts, turn, event.type, event.body)) for event in batch.events]
    db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", events)


def _checked(row: Row) -> Row:
    return (*row, crc_of(row[:-1], row[-1]))


def _turn_id(batch: Batch) -> str:
    if batch.turn is not None:
        return batch.turn.turn_id
    return batch.facts[0].turn_id if batch.facts else batch.events[0].turn_id if batch.events else ""


def _put_task(db: sqlite3.Connection, found: tuple[int, TaskRow] | None, batch: Batch) -> int:
    """Write the index row where it changes. The numbers of deltas alone are read off their events."""
    if found is None:
        assert batch.task is not None
        stored = batch.task
        empty = "INSERT INTO tasks VALUES (NULL, ?, 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0)"
        task = db.execute(empty, (batch.task_id.encode(),)).lastrowid
        assert task is not None
    else:
        task, stored = found
        if batch.task is None and not batch.claim:
            return task
    _update_task(db, task, replace(batch.task or stored, epoch=batch.epoch, trimmed_to=stored.trimmed_to))
    return task


def _update_task(db: sqlite3.Connection, task: int, row: TaskRow) -> None:
    values = (
        row.epoch,
        row.last_ts,
        row.last_seq,
        row.head,
        row.open_turn,
        row.waiting_since,
        row.prefix,
        row.created_at,
        row.updated_at,
        row.trimmed_to,
        row.spent_tokens,
        row.spent_usd,
    )
    db.execute(
        "UPDATE tasks SET epoch = ?, last_ts = ?, last_seq = ?, head = ?, open_turn = ?, waiting_since = ?, "
        "prefix = ?, created_at = ?, updated_at = ?, trimmed_to = ?, spent_tokens = ?, spent_usd = ?, crc = ? "
        "WHERE task = ?",
        (*values, task_crc((task, row.task_id.encode(), *values)), task),
    )


def _put_turn(db: sqlite3.Connection, task: int, stored: Row | None, batch: Batch) -> int:
    """The key of the batch's turn, written where it begins or ends."""
    row = batch.turn
    if row is None:
        if stored is None and (batch.facts or batch.events):
            raise ValueError("a batch without its turn's row, which is not stored either")
        return 0 if stored is None else int(stored[0])
    times = [*(fact.ts for fact in batch.facts), *(event.ts for event in batch.events)]
    seqs = [fact.seq for fact in batch.facts]
    values: Row
    if stored is None:
        bounds = (min(times, default=0), max(times, default=0), min(seqs, default=0), max(seqs, default=0))
        values = (task, row.turn_id, row.parent, row.message_id, row.started_at, row.ended_at, *bounds)
        turn = db.execute("INSERT INTO turns VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0)", values).lastrowid
        assert turn is not None
    else:
        turn, *head, _, first_ts, last_ts, first_seq, last_seq, _ = stored
        last_ts, last_seq = max(times, default=last_ts), max(seqs, default=last_seq)
        values = (*head, row.ended_at, first_ts, last_ts, first_seq, last_seq)
        ended = "UPDATE turns SET ended_at = ?, last_ts = ?, last_seq = ? WHERE turn = ?"
        db.execute(ended, (row.ended_at, last_ts, last_seq, turn))
    db.execute("UPDATE turns SET crc = ? WHERE turn = ?", (crc_of((turn, *values)), turn))
    return int(turn)


def _put_blob(db: sqlite3.Connection, task: int, blob: Blob) -> None:
    """Store the content once, over one that was damaged if need be, and note that the task refers to it."""
    stored = db.execute("SELECT blob, sha256, body, crc FROM blobs WHERE sha256 = ?", (blob.sha256,)).fetchone()
    if stored is None:
        [(key,)] = db.execute("SELECT coalesce(max(blob), 0) + 1 FROM blobs")
        db.execute("INSERT INTO blobs VALUES (?, ?, ?, ?)", _checked((key, blob.sha256, blob.body)))
    elif stored != _checked((key := stored[0], blob.sha256, blob.body)):
        db.execute("REPLACE INTO blobs VALUES (?, ?, ?, ?)", _checked((key, blob.sha256, blob.body)))
    db.execute("INSERT OR IGNORE INTO blob_uses VALUES (?, ?)", (task, key))


def holds(db: sqlite3.Connection, batch: Batch) -> bool:
    """Whether this batch is in the database: asked after a commit whose outcome is in doubt."""
    found = find_task(db, batch.task_id)
    if found is None or found[1].epoch != batch.epoch:
        return False
    task = found[0]
    if batch.events:
        place = (task, batch.events[-1].ts)
        return db.execute("SELECT 1 FROM events WHERE task = ? AND ts = ?", place).fetchone() is not None
    if batch.facts:
        place = (task, batch.facts[-1].seq)
        return db.execute("SELECT 1 FROM facts WHERE task = ? AND seq = ?", place).fetchone() is not None
    return batch.task is None or found[1] == batch.task


def rewrite_facts(db: sqlite3.Connection, task_id: str, facts: Sequence[FactRow], no_longer: Sequence[str]) -> None:
    """Give facts other bodies."""
    found = find_task(db, task_id)
    if found is None:
        return
    task = found[0]
    for fact in facts:
        turn = find_turn(db, task, fact.turn_id)
        if turn is not None:
            row = _checked((turn[0], fact.seq, task, fact.ts, fact.message_id, fact.body))
            db.execute("UPDATE facts SET body = ?, crc = ? WHERE turn = ? AND seq = ?", (*row[5:], *row[:2]))
    db.executemany("DELETE FROM quotes WHERE memory_id = ? AND task = ?", [(each, task) for each in no_longer])


def trim_events(db: sqlite3.Connection, ended_before: int, limit: int) -> int:
    """Remove the events of turns that ended before this time; returns how many turns that were."""
    turns = db.execute(
        f"{TURN} WHERE trimmed = 0 AND ended_at IS NOT NULL AND ended_at < ? ORDER BY ended_at, turn LIMIT ?",
        (ended_before, limit),
    ).fetchall()
    for stored in turns:
        turn, task, *_, first_ts, last_ts, _, _, _ = stored
        try:
            turn_row(stored)
            row = task_row(db, db.execute(f"{TASK} WHERE task = ?", (task,)).fetchone())
        except StoreCorrupt:  # a task that cannot be read keeps what it has, and the sweep goes on
            pass
        else:
            place = (task, first_ts, last_ts, turn)
            db.execute("DELETE FROM events WHERE task = ? AND ts BETWEEN ? AND ? AND turn = ?", place)
            _update_task(db, task, replace(row, trimmed_to=max(row.trimmed_to, last_ts)))
        db.execute("UPDATE turns SET trimmed = 1 WHERE turn = ?", (turn,))
    return len(turns)


def delete_task(db: sqlite3.Connection, task_id: str, open_turns: OpenTurns) -> bool:
    """Remove everything of a task, readable or not."""
    open_turns.forget(task_id)
    found = db.execute("SELECT task FROM tasks WHERE task_id = ?", (task_id.encode(),)).fetchone()
    if found is None:
        return False
    db.execute("DELETE FROM facts WHERE turn IN (SELECT turn FROM turns WHERE task = ?)", found)
    db.execute(
        "DELETE FROM blobs WHERE blob IN (SELECT blob FROM blob_uses WHERE task = :task) "
        "AND NOT EXISTS (SELECT 1 FROM blob_uses WHERE blob_uses.blob = blobs.blob AND task != :task)",
        {"task": found[0]},
    )
    db.execute("DELETE FROM memory_turns WHERE task_id = ?", (task_id,))
    for table in ("blob_uses", "quotes", "events", "turns", "tasks"):
        db.execute(f"DELETE FROM {table} WHERE task = ?", found)
    return True
