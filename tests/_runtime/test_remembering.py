"""What turns leave is written once, wherever a process dies."""

from __future__ import annotations

import pytest

from september_engine._runtime.remembering import Remembering, forgetting
from september_engine._turn.exchange import episode_id
from september_engine.memory.base import Memory
from september_engine.memory.longterm import LongTermMemory
from tests.engines import Bench, echo


class Died(BaseException):
    """The process is gone."""


def a_memory(bench: Bench) -> LongTermMemory:
    return LongTermMemory(bench.store.memories, clock=bench.clock, ids=bench.world.ids)  # type: ignore[attr-defined]


def remembering(bench: Bench, memory: LongTermMemory) -> Remembering:
    return Remembering(memory, store=bench.store, clock=bench.clock, inside=())


@pytest.mark.parametrize("survived", range(5))
async def test_a_crash_at_any_write_neither_loses_nor_doubles_what_was_said(
    survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    async with bench.running(echo) as engine:
        for text in ("One.", "Two.", "Three."):
            await engine.execute(text, task_id="a")
    await bench.store.open()
    memory = a_memory(bench)
    put, count = memory._memories.put, 0

    async def dying(rows: list[object], **more: object) -> None:
        nonlocal count
        if count == survived:
            raise Died
        count += 1
        await put(rows, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as dead:
        dead.setattr(memory._memories, "put", dying)
        try:
            await remembering(bench, memory)._record("a")
        except Died:
            assert survived < 3
    await remembering(bench, a_memory(bench))._record("a")
    await remembering(bench, a_memory(bench))._look_back()
    episodes = await memory.page(past=True)
    texts = [each.text for each in episodes]  # type: ignore[union-attr]
    assert texts == [f"{side}{text}" for text in ("One.", "Two.", "Three.") for side in ("", "You said: ")]
    await bench.store.aclose()


async def test_while_a_task_is_being_deleted_nothing_more_of_it_is_written() -> None:
    bench = Bench()
    async with bench.running(echo) as engine:
        done = await engine.execute("One.", task_id="a")
    await bench.store.open()
    memory = a_memory(bench)
    one = remembering(bench, memory)
    await one._record("a")
    async with forgetting(one, "a"):
        assert one.writing.locked()
        await bench.store.delete("a")
    await one._record("a")
    assert await memory.page() == []
    [said, _] = await memory.page(past=True)
    assert said.id == episode_id("a", done.turn_id, "user")
    async with forgetting(None, "a"):
        pass
    await bench.store.aclose()


async def test_one_task_that_cannot_be_read_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    async with bench.running(echo) as engine:
        for task in ("a", "b"):
            await engine.execute("One.", task_id=task)
    await bench.store.open()
    memory = a_memory(bench)
    one, remember = remembering(bench, memory), memory.remember

    async def picky(*memories: Memory, repeat: bool = False) -> list[Memory]:
        if memories[0].source.task_id == "a":
            raise OSError("It broke.")
        return await remember(*memories, repeat=repeat)

    monkeypatch.setattr(memory, "remember", picky)
    await one._look_back()
    assert {each.source.task_id for each in await memory.page()} == {"b"}
    await bench.store.aclose()


async def test_a_store_that_cannot_say_what_was_left_out_does_not_stop_the_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()

    async def odd(**page: object) -> list[object]:
        raise OSError("It broke.")

    monkeypatch.setattr(bench.store, "tasks", odd)
    engine = await bench.engine(echo, memory=True).open()
    assert (await engine.execute("One.", task_id="a")).text == "You said: One."
    await engine.aclose()
    assert "not looked for" in caplog.text
