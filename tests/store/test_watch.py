"""A database that was moved, deleted or replaced while it is open: noticed at once, and nothing is mixed up."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio.to_thread
import pytest

from september_engine import Engine, Settings
from september_engine.errors import EngineError, StoreInUse, StoreMoved, TurnFailed
from september_engine.models.scripted import ScriptedModel, say
from september_engine.store import _watch
from september_engine.store._lock import identity_of
from september_engine.store._watch import Watch
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.store_writer import Writer

from ..engines import echo
from ..programs import run

Deed = Callable[[Path], object]

ELSEWHERE = "away"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "brain.sqlite"


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


async def said(path: Path, *task_ids: str) -> None:
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        for task_id in task_ids:
            await engine.execute("Hi", task_id=task_id)


async def tasks_in(path: Path) -> set[str]:
    """What the next engine finds, in a file that SQLite finds whole."""
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        found = {task.task_id for task in await engine.tasks()}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return found


def restored(path: Path) -> None:
    """As the book has it: without the other two files."""
    beside(path, "-wal").unlink()
    beside(path, "-shm").unlink()
    shutil.copyfile(beside(path, ".older"), path)


LOST: dict[str, tuple[Deed, set[str]]] = {
    "moved": (lambda path: path.rename(path.with_name(ELSEWHERE)), set()),
    "deleted": (lambda path: path.unlink(), set()),
    "its folder moved": (lambda path: path.parent.rename(path.parent.with_name("other")), set()),
    "its folder deleted": (lambda path: shutil.rmtree(path.parent), set()),
    "an older one moved there": (lambda path: os.replace(beside(path, ".older"), path), {"old"}),
    "another one moved there": (lambda path: os.replace(beside(path, ".other"), path), {"a", "b", "c"}),
    "an older one restored": (restored, {"old"}),
    "another one copied over it": (lambda path: shutil.copyfile(beside(path, ".other"), path), {"a", "b", "c"}),
    "emptied": (lambda path: path.write_bytes(b""), set()),
    # the copy is what the file was before the WAL, so all that was said is still there
    "an older one copied over it": (lambda path: shutil.copyfile(beside(path, ".older"), path), {"old", "new"}),
    "touched": (lambda path: os.utime(path, (1, 1)), {"old", "new"}),
    "its WAL deleted": (lambda path: beside(path, "-wal").unlink(), {"old", "new"}),
    "its WAL emptied": (lambda path: beside(path, "-wal").write_bytes(b""), {"old"}),
    "its index deleted": (lambda path: beside(path, "-shm").unlink(), {"old", "new"}),
}


@pytest.mark.parametrize(("deed", "left"), LOST.values(), ids=LOST)
async def test_it_is_noticed_at_the_next_write_and_read_and_nothing_is_mixed_up(
    path: Path, deed: Deed, left: set[str]
) -> None:
    await said(beside(path, ".other"), "a", "b", "c")
    await said(path, "old")
    shutil.copyfile(path, beside(path, ".older"))
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        await engine.execute("Hi", task_id="new")
        deed(path)
        with pytest.raises(StoreMoved) as refused:
            await engine.execute("Hi", task_id="lost")
        with pytest.raises(StoreMoved):
            await engine.tasks()
        assert str(path) in str(refused.value.details["path"])
        assert (await engine.health()).status == "degraded"
    assert await tasks_in(path) == left
    if path.with_name(ELSEWHERE).exists():
        assert await tasks_in(path.with_name(ELSEWHERE)) == {"old", "new"}


async def test_an_older_file_copied_over_one_that_grew_is_not_mixed_with_what_came_after(path: Path) -> None:
    await said(path, "old")
    shutil.copyfile(path, beside(path, ".older"))
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        for number in range(12):
            await engine.execute("x" * 200_000, task_id=f"{number}")  # so that much of the WAL is in the file
        shutil.copyfile(beside(path, ".older"), path)
        with pytest.raises(StoreMoved, match="Something other than SQLite"):
            await engine.execute("Hi", task_id="lost")
    assert beside(path, "-wal.unusable").exists()
    assert await tasks_in(path) == {"old"}


async def test_it_goes_on_where_the_same_file_is_put_back(path: Path) -> None:
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        await engine.execute("one", task_id="t")
        away = path.with_name(ELSEWHERE)
        path.rename(away)
        with pytest.raises(StoreMoved):
            await engine.execute("lost", task_id="t")
        away.rename(path)
        assert (await engine.execute("two", task_id="t")).text == "You said: two"
        assert (await engine.health()).status == "ok"
    assert await tasks_in(path) == {"t"}


async def test_a_turn_that_runs_is_told_and_ends_in_the_log_once_the_file_is_back(path: Path) -> None:
    hold = anyio.Event()
    model = ScriptedModel([say("Hello you", hold=hold, at=1), say("Again.")])
    async with Engine(path, model=model, settings=Settings()) as engine:
        turn = engine.execute("go", task_id="t")
        await turn.started()
        path.rename(path.with_name(ELSEWHERE))
        hold.set()
        with pytest.raises(TurnFailed, match="cannot be reached") as failed:
            await turn
        assert failed.value.code == "STORE_BUSY"
        path.with_name(ELSEWHERE).rename(path)
        assert (await engine.execute("again", task_id="t")).text == "Again."
        assert (await engine.task("t")).status == "idle"


async def test_what_is_moved_in_the_middle_of_a_write_is_not_acknowledged(path: Path) -> None:
    moves: list[str] = []

    def moved(name: str, /) -> None:
        if moves and name == moves[0]:
            moves.clear()
            path.rename(path.with_name(ELSEWHERE))

    store = SQLiteStore(path, crash=moved)
    await store.open()
    writer = Writer(store)
    await writer.begin("t")
    for point in ("store.begin", "store.written", "store.commit.before", "store.commit.after"):
        moves.append(point)
        row = writer.row
        with pytest.raises(StoreMoved):
            await writer.more("lost")
        path.with_name(ELSEWHERE).rename(path)
        writer.row = await store.task("task") or row
    await writer.more("kept")
    await store.aclose()


OTHERS = {
    "checkpoints": "db.execute('PRAGMA wal_checkpoint(TRUNCATE)')",
    "looks on as it checkpoints": "db.execute('PRAGMA wal_checkpoint(PASSIVE)')",
    "writes": "db.execute('CREATE TABLE other (x)'); db.execute('DROP TABLE other')",
    "cleans up": "db.execute('VACUUM')",
    "backs up": "db.backup(sqlite3.connect('copy.sqlite'))",
}


@pytest.mark.parametrize("what", OTHERS.values(), ids=OTHERS)
async def test_what_another_program_does_through_sqlite_is_no_reason_to_stop(path: Path, what: str) -> None:
    program = f"import sqlite3\ndb = sqlite3.connect({str(path)!r}, isolation_level=None)\n{what}\n"
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        for number in range(3):
            await engine.execute("Hi", task_id=f"{number}")
            await anyio.to_thread.run_sync(
                lambda: subprocess.run([sys.executable, "-c", program], cwd=path.parent, check=True, timeout=30)
            )
        assert (await engine.execute("Hi", task_id="3")).text == "You said: Hi"
        assert (await engine.health()).status == "ok"
    assert await tasks_in(path) == {"0", "1", "2", "3"}


@pytest.mark.parametrize("then", ["SELECT 1", "PRAGMA wal_checkpoint"])
def test_what_is_written_while_a_reader_looks_is_sqlites_own(
    path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    watch = Watch(str(path))
    writes = iter([True])

    def write() -> None:
        db.execute("INSERT INTO words VALUES (randomblob(100000))")
        db.execute(then).fetchall()
        watch.check()

    def looks(each: str) -> tuple[int, int] | None:
        if next(writes, False):
            write()
        return identity_of(each)

    with closing(db):
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE words (word)")
        watch.begin()
        monkeypatch.setattr(_watch, "identity_of", looks)
        watch.look()
        assert next(writes, None) is None


async def test_after_a_crash_a_copy_over_the_file_is_noticed_too(path: Path) -> None:
    """What a crash left in the WAL looks like a checkpoint that is under way, until it is done."""
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        await engine.execute("Hi", task_id="t")
        crashed = path.with_name("crashed")
        for suffix in ("", "-wal"):
            shutil.copyfile(beside(path, suffix), beside(crashed, suffix))
    async with Engine(crashed, model=ScriptedModel(echo), settings=Settings()) as engine:
        assert len(await engine.tasks()) == 1
        os.utime(crashed, (1, 1))
        with pytest.raises(StoreMoved):
            await engine.execute("Hi", task_id="t")


# ── the lock's own file ──────────────────────────────────────────────────────────────────────────────────────────────

OPENS = """
import sys
from september_engine import BlockingEngine, Settings
from september_engine.errors import EngineError

