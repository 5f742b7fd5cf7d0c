"""What only a file can show: locks, schemas, damage, full disks, doubtful commits."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random

import anyio
import anyio.to_thread
import pytest

import september_engine
from september_engine.errors import (
    ConfigurationError,
    EngineClosed,
    EngineError,
    MigrationRequired,
    StoreBusy,
    StoreCorrupt,
    StoreFull,
    StoreInUse,
)
from september_engine.store._migrate import SCHEMA
from september_engine.store._rows import crc_of
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.store_writer import Writer

from ..programs import unicode_names


@asynccontextmanager
async def opened(store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "brain.sqlite"


async def fill(path: Path, *task_ids: str) -> None:
    """Two turns in each task, closed."""
    async with opened(SQLiteStore(path)) as store:
        for task_id in task_ids:
            writer = Writer(store, task_id)
            for turn_id, parent in (("a", None), ("b", "a")):
                await writer.begin(turn_id, parent=parent, texts=["one", "two"])
                await writer.end(ended_at=2_000)


class Failing:
    """A crash point that raises SQLite's own error, so often, when it is passed."""

    def __init__(self, point: str, code: int, *, times: int = 1, after: int = 0) -> None:
        self.point, self.code, self.times, self.after = point, code, times, after

    def __call__(self, name: str, /) -> None:
        if name != self.point:
            return
        self.after -= 1
        if self.after < 0 < self.times:
            self.times -= 1
            error = sqlite3.OperationalError("injected")
            error.sqlite_errorcode = self.code
            raise error


# ── one engine per file ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_second_store_on_the_file_is_refused_with_the_owners_pid(path: Path) -> None:
    async with opened(SQLiteStore(path)):
        with pytest.raises(StoreInUse) as refused:
            await SQLiteStore(path).open()
        assert refused.value.details["pid"] == os.getpid()
        assert "in this process" in refused.value.message
    async with opened(SQLiteStore(path)):
        pass


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, StoreFull), (errno.EIO, ConfigurationError)])
@pytest.mark.parametrize("call", ["open", "pwrite"])
async def test_a_file_that_cannot_be_made_says_why_and_leaves_no_lock(
    path: Path, code: int, kind: type[EngineError], call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched, pytest.raises(kind, match=r"disk is full|Input/output"):
        patched.setattr(os, call, fails)
        await SQLiteStore(path).open()
    async with opened(SQLiteStore(path)):
        pass


async def test_the_lock_of_a_killed_process_is_free_at_once(path: Path) -> None:
    program = textwrap.dedent(
        """
        import asyncio, sys, time
        from september_engine.store.sqlite import SQLiteStore

        async def main():
            await SQLiteStore(sys.argv[1]).open()
            print("open", flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert await anyio.to_thread.run_sync(child.stdout.readline) == "open\n"
            with pytest.raises(StoreInUse) as refused:
                await SQLiteStore(path).open()
            assert refused.value.details["pid"] == child.pid
        finally:
            child.send_signal(signal.SIGKILL)
    async with opened(SQLiteStore(path)) as store:
        assert await store.check() == "ok"


def test_a_program_that_forgets_to_close_still_ends(path: Path) -> None:
    program = textwrap.dedent(
        """
        import asyncio, sys
        from september_engine.store.sqlite import SQLiteStore

        store = SQLiteStore(sys.argv[1])
        asyncio.run(store.open())
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr


# ── files that cannot be used ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_file_and_its_folder_are_made_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "brain.sqlite"
    async with opened(SQLiteStore(path)) as store:
        await Writer(store).begin("t")
        assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
            "brain.sqlite": 0o600,
            "brain.sqlite-wal": 0o600,
            "brain.sqlite-shm": 0o600,
            "brain.sqlite.lock": 0o600,
        }
        assert path.parent.stat().st_mode & 0o777 == 0o700


@unicode_names
async def test_a_path_with_odd_characters_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "100% of? #1 ü.sqlite"
    async with opened(SQLiteStore(path)) as store:
        await Writer(store).begin("t")
    assert path.exists()


async def test_a_schema_of_a_newer_release_is_refused_with_both_versions(path: Path) -> None:
    await fill(path, "task")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 7}")
    before = path.read_bytes()
    with pytest.raises(MigrationRequired) as refused:
        await SQLiteStore(path).open()
    assert refused.value.details == {"found": SCHEMA + 7, "known": SCHEMA}
    assert str(SCHEMA + 7) in refused.value.message
    assert path.read_bytes() == before


