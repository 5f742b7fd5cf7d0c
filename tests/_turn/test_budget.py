"""Budgets: what a turn and its task have spent, and what an unknown cost means."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from september_engine._turn.budget import exceeded, spent
from september_engine._turn.commands import Compact, todo
from september_engine._turn.compaction import Summary, cut_of, outcome
from september_engine._turn.facts import TurnFailed
from september_engine._turn.inputs import Cancelled, OutOfTime, PlanFailed
from september_engine._turn.limits import Limits
from september_engine._turn.standing import standing
from september_engine._turn.state import TurnState
from september_engine.messages import Usage

from .build import NOW, Turn, brief, failure, planned, replied, returned, starting, text, use

TOKENS = Usage(input_tokens=20, output_tokens=10, cache_hit_tokens=15)
TIGHT = Limits(context_tokens=2_000, max_tokens=100)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(), None),
        (Limits(steps=4, tool_calls=7, tokens=31, usd=0.26, task_tokens=131, task_usd=1.26, seconds=None), None),
        (Limits(steps=3), "The turn has used all of its 3 model calls (limit: steps)."),
        (Limits(tool_calls=6), "The turn has made more than 6 tool calls (limit: tool_calls)."),
        (Limits(tokens=30), "The turn has used 30 tokens of 30 (limit: tokens)."),
        (Limits(task_tokens=130), "All turns of the task have used 130 tokens of 130 (limit: task_tokens)."),
        (Limits(usd=0.25), "The turn has cost 0.25 USD of 0.25 (limit: usd)."),
        (Limits(task_usd=1), "The task has cost 1.25 USD of 1 (limit: task_usd)."),
    ],
)
def test_a_spent_budget_is_told_with_the_limit_it_passed(limits: Limits, says: str | None) -> None:
    state = TurnState(
        limits=limits,
        step=3,
        tool_calls=7,
        usage=TOKENS,
        cost_usd=0.25,
        task_tokens=100,
        task_usd=1.0,
        status="running",
    )
    assert exceeded(state) == says


def priced(cost: float | None, *, step: int = 0, **changes: Any) -> Any:
    return replied(use(f"c{step}"), step=step, cost_usd=cost, **changes)


def test_money_is_counted_over_the_whole_turn_without_binary_dust() -> None:
    turn = Turn(priced(0.1), starting("c0"), returned("c0"), failure(step=1, usage=TOKENS, cost_usd=0.2))
    assert turn.state.cost_usd == 0.3
    assert turn.state.usage.tokens == 45


def test_a_turn_ends_before_the_call_that_it_has_no_money_for() -> None:
    turn = Turn(priced(0.5), starting("c0"), limits=Limits(usd=0.5))
    assert turn.then(returned("c0")) == ["finished c0", "failed: BUDGET_EXCEEDED"]
    end = turn.facts[-1]
    assert isinstance(end, TurnFailed)
    assert end.details["cost_usd"] == 0.5


def test_time_that_is_used_up_tells_what_was_spent_with_the_attempt_that_it_cut() -> None:
    turn = Turn(priced(0.5), starting("c0"), returned("c0"), limits=Limits(seconds=9))
    turn.tell(OutOfTime(now=NOW, usage=TOKENS, cost_usd=0.25))
    end = turn.facts[-1]
    assert isinstance(end, TurnFailed)
    assert (end.details["input_tokens"], end.details["cost_usd"]) == (30, 0.75)
    assert end.details == spent(turn.state)


class TestUnknown:
    def test_a_cost_with_an_unknown_part_is_unknown_and_never_nothing(self) -> None:
        turn = Turn(priced(0.1), starting("c0"), returned("c0"), replied(text(), step=1))
        assert turn.state.cost_usd is None
        assert standing(turn.state).usd is None

    def test_a_limit_that_cannot_be_kept_counts_as_reached(self) -> None:
        turn = Turn(priced(None), starting("c0"), limits=Limits(usd=100))
        assert turn.then(returned("c0"))[-1] == "failed: BUDGET_EXCEEDED"
        end = turn.facts[-1]
        assert isinstance(end, TurnFailed)
        assert "unknown" in end.message
        assert end.details["cost_usd"] is None
        assert Turn(task_usd=None, limits=Limits(task_usd=100)).state.status == "errored"

    def test_it_matters_to_no_other_limit(self) -> None:
        assert Turn(priced(None), starting("c0"), returned("c0"), limits=Limits(tokens=99)).state.status == "running"

    def test_an_attempt_of_which_the_provider_said_nothing_costs_nothing_that_is_known(self) -> None:
        assert Turn(failure()).state.cost_usd == 0.0
        assert Turn(failure(usage=TOKENS)).state.cost_usd is None


class TestTasks:
    def test_what_the_turns_before_have_spent_counts(self) -> None:
        before = {"task_tokens": 100, "task_usd": 1.0}
        turn = Turn(priced(0.25), **before)
        assert standing(turn.state).tokens == 115
        assert standing(turn.state).usd == 1.25
        assert spent(turn.state)["task_usd"] == 1.25

    def test_a_turn_of_a_task_that_has_spent_it_all_is_not_begun_and_leaves_no_trace_in_the_thread(self) -> None:
        turn = Turn(task_tokens=100, limits=Limits(task_tokens=100), previous="turn_0", parent="turn_0")
        end = turn.facts[-1]
        assert isinstance(end, TurnFailed)
        assert (end.code, end.counts) == ("BUDGET_EXCEEDED", False)
        assert standing(turn.state).head == "turn_0"

    def test_what_was_spent_stays_spent_though_the_turn_does_not_count(self) -> None:
        turn = Turn(replied(text(), stop_reason="refusal", cost_usd=0.25), task_usd=1.0)
        assert turn.state.counts is False
        assert standing(turn.state).usd == 1.25

    def test_so_does_what_a_cancelled_attempt_had_cost(self) -> None:
        turn = Turn(Cancelled(now=NOW, message_id="m", usage=TOKENS, cost_usd=0.25), task_usd=1.0)
        assert standing(turn.state).usd == 1.25
        assert standing(turn.state).tokens == 30


def test_a_plan_costs_money_and_what_is_left_decides_about_the_first_call() -> None:
    work = {"planner": True, "limits": Limits(usd=0.4), "content": [text("Find it.")]}
    turn = Turn(planned("Look", usage=TOKENS, cost_usd=0.3), **work)
    assert (turn.state.cost_usd, turn.state.usage, turn.state.task_usd_now) == (0.3, TOKENS, 0.3)
    failed = PlanFailed(now=NOW, problem="It broke.", usage=TOKENS, cost_usd=0.4)
    ended = Turn(failed, **work)
    assert brief(ended.facts[-1]) == "failed: BUDGET_EXCEEDED"
    assert Turn(planned(), **{**work, "limits": Limits()}).state.cost_usd is None


def test_a_compaction_costs_money_whether_it_helped_or_not() -> None:
    for after, brief_of_end in ((10, "prefix p1"), (3_000, "failed: CONTEXT_OVERFLOW, does not count")):
        turn = Turn(replied(use("c0"), cost_usd=0.1), starting("c0"), returned("c0", "x" * 9_000), limits=TIGHT)
        (order,) = todo(turn.state)
        assert isinstance(order, Compact)
        cut = cut_of(turn.facts, order, model="big")
        told = Summary(text="In short.", strategy="summary", usage=TOKENS, cost_usd=0.2)
        came = outcome(turn.facts, order, cut, told, now=NOW, model="big")
        turn.tell(replace(came, compacted=replace(came.compacted, after_tokens=after)))
        assert brief(turn.facts[-1]) == brief_of_end
        assert turn.state.cost_usd == 0.3
        assert standing(turn.state).usd == 0.3
