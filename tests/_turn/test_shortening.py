from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from september_engine._turn.commands import CallModel, Compact, todo
from september_engine._turn.facts import Compacted, TurnFailed
from september_engine._turn.inputs import Input, Interrupted, Summarised
from september_engine._turn.limits import Limits
from september_engine.messages import Usage

from .build import LOOK, NOW, Turn, failure, replied, returned, starting, text, use

LIMITS = Limits(context_tokens=1_000, max_tokens=100)


def summarised(*, before: int = 1_000, after: int = 500, step: int = 0, **changes: Any) -> Summarised:
    compacted = Compacted(
        at=NOW,
        kept_from="msg_1",
        since="turn_1",
        summary="In short.",
        before_tokens=before,
        after_tokens=after,
        strategy="summary",
        usage=Usage(input_tokens=7),
    )
    return Summarised(now=NOW, step=step, compacted=replace(compacted, **changes), system="Be brief.", tools=[LOOK])


def too_long(**changes: Any) -> Turn:
    return Turn(**{"context": 2_000, "limits": LIMITS, "parent": "turn_0", **changes})


def test_what_is_too_long_is_summarised_before_it_is_sent() -> None:
    turn = too_long()
    [command] = todo(turn.state)
    assert isinstance(command, Compact)
    assert (command.budget, command.context) == (880, turn.state.context)
    assert turn.then(summarised()) == ["compacted from msg_1", "prefix p1"]
    [command] = todo(turn.state)
    assert isinstance(command, CallModel)
    assert (turn.state.context, turn.state.since, turn.state.usage.input_tokens) == (500, "turn_1", 7)


def test_the_results_of_a_step_may_make_it_too_long() -> None:
    turn = Turn(replied(use("a")), starting("a"), limits=LIMITS)
    assert not turn.state.owes_compaction
    turn.tell(returned("a", "x" * 3_000))
    assert isinstance(todo(turn.state)[0], Compact)


@pytest.mark.parametrize("off", [Limits(context_tokens=1_000, max_tokens=100, compactions=0), Limits()])
def test_without_compactions_or_a_window_nothing_is_summarised(off: Limits) -> None:
    assert isinstance(todo(too_long(limits=off).state)[0], CallModel)


@pytest.mark.parametrize(("before", "after"), [(1_000, 801), (2_000, 881)])
def test_what_saves_less_than_a_fifth_or_does_not_fit_ends_the_turn(before: int, after: int) -> None:
    turn = too_long()
    assert turn.then(summarised(before=before, after=after)) == ["failed: CONTEXT_OVERFLOW, does not count"]
    [end] = turn.facts[-1:]
    assert isinstance(end, TurnFailed)
    assert "1000 tokens" in end.message
    assert end.usage == Usage(input_tokens=7)


def test_a_summary_that_nobody_waits_for_means_nothing() -> None:
    assert Turn().tell(summarised()) == []
    assert too_long().tell(summarised(step=1)) == []


def overflow(**changes: Any) -> Any:
    return failure(code="CONTEXT_OVERFLOW", retryable=False, **changes)


def test_a_provider_that_finds_it_too_long_is_answered_by_one_compaction() -> None:
    turn = Turn(parent="turn_0")
    assert turn.then(overflow()) == ["attempt failed, next in 0 ms"]
    assert isinstance(todo(turn.state)[0], Compact)
    turn.tell(summarised())
    assert isinstance(todo(turn.state)[0], CallModel)
    assert turn.then(overflow()) == ["failed: CONTEXT_OVERFLOW, does not count"]


def test_after_an_answer_it_may_be_too_long_again() -> None:
    turn = Turn(overflow(), summarised(), replied(use("a")), starting("a"), returned("a"), parent="turn_0")
    assert turn.then(overflow(step=1)) == ["attempt failed, next in 0 ms"]


def test_where_there_is_no_past_there_is_nothing_to_tell_in_brief() -> None:
    assert Turn().then(overflow()) == ["failed: CONTEXT_OVERFLOW, does not count"]


def test_a_turn_has_only_so_many_compactions() -> None:
    limits = Limits(context_tokens=1_000, max_tokens=100, compactions=1)
    turn = too_long(limits=limits)
    turn.tell(summarised())
    turn.tell(replied(use("a"), usage=Usage(input_tokens=870)))
    turn.tell(starting("a"))
    assert turn.then(returned("a", "x" * 600)) == ["finished a", "failed: BUDGET_EXCEEDED"]


def test_a_turn_that_is_refused_takes_its_compaction_with_it() -> None:
    turn = too_long(since="turn_0")
    turn.tell(summarised())
    assert turn.state.since == "turn_1"
    turn.tell(replied(stop_reason="refusal"))
    assert (turn.state.since, turn.state.context) == ("turn_0", 2_000)


@pytest.mark.parametrize("end", [Interrupted(now=NOW), replied(text("No."), stop_reason="refusal")])
@pytest.mark.parametrize("schema", [None, {"type": "object"}])
def test_with_a_turn_that_does_not_count_its_compaction_does_not_either(end: Input, schema: Any) -> None:
    turn = too_long(since="turn_0", output_schema=schema)
    turn.tell(summarised())
    assert turn.state.since == "turn_1"
    turn.tell(end)
    assert not turn.state.counts
    assert turn.state.since == "turn_0"
