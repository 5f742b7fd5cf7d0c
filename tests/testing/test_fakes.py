from __future__ import annotations

import anyio
import pytest

from september_engine._seams import Clock, Ids
from september_engine.testing.fakes import FakeClock, FakeIds, SequenceRandom


async def test_sleepers_wake_in_the_order_of_their_time() -> None:
    clock = FakeClock(wall=1000)
    port: Clock = clock
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await port.sleep(nap)
            woken.append((name, port.monotonic()))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleeper, "a", 3.0)
            tasks.start_soon(sleeper, "b", 1.0, 1.0)
            await clock.until_asleep(2)
            await clock.advance(0.5)
            assert woken == []
            await clock.advance(1.5)
            assert woken == [("b", 1.0), ("b", 2.0)]
            assert clock.sleeping == 1
            await clock.advance(1.0)
    assert woken[-1] == ("a", 3.0)
    assert (port.now_ms(), port.monotonic(), clock.sleeping) == (4000, 3.0, 0)


async def test_the_wall_clock_may_jump_and_nobody_wakes() -> None:
    clock = FakeClock()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep, 5.0)
            await clock.until_asleep()
            clock.wall = 1
            await clock.advance(4.0)
            assert (clock.now_ms(), clock.sleeping) == (4001, 1)
            tasks.cancel_scope.cancel()
    assert clock.sleeping == 0
    await clock.sleep(0)


async def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="Time only moves forward"):
        await FakeClock().advance(-1)


def test_ids_count_by_kind() -> None:
    ids: Ids = FakeIds()
    assert [ids("msg_"), ids("msg_"), ids("turn_")] == ["msg_1", "msg_2", "turn_1"]


def test_chance_is_the_numbers_given_over_and_over() -> None:
    chance = SequenceRandom([0.1, 0.9])
    assert [chance(), chance(), chance()] == [0.1, 0.9, 0.1]
    assert SequenceRandom()() == 0.5
    for wrong in ([], [1.0], [-0.1]):
        with pytest.raises(ValueError, match="Chance is numbers from 0 to below 1"):
            SequenceRandom(wrong)