async def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE other (x)")
    with pytest.raises(ConfigurationError, match="another program"):
        await SQLiteStore(path).open()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("other",)]


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("Dear diary, " * 500, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await SQLiteStore(path).open()
    assert path.read_text(encoding="utf-8").startswith("Dear diary")


async def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="directory"):
        await SQLiteStore(tmp_path).open()


async def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path, path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    path.symlink_to(target)
    with pytest.raises(ConfigurationError):
        await SQLiteStore(path).open()
    assert target.read_bytes() == b""


async def test_a_folder_that_cannot_be_written_is_refused_at_open(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be opened"):
        await SQLiteStore("/proc/september/brain.sqlite").open()


async def test_a_store_that_was_refused_can_be_opened_once_the_reason_is_gone(path: Path) -> None:
    path.write_text("not a database, " * 500, encoding="utf-8")
    store = SQLiteStore(path)
    with pytest.raises(ConfigurationError):
        await store.open()
    path.unlink()
    async with opened(store):
        assert await store.check() == "ok"


# ── migrations ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_opening_that_is_cancelled_frees_the_file(path: Path) -> None:
    migrating, go_on = threading.Event(), threading.Event()

    def waits(name: str) -> None:
        if name == "store.migrate.before":
            migrating.set()
            go_on.wait(timeout=10)

    async with anyio.create_task_group() as group:
        group.start_soon(SQLiteStore(path, crash=waits).open)
        await anyio.to_thread.run_sync(migrating.wait)
        group.cancel_scope.cancel()
        go_on.set()
    async with opened(SQLiteStore(path)) as store:
        assert await store.check() == "ok"


async def test_a_closing_that_is_cancelled_frees_the_file(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    async with opened(SQLiteStore(path)) as other:
        assert await other.check() == "ok"


async def test_a_migration_that_fails_leaves_nothing_behind(path: Path) -> None:
    with pytest.raises(ConfigurationError):
        await SQLiteStore(path, crash=Failing("store.migrate.before", sqlite3.SQLITE_IOERR)).open()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
    async with opened(SQLiteStore(path)) as store:
        assert await store.check() == "ok"


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────

LAST = "WHERE task = 1 AND ts = (SELECT max(ts) FROM events WHERE task = 1)"
DAMAGE = {
    "an event's body": f"UPDATE events SET body = x'00' {LAST}",
    "an event's number": f"UPDATE events SET ts = ts + 1000 {LAST}",
    "an event's turn": "UPDATE events SET turn = 99 WHERE task = 1",
    "an event's type": "UPDATE events SET type = 'error' WHERE task = 1",
    "the first event, which is gone": "DELETE FROM events WHERE task = 1 AND ts = 1001",
    "the last event, which is gone": f"DELETE FROM events {LAST}",
    "a fact's body": "UPDATE facts SET body = x'00' WHERE turn = 1",
    "a fact's number": "UPDATE facts SET seq = seq + 100 WHERE turn = 1 AND seq = 2",
    "a fact that is gone": "DELETE FROM facts WHERE turn = 1 AND seq = 2",
    "a turn's parent": "UPDATE turns SET parent = NULL WHERE turn = 2",
    "a turn that is gone": "DELETE FROM turns WHERE turn = 1",
    "the last turn, which is gone": "DELETE FROM turns WHERE turn = 2",
    "the task's head": "UPDATE tasks SET head = 'a' WHERE task = 1",
    "the task's epoch": "UPDATE tasks SET epoch = 77 WHERE task = 1",
}


async def read_all(store: SQLiteStore, task_id: str) -> None:
    """Everything the engine reads of a task before it goes on with it."""
    await store.task(task_id)
    await store.events(task_id, after=0)
    await store.thread(task_id, "b")
    await store.turns(task_id)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_damage_is_found_before_it_is_shown_and_the_other_tasks_go_on(path: Path, damage: str) -> None:
    await fill(path, "hurt", "well")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute(damage).rowcount > 0
        db.commit()
    async with opened(SQLiteStore(path)) as store:
        with pytest.raises(StoreCorrupt):
            await read_all(store, "hurt")
        await read_all(store, "well")
        row = await store.task("well")
        assert row is not None
        writer = Writer(store, "well")
        writer.row = row
        await writer.begin("c", parent="b")
        assert await store.latest() == "well"
        assert "well" in [row.task_id for row in await store.tasks()]
        await store.trim(ended_before=10**13)
        assert await store.delete("hurt")


@pytest.mark.parametrize("table", ["events", "facts", "turns"])
async def test_an_error_that_is_kept_does_not_keep_the_store_at_its_moment(path: Path, table: str) -> None:
    await fill(path, "hurt")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE {table} SET crc = 1 WHERE turn = 1")
        db.commit()
    async with opened(SQLiteStore(path)) as store:
        reads: dict[str, Callable[[], Awaitable[object]]] = {
            "events": lambda: store.events("hurt", after=0),
            "facts": lambda: store.turn("hurt", "a"),
            "turns": lambda: store.turns("hurt"),
        }
        with pytest.raises(StoreCorrupt) as kept:
            await reads[table]()
        await Writer(store, "new").begin("t")
        assert await store.task("new") is not None
        assert kept.value.__traceback__ is not None


async def test_a_task_whose_index_is_damaged_is_not_written_to(path: Path) -> None:
    await fill(path, "hurt")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE tasks SET last_ts = last_ts - 5")
        db.commit()
    async with opened(SQLiteStore(path)) as store:
        writer = Writer(store, "hurt")
        with pytest.raises(StoreCorrupt):
            await writer.begin("c")
        assert await store.tasks() == []


@pytest.mark.parametrize("between", ["trim", "delete"])
async def test_what_is_trimmed_or_deleted_while_it_is_read_is_not_taken_for_damage(path: Path, between: str) -> None:
    """SQLite says when it begins a statement, which is where another connection can come in between."""
    await fill(path, "task")
    async with opened(SQLiteStore(path)) as store:
        whole = await store.events("task", after=0)
        loop, done = asyncio.get_running_loop(), threading.Event()

        def comes_in(statement: str) -> None:
            if "FROM events " in statement and not done.is_set():
                work = store.trim(ended_before=10**13) if between == "trim" else store.delete("task")
                asyncio.run_coroutine_threadsafe(work, loop).result(timeout=10)
                done.set()

        assert store._read_connection is not None
        await store._read_connection.run(lambda db: db.set_trace_callback(comes_in))
        assert await store.events("task", after=0) == whole
        assert done.is_set()
        assert await store.events("task", after=0) == []


async def test_a_flipped_bit_is_never_shown_as_good(path: Path) -> None:
    """What can be read of a file with one flipped bit is what was written, or nothing; the rest raises."""
    await fill(path, "one", "two")
    written = [await everything(path, task_id) for task_id in ("one", "two")]
    image, chance = path.read_bytes(), Random(7)
    used = [place for place, byte in enumerate(image) if byte]  # most of so small a file is empty
    found = 0
    for _ in range(300):
        place = chance.choice(used)
        flipped = bytearray(image)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        for task_id, good in zip(("one", "two"), written, strict=True):
            try:
                shown = await everything(path, task_id)
            except EngineError:
                found += 1
            else:
                for part, whole in zip(shown, good, strict=True):
                    assert part in (whole, None, []), place
    assert found > 30


READS: list[Callable[[SQLiteStore, str], Awaitable[object]]] = [
    lambda store, task_id: store.task(task_id),
    lambda store, task_id: store.events(task_id, after=0),
    lambda store, task_id: store.thread(task_id, "b"),
    lambda store, task_id: store.turns(task_id),
]


async def everything(path: Path, task_id: str) -> list[object]:
    async with opened(SQLiteStore(path)) as store:
        return [await read(store, task_id) for read in READS]


# ── other programs, full disks, doubtful commits ─────────────────────────────────────────────────────────────────────


async def test_another_programs_write_lock_is_waited_for_then_said(path: Path) -> None:
    async with opened(SQLiteStore(path, busy_timeout=0.05)) as store:
        writer = Writer(store)
        await writer.begin("t")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy):
                await Writer(store, "another").begin("t")
            assert await store.events("task", after=0)
            assert "lock" in await store.check()
            other.execute("ROLLBACK")
        await Writer(store, "another").begin("t")
        assert await store.check() == "ok"


async def test_those_who_wait_for_another_programs_lock_wait_together_not_one_after_the_other(path: Path) -> None:
    points: list[str] = []
    async with opened(SQLiteStore(path, busy_timeout=0.05, crash=points.append)) as store:
        names = [f"t{number}" for number in range(8)]
        points.clear()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = await asyncio.gather(*(Writer(store, name).begin("a") for name in names), return_exceptions=True)
            assert [type(each) for each in refused] == [StoreBusy] * 8
            assert points.count("store.begin") <= 2
            other.execute("ROLLBACK")
        await asyncio.gather(*(Writer(store, name).begin("a") for name in names))
        assert len(await store.tasks()) == 8


async def test_waiting_for_a_lock_does_not_block_the_event_loop(path: Path) -> None:
    async with opened(SQLiteStore(path, busy_timeout=30)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as group:
                group.start_soon(Writer(store).begin, "t")
                for _ in range(100):
                    await store.events("task", after=0)
                other.execute("ROLLBACK")
        assert await store.task("task") is not None


async def test_a_full_disk_is_said_reading_goes_on_and_writing_resumes(path: Path) -> None:
    async with opened(SQLiteStore(path)) as store:
        writer = Writer(store)
        await writer.begin("t")
        assert store._write_connection is not None
        await store._write_connection.run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())
        row = writer.row
        with pytest.raises(StoreFull, match="disk is full"):
            for _ in range(1_000):
                row = writer.row
                await writer.more("x" * 5_000)
        assert "full" in await store.check() or await store.check() == "ok"
        stored = await store.task("task")
        assert stored is not None
        assert stored.last_ts == row.last_ts
        await store._write_connection.run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchall())
        writer.row = row
        await writer.more("x" * 5_000)
        assert await store.check() == "ok"


