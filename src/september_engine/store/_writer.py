"""Writer: the only one that writes. It commits what has come as one transaction, then takes what came meanwhile.

1. One transaction is one function in the connection's thread: no cancellation can cut it.
2. What fails touches only itself: a group that SQLite refuses is rolled back and tried again one by one.
3. A failed commit is in doubt, because it may be in the file all the same: every connection is opened anew, which
   makes SQLite decide, and the answer is read.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import attrs

from .._seams import CrashPoint
from ..errors import EngineClosed, EngineError
from ._connection import Connection, error_of

__all__ = ["Job", "Writer"]


@attrs.define(eq=False, kw_only=True)
class Job:
    """One thing to write. `landed` says after a doubtful commit whether it is there.

    With `alone` it runs by itself and outside of a transaction, as VACUUM and checkpoints must.
    """

    write: Callable[[sqlite3.Connection], object]
    landed: Callable[[sqlite3.Connection], bool]
    barrier: bool = True
    alone: bool = False
    done: asyncio.Future[object] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, outcome: object) -> None:
        """Tell who waits, if anybody still does."""
        if self.done.done():
            return
        if isinstance(outcome, EngineError):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class _InDoubt(Exception):
    """The commit failed; whether it is in the file is not known."""


class Writer:
    """Hosts its own task from `start` to `finish`.

    `reopen` must give a new connection after closing all old ones. `undone` is called when writes were rolled back, or
    may have been. `before` and `after` each transaction may raise what keeps it from counting: the file was moved.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        reopen: Callable[[], Awaitable[Connection]],
        undone: Callable[[], None],
        before: Callable[[], None],
        after: Callable[[], object],
        relaxed: bool,
        crash: CrashPoint,
    ) -> None:
        self._connection: Connection | None = connection
        self._reopen = reopen
        self._undone = undone
        self._before, self._after = before, after
        self._relaxed = relaxed
        self._crash = crash
        self._jobs: list[Job] = []
        self._taken: list[Job] = []
        self._wanted = asyncio.Event()
        self._closing = False
        self._because = "The store is closed."
        self._task: asyncio.Task[None] | None = None
        self._synchronous = "FULL"
        self.trouble: EngineError | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="september-engine-writer")
        self._task.add_done_callback(self._over)

    @property
    def is_here(self) -> bool:
        """It can be waited for: it runs, and in the event loop of the caller."""
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    async def put(self, job: Job) -> object:
        """Have this written, and wait until it is durable. Cancelling stops the wait, not the write."""
        if self._closing or self._task is None or self._task.done():
            raise EngineClosed(self._because)
        self._jobs.append(job)
        self._wanted.set()
        return await job.done

    async def finish(self) -> None:
        """Write what was put, then end. Where the event loop of the writer has ended, so has the writer."""
        self._closing = True
        if self._task is not None and not self._task.get_loop().is_closed():
            self._wanted.set()
            await asyncio.wait([self._task])

    def abandon(self, because: str) -> None:
        """End without the event loop of the writer, which may be blocked or over; from any thread.

        What is under way in the connection's thread still ends. Who waits is told once that loop runs again.
        """
        self._closing, self._because = True, because
        if self._task is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def _run(self) -> None:
        while not self._closing or self._jobs:
            await self._wanted.wait()
            self._wanted.clear()
            while self._jobs:
                count = _together(self._jobs)
                self._taken, self._jobs = self._jobs[:count], self._jobs[count:]
                await self._write(self._taken)

    def _over(self, task: asyncio.Task[None]) -> None:
        """Nobody may be left waiting when the event loop goes down under us."""
        self._closing = True
        for job in (*self._taken, *self._jobs):
            job.settle(EngineClosed("The store was closed before this was known to be written."))

    async def _write(self, jobs: Sequence[Job]) -> None:
        try:
            if self._connection is None:
                self._connection = await self._reopen()
                self._synchronous = "FULL"
            outcomes = await self._connection.run(self._transact, jobs)
        except _InDoubt as doubt:
            outcomes = await self._resolve(jobs, error_of(doubt.args[0]))
        except Exception as error:
            outcomes = [error_of(error)] * len(jobs)
        failed = [outcome for outcome in outcomes if isinstance(outcome, EngineError) and outcome.status >= 500]
        self.trouble = failed[0] if failed else None
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.settle(outcome)

    async def _resolve(self, jobs: Sequence[Job], error: EngineError) -> list[object]:
        """Find out what a failed commit left behind."""
        self._connection = None
        try:
            self._connection = await self._reopen()
            self._synchronous = "FULL"
            landed = await self._connection.run(lambda db: [job.landed(db) for job in jobs])
        except Exception as second:
            return [error_of(second)] * len(jobs)
        return [None if there else error for there in landed]

    # ── in the connection's thread ───────────────────────────────────────────────────────────────────────────────

    def _transact(self, db: sqlite3.Connection, jobs: Sequence[Job]) -> list[object]:
        try:
            return [jobs[0].write(db)] if jobs[0].alone else self._commit(db, jobs)
        except _InDoubt:
            raise
        except Exception as error:
            if len(jobs) == 1:
                return [error_of(error)]
        return [outcome for job in jobs for outcome in self._transact(db, [job])]

    def _commit(self, db: sqlite3.Connection, jobs: Sequence[Job]) -> list[object]:
        """All jobs in one transaction. One that is refused has written nothing, and the others go on."""
        try:
            self._before()
        except EngineError as error:
            return [error] * len(jobs)
        self._synchronise(db, jobs)
        self._crash("store.begin")
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:  # no job's own fault: one after the other would wait as long again
            return [error_of(error)] * len(jobs)
        outcomes: list[object] = []
        try:
            for job in jobs:
                try:
                    outcomes.append(job.write(db))
                except EngineError as refused:
                    outcomes.append(refused)
                self._crash("store.written")
        except BaseException:
            self._undone()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._crash("store.commit.before")
        try:
            db.execute("COMMIT")
        except Exception as error:
            self._undone()
            raise _InDoubt(error) from error
        self._crash("store.commit.after")
        try:
            self._after()
        except EngineError as error:  # it was moved meanwhile: what was written is not where it was meant to be
            self._undone()
            return [error] * len(jobs)
        return outcomes

    def _synchronise(self, db: sqlite3.Connection, jobs: Sequence[Job]) -> None:
        """Deltas alone may skip the flush where the user chose so; the next flush takes them along."""
        wanted = "NORMAL" if self._relaxed and not any(job.barrier for job in jobs) else "FULL"
        if wanted != self._synchronous:
            db.execute(f"PRAGMA synchronous = {wanted}")
            self._synchronous = wanted


def _together(jobs: Sequence[Job]) -> int:
    """How many of these, from the first on, are one transaction."""
    if jobs[0].alone:
        return 1
    return next((place for place, job in enumerate(jobs) if job.alone), len(jobs))
