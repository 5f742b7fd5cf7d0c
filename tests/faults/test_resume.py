"""A process that is killed in a turn, and the next one that goes on with it: what is done is never done again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import anyio
import pytest

from september_engine._seams import CrashPoint
from september_engine._turn.facts import AssistantReplied, Fact, ToolFinished, ToolStarted, TurnResumed, decode_fact
from september_engine.events import Error, ThreadLifecycle, encode, name_of
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.log_checker import check_task
from tests.engines import names, soon, well_formed
from tests.faults.forkserver import passes_of, survives
from tests.faults.workloads import engine_on, notes

pytestmark = pytest.mark.campaign

POINTS = ("channel.append.before", "channel.append.after", "runner.tool.before", "runner.tool.after")


def one_turn(folder: Path, crash: CrashPoint) -> None:
    """One turn with two tools; every event that is seen is noted."""

    async def main() -> None:
        with notes(folder / "seen") as seen:
            async with engine_on(folder, crash) as engine:
                stream = engine.execute("go", task_id="t").__aiter__()
                async for event in stream:
                    seen.write(stream.cursor, name_of(event), encode(event).decode())

    anyio.run(main)


def next_process(folder: Path, crash: CrashPoint) -> None:
    """Go on with what was left in the folder around this one."""

    async def main() -> None:
        async with engine_on(folder.parent, crash, recovery="resume") as engine:
            await soon(engine.replay(task_id="t"))

    anyio.run(main)


async def left_in(folder: Path) -> list[Fact]:
    """The facts of the turn as the killed process left them; it may have been given up by then."""
    store = SQLiteStore(folder / "brain.sqlite")
    await store.open()
    try:
        turns = await store.turns("t")
        return [decode_fact(fact.body) for fact in await store.turn("t", turns[0].turn_id)] if turns else []
    finally:
        await store.aclose()


def asked(folder: Path) -> Counter[int]:
    """How often the model was asked with so many messages."""
    return Counter(int(line.split("\t")[0]) for line in (folder / "asked").read_text().splitlines())


def ledger(folder: Path) -> Counter[str]:
    """How often the tool ran with each word."""
    return Counter((folder / "ledger").read_text().splitlines())


async def finish(folder: Path) -> list[Fact]:
    """Start again until the turn is over; check what holds whatever happened; its facts."""
    before = await left_in(folder)
    asked_before, ran_before = asked(folder), ledger(folder)
    async with engine_on(folder, recovery="resume") as engine:
        if not before:
            # what was never acknowledged leaves no trace, and the same message works at once
            assert await engine.tasks() == []
            assert await soon(engine.replay(task_id="t")) == []
            await engine.execute("go", task_id="t")
        events = await soon(engine.replay(task_id="t"))
        well_formed(events)
        seen = [line.split("\t") for line in (folder / "seen").read_text().splitlines()]
        stream = engine.replay(task_id="t").__aiter__()
        replayed = [[str(stream.cursor), name_of(event), encode(event).decode()] async for event in stream]
        assert replayed[: len(seen)] == seen
        shown, asked_now = names(events), asked(folder)
        await engine.execute("and then", task_id="t")
    facts = await finished(folder, before)
    assert shown.count("retry") == sum(isinstance(fact, TurnResumed) for fact in facts)
    replies = sum(isinstance(fact, AssistantReplied) for fact in before)
    if replies:
        assert asked_now[1] == asked_before[1], "a complete answer was asked for again"
    done = {fact.tool_call_id: fact for fact in before if isinstance(fact, ToolFinished)}
    begun = {fact.tool_call_id for fact in before if isinstance(fact, ToolStarted)}
    results = {fact.tool_call_id: fact for fact in facts if isinstance(fact, ToolFinished)}
    for call_id, word in (("call_0_1", "go one"), ("call_0_2", "go two")):
        runs, result = ledger(folder)[word], results.get(call_id)
        assert runs <= 1, "a tool ran twice"
        if call_id in done:
            assert result == done[call_id]
            assert runs == ran_before[word]
            assert runs == 1 or done[call_id].error is not None
        elif call_id in begun:
            assert runs == ran_before[word], "a tool that may have run was run again"
            assert result is not None
            assert result.error is not None
            assert result.error.reason == "outcome_unknown"
        else:
            assert (result is not None and result.error is None) == (runs == 1)
    return facts


async def finished(folder: Path, before: list[Fact]) -> list[Fact]:
    store = SQLiteStore(folder / "brain.sqlite")
    await store.open()
    [first, *_] = await store.turns("t")
    facts = [decode_fact(fact.body) for fact in await store.turn("t", first.turn_id)]
    wrong = await check_task(store, "t")
    await store.aclose()
    assert wrong == []
    assert facts[: len(before)] == before, "a fact was lost or changed"
    return facts


@pytest.mark.parametrize("point", POINTS)
def test_a_turn_goes_on_from_every_point_at_which_its_process_can_die(tmp_path: Path, point: str) -> None:
    passes = passes_of(one_turn, tmp_path / "whole")
    kills, resumed = 0, 0
    for nth in range(1, passes[point] + 1):
        folder = tmp_path / str(nth)
        if survives(one_turn, folder, point, nth):
            continue
        kills += 1
        facts = asyncio.run(finish(folder))
        resumed += any(isinstance(fact, TurnResumed) for fact in facts)
    assert kills >= 2
    assert resumed >= 1


def test_a_turn_whose_processes_die_again_and_again_is_given_up_and_nothing_runs_twice(tmp_path: Path) -> None:
    passes = passes_of(one_turn, tmp_path / "whole")
    chance = random.Random(7)
    ends: Counter[str] = Counter()
    for trial in range(12):
        folder = tmp_path / str(trial)
        point = chance.choice(POINTS[1:])
        if survives(one_turn, folder, point, chance.randint(2, passes[point])):
            continue
        for restart in range(3):
            point = chance.choice(POINTS[:2])
            survives(next_process, folder / str(restart), point, chance.randint(1, 10))
        asyncio.run(finish(folder))
        ends[asyncio.run(end_of(folder))] += 1
    assert sum(ends.values()) > 8
    assert set(ends) == {"completed", "INTERRUPTED"}


async def end_of(folder: Path) -> str:
    """How the first turn ended."""
    async with engine_on(folder) as engine:
        for event in await soon(engine.replay(task_id="t")):
            if isinstance(event, Error):
                return event.error
            if isinstance(event, ThreadLifecycle) and event.phase == "completed":
                return event.phase
    raise AssertionError("it did not end")
