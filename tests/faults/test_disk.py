"""A real file that cannot be written for a while, under an engine with turns in it."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

import september_engine.store
from september_engine.errors import ConfigurationError, EngineError, StoreBusy, StoreFull, TurnFailed
from september_engine.events import Error, TextDelta
from september_engine.http import create_app
from september_engine.models.scripted import ScriptedModel, say, turn
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench, echo, names, soon, text, ticks, until, well_formed

LONG = "word " * 4_000


async def pages(store: SQLiteStore, most: int) -> None:
    """Let the file have so many pages: what does not fit into those it has fails as on a full disk."""
    connection = store._write_connection
    assert connection is not None
    await connection.run(lambda db: db.execute(f"PRAGMA max_page_count = {most}").fetchall())


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program holds the write lock, as a backup does."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield other
    finally:
        other.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB, where this machine lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_disk_that_may_not_be_written_is_refused_before_any_work_is_taken(small_disk: Path) -> None:
    path = small_disk / "brain.sqlite"
    bench = Bench(store=SQLiteStore(path))
    async with bench.running(echo) as engine:
        await engine.execute("one", task_id="t")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ConfigurationError, match="Read-only"):
        await SQLiteStore(path).open()
    served = subprocess.run(
        [sys.executable, "-m", "september_engine", "serve", "--port", "0"],
        env={**os.environ, "SQLITE_DB_PATH": str(path)},
        cwd=small_disk.parent,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (served.returncode, served.stdout) == (2, b"")
    assert b"Read-only" in served.stderr
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    async with bench.running(echo) as engine:
        assert (await engine.execute("two", task_id="t")).text == "You said: two"


async def test_a_disk_that_turns_read_only_is_told_everywhere_and_all_goes_on_when_it_is_well(tmp_path: Path) -> None:
    refusing = False

    def crash(name: str, /) -> None:
        if refusing and name == "store.begin":
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error

    engine = Bench(store=SQLiteStore(tmp_path / "brain.sqlite", crash=crash)).engine(echo)
    transport = httpx2.ASGITransport(create_app(engine, keyless_hosts=["127.0.0.1"]))
    async with (
        engine,
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        body = {"message": "go", "task_id": "t"}
        assert (await client.post("/execute", json=body)).status_code == 200
        refusing = True
        told = await client.post("/execute", json=body)
        assert (told.status_code, told.json()["error"]) == (503, "STORE_BUSY")
        assert (await client.get("/health")).status_code == 503
        assert text(await soon(engine.replay(task_id="t"))) == "You said: go"
        refusing = False
        assert (await client.get("/health")).status_code == 200
        assert (await client.post("/execute", json=body)).status_code == 200


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(b"x" * 4096):
            pass


async def test_a_full_disk_ends_the_turn_visibly_and_all_goes_on_when_there_is_room(small_disk: Path) -> None:
    gate = anyio.Event()
    script = [say("Kept."), say(LONG, hold=gate, at=2), say("Back again.")]
    async with Bench(store=SQLiteStore(small_disk / "brain.sqlite")).running(ScriptedModel(script)) as engine:
        await engine.execute("one", task_id="t")
        before = await soon(engine.replay(task_id="t"))
        one = engine.execute("two", task_id="t")
        await until(one, TextDelta)
        fill(small_disk / "ballast")
        gate.set()
        events = await soon(one)
        with pytest.raises(TurnFailed) as failure:
            await one
        assert failure.value.code == "STORE_FULL"
        assert str(failure.value.details["retry_message_id"]).startswith("msg_")
        assert (names(events)[0], names(events)[-2:]) == ("started", ["errored", "error"])

        # nothing new is taken, everything old can be read
        for task_id in ("t", "other"):
            with pytest.raises(StoreFull, match="room outside of the database"):
                await engine.execute(f"three {LONG}", task_id=task_id)
        found = await engine.health()
        assert (found.status, found.subsystems["database"]) == ("degraded", "the disk is full")
        replayed = await soon(engine.replay(task_id="t"))
        assert replayed[: len(before)] == before
        assert replayed[len(before) :] == events[:-2]
        assert len(await engine.messages("t")) == 3

        (small_disk / "ballast").unlink()
        assert (await engine.execute("three", task_id="t")).text == "Back again."
        assert (await engine.health()).status == "ok"
        replayed = await soon(engine.replay(task_id="t"))
        ends = [name for name in names(replayed) if name in ("completed", "errored")]
        assert ends == ["completed", "errored", "completed"]
        # and what is told of the turn that could not be ended is what its reader was told
        assert [event for event in replayed if isinstance(event, Error)] == [events[-1]]


async def test_a_new_database_on_a_full_disk_is_refused_in_words_until_there_is_room(small_disk: Path) -> None:
    fill(small_disk / "ballast")
    engine = Bench(store=SQLiteStore(small_disk / "folder" / "brain.sqlite")).engine(echo)
    with pytest.raises(StoreFull, match="disk is full"):
        await engine.open()
    (small_disk / "ballast").unlink()
    async with engine:
        assert (await engine.execute("one", task_id="t")).text == "You said: one"


async def test_a_database_on_a_disk_that_is_full_by_now_is_refused_in_words_until_there_is_room(
    small_disk: Path,
) -> None:
    engine = Bench(store=SQLiteStore(small_disk / "brain.sqlite")).engine(echo)
    async with engine:
        await engine.execute("one", task_id="t")
    fill(small_disk / "ballast")
    with pytest.raises(StoreFull, match="disk is full"):
        await engine.open()
    (small_disk / "ballast").unlink()
    async with engine:
        assert len(await engine.messages("t")) == 2
        assert (await engine.execute("two", task_id="t")).text == "You said: two"


async def test_a_disk_that_fills_up_at_any_commit_never_loses_what_was_seen(tmp_path: Path) -> None:
    """The turn is stopped after each number of events in turn; what a reader got before is what a replay gives."""
    failed = 0
    for count in range(1, 8):
        store = SQLiteStore(tmp_path / f"{count}.sqlite")
        gates = [anyio.Event() for _ in range(8)]
        answer = [say("word " * 40, hold=gate, at=1) for gate in gates]
        async with Bench(store=store).running([turn(*answer), say("Fine.")]) as engine:
            stream = engine.execute("go", task_id="t").__aiter__()
            seen: list[tuple[int, Any]] = []
            for gate in gates[:count]:
                gate.set()
            while len([event for _, event in seen if isinstance(event, TextDelta)]) < count:
                event = await anext(stream)
                seen.append((stream.cursor, event))
            await pages(store, 1)
            for gate in gates:
                gate.set()
            rest = [event async for event in stream]
            failed += names(rest)[-1] == "error"
            replay = engine.replay(task_id="t").__aiter__()
            again = [(replay.cursor, event) async for event in replay]
            assert again[: len(seen)] == seen
            await pages(store, 1_000_000)
            assert (await engine.execute("next", task_id="t")).text == "Fine."
    assert failed == 7


async def test_a_lock_that_is_held_too_long_ends_the_turn_as_busy_and_the_loop_never_stops(tmp_path: Path) -> None:
    path = tmp_path / "brain.sqlite"
    store = SQLiteStore(path, busy_timeout=0.2)
    gate = anyio.Event()
    script = [say("Hello you", hold=gate, at=1), say("Fine.")]
    async with Bench(store=store).running(ScriptedModel(script)) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, TextDelta)
        with locked(path):
            gate.set()
            turns_of_the_loop = 0

            async def count() -> None:
                nonlocal turns_of_the_loop
                while True:
                    await ticks(1)
                    turns_of_the_loop += 1

            async with anyio.create_task_group() as group:
                group.start_soon(count)
                with pytest.raises(TurnFailed) as failure:
                    await one
                group.cancel_scope.cancel()
            assert failure.value.code == "STORE_BUSY"
            assert turns_of_the_loop > 100
            assert text(await soon(engine.replay(task_id="t"))) == "Hello"
            with pytest.raises(StoreBusy):
                await engine.execute("again", task_id="t")
        assert (await engine.execute("again", task_id="t")).text == "Fine."


async def test_a_lock_that_is_freed_in_time_is_only_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "brain.sqlite"
    async with Bench(store=SQLiteStore(path, busy_timeout=30)).running(echo) as engine:
        with locked(path) as other:
            one = engine.execute("go", task_id="t")
            await ticks(200)
            other.execute("ROLLBACK")
        assert (await one).text == "You said: go"
        well_formed(await soon(one))


async def test_what_another_program_commits_meanwhile_is_no_reason_to_fail(tmp_path: Path) -> None:
    """A transaction that reads before it takes the lock would fail here at once, however long it may wait."""
    path = tmp_path / "brain.sqlite"
    async with Bench(store=SQLiteStore(path, busy_timeout=30)).running(echo) as engine:
        await engine.execute("first", task_id="t")
        with locked(path) as other:
            one = engine.execute("go", task_id="t")
            other.execute("CREATE TABLE theirs (x)")
            other.execute("UPDATE turns SET started_at = started_at")
            await ticks(200)
            other.execute("COMMIT")
        assert (await one).text == "You said: go"
        well_formed(await soon(one))


def test_every_transaction_that_writes_takes_the_lock_first() -> None:
    folder = Path(september_engine.store.__file__).parent
    begins = {
        path.name: re.findall(r'"BEGIN[^"]*"', path.read_text("utf-8"))
        for path in folder.glob("*.py")
        if "BEGIN" in path.read_text("utf-8")
    }
    assert begins.pop("sqlite.py") == ['"BEGIN"']  # of the connection that only reads
    assert {begin for found in begins.values() for begin in found} == {'"BEGIN IMMEDIATE"'}


async def test_many_turns_at_once_meet_a_full_disk_and_each_ends_or_fails_for_itself(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "brain.sqlite")
    outcomes: list[str] = []
    async with Bench(store=store).running(echo) as engine:

        async def use(number: int) -> None:
            await ticks(number * 3)
            try:
                await engine.execute("go", task_id=f"t{number}")
                outcomes.append("ok")
            except EngineError as error:
                outcomes.append(error.code)

        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(use, number)
            await ticks(60)
            await pages(store, 1)
        await pages(store, 1_000_000)
        assert set(outcomes) <= {"ok", "STORE_FULL"}
        assert len(outcomes) == 60
        for number in range(60):
            assert (await engine.execute("again", task_id=f"t{number}")).text == "You said: again"
            well_formed(await soon(engine.execute("and again", task_id=f"t{number}")))
