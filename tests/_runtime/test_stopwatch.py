from __future__ import annotations

import math

from september_engine._runtime.stopwatch import Stopwatch
from september_engine.testing.fakes import FakeClock


async def test_waits_for_a_person_do_not_count() -> None:
    clock = FakeClock()
    watch = Stopwatch(clock)
    await clock.advance(10)
    assert watch.left(60) == 50
    watch.note(waits=True)
    await clock.advance(1000)
    watch.note(waits=True)
    assert watch.left(60) == 50
    watch.note(waits=False)
    watch.note(waits=False)
    assert watch.left(60) == 50
    await clock.advance(51)
    assert watch.left(60) == -1


async def test_a_turn_that_waits_never_runs_out_and_one_without_a_limit_neither() -> None:
    clock = FakeClock()
    watch = Stopwatch(clock)
    await clock.advance(61)
    watch.note(waits=True)
    assert watch.left(60) == 1
    assert watch.left(None) == math.inf