@pytest.mark.parametrize("what", ["the file", "its folder"])
async def test_a_file_that_somebody_removed_is_said(tmp_path: Path, what: str) -> None:
    path = tmp_path / "folder" / "brain.sqlite"
    async with opened(SQLiteStore(path)) as store:
        assert await store.check() == "ok"
        if what == "the file":
            path.unlink()
        else:
            shutil.rmtree(path.parent)
        assert "cannot be reached" in await store.check()


async def test_a_failure_inside_a_group_is_retried_one_by_one(path: Path) -> None:
    """The second row that is written fails once, whatever group it is in: nobody is lost, nobody else notices."""
    async with opened(SQLiteStore(path, crash=Failing("store.written", sqlite3.SQLITE_IOERR, after=1))) as store:
        writers = [Writer(store, str(number)) for number in range(5)]
        failed: list[EngineError] = []

        async def begin(writer: Writer) -> None:
            try:
                await writer.begin("t")
            except EngineError as error:
                failed.append(error)

        async with anyio.create_task_group() as group:
            for writer in writers:
                group.start_soon(begin, writer)
        assert failed == []
        assert len(await store.tasks()) == 5


async def test_a_failed_write_is_said_and_the_next_one_works(path: Path) -> None:
    async with opened(SQLiteStore(path, crash=Failing("store.begin", sqlite3.SQLITE_READONLY))) as store:
        with pytest.raises(StoreBusy, match="disk refused"):
            await Writer(store).begin("t")
        assert await store.task("task") is None
        assert await store.check() == "ok"
        await Writer(store).begin("t")


