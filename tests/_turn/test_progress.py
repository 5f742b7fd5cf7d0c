"""When a turn gets nowhere, and when it only looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from september_engine._turn.facts import TurnFailed
from september_engine._turn.limits import Limits
from september_engine._turn.progress import WAIT_MS, Progress, outcome_of, stepped, waited
from september_engine.events import ToolResultError

from .build import Turn, answered, replied, returned, starting, use


def after(*steps: tuple[str, str], slow: int | None = None) -> int:
    """How many steps in a row brought nothing new, after these calls with these results."""
    progress = Progress()
    for place, (call, result) in enumerate(steps):
        progress = waited(progress, WAIT_MS if place == slow else 3)
        progress = stepped(progress, [(call, {}, outcome_of(result, None))])
    return progress.repeats


SAME, OTHER, THIRD = ("look", "seen"), ("listen", "heard"), ("ask", "told")


@pytest.mark.parametrize(
    ("steps", "repeats"),
    [
        ([SAME], 0),
        ([SAME, SAME], 1),
        ([SAME, SAME, SAME, SAME], 3),
        ([SAME, OTHER, SAME, OTHER, SAME], 3),
        ([SAME, SAME, OTHER, OTHER], 1),
        ([SAME, SAME, THIRD], 0),
        ([SAME, OTHER, THIRD, SAME, OTHER, THIRD], 0),
        ([("look", "1 %"), ("look", "2 %"), ("look", "3 %")], 0),
        ([("look", "seen"), ("look", "gone"), ("look", "seen")], 1),
    ],
)
def test_the_same_calls_with_the_same_results_are_no_progress_and_whatever_is_new_is(
    steps: list[tuple[str, str]], repeats: int
) -> None:
    assert after(*steps) == repeats


def test_a_poll_that_waits_is_never_without_progress() -> None:
    assert after(SAME, SAME, SAME, slow=2) == 0
    assert after(SAME, OTHER, SAME, OTHER, slow=3) == 0
    assert after(SAME, SAME, SAME, slow=1) == 1


def test_parallel_calls_are_compared_in_the_order_of_the_calls_and_by_all_that_they_are() -> None:
    one, two = ("look", {"at": 1}, "x"), ("look", {"at": 2}, "x")
    assert stepped(stepped(Progress(), [one, two]), [one, two]).repeats == 1
    assert stepped(stepped(Progress(), [one, two]), [two, one]).repeats == 0
    assert stepped(stepped(Progress(), [one]), [one, two]).repeats == 0


def test_a_failure_is_told_from_a_result_and_from_another_failure() -> None:
    errors = [ToolResultError(reason="tool_failed", message=message) for message in ("No.", "No!")]
    assert len({outcome_of(None, None), outcome_of("null", None), *(outcome_of(None, each) for each in errors)}) == 4


class TestTurns:
    def step(self, turn: Turn, output: Any = "seen", **of_result: Any) -> list[str]:
        """One more step of the turn with the same call."""
        number = turn.state.step
        turn.tell(replied(use(f"call_{number}", at="it"), step=number))
        turn.tell(starting(f"call_{number}"))
        return turn.then(returned(f"call_{number}", output, **of_result))

    def test_it_ends_with_what_it_did_over_and_over(self) -> None:
        turn = Turn(limits=Limits(repeats=2))
        self.step(turn)
        assert len(self.step(turn)) == 1
        assert self.step(turn)[-1] == "failed: BUDGET_EXCEEDED"
        end = turn.facts[-1]
        assert isinstance(end, TurnFailed)
        assert end.message == (
            "The model made the same tool calls with the same results over and over: 2 steps in a row brought nothing "
            "new (limit: repeats)."
        )

    def test_a_slow_tool_may_be_called_for_ever(self) -> None:
        turn = Turn(limits=Limits(repeats=1))
        for _ in range(10):
            self.step(turn, duration_ms=1000)
        assert turn.state.status == "running"

    def test_so_may_one_that_a_person_allows_each_time(self) -> None:
        turn = Turn(limits=Limits(repeats=1))
        for number in range(5):
            turn.tell(replied(use(f"c{number}"), step=number, asks={f"c{number}": "May it?"}))
            # the requests of this test are all called hitl_1, and only the last one is open
            turn.tell(answered("no"))
        assert turn.state.status == "running"

    def test_without_the_limit_it_goes_on(self) -> None:
        turn = Turn(limits=Limits(repeats=None))
        for _ in range(30):
            self.step(turn)
        assert turn.state.status == "running"
