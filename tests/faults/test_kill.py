"""SIGKILL at every named point of the store, the channel and the runner: nothing that was seen is ever lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from september_engine import Engine
from september_engine.errors import TurnFailed
from september_engine.events import Error, Event, ThreadLifecycle, encode, name_of
from september_engine.messages import Message, tool_uses
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.log_checker import check_task
from tests.faults import workloads
from tests.faults.forkserver import passes_of, spread, survives

pytestmark = pytest.mark.campaign

EACH = 10
"""Kills per point and recovery."""

POINTS = {
    "channel.append.before",
    "channel.append.after",
    "runner.tool.before",
    "runner.tool.after",
    "store.begin",
    "store.written",
    "store.commit.before",
    "store.commit.after",
}


@pytest.mark.parametrize("recovery", ["abandon", "resume"])
def test_a_kill_anywhere_in_a_turn_loses_nothing_that_was_seen(tmp_path: Path, recovery: str) -> None:
    passes = passes_of(workloads.turns, tmp_path / "whole")
    assert set(passes) >= POINTS
    kills, half_done, in_text = 0, 0, 0
    for name in sorted(POINTS):
        for nth in spread(passes[name], EACH):
            folder = tmp_path / f"{name}.{nth}"
            if survives(workloads.turns, folder, name, nth):
                continue
            kills += 1
            under_way, in_an_answer = asyncio.run(examine(folder, recovery))
            half_done, in_text = half_done + under_way, in_text + in_an_answer
    assert kills > 60
    assert half_done > 30
    assert in_text >= 20, "hardly any kill came in the middle of an answer"


async def whole(folder: Path) -> None:
    """The logs that all of this left are whole."""
    store = SQLiteStore(folder / "brain.sqlite")
    await store.open()
    try:
        for task_id in workloads.TASKS:
            assert await check_task(store, task_id) == []
    finally:
        await store.aclose()


async def examine(folder: Path, recovery: str) -> tuple[bool, bool]:
    """Restart on what a killed process left, and look at all of it.

    Whether a turn was under way, and whether the log of one ended in the middle of the text of an answer.
    """
    seen = [line.split("\t") for line in (folder / "seen").read_text().splitlines()]
    half_done = in_text = False
    async with workloads.engine_on(folder, recovery=recovery) as engine:
        for task_id in workloads.TASKS:
            stream = engine.replay(task_id=task_id).__aiter__()
            replayed = [(stream.cursor, name_of(event), encode(event).decode()) async for event in stream]
            mine = [(int(ts), kind, body) for task, ts, kind, body in seen if task == task_id]
            assert replayed[: len(mine)] == mine
            assert [ts for ts, *_ in replayed] == sorted({ts for ts, *_ in replayed})
            half_done |= not mine or mine[-1][1] != "thread_lifecycle"
            # what follows a delta is its block's next delta or end, unless the process died
            following = {after for (_, before, _), (_, after, _) in pairwise(replayed) if before == "text_delta"}
            in_text |= not following.isdisjoint({"retry", "thread_lifecycle"})
            events = [event async for event in engine.replay(task_id=task_id)]
            begun = [event for event in events if isinstance(event, ThreadLifecycle) and event.phase == "started"]
            ended = [event for event in events if isinstance(event, ThreadLifecycle) and event.phase != "started"]
            assert [event.turn_id for event in begun] == [event.turn_id for event in ended]
            if recovery == "abandon" and begun:
                assert await thread_of(engine, task_id) == whole_turn(task_id, events)
            errors = [event.error for event in events if isinstance(event, Error)]
            assert errors == [] if recovery == "resume" else set(errors) <= {"INTERRUPTED"}
            # and the task goes on: the strict model refuses whatever the API would
            await engine.execute(f"{task_id} once more", task_id=task_id)
            messages = await engine.messages(task_id)
            assert all(results_of(message, messages) for message in messages if message.role == "assistant")
    await whole(folder)
    runs = Counter((folder / "ledger").read_text().splitlines())
    assert set(runs.values()) == {1}, "a tool ran twice"
    return half_done, in_text


async def thread_of(engine: Engine, task_id: str) -> tuple[str, int]:
    """What the thread begins with, and how many messages it has."""
    messages = await engine.messages(task_id)
    return (messages[0].content[0]["text"], len(messages)) if messages else ("", 0)


def whole_turn(task_id: str, events: list[Event]) -> tuple[str, int]:
    """The same of the last turn that was completed: an edit is there as a whole or not at all."""
    done = [event for event in events if isinstance(event, ThreadLifecycle) and event.phase == "completed"]
    return [("", 0), (f"{task_id} first", 4), (f"{task_id} then", 4)][len(done)]


def results_of(message: Message, messages: list[Message]) -> bool:
    """Every call of this message is answered once."""
    calls = [use["id"] for use in tool_uses(message.content)]
    results = [each for each in messages if each.id == f"{message.id}-results"]
    return [block["tool_use_id"] for each in results for block in each.content] == calls


def test_a_kill_between_any_two_statements_of_a_migration_leaves_a_file_that_opens(tmp_path: Path) -> None:
    passes = passes_of(workloads.opening, tmp_path / "whole")
    kills = 0
    for name in ("store.migrate.statement", "store.migrate.before", "store.migrate.after"):
        for nth in range(1, passes[name] + 1):
            folder = tmp_path / f"{name}.{nth}"
            kills += not survives(workloads.opening, folder, name, nth)
            asyncio.run(use(folder / "brain.sqlite"))
    assert kills > 8


async def use(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    await workloads.fill(store)
    assert len(await store.tasks()) == 4
    await store.aclose()


def test_a_kill_while_trimming_or_deleting_leaves_each_whole_or_undone(tmp_path: Path) -> None:
    passes = passes_of(workloads.housekeeping, tmp_path / "whole")
    kills = 0
    for name in ("store.begin", "store.written", "store.commit.before", "store.commit.after"):
        for nth in range(1, passes[name] + 1):
            folder = tmp_path / f"{name}.{nth}"
            if not survives(workloads.housekeeping, folder, name, nth) and (folder / "filled").exists():
                kills += 1
                asyncio.run(inspect(folder / "brain.sqlite"))
    assert kills > 15


async def inspect(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    for number in range(3):
        task_id = f"old {number}"
        row = await store.task(task_id)
        if row is None:
            assert await store.turns(task_id) == []
            continue
        assert len(await store.thread(task_id, "b")) == 5
        kept = Counter(event.turn_id for event in await store.events(task_id, after=0))
        assert kept["a"] in (0, 3)
        assert kept["b"] in (0, 2)
    assert len(await store.events("open", after=0)) == 2
    while await store.trim(ended_before=2_000, limit=2):
        pass
    assert await store.events("old 2", after=0) == []
    assert len(await store.events("open", after=0)) == 2
    await store.aclose()


def test_the_check_has_teeth(tmp_path: Path) -> None:
    """What was seen and is not in the log is noticed."""
    folder = tmp_path / "whole"
    passes_of(workloads.turns, folder)
    with (folder / "seen").open("a") as seen:
        seen.write('left\t9999999999999\ttext_delta\t{"text":"never stored"}\n')
    with pytest.raises((AssertionError, TurnFailed)):
        asyncio.run(examine(folder, "abandon"))
