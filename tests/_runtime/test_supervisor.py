"""One turn per task, and none that harms another, seen through engines on a bench."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from september_engine import tool
from september_engine.errors import (
    EngineClosed,
    EngineError,
    Fenced,
    HitlRequired,
    StoreCorrupt,
    StoreFull,
    TaskBusy,
    TurnFailed,
)
from september_engine.events import HitlRequest, TextDelta, ToolCall
from september_engine.models.scripted import call, say
from september_engine.store.base import Batch, TaskRow
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench, FlakyStore, careful, held, names, soon, until


async def test_of_many_submits_at_once_one_runs_and_the_others_name_it() -> None:
    async with Bench().running([say("one")]) as engine:
        first = engine.execute("go", task_id="t")
        for _ in range(20):
            with pytest.raises(TaskBusy) as busy:
                engine.execute("go", task_id="t")
            assert busy.value.details == {"turn_id": first.turn_id}
        assert (await first).text == "one"
        assert len(await engine.messages("t")) == 2


async def test_as_soon_as_the_last_event_was_seen_the_next_turn_may_start() -> None:
    async with Bench().running(lambda request: say("Yes.")) as engine:
        for number in range(5):
            events = await soon(engine.execute(f"turn {number}", task_id="t"))
            assert names(events)[-1] == "completed"
        assert len(await engine.messages("t")) == 10


async def test_while_a_cancel_is_under_way_the_task_is_busy_and_then_free() -> None:
    closing, let_go = anyio.Event(), anyio.Event()

    @tool(timeout=None)
    async def slow_to_stop() -> None:
        """Take a while to stop."""
        try:
            await anyio.sleep_forever()
        finally:
            closing.set()
            with anyio.CancelScope(shield=True):
                await let_go.wait()

    async with Bench().running([call("slow_to_stop"), say("free")], tools=[slow_to_stop]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, ToolCall)
        async with anyio.create_task_group() as group:
            group.start_soon(engine.cancel, "t")
            try:
                await closing.wait()
                with pytest.raises(TaskBusy):
                    engine.execute("too soon", task_id="t")
            finally:
                let_go.set()
        assert names(await soon(one))[-1] == "error"
        assert (await engine.execute("now", task_id="t")).text == "free"


async def test_while_a_person_is_awaited_a_submit_is_told_the_request() -> None:
    bench = Bench()
    async with bench.running([call("careful")], tools=[careful]) as engine:
        asked = await until(engine.execute("go", task_id="t"), HitlRequest)
        with pytest.raises(HitlRequired) as required:
            engine.execute("again", task_id="t")
        assert required.value.details["request_id"] == asked.request_id
    async with bench.running([say("never")], tools=[careful]) as engine:
        with pytest.raises(HitlRequired) as required:
            await engine.execute("again", task_id="t")
        assert required.value.details["request_id"] == asked.request_id
        assert [request.request_id for request in await engine.pending()] == [asked.request_id]


async def test_a_turn_that_failed_to_start_leaves_the_task_free() -> None:
    store = FlakyStore()
    async with Bench(store=store).running([say("one")]) as engine:
        store.failing = StoreFull("full")
        failed = engine.execute("go", task_id="t")
        for use in (failed.started, failed.result):
            with pytest.raises(StoreFull):
                await use()
        with pytest.raises(StoreFull):
            await soon(failed)
        assert await engine.tasks() == []
        store.failing = None
        assert (await engine.execute("go", task_id="t")).text == "one"


async def test_a_fault_in_one_turn_touches_no_other() -> None:
    class Odd(FlakyStore):
        async def append(self, batch: Batch, /) -> None:
            if batch.task_id == "odd":
                raise ZeroDivisionError
            await super().append(batch)

    async with Bench(store=Odd()).running(lambda request: say("Fine.")) as engine:
        odd, even = engine.execute("go", task_id="odd"), engine.execute("go", task_id="even")
        with pytest.raises(EngineError, match="ZeroDivisionError"):
            await odd
        assert (await even).text == "Fine."


async def test_a_fault_before_a_turn_begins_is_in_the_log_as_its_error_says(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(FlakyStore):
        async def task(self, task_id: str, /) -> TaskRow | None:
            if task_id == "odd":
                raise ZeroDivisionError("of the store")
            return await super().task(task_id)

    async with Bench(store=Odd()).running(lambda request: say("Fine.")) as engine:
        with pytest.raises(EngineError, match="Its log has more"):
            await engine.execute("go", task_id="odd")
        assert (await engine.execute("go", task_id="even")).text == "Fine."
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "'odd'" in record.getMessage()
    assert "ZeroDivisionError: of the store" in caplog.text


async def test_a_deleted_task_cannot_be_used_meanwhile_and_is_new_afterwards() -> None:
    class Slow(FlakyStore):
        async def delete(self, task_id: str, /) -> bool:
            deleting.set()
            await let_go.wait()
            return await super().delete(task_id)

    deleting, let_go = anyio.Event(), anyio.Event()
    bench = Bench(store=Slow())
    async with bench.running([held("Hello you", at=1), say("anew")]) as engine:
        one = engine.execute("go", task_id="t")
        await until(one, TextDelta)
        deleted: list[bool] = []

        async def delete() -> None:
            deleted.append(await engine.delete("t"))

        async with anyio.create_task_group() as group:
            group.start_soon(delete)
            try:
                await deleting.wait()
                with pytest.raises(TaskBusy, match="deleted"):
                    engine.execute("too soon", task_id="t")
            finally:
                let_go.set()
        assert deleted == [True]
        with pytest.raises(TurnFailed):
            await one
        assert (await engine.execute("again", task_id="t")).text == "anew"
        assert len(await engine.messages("t")) == 2
        assert await engine.delete("unknown") is False


@pytest.mark.parametrize("damage", ["the task", "its open turn", "its waiting turn"])
async def test_a_damaged_task_can_be_deleted_and_is_new_afterwards(tmp_path: Path, damage: str) -> None:
    bench = Bench(store=SQLiteStore(tmp_path / "brain.sqlite"))
    answer = call("careful") if damage == "its waiting turn" else held("Hello you", at=1)
    async with bench.running([answer], tools=[careful]) as engine:
        await until(engine.execute("go", task_id="t"), HitlRequest if damage == "its waiting turn" else TextDelta)
    with closing(sqlite3.connect(tmp_path / "brain.sqlite")) as db:
        db.execute("UPDATE tasks SET head = 'odd'" if damage == "the task" else "UPDATE facts SET body = x'00'")
        db.commit()
    async with bench.running([say("anew")], tools=[careful]) as engine:
        with pytest.raises(StoreCorrupt):
            await engine.execute("go on", task_id="t")
        assert await engine.delete("t") is True
        assert (await engine.execute("go", task_id="t")).text == "anew"


async def test_a_turn_that_another_process_began_first_is_told_as_busy() -> None:
    class Taken(FlakyStore):
        async def append(self, batch: Batch, /) -> None:
            if batch.claim:
                raise Fenced("Epoch 1 of this task is over.", epoch=1)
            await super().append(batch)

    async with Bench(store=Taken()).running([say("never")]) as engine:
        one = engine.execute("go", task_id="t")
        for use in (one.started, one.result):
            with pytest.raises(TaskBusy, match="Another process"):
                await use()


async def test_an_engine_whose_loop_ended_under_it_takes_nothing_and_hangs_nobody() -> None:
    engine = await Bench().engine([held("Hello you", at=1)]).open()
    one = engine.execute("go", task_id="t")
    await until(one, TextDelta)
    host = engine._host.task
    assert host is not None
    host.cancel()
    with anyio.fail_after(5):
        with pytest.raises(EngineClosed):
            await one
        await asyncio.wait((host,))
        for _ in range(2):
            with pytest.raises(EngineClosed):
                engine.execute("again", task_id="t")
        await engine.aclose()
