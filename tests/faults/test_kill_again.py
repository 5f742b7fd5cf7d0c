"""SIGKILL in less common company: while closing what was left, where people and failures take part, in an upgrade."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

import september_engine
from september_engine.events import ThreadLifecycle, encode, name_of
from september_engine.store import _migrate
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.log_checker import check_task
from tests.faults import workloads
from tests.faults.forkserver import passes_of, spread, survives
from tests.faults.test_kill import POINTS, examine

pytestmark = pytest.mark.campaign

TODAY = _migrate.SCHEMA
MIGRATING = {"store.migrate.statement", "store.migrate.before", "store.migrate.after"}
APPENDING = (
    "store.begin",
    "store.commit.before",
    "store.commit.after",
    "channel.append.before",
    "channel.append.after",
)


def test_every_crash_point_of_the_code_is_killed_at() -> None:
    source = Path(september_engine.__file__).parent
    code = "".join(path.read_text("utf-8") for path in source.rglob("*.py"))
    found = set(re.findall(r'crash\("([^"]+)"\)', code))
    assert found == POINTS | MIGRATING


@pytest.mark.parametrize("point", ["channel.append.after", "store.commit.before", "store.commit.after"])
def test_a_store_that_does_not_flush_every_delta_loses_nothing_either(tmp_path: Path, point: str) -> None:
    passes = passes_of(workloads.relaxed, tmp_path / "whole")
    kills = 0
    # how many commits there are depends on how the deltas were grouped: the last ones may not come this time
    for nth in spread(max(passes[point] // 2, 4), 4):
        folder = tmp_path / str(nth)
        if not survives(workloads.relaxed, folder, point, nth):
            kills += 1
            asyncio.run(examine(folder, "abandon"))
    assert kills >= 2


def test_a_process_that_is_killed_while_it_closes_what_was_left_leaves_it_to_the_next_one(tmp_path: Path) -> None:
    passes = passes_of(workloads.turns, tmp_path / "whole")
    kills = 0
    for nth in spread(passes["channel.append.after"], 4):
        folder = tmp_path / str(nth)
        if survives(workloads.turns, folder, "channel.append.after", nth):
            continue
        for point in APPENDING:
            kills += not survives(workloads.recovering, folder / point, point, 1)
        asyncio.run(examine(folder, "abandon"))
    assert kills > 8


@pytest.mark.parametrize("point", APPENDING)
def test_a_kill_where_people_failures_and_retries_take_part_loses_nothing_that_was_seen(
    tmp_path: Path, point: str
) -> None:
    passes = passes_of(workloads.mishaps, tmp_path / "whole")
    seen = (tmp_path / "whole" / "seen").read_text()
    assert all(f"\t{name}\t" in seen for name in ("hitl_resolved", "retry", "error", "rewound"))
    kills, half_done = 0, 0
    for nth in spread(passes[point], 7):
        folder = tmp_path / str(nth)
        if not survives(workloads.mishaps, folder, point, nth):
            kills += 1
            half_done += asyncio.run(after_mishaps(folder))
    assert kills >= 5
    assert half_done >= 3


async def after_mishaps(folder: Path) -> bool:
    """Restart, answer what is asked, and look. Whether a turn was under way."""
    seen = [line.split("\t")[1:] for line in (folder / "seen").read_text().splitlines()]
    async with workloads.engine_on(folder) as engine:
        for asked in await engine.pending():
            await engine.respond(asked.task_id, "yes", request_id=asked.request_id)
        stream = engine.replay(task_id="left").__aiter__()
        events = [(stream.cursor, event) async for event in stream]
        replayed = [[str(ts), name_of(event), encode(event).decode()] for ts, event in events]
        assert replayed[: len(seen)] == seen
        phases = Counter(event.phase for _, event in events if isinstance(event, ThreadLifecycle))
        assert phases["started"] == phases["completed"] + phases["errored"]
        await engine.execute("left once more", task_id="left")
    store = SQLiteStore(folder / "brain.sqlite")
    await store.open()
    assert await check_task(store, "left") == []
    await store.aclose()
    runs = Counter((folder / "ledger").read_text().splitlines())
    assert set(runs.values()) == {1}, "a tool ran twice"
    return not seen or seen[-1][1] not in ("thread_lifecycle", "error")


def test_a_kill_anywhere_in_an_upgrade_leaves_the_old_schema_or_the_new_one_and_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = passes_of(workloads.upgrade, tmp_path / "whole")
    monkeypatch.setattr(_migrate, "SCRIPTS", [*_migrate.SCRIPTS, workloads.NEXT])
    monkeypatch.setattr(_migrate, "SCHEMA", TODAY + 1)
    versions: list[int] = []
    for name in sorted(MIGRATING):
        for nth in range(1, passes[name] + 1):
            folder = tmp_path / f"{name}.{nth}"
            assert not survives(workloads.upgrade, folder, name, nth)
            versions.append(schema_of(folder / "brain.sqlite"))
            asyncio.run(read_back(folder / "brain.sqlite"))
            assert schema_of(folder / "brain.sqlite") == TODAY + 1
    assert set(versions) == {TODAY, TODAY + 1}
    assert len(versions) == 4


def schema_of(path: Path) -> int:
    """The version that the file says, which is what it has."""
    db = sqlite3.connect(path)
    try:
        [(version,)] = db.execute("PRAGMA user_version")
        column = [row for row in db.execute("PRAGMA table_info(tasks)") if row[1] == "note"]
        index = db.execute("SELECT name FROM sqlite_master WHERE name = 'tasks_by_note'").fetchall()
    finally:
        db.close()
    assert len(column) == len(index) == version - TODAY
    return int(version)


async def read_back(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    assert len(await store.tasks()) == 4
    for number in range(3):
        assert len(await store.thread(f"old {number}", "b")) == 5
        assert len(await store.events(f"old {number}", after=0)) == 5
    await store.aclose()
