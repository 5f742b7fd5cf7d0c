"""Erasing what turns were told, while they run."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from september_engine._turn.facts import Fact, Recalled, decode_fact
from september_engine.engine import Engine
from september_engine.errors import StoreCorrupt
from september_engine.memory.base import Hit, Knowledge
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.store.base import FactRow
from september_engine.tools.tool import tool
from tests.engines import Bench, ticks

WHERE = "Where is the locker?"
CANARY = "qx77431"


async def remembered(engine: Engine) -> str:
    [kept] = await engine.memory.remember(Knowledge(subject="locker", content=f"Its number is {CANARY}."))
    return kept.id


async def log_of(engine: Engine, task_id: str) -> list[Fact]:
    store = engine._running.store
    rows = [row for each in await store.turns(task_id) for row in await store.turn(task_id, each.turn_id)]
    return [decode_fact(row.body) for row in rows]


async def test_a_turn_that_runs_forgets_it_and_so_do_the_turns_after_it(bench: Bench) -> None:
    ids: list[str] = []

    @tool
    async def clear_up() -> str:
        """Erase what is known of the locker."""
        await engine.memory.erase(*ids, because="Asked to.")
        return "Done."

    model = ScriptedModel([call("clear_up"), say("It is cleared up."), say("I do not know.")])
    async with bench.running(model, memory=True, tools=[clear_up]) as engine:
        ids.append(await remembered(engine))
        await engine.execute(WHERE, task_id="a")
        await engine.execute("And now, the locker?", task_id="a")
        assert [CANARY in str(request.prompt) for request in model.requests] == [True, False, False]
        log = await log_of(engine, "a")
        assert CANARY not in str(log)
        told = [fact for fact in log if isinstance(fact, Recalled)]
        assert [item.id for item in told[0].items] == ids


async def test_a_recall_that_is_under_way_is_waited_for(bench: Bench) -> None:
    """It has found the memory before that was forgotten, and writes it down after."""
    async with bench.running(ScriptedModel(lambda request: say("There.")), memory=True) as engine:
        id_ = await remembered(engine)
        recall, forget_all = engine.memory.recall, engine.memory.forget_all
        found, forgotten = anyio.Event(), anyio.Event()

        async def slow(query: str, *, limit: int = 10) -> list[Hit]:
            hits = await recall(query, limit=limit)
            found.set()
            await forgotten.wait()
            return hits

        async def told(ids: Sequence[str], /, *, because: str) -> None:
            await forget_all(ids, because=because)
            forgotten.set()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(engine.memory, "recall", slow)
            patched.setattr(engine.memory, "forget_all", told)
            running = engine.execute(WHERE, task_id="a")
            await found.wait()
            await engine.memory.erase(id_, because="Asked to.")
            await running
        log = await log_of(engine, "a")
        assert CANARY not in str(log)
        assert [item.id for fact in log if isinstance(fact, Recalled) for item in fact.items] == [id_]


async def test_a_log_that_cannot_be_read_is_said_and_the_memory_is_only_forgotten() -> None:
    bench = Bench()
    async with bench.running(ScriptedModel(lambda request: say("There.")), memory=True) as engine:
        id_ = await remembered(engine)
        await engine.execute(WHERE, task_id="a")
        store = engine._running.store

        async def broken(task_id: str, turn_id: str, /) -> list[FactRow]:
            raise StoreCorrupt("It is damaged.")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(store, "turn", broken)
            with pytest.raises(StoreCorrupt):
                await engine.memory.erase(id_, because="Asked to.")
        assert (await engine.memory.get(id_)).retired_because == "Asked to."
        await engine.memory.erase(id_, because="Asked to.")
        assert CANARY not in str(await log_of(engine, "a"))


async def test_a_turn_that_begins_while_a_task_is_deleted_does_not_hold_it_up(bench: Bench) -> None:
    """It waits for what is being written, which waits for the deleting; the clock of this test stands still."""
    async with bench.running(ScriptedModel(lambda request: say("There.")), memory=True) as engine:
        for task_id in "abcd":
            await engine.execute(f"{CANARY} is in the locker.", task_id=task_id)
        async with anyio.create_task_group() as group:
            for task_id in "abcd":
                engine.execute(WHERE, task_id=f"{task_id}2")
                group.start_soon(engine.delete, task_id)
        for task_id in "abcd":
            await engine.execute("And?", task_id=f"{task_id}3")
        await engine.remembered()
        assert CANARY not in str([await log_of(engine, f"{task_id}2") for task_id in "abcd"])


@pytest.mark.parametrize("ended", [True, False])
async def test_a_turn_that_read_the_log_before_it_was_changed_forgets_it_too(bench: Bench, ended: bool) -> None:
    held = anyio.Event()
    model = ScriptedModel([say("There."), say("Again.", hold=held), say("And?"), say("Yes.")])
    async with bench.running(model, memory=True) as engine:
        id_ = await remembered(engine)
        await engine.execute(WHERE, task_id="a")
        store = engine._running.store
        rewrite = store.rewrite

        async def late(task_id: str, facts: Sequence[FactRow], /, *, no_longer: Sequence[str]) -> None:
            running = engine.execute("And again?", task_id=task_id)
            while len(model.requests) < 2:
                await ticks(1)
            if ended:
                held.set()
                await running
            await rewrite(task_id, facts, no_longer=no_longer)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(store, "rewrite", late)
            await engine.memory.erase(id_, because="Asked to.")
        held.set()
        async for _ in engine.replay(task_id="a"):
            pass
        await engine.execute("And now?", task_id="a")
        assert [CANARY in str(request.prompt) for request in model.requests] == [True, True, False]
        assert CANARY not in str(await log_of(engine, "a"))