try:
    BlockingEngine(sys.argv[1], settings=Settings()).open().close()
    print("opened")
except EngineError as error:
    print(type(error).__name__, error.details.get("pid"))
"""


@pytest.mark.parametrize("deed", ["deleted", "replaced", "read"])
async def test_a_lock_file_that_was_tampered_with_is_locked_again_at_the_next_write(path: Path, deed: str) -> None:
    lock = beside(path, ".lock")
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        if deed == "read":
            assert lock.read_text() == str(os.getpid())  # closing it has dropped the lock: POSIX
        else:
            lock.unlink()
        if deed == "replaced":
            lock.write_text("7")
        await engine.execute("Hi", task_id="t")
        other = await anyio.to_thread.run_sync(lambda: run("-c", OPENS, path, cwd=path.parent))
        assert other.stdout.split() == ["StoreInUse", str(os.getpid())], other.stderr


HOLDS = """
import sys
from september_engine import BlockingEngine, Settings

BlockingEngine(sys.argv[1], settings=Settings()).open()
print("open", flush=True)
sys.stdin.readline()
"""


async def test_where_another_process_has_got_the_lock_the_former_owner_stops_writing(path: Path) -> None:
    async with Engine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        await engine.execute("Hi", task_id="t")
        beside(path, ".lock").unlink()
        with subprocess.Popen(
            [sys.executable, "-c", HOLDS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdin is not None and other.stdout is not None
            assert await anyio.to_thread.run_sync(other.stdout.readline) == "open\n"
            with pytest.raises(StoreInUse) as refused:
                await engine.execute("Hi", task_id="lost")
            assert refused.value.details["pid"] == other.pid
            other.stdin.close()
        assert (await engine.execute("Hi", task_id="after")).text == "You said: Hi"
    assert await tasks_in(path) == {"t", "after"}


def test_a_relative_path_is_that_of_the_folder_it_was_given_in(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    store = SQLiteStore(path.name)
    monkeypatch.chdir(tmp_path)
    assert store.files[0] == str(path)
    assert issubclass(StoreMoved, EngineError)