async def test_a_commit_that_failed_for_good_is_not_there(path: Path) -> None:
    async with opened(SQLiteStore(path)) as store:
        writer = Writer(store)
        await writer.begin("t")
        row = writer.row
        assert store._write_connection is not None
        await store._write_connection.run(refuse_commits)
        with pytest.raises(EngineError):
            await writer.more("lost")
        assert len(await store.events("task", after=0)) == 1
        writer.row = row
        await writer.more("kept")
        assert [event.body for event in await store.events("task", after=0)][1:] == [b'{"text":"kept"}']


async def test_reads_are_told_to_come_back_while_the_file_cannot_be_opened_again(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    moves: list[Path] = []

    def moved(name: str, /) -> None:
        if name == "store.commit.before" and moves:
            path.rename(moves.pop())

    async with opened(SQLiteStore(path, crash=moved)) as store:
        writer = Writer(store)
        await writer.begin("t")
        assert store._write_connection is not None
        await store._write_connection.run(refuse_commits)
        moves.append(elsewhere)
        with pytest.raises(EngineError):
            await writer.more("lost")
        with pytest.raises(StoreBusy, match="opened again"):
            await store.task("task")
        elsewhere.rename(path)
        assert await store.check() == "ok"
        assert await store.task("task") is not None


def refuse_commits(db: sqlite3.Connection) -> None:
    """A deferred constraint makes COMMIT itself fail, with the transaction still open."""
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("CREATE TEMP TABLE parent (x INTEGER PRIMARY KEY)")
    db.execute("CREATE TEMP TABLE child (x REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    db.execute("CREATE TEMP TRIGGER fail AFTER INSERT ON events BEGIN INSERT INTO child VALUES (1); END")


class CommitsThenFails:
    """The worst answer of a disk: the commit is in the file, and its error says that it is not."""

    def __init__(self) -> None:
        self.store: SQLiteStore | None = None

    def __call__(self, name: str, /) -> None:
        if name == "store.commit.before" and self.store is not None:
            connection, self.store = self.store._write_connection, None
            assert connection is not None
            assert connection._connection is not None
            connection._connection.execute("COMMIT")  # the writer's own COMMIT now fails: no transaction is active


@pytest.mark.parametrize("barrier", [True, False])
async def test_a_commit_that_failed_but_is_there_counts_as_done(path: Path, barrier: bool) -> None:
    crash = CommitsThenFails()
    async with opened(SQLiteStore(path, crash=crash)) as store:
        writer = Writer(store)
        await writer.begin("t")
        crash.store = store
        if barrier:
            await writer.more("there")
        else:
            await writer.deltas("there")
        assert crash.store is None
        assert len(await store.events("task", after=0)) == 2
        await writer.more("and on")


async def test_who_waits_is_told_when_the_event_loop_goes_down(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    assert store._writer is not None
    assert store._writer._task is not None
    store._writer._task.cancel()
    with pytest.raises(EngineClosed):
        await Writer(store).begin("t")
    await store.aclose()


async def test_relaxed_flushes_everything_but_deltas(path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def crash(name: str, /) -> None:
        if name == "store.commit.before":
            assert store._write_connection is not None
            assert store._write_connection._connection is not None
            [(synchronous,)] = store._write_connection._connection.execute("PRAGMA synchronous")
            seen.append((step, synchronous))

    store = SQLiteStore(path, durability="relaxed", crash=crash)
    async with opened(store):
        writer = Writer(store)
        step = "begin"
        await writer.begin("t")
        step = "deltas"
        await writer.deltas("a")
        await writer.deltas("b")
        step = "end"
        await writer.end(ended_at=2_000)
    normal, full = 1, 2
    assert seen == [("begin", full), ("deltas", normal), ("deltas", normal), ("end", full)]


# ── cost ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_operation_looks_at_every_row(path: Path) -> None:
    """The plan of each statement that a turn costs: searches only, so its cost does not follow the history."""
    await fill(path, "one", "two")
    statements: list[str] = []
    async with opened(SQLiteStore(path)) as store:
        for connection in (store._write_connection, store._read_connection):
            assert connection is not None
            await connection.run(lambda db: db.set_trace_callback(statements.append))
        row = await store.task("one")
        assert row is not None
        writer = Writer(store, "one")
        writer.row = row
        await writer.begin("c", parent="b")
        await writer.deltas("x")
        await writer.end(ended_at=3_000)
        await read_all(store, "one")
        await store.find("one", "m-a")
        await store.open_tasks()
        await store.tasks(before="two")
        await store.trim(ended_before=9_000)
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            if statement.split()[0] not in ("SELECT", "UPDATE", "DELETE", "WITH"):
                continue
            plan = [line[3] for line in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
            scans = [line for line in plan if line.startswith("SCAN") and not HARMLESS.intersection(line.split())]
            assert scans == [], statement


HARMLESS = {"line", "open_tasks", "CONSTANT"}
"""The walk of one thread, the partial index over open turns, and a row of no table."""


async def test_the_latest_task_is_found_from_the_end(path: Path) -> None:
    await fill(path, "one")
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT task_id FROM turns JOIN tasks USING (task) ORDER BY turn DESC LIMIT 1"
        plan = [line[3] for line in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert not any("TEMP B-TREE" in line for line in plan)


def test_checksums_cover_keys_and_body() -> None:
    assert len({crc_of((1, "a"), b"x"), crc_of((2, "a"), b"x"), crc_of((1, "a"), b"y")}) == 3


def test_no_statement_has_placeholders_that_newer_pythons_refuse() -> None:
    """`?1` with a sequence is deprecated since Python 3.12 and an error in 3.14; names and plain `?` are not."""
    package = Path(september_engine.__file__).parent
    found = [
        (file.name, each) for file in package.rglob("*.py") for each in re.findall(r"\?\d", file.read_text("utf-8"))
    ]
    assert found == []
