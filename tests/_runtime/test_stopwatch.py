from __future__ import annotations

import math

from september_engine import Limits
from september_engine._runtime.stopwatch import Stopwatch, worked
from september_engine._turn.facts import (
    AssistantReplied,
    Fact,
    HumanAnswered,
    HumanAsked,
    ToolFinished,
    TurnResumed,
    TurnStarted,
)
from september_engine.messages import Usage
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


def test_what_a_turn_has_worked_before_is_read_from_its_log() -> None:
    started = TurnStarted(
        at=1_000, turn_id="turn", task_id="t", message_id="m", content=[], prefix="p", limits=Limits()
    )
    call = {"type": "tool_use", "id": "c", "name": "careful", "input": {}}
    log: list[Fact] = [
        started,
        AssistantReplied(
            at=11_000,
            message_id="a",
            content=[call],
            stop_reason="tool_use",
            usage=Usage(),
            model="m",
            prefix="p",
            blocks=1,
        ),
        HumanAsked(at=11_000, request_id="h", kind="permission", question="?", tool_call_id="c"),
    ]
    assert worked([], 5) == 0
    assert worked(log[:1], 4_500) == 3.5
    assert worked(log, 99_000) == 10, "a wait for a person is no work"
    log.append(HumanAnswered(at=99_000, request_id="h", answer="yes", feedback=None))
    log.append(ToolFinished(at=101_000, tool_call_id="c", output="did it"))
    assert worked(log, 101_500) == 12.5
    log.append(TurnResumed(at=900_000, blocks=0, retracts=[], repeats=[]))
    assert worked(log, 900_250) == 12.25, "a process that is dead does not work"
    assert worked(log, 5) == 12, "a clock that was set back takes nothing away"
