from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading

import anyio
import pytest

from september_engine._runtime.isolation import GRACE_SECONDS, in_thread, isolated, to_its_end
from september_engine.testing.fakes import FakeClock
from tests.engines import ticks
from tests.programs import environment


async def test_what_the_work_returns_comes_back() -> None:
    async def work() -> str:
        await anyio.lowlevel.checkpoint()
        return "done"

    clock = FakeClock()
    assert await isolated(work(), clock=clock, seconds=None) == "done"
    assert await isolated(work(), clock=clock, seconds=5.0) == "done"
    assert clock.sleeping == 0


async def test_work_that_is_out_of_time_is_cancelled_and_gives_nothing() -> None:
    cancelled = anyio.Event()

    async def work() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return "never"

    clock = FakeClock()
    async with anyio.create_task_group() as group:
        group.start_soon(_advance, clock, 5.0)
        assert await isolated(work(), clock=clock, seconds=5.0) is None
    assert cancelled.is_set()


async def test_work_that_ignores_its_cancellation_is_left_after_the_grace() -> None:
    let_go = asyncio.Event()

    async def work() -> str:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    clock = FakeClock()
    async with anyio.create_task_group() as group:
        group.start_soon(_advance, clock, 5.0, GRACE_SECONDS)
        assert await isolated(work(), clock=clock, seconds=5.0) is None
    assert clock.monotonic() == 5.0 + GRACE_SECONDS
    let_go.set()
    await ticks(5)


async def test_work_that_cancels_its_own_task_does_not_cancel_who_waits() -> None:
    async def work() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            return "cancelled myself"
        return "never"

    assert await isolated(work(), clock=FakeClock(), seconds=None) == "cancelled myself"


async def test_cancelling_the_wait_cancels_the_work_and_waits_for_its_end() -> None:
    ended = anyio.Event()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await ticks(3)
            ended.set()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_after, 5, scope)
            await isolated(work(), clock=FakeClock(), seconds=None)
    assert scope.cancelled_caught
    assert ended.is_set()


async def test_a_thread_gives_its_value_its_error_and_sees_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("from outside")
    limiter = anyio.CapacityLimiter(1)
    assert await in_thread(variable.get, limiter=limiter, name="x") == "from outside"
    for error in (ValueError("no"), StopIteration("no"), SystemExit(3), asyncio.CancelledError()):

        def fails(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) if not isinstance(error, StopIteration) else pytest.raises(RuntimeError):
            await in_thread(fails, limiter=limiter, name="x")
    assert limiter.borrowed_tokens == 0


async def test_a_thread_whose_wait_was_cancelled_ends_for_itself() -> None:
    let_go, ran = threading.Event(), threading.Event()

    def slow() -> None:
        let_go.wait(20)
        ran.set()

    limiter = anyio.CapacityLimiter(1)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_after, 5, scope)
            await in_thread(slow, limiter=limiter, name="slow one")
    [thread] = [thread for thread in threading.enumerate() if thread.name == "slow one"]
    assert limiter.borrowed_tokens == 0
    let_go.set()
    thread.join(20)
    assert ran.is_set()


PROGRAM = """
import time
import anyio
from september_engine import Engine, tool
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.store.memory import MemoryStore

@tool(timeout=0.05)
def stuck() -> None:
    "Never ends."
    time.sleep(1000)

async def main():
    async with Engine(MemoryStore(), model=ScriptedModel([call("stuck"), say("went on")]), tools=[stuck]) as engine:
        print((await engine.execute("x", task_id="t")).text)

anyio.run(main)
"""


def test_a_sync_tool_that_never_returns_keeps_no_process_alive() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, env=environment(), check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("went on\n", "", 0)


async def _advance(clock: FakeClock, *seconds: float) -> None:
    for each in seconds:
        await clock.until_asleep()
        await clock.advance(each)


async def _cancel_after(count: int, scope: anyio.CancelScope) -> None:
    await ticks(count)
    scope.cancel()


async def test_work_that_must_be_done_whole_is_and_the_cancellation_comes_afterwards() -> None:
    gate, done = anyio.Event(), anyio.Event()

    async def work() -> None:
        await gate.wait()
        done.set()

    task = asyncio.create_task(to_its_end(work()))
    for _ in range(3):
        await ticks(5)
        task.cancel()
    await ticks(5)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()
