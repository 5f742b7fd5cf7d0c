"""What follows from what: attempts that fail, and the ways in which a turn ends or is taken up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from msgspec.structs import replace

from september_engine._turn.budget import spent
from september_engine._turn.decide import MOST_RESUMES
from september_engine._turn.facts import (
    AssistantCut,
    AttemptFailed,
    ToolFinished,
    TurnFailed,
    TurnResumed,
)
from september_engine._turn.inputs import (
    Broken,
    Cancelled,
    Expired,
    Input,
    Interrupted,
    OutOfTime,
    Resumed,
)
from september_engine._turn.limits import Limits
from september_engine._turn.state import TurnState
from september_engine.messages import Usage

from .build import (
    NOW,
    Turn,
    answered,
    asking,
    failure,
    finished,
    replied,
    returned,
    start,
    starting,
    text,
    unfinished,
    use,
)

cancelled = Cancelled(now=NOW, message_id="msg_9")


def mixed() -> Turn:
    """A turn with one call of each status: done, running, owed, and one that a person is asked about."""
    calls = replied(use("done"), use("running"), use("owed"), use("asked"), asks={"asked": "May it run?"})
    return Turn(calls, starting("done", "running"), returned("done"))


class TestFailedAttempts:
    def test_a_failure_that_may_pass_is_tried_again_after_a_wait_and_what_was_shown_is_taken_back(self) -> None:
        turn = Turn(failure(blocks=2))
        assert turn.tell(failure(blocks=1, code="LLM_TIMEOUT", message="Nothing came.", chance=0.5)) == [
            AttemptFailed(at=NOW, code="LLM_TIMEOUT", message="Nothing came.", wait_ms=750, blocks=1, retracts=[2])
        ]

    def test_a_provider_that_says_how_long_is_obeyed(self) -> None:
        assert Turn().then(failure(retry_after=3.0)) == ["attempt failed, next in 3000 ms"]

    def test_the_last_attempt_ends_the_turn(self) -> None:
        turn = Turn(failure(), limits=Limits(attempts=2))
        assert turn.tell(failure(code="LLM_RATE_LIMITED", message="Too fast.", details={"retry_after": 9})) == [
            TurnFailed(at=NOW, code="LLM_RATE_LIMITED", message="Too fast.", details={"retry_after": 9})
        ]

    def test_a_failure_that_will_not_pass_ends_the_turn_at_once(self) -> None:
        assert Turn().then(failure(retryable=False, code="LLM_AUTH")) == ["failed: LLM_AUTH"]

    def test_attempts_are_counted_per_step(self) -> None:
        turn = Turn(failure(), replied(use("a")), starting("a"), returned("a"), limits=Limits(attempts=2))
        assert turn.then(failure(step=1)) == ["attempt failed, next in 250 ms"]

    def test_a_failure_of_another_step_or_while_calls_are_open_is_stale(self) -> None:
        turn = Turn(replied(use("a")))
        assert turn.then(failure(step=0)) == []
        assert turn.then(failure(step=1)) == []


class TestFallback:
    def test_it_takes_over_when_the_attempts_are_used_and_has_attempts_of_its_own(self) -> None:
        turn = Turn(failure(), limits=Limits(attempts=2))
        (fact,) = turn.tell(failure(has_fallback=True))
        assert isinstance(fact, AttemptFailed)
        assert (fact.fallback, fact.wait_ms) == (True, 0)
        assert turn.then(failure(has_fallback=True)) == ["attempt failed, next in 250 ms"]
        assert turn.then(failure(has_fallback=True)) == ["failed: LLM_PROVIDER_ERROR"]

    def test_it_takes_over_at_once_from_a_failure_that_will_not_pass(self) -> None:
        assert Turn().then(failure(retryable=False, has_fallback=True)) == ["attempt failed, next in 0 ms"]

    def test_it_is_no_help_against_a_conversation_that_is_too_long(self) -> None:
        too_long = failure(code="CONTEXT_OVERFLOW", retryable=False, has_fallback=True)
        assert Turn().then(too_long) == ["failed: CONTEXT_OVERFLOW, does not count"]


class TestRepair:
    """A history that the provider refuses: thinking goes, then media, then all that is not plain, each once."""

    refused = failure(bad_history=True, retryable=False, message="messages.3: no.", recovers_media=True)

    def test_the_steps_of_the_ladder_are_taken_once_each(self) -> None:
        turn = Turn(limits=Limits(attempts=1))
        repairs = [fact.repair for _ in range(3) for fact in turn.tell(self.refused) if isinstance(fact, AttemptFailed)]
        assert repairs == ["thinking", "media", "foreign"]
        assert turn.then(self.refused) == ["failed: LLM_PROVIDER_ERROR, does not count"]

    @pytest.mark.parametrize("suspect", [None, "media"])
    def test_unless_it_is_wanted_the_media_of_the_turns_own_message_stay(
        self, suspect: Literal["media"] | None
    ) -> None:
        turn, refused = Turn(), replace(self.refused, recovers_media=False, suspect=suspect)
        repairs = [fact.repair for _ in range(3) for fact in turn.tell(refused) if isinstance(fact, AttemptFailed)]
        assert sorted(map(str, repairs)) == ["foreign", "other_media", "thinking"]
        assert (repairs[0] == "other_media") is (suspect == "media")
        assert turn.then(refused) == ["failed: LLM_PROVIDER_ERROR, does not count"]

    def test_a_step_that_helped_is_not_taken_again_in_this_turn(self) -> None:
        turn = Turn(self.refused, replied(use("a")), starting("a"), returned("a"))
        (fact,) = turn.tell(replace(self.refused, step=1, blocks=1))
        assert isinstance(fact, AttemptFailed)
        assert (fact.repair, fact.retracts) == ("media", [1])

    def test_the_fallback_does_not_hide_a_bad_history(self) -> None:
        (fact,) = Turn().tell(replace(self.refused, has_fallback=True))
        assert isinstance(fact, AttemptFailed)
        assert (fact.fallback, fact.repair) == (False, "thinking")

    def test_what_the_provider_named_goes_first(self) -> None:
        turn, suspecting = Turn(), replace(self.refused, suspect="media")
        repairs = [fact.repair for _ in range(3) for fact in turn.tell(suspecting) if isinstance(fact, AttemptFailed)]
        assert repairs == ["media", "thinking", "foreign"]

    def test_the_fallback_is_asked_when_no_repair_is_left(self) -> None:
        turn = Turn(self.refused, self.refused, self.refused)
        (fact,) = turn.tell(replace(self.refused, has_fallback=True))
        assert isinstance(fact, AttemptFailed)
        assert (fact.fallback, fact.repair) == (True, None)
        assert turn.then(self.refused) == ["failed: LLM_PROVIDER_ERROR, does not count"]

    def test_a_message_that_no_model_takes_is_left_out_so_that_the_next_one_works(self) -> None:
        turn = Turn(self.refused, self.refused, self.refused)
        (fact,) = turn.tell(replace(self.refused, details={"status": 400}))
        assert fact == TurnFailed(
            at=NOW,
            code="LLM_PROVIDER_ERROR",
            message="messages.3: no. The message was left out; the conversation stands where it stood before it.",
            details={"status": 400},
            counts=False,
        )


class TestWhatAnAttemptCost:
    cost = Usage(input_tokens=90_000, output_tokens=7)

    @pytest.mark.parametrize(
        "ends",
        [
            failure(retryable=False, usage=cost),
            failure(code="CONTEXT_OVERFLOW", retryable=False, usage=cost),
            Cancelled(now=NOW, message_id="m", usage=cost),
            OutOfTime(now=NOW, usage=cost),
            Broken(now=NOW, code="STORE_FULL", message="The disk is full.", usage=cost),
        ],
    )
    def test_it_counts_for_the_turn_that_ends_with_it(self, ends: Input) -> None:
        turn = Turn(ends)
        end = turn.facts[-1]
        assert isinstance(end, TurnFailed)
        assert (end.usage, turn.state.usage) == (self.cost, self.cost)

    def test_it_counts_for_the_turn_that_goes_on_and_for_its_limit(self) -> None:
        assert Turn(failure(usage=self.cost)).state.usage == self.cost
        assert Turn(failure(usage=self.cost), replied(text())).state.usage.input_tokens == 90_010
        turn = Turn(limits=Limits(tokens=90_000))
        assert turn.then(failure(usage=self.cost))[-1] == "failed: BUDGET_EXCEEDED"


class TestBudgets:
    def test_a_turn_that_may_make_no_call_ends_with_its_start_and_leaves_no_trace_in_the_thread(self) -> None:
        assert Turn(limits=Limits(steps=0)).facts[2:] == [
            TurnFailed(
                at=NOW,
                code="BUDGET_EXCEEDED",
                message="The turn has used all of its 0 model calls (limit: steps).",
                details=dict.fromkeys(spent(TurnState()), 0),
                counts=False,
            )
        ]

    def test_the_last_step_may_still_answer(self) -> None:
        assert Turn(limits=Limits(steps=1)).then(replied(text())) == ["replied msg_2", "completed: end_turn"]

    def test_the_last_step_runs_its_tools_and_then_the_turn_ends(self) -> None:
        turn = Turn(replied(use("a"), use("b")), starting("a", "b"), limits=Limits(steps=1))
        assert turn.then(returned("a")) == ["finished a"]
        (_, end) = turn.tell(returned("b"))
        assert isinstance(end, TurnFailed)
        assert (end.code, end.counts) == ("BUDGET_EXCEEDED", True)
        assert end.details == {
            "steps": 1,
            "tool_calls": 2,
            "input_tokens": 10,
            "output_tokens": 5,
            "cost_usd": None,
            "task_tokens": 15,
            "task_usd": None,
        }

    def test_tokens_are_counted_over_the_whole_turn(self) -> None:
        cheap = replied(use("a"), usage=Usage(input_tokens=20, output_tokens=10))
        turn = Turn(cheap, starting("a"), returned("a"), limits=Limits(tokens=60))
        turn.tell(replace(cheap, step=1))
        turn.tell(starting("a_2_2"))
        assert turn.then(returned("a_2_2")) == ["finished a_2_2", "failed: BUDGET_EXCEEDED"]

    def test_a_no_that_closes_the_last_call_of_the_last_step_ends_the_turn(self) -> None:
        turn = Turn(asking("a"), limits=Limits(steps=1))
        assert turn.then(answered("no"))[-1] == "failed: BUDGET_EXCEEDED"

    def test_wall_time_that_is_used_up_ends_the_turn_wherever_it_is(self) -> None:
        turn = mixed()
        turn.state = replace(turn.state, limits=Limits(seconds=90))
        facts = turn.tell(OutOfTime(now=NOW))
        assert isinstance(facts[-1], TurnFailed)
        assert facts[-1].message == "The turn took longer than 90 seconds (limit: seconds)."
        assert len(facts) == 4

    def test_a_turn_without_a_limit_is_never_out_of_time(self) -> None:
        assert Turn(limits=Limits(seconds=None)).then(OutOfTime(now=NOW)) == []


class TestCancelling:
    def test_every_call_gets_a_result_that_says_what_is_known(self) -> None:
        facts = mixed().tell(cancelled)
        assert [fact for fact in facts if isinstance(fact, ToolFinished)] == [
            unfinished(
                "running",
                "outcome_unknown",
                "The tool was interrupted while it ran. Its outcome is unknown: it may or may not have taken effect. "
                "Check before running it again.",
            ),
            unfinished("owed", "cancelled", "Not run: the turn ended before this call began."),
            unfinished("asked", "cancelled", "Not run: the turn ended before this call began."),
        ]
        assert facts[-1] == TurnFailed(at=NOW, code="CANCELLED", message="The turn was cancelled.")

    def test_what_was_shown_of_an_answer_is_kept(self) -> None:
        assert Turn().tell(replace(cancelled, text="Hello, I am")) == [
            AssistantCut(at=NOW, message_id="msg_9", text="Hello, I am"),
            TurnFailed(at=NOW, code="CANCELLED", message="The turn was cancelled."),
        ]

    @pytest.mark.parametrize("shown", ["", " \n"])
    def test_nothing_shown_is_nothing_kept(self, shown: str) -> None:
        assert Turn().then(replace(cancelled, text=shown)) == ["failed: CANCELLED"]

    def test_text_of_an_answer_that_was_finished_is_not_kept_twice(self) -> None:
        turn = Turn(replied(text("Hello"), use("a")))
        assert turn.then(replace(cancelled, text="Hello")) == ["no result of a: cancelled", "failed: CANCELLED"]

    def test_cancelling_again_changes_nothing(self) -> None:
        turn = Turn(cancelled)
        assert turn.then(cancelled) == []


class TestExpiring:
    def test_a_request_that_nobody_answered_ends_the_turn_and_its_tool_is_not_run(self) -> None:
        turn = Turn(asking("a", "b"), answered("no", "hitl_1"))
        assert turn.tell(Expired(now=NOW)) == [
            unfinished("b", "hitl_expired", "Not run: the turn ended before this call began."),
            TurnFailed(
                at=NOW,
                code="HITL_EXPIRED",
                message="Nobody answered in time. The tool was not run.",
                details={"request_id": "hitl_2"},
            ),
        ]

    def test_a_turn_that_does_not_wait_does_not_expire(self) -> None:
        assert Turn().then(Expired(now=NOW)) == []
        assert mixed().then(Expired(now=NOW)) == []
        assert Turn(asking("a"), answered("yes")).then(Expired(now=NOW)) == []

    def test_an_answer_after_the_end_is_stale(self) -> None:
        assert Turn(asking("a"), Expired(now=NOW)).then(answered("yes")) == []


class TestBreaking:
    def test_a_fault_of_ours_ends_the_turn_with_what_it_was(self) -> None:
        facts = mixed().tell(Broken(now=NOW, code="STORE_FULL", message="The disk is full.", details={"free": 0}))
        assert facts[-1] == TurnFailed(at=NOW, code="STORE_FULL", message="The disk is full.", details={"free": 0})
        assert [fact.error.reason for fact in facts if isinstance(fact, ToolFinished) and fact.error] == [
            "outcome_unknown",
            "store_full",
            "store_full",
        ]


class TestAbandoning:
    def test_a_turn_whose_process_died_is_closed_and_does_not_count(self) -> None:
        assert mixed().then(Interrupted(now=NOW)) == [
            "no result of running: outcome_unknown",
            "no result of owed: interrupted",
            "no result of asked: interrupted",
            "failed: INTERRUPTED, does not count",
        ]

    def test_the_client_is_told_what_to_do(self) -> None:
        (fact,) = Turn().tell(Interrupted(now=NOW))
        assert isinstance(fact, TurnFailed)
        assert fact.message == "The process that ran this turn ended before the turn did. Send the message again."


class TestResuming:
    def resumed(self, *repeatable: str, blocks: int = 0) -> Resumed:
        return Resumed(now=NOW, blocks=blocks, repeatable=list(repeatable))

    def test_a_tool_that_may_have_run_is_reported_as_unknown_and_the_rest_goes_on(self) -> None:
        turn = mixed()
        assert turn.then(self.resumed()) == ["resumed, repeating []", "no result of running: outcome_unknown"]
        assert turn.then(starting("running", "owed")) == ["started owed"]
        assert turn.then(answered("yes")) == ["hitl_1 answered yes"]

    def test_a_tool_that_is_safe_to_repeat_is_run_again(self) -> None:
        turn = mixed()
        assert turn.then(self.resumed("look")) == ["resumed, repeating ['running']"]
        assert turn.then(starting("running")) == ["started running"]

    def test_an_answer_that_was_being_written_is_taken_back_and_written_anew(self) -> None:
        turn = Turn(failure(blocks=2))
        assert turn.tell(self.resumed(blocks=3)) == [TurnResumed(at=NOW, blocks=3, retracts=[2, 3, 4])]
        assert turn.then(replied(text())) == ["replied msg_2", "completed: end_turn"]

    def test_blocks_of_an_answer_that_is_whole_are_not_taken_back(self) -> None:
        turn = Turn(replied(text(), use("a")), starting("a"))
        assert turn.tell(self.resumed("look", blocks=2)) == [TurnResumed(at=NOW, repeats=["a"])]

    def test_an_unknown_outcome_that_closes_the_last_step_ends_the_turn(self) -> None:
        turn = Turn(replied(use("a")), starting("a"), limits=Limits(steps=1))
        assert turn.then(self.resumed())[-1] == "failed: BUDGET_EXCEEDED"

    def test_a_turn_that_took_three_processes_down_is_given_up(self) -> None:
        turn = Turn(*[self.resumed()] * MOST_RESUMES)
        (fact,) = turn.tell(self.resumed())
        assert isinstance(fact, TurnFailed)
        assert (fact.code, fact.counts) == ("INTERRUPTED", False)
        assert fact.message == "This turn was interrupted 3 times. Send the message again."


ENDS: list[Callable[[], Turn]] = [
    lambda: Turn(replied(text())),
    lambda: Turn(replied(text(), stop_reason="refusal")),
    lambda: Turn(asking("a"), cancelled),
    lambda: Turn(asking("a"), Interrupted(now=NOW)),
    lambda: Turn(failure(retryable=False)),
]
ANYTHING: list[Input] = [
    start(),
    replied(text()),
    failure(),
    starting("a"),
    returned("a"),
    answered("yes"),
    cancelled,
    Expired(now=NOW),
    OutOfTime(now=NOW),
    Interrupted(now=NOW),
    Resumed(now=NOW, blocks=0, repeatable=[]),
    Broken(now=NOW, code="INTERNAL_ERROR", message=""),
]


@pytest.mark.parametrize("ended", ENDS)
@pytest.mark.parametrize("late", ANYTHING, ids=lambda input: type(input).__name__)
def test_nothing_follows_the_end(ended: Callable[[], Turn], late: Input) -> None:
    assert ended().then(late) == []


def test_a_result_that_lands_in_time_is_kept_when_the_turn_ends() -> None:
    turn = mixed()
    assert finished("done") in turn.facts
    turn.tell(cancelled)
    assert [fact for fact in turn.facts if isinstance(fact, ToolFinished) and fact.tool_call_id == "done"] == [
        finished("done")
    ]
