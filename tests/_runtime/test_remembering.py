"""What turns leave is written once, wherever a process dies."""

from __future__ import annotations

import anyio
import pytest
from msgspec.structs import replace

from september_engine._memory.rows import row_of
from september_engine._runtime import remembering as module
from september_engine._runtime.remembering import Remembering, forgetting
from september_engine._turn.exchange import episode_id
from september_engine.memory.base import Memory
from september_engine.memory.longterm import LongTermMemory
from september_engine.models.scripted import say
from september_engine.store.base import FactRow
from tests.engines import Bench, echo, ticks


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


async def test_a_store_that_fails_while_the_past_is_looked_through_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(**_: object) -> list[object]:
        raise OSError("The disk is gone.")

    bench = Bench()
    async with bench.running(echo) as engine:
        await engine.execute("One.", task_id="a")
    monkeypatch.setattr(bench.store, "tasks", broken)
    async with bench.running(echo, memory=True) as engine:
        assert (await engine.execute("Two.", task_id="a")).text == "You said: Two."
        await engine.remembered()
        assert len(await engine.memory.page()) == 4
        monkeypatch.undo()
    assert "OSError: The disk is gone." in caplog.text


async def test_what_an_edit_leaves_goes_whatever_takes_its_place() -> None:
    bench = Bench()
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}
    async with bench.running([say("Hello Ana."), say("A cat.")], memory=True) as engine:
        done = await engine.execute("I am Ana.", task_id="a")
        await engine.execute(".", task_id="a", edit_message_id=done.user_message_id, media=[picture])
        await engine.remembered()
        assert [each.text for each in await engine.memory.page()] == [".", "A cat."]  # type: ignore[union-attr]


async def test_what_an_early_release_retired_is_written_again_when_its_branch_comes_back() -> None:
    bench = Bench()
    async with bench.running(echo, memory=True) as engine:
        done = await engine.execute("One.", task_id="a")
        await engine.remembered()
        [*sides] = await engine.memory.page()
        await bench.store.memories.put(  # type: ignore[attr-defined]
            [row_of(replace(side, retired_at=1, retired_because=module.LEFT)) for side in sides]
        )
        assert await engine.memory.page() == []
        await remembering(bench, engine.memory)._record("a")
        kept = await engine.memory.page()
    assert [each.text for each in kept] == ["One.", "You said: One."]  # type: ignore[union-attr]
    assert kept[0].id == episode_id("a", done.turn_id, "user", again=1)


async def test_turns_that_leave_nothing_are_not_read_again_with_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    async with bench.running(echo, memory=True) as engine:
        await engine.execute("One.", task_id="a")
        reads = 0
        turn = bench.store.turn

        async def counted(task_id: str, turn_id: str, /) -> list[FactRow]:
            nonlocal reads
            reads += 1
            return await turn(task_id, turn_id)

        monkeypatch.setattr(bench.store, "turn", counted)
        for number in range(50):
            await engine.notes.set("a", "number", number)
            await engine.remembered()
        assert reads < 150
        await engine.execute("Two.", task_id="a")
        await engine.remembered()
        assert len(await engine.memory.page()) == 4


async def test_a_turn_that_still_ran_when_its_task_was_written_down_is_written_when_it_ends() -> None:
    bench, gate = Bench(), anyio.Event()
    async with bench.running([say("First.", hold=gate)], memory=True) as engine:
        running = engine.execute("One.", task_id="a")
        await running.started()
        one = engine._running.resources.remembering
        assert one is not None
        await one._record("a")
        gate.set()
        await running.result()
        await engine.remembered()
        assert [each.text for each in await engine.memory.page()] == ["One.", "First."]  # type: ignore[union-attr]


async def test_a_memory_that_breaks_while_older_turns_are_looked_for_ends_no_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    async with bench.running(echo) as engine:
        await engine.execute("One.", task_id="a")

    async def broken(self: LongTermMemory, ids: list[str], /) -> list[Memory]:
        raise ValueError("A row that no release wrote.")

    with monkeypatch.context() as patch:
        patch.setattr(LongTermMemory, "known", broken)
        async with bench.running(echo, memory=True) as engine:
            await ticks(50)
            assert (await engine.execute("Still there?", task_id="b")).text.endswith("Still there?")


async def test_however_many_tasks_there_are_each_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    bench = Bench()
    async with bench.running(echo) as engine:
        for task in "abcde":
            await engine.execute("One.", task_id=task)
    await bench.store.open()
    memory = a_memory(bench)
    await remembering(bench, memory)._look_back()
    assert {each.source.task_id for each in await memory.page()} == set("abcde")
    await bench.store.aclose()


async def test_a_retry_leaves_the_first_try_behind_though_the_same_is_said_at_the_same_time() -> None:
    async with Bench().running([say("One answer."), say("Another.")], memory=True) as engine:
        done = await engine.execute("Hello.", task_id="a")
        await engine.execute("again", task_id="a", retry_message_id=done.user_message_id)
        await engine.remembered()
        here = await engine.messages("a")
        assert [each.source.message_id for each in await engine.memory.page()] == [message.id for message in here]
