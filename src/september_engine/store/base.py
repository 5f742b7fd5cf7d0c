"""The ports every store implements.

A store appends, reads and claims. It never decides: numbers, times and what a row means are given to it.

Two kinds of rows belong to a task. *Facts* are for good: they are what happened. *Events* are what clients see; they
are trimmed when their channel's lifetime is over. A third, the `TaskRow`, is an index over the facts that saves
reading them: it could be made again from them at any time.

*Blobs* are what is too large for a fact: a picture, a document, the whole of a long output. A fact refers to one by
the SHA-256 of its content; the same content is stored once, however many facts of however many tasks refer to it.

Everything a store is handed or gives is bytes, text and numbers: it does not know our structs. Task ids are opaque
text of up to 512 bytes that may hold anything UTF-8 can (NUL, emoji, `../`); they are compared as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

__all__ = [
    "Batch",
    "Blob",
    "Blobs",
    "CompactProgress",
    "CompactReport",
    "EventLog",
    "EventRow",
    "FactRow",
    "Lifecycle",
    "OnProgress",
    "Seizable",
    "Store",
    "TaskRow",
    "Tasks",
    "TurnRow",
    "Turns",
    "leaves_turns",
    "stands_at",
]


class FactRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One fact. `seq` counts from 1 without a gap within the task; `message_id` is set where the fact is a message."""

    seq: int
    ts: int
    turn_id: str
    body: bytes
    message_id: str | None = None


class EventRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event. `ts` is unix ms, strictly increasing within the task: the cursor of replay."""

    ts: int
    turn_id: str
    type: str
    body: bytes


class TurnRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One turn. `parent` is the turn it goes on from. `ended_at` is wall time in unix ms, None while it is open."""

    turn_id: str
    parent: str | None
    message_id: str
    started_at: int
    ended_at: int | None = None


class TaskRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The index of one task: what starting a turn needs to know without reading the thread.

    `last_ts` and `last_seq` are the last numbers used; `head` is the turn the next one goes on from; `open_turn` is
    the turn that has not ended; `waiting_since` is the wall time at which it began to wait for a person; `prefix` is
    the id of the prompt prefix of `head`. Events up to and including `trimmed_to` may be gone (0: none is).
    `spent_tokens` and `spent_usd` (None: unknown) are what all its turns have spent.
    """

    task_id: str
    epoch: int
    last_ts: int
    last_seq: int
    head: str | None = None
    open_turn: str | None = None
    waiting_since: int | None = None
    prefix: str | None = None
    created_at: int = 0
    updated_at: int = 0
    trimmed_to: int = 0
    spent_tokens: int = 0
    spent_usd: float | None = 0.0


def stands_at(row: TaskRow) -> str | None:
    """The turn that the task stands at: the open one, else the one that the next goes on from.

    It and its ancestors are what the conversation is made of; every other turn is left, for now.
    """
    return row.open_turn or row.head


class Blob(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """Something large that facts refer to. `sha256` is that of the body, in lower-case hex."""

    sha256: str
    body: bytes


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one task that become durable together or not at all.

    `epoch` is the fencing token of the writer. With `claim`, this batch starts a turn: it is accepted only where the
    stored epoch is `epoch - 1` (0 for a task that does not exist yet) and raises it. Without, only where the stored
    epoch is `epoch`. Otherwise nothing of the batch is written and `Fenced` is raised.

    `task` replaces the index row (but for `trimmed_to`, which only `trim` moves); None keeps it and only moves
    `last_ts` to the last event's. `turn` is inserted, or, where it exists, its `ended_at` is set. A batch that is not
    a `barrier` holds only deltas and may be made durable against a crash of the process alone (`relaxed`).

    The rows of one batch are all of one turn, whose `TurnRow` came with this batch or an earlier one. The first batch
    of a task brings its `task`.

    Where `task` makes the task stand at another turn (`stands_at`), the memories of the turns that this leaves or
    brings back change with it, in the same transaction: see `Memories`.

    `blobs` are what its facts refer to; they belong to the task from then on. One that is stored already is not stored
    again; where the stored one was damaged, this one takes its place.

    `quotes` are the ids of memories that its facts hold copies of: `Turns.quoting` gives the task for them.
    """

    task_id: str
    epoch: int
    facts: Sequence[FactRow] = ()
    events: Sequence[EventRow] = ()
    task: TaskRow | None = None
    turn: TurnRow | None = None
    blobs: Sequence[Blob] = ()
    quotes: Sequence[str] = ()
    claim: bool = False
    barrier: bool = True


def leaves_turns(stood: str | None, batch: Batch) -> bool:
    """Whether this batch may leave turns, or bring some back, where the task stood at this turn before.

    It does not where the task goes on with this very turn or from it: so almost never.
    """
    if batch.task is None:
        return False
    stands = stands_at(batch.task)
    if batch.turn is None:
        return stands != stood
    return batch.turn.turn_id != stands or (stands != stood and batch.turn.parent != stood)


class CompactProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a `compact` is: what it does now, and how many seconds it has taken so far.

    "words" clears the index of words, "file" writes the file anew, "log" empties the file's log and waits for
    whoever reads an older state.
    """

    stage: Literal["words", "file", "log"]
    seconds: float


class CompactReport(msgspec.Struct, frozen=True, kw_only=True):
    """How many bytes the store's files had before and after a `compact`; 0 where there are none."""

    bytes_before: int
    bytes_after: int


OnProgress: TypeAlias = Callable[[CompactProgress], object]


class EventLog(Protocol):
    """Writing, and the channel's side of reading."""

    async def append(self, batch: Batch, /) -> None:
        """Make the batch durable. When this returns, it survives the process, and with the store's default the machine.

        Batches of many tasks may be appended at once; they are grouped into one transaction as they come, and one
        that is refused does not touch the others. Batches of one task are kept in the order of their calls.

        Cancelling stops the wait, not the write: the batch is then durable or not, and `Tasks.task` tells.
        Raises `Fenced`, `StoreBusy`, `StoreFull`, `StoreCorrupt`; after any of them nothing of the batch is stored.
        """
        ...

    async def events(self, task_id: str, /, *, after: int, limit: int = 500) -> list[EventRow]:
        """Events with `ts > after`, oldest first, at most `limit`; [] for an unknown task.

        Raises `StoreCorrupt` where a row fails its checksum.
        """
        ...

    async def trim(self, *, ended_before: int, limit: int = 100) -> int:
        """Remove the events of turns that ended before this wall time (unix ms), at most `limit` turns.

        Moves the tasks' `trimmed_to` to the last `ts` removed. Never touches an open turn, facts or turns. Returns
        how many turns were trimmed, so that a caller goes on until it is less than `limit`. Repeating it is harmless.
        """
        ...


class Tasks(Protocol):
    """The index over tasks."""

    async def task(self, task_id: str, /) -> TaskRow | None:
        """The task's row, or None."""
        ...

    async def tasks(self, *, before: str | None = None, limit: int = 50) -> list[TaskRow]:
        """Tasks, newest created first; `before` is the task id where the page before ended. At most `limit`.

        An unknown `before` gives [].
        """
        ...

    async def open_tasks(self) -> list[TaskRow]:
        """Every task with an open turn. The cost follows their number, not that of all tasks."""
        ...

    async def delete(self, task_id: str, /) -> bool:
        """Remove the task with all its facts, events and turns; False where there was none.

        A blob goes with the last task it belongs to. Nothing gives any of it from then on; bytes of it may be left in
        the files until `compact`.
        """
        ...


class Turns(Protocol):
    """Reading what happened. All raise `StoreCorrupt` where a row fails its checksum."""

    async def turn(self, task_id: str, turn_id: str, /) -> list[FactRow]:
        """The facts of one turn in order; [] where it is unknown."""
        ...

    async def thread(self, task_id: str, turn_id: str, /, *, since: str | None = None) -> list[FactRow]:
        """The facts of this turn and all its ancestors, along `TurnRow.parent`, the oldest turn first.

        With `since`, only those from that ancestor on; the cost follows what is given. Where it is none, [].
        """
        ...

    async def turns(self, task_id: str, /) -> list[TurnRow]:
        """All turns of the task in the order they started."""
        ...

    async def find(self, task_id: str, message_id: str, /) -> FactRow | None:
        """The fact that is this message, or None: an id of another task is unknown here."""
        ...

    async def quoting(self, memory_ids: Sequence[str], /) -> list[str]:
        """The ids of the tasks whose facts hold copies of one of these memories, in any order, each once."""
        ...

    async def rewrite(self, task_id: str, facts: Sequence[FactRow], /, *, no_longer: Sequence[str]) -> None:
        """Give stored facts other bodies, all or none: the one exception to facts being for good, for what is erased.

        From then on the task quotes the memories `no_longer` no more. Facts that are not there are left out. Raises
        `StoreBusy`, `StoreFull`; doing it again does no harm.
        """
        ...


class Blobs(Protocol):
    """What is too large for a fact. Written with `Batch.blobs`."""

    async def blob(self, task_id: str, sha256: str, /) -> bytes | None:
        """The body, or None: a blob of other tasks only is unknown here.

        Raises `StoreCorrupt` where it fails its checksum.
        """
        ...


class Lifecycle(Protocol):
    """Opening and closing, and the one question over all tasks."""

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of all files on this machine that are its own, there or not: tools are kept from them."""
        ...

    async def open(self) -> None:
        """Make ready; migrates an older schema.

        Raises `StoreInUse`, also where this very store is open already; `MigrationRequired`, `ConfigurationError`.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was accepted, then free everything. Harmless when repeated or never opened."""
        ...

    async def check(self) -> str:
        """ "ok", or one line on why writing would fail now. Must not raise."""
        ...

    async def latest(self) -> str | None:
        """The id of the task whose turn started last, or None."""
        ...

    async def compact(self, *, progress: OnProgress | None = None) -> CompactReport:
        """Make the files hold nothing but what can be read: no byte of what was deleted or erased before this call.

        Reading goes on meanwhile; appends wait. `progress` is called in this event loop when a stage begins, and twice
        a second while it lasts; what it raises ends the compacting. Cancelling ends it, too; then, and where the
        process dies, the files hold what they held before. Raises `StoreBusy` where another program keeps old content
        from being removed, `StoreFull` where there is no room for a second copy, `EngineClosed`.
        """
        ...


@runtime_checkable
class Seizable(Protocol):
    """A store that another engine of the same process can take, as when a notebook's set-up cell runs again."""

    async def seize(self, because: str, /) -> None:
        """Close now, from any event loop, whether or not the one that it was opened in still runs.

        What was being written is written or not, as with a crash. Every later use raises `EngineClosed` with these
        words, until it is opened again. Harmless when it is closed already. Cancelling may leave it half closed.
        """
        ...


class Store(EventLog, Tasks, Turns, Blobs, Lifecycle, Protocol):
    """All of it: what an engine needs."""
