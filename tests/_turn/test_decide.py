"""What follows from what: starting, answering, tools and people. Failing and ending is in `test_decide_ends.py`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from september_engine._turn.decide import decide
from september_engine._turn.facts import (
    AssistantReplied,
    HumanAnswered,
    HumanAsked,
    PrefixChosen,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnStarted,
)
from september_engine._turn.inputs import Ask, Input, Refuse, ToolReturned
from september_engine._turn.limits import Limits
from september_engine._turn.state import TurnState, evolve, remembered
from september_engine.events import ToolResultError
from september_engine.messages import tool_uses
from september_engine.permissions import Rule

from .build import LOOK, NOW, Turn, answered, asking, replied, returned, start, starting, text, think, unfinished, use


def asked_ids(turn: Turn) -> list[str]:
    return [call.id for call in turn.state.calls if call.status == "asked"]


class TestStarting:
    def test_a_turn_starts_with_what_it_was_asked_and_the_prefix_of_its_prompts(self) -> None:
        begin = start(parent="t0", previous="t00", kind="edit", target="msg_0", direct=True)
        assert decide(TurnState(), begin) == [
            TurnStarted(
                at=NOW,
                turn_id="turn_1",
                task_id="task",
                message_id="msg_1",
                content=[text("Hi")],
                prefix="p1",
                limits=Limits(),
                parent="t0",
                previous="t00",
                kind="edit",
                target="msg_0",
                direct=True,
            ),
            PrefixChosen(at=NOW, prefix="p1", system="Be brief.", tools=[LOOK]),
        ]

    def test_a_prefix_that_the_log_has_is_not_written_again(self) -> None:
        assert [type(fact) for fact in decide(TurnState(), start(system=None, tools=None))] == [TurnStarted]

    def test_a_turn_starts_once(self) -> None:
        assert Turn().then(start()) == []
        assert Turn(replied(text())).then(start()) == []

    def test_nothing_happens_before_the_start(self) -> None:
        for input in (replied(text()), starting("a"), returned(), answered()):
            assert decide(TurnState(), input) == []


class TestAnswering:
    def test_an_answer_without_calls_ends_the_turn(self) -> None:
        content = [think(), text()]
        assert Turn().tell(replied(*content)) == [
            AssistantReplied(
                at=NOW,
                message_id="msg_2",
                content=content,
                stop_reason="end_turn",
                usage=replied().usage,
                model="big",
                prefix="p1",
                blocks=2,
            ),
            TurnCompleted(at=NOW, message_id="msg_2", stop_reason="end_turn"),
        ]

    @pytest.mark.parametrize("reason", ["max_tokens", "pause_turn", "model_context_window_exceeded", "never heard of"])
    def test_any_stop_reason_ends_a_turn_that_owes_no_call(self, reason: str) -> None:
        assert Turn().then(replied(text(), stop_reason=reason)) == ["replied msg_2", f"completed: {reason}"]

    def test_an_answer_of_nothing_ends_the_turn_too(self) -> None:
        assert Turn().then(replied()) == ["replied msg_2", "completed: end_turn"]

    @pytest.mark.parametrize("reason", ["tool_use", "end_turn", "never heard of"])
    def test_calls_are_run_whatever_the_stop_reason_says(self, reason: str) -> None:
        turn = Turn()
        assert turn.then(replied(use("a"), stop_reason=reason)) == ["replied msg_2"]
        assert turn.then(starting("a")) == ["started a"]

    def test_a_refusal_ends_the_turn_runs_nothing_and_does_not_count(self) -> None:
        assert Turn().then(replied(text(), use("a"), use("b"), stop_reason="refusal")) == [
            "replied msg_2",
            "no result of a: not_run",
            "no result of b: not_run",
            "completed: refusal, does not count",
        ]

    def test_an_answer_to_an_earlier_step_or_while_calls_are_open_is_stale(self) -> None:
        turn = Turn(replied(use("a")))
        assert turn.then(replied(text(), step=0)) == []
        assert turn.then(replied(text(), step=1)) == []


class TestCalls:
    def test_their_intent_is_written_before_they_run(self) -> None:
        turn = Turn(replied(use("a"), use("b"), use("c")))
        assert turn.then(starting("a", "b")) == ["started a", "started b"]

    def test_only_what_is_owed_starts(self) -> None:
        turn = Turn(replied(use("a"), use("b"), asks={"b": "May b run?"}), starting("a"))
        assert turn.then(starting("a", "b", "unknown")) == []

    def test_a_result_is_written_once(self) -> None:
        turn = Turn(replied(use("a"), use("b")), starting("a", "b"))
        error = ToolResultError(reason="tool_failed", message="It broke.")
        assert turn.tell(returned("a", None, error=error, duration_ms=7)) == [
            ToolFinished(at=NOW, tool_call_id="a", output=None, error=error, duration_ms=7)
        ]
        assert turn.then(returned("a")) == []
        assert turn.then(returned("b")) == ["finished b"]

    def test_a_result_of_a_call_that_never_started_counts_for_nothing(self) -> None:
        turn = Turn(replied(use("a")))
        assert turn.then(returned("a")) == []
        assert turn.then(returned("unknown")) == []

    def test_a_long_output_is_clipped_before_it_is_stored(self) -> None:
        turn = Turn(replied(use("a")), starting("a"), limits=Limits(output_bytes=20))
        (fact,) = turn.tell(returned("a", "x" * 1000))
        assert isinstance(fact, ToolFinished)
        assert "980 bytes left out" in fact.output

    def test_a_call_with_a_broken_input_gets_its_reason_as_result_and_the_others_run(self) -> None:
        turn = Turn()
        facts = turn.tell(replied(use("a"), use("b"), broken={"a": "The input was cut off."}))
        assert facts[1] == ToolFinished(
            at=NOW,
            tool_call_id="a",
            output=None,
            error=ToolResultError(reason="invalid_input", message="The input was cut off."),
        )
        assert turn.then(starting("a", "b")) == ["started b"]

    def test_calls_beyond_what_a_message_may_hold_are_not_run(self) -> None:
        turn = Turn(limits=Limits(calls_per_message=2))
        facts = turn.tell(replied(*[use(id) for id in "abcd"], asks={"c": "May c run?"}))
        refusals = [fact for fact in facts if isinstance(fact, ToolFinished)]
        assert [fact.tool_call_id for fact in refusals] == ["c", "d"]
        assert refusals[0].error == ToolResultError(
            reason="too_many_calls", message="Not run: a message may hold 2 tool calls. Send fewer at once."
        )
        assert turn.then(starting("a", "b", "c", "d")) == ["started a", "started b"]

    def test_calls_beyond_what_the_turn_may_make_are_not_run_and_then_it_ends(self) -> None:
        turn = Turn(replied(use("a")), starting("a"), returned("a"), limits=Limits(tool_calls=2))
        facts = turn.tell(replied(use("b"), use("c"), step=1))
        assert facts[1:] == [
            ToolFinished(
                at=NOW,
                tool_call_id="c",
                output=None,
                error=ToolResultError(
                    reason="too_many_calls", message="Not run: the turn has used all of its 2 tool calls."
                ),
            )
        ]
        turn.tell(starting("b"))
        assert turn.then(returned("b")) == ["finished b", "failed: BUDGET_EXCEEDED"]

    def test_all_that_the_turn_may_make_can_be_used(self) -> None:
        turn = Turn(replied(use("a"), use("b")), starting("a", "b"), limits=Limits(tool_calls=2))
        turn.tell(returned("a"))
        assert turn.then(returned("b")) == ["finished b"]


class TestCallIds:
    """One id: one execution, one approval, one result."""

    def ids(self, turn: Turn, input: Input) -> list[str]:
        return [use["id"] for use in tool_uses(turn.tell(input)[0].content)]  # type: ignore[union-attr]

    def test_an_id_of_an_earlier_step_gets_a_new_one(self) -> None:
        turn = Turn(replied(use("a")), starting("a"), returned("a"))
        assert self.ids(turn, replied(use("a"), use("b"), step=1)) == ["a_2_2", "b"]
        assert turn.then(starting("a_2_2")) == ["started a_2_2"]

    def test_a_new_id_is_never_one_that_is_taken(self) -> None:
        turn = Turn(replied(use("a")), starting("a"), returned("a"))
        assert self.ids(turn, replied(use("a_2_2"), use("a"), step=1)) == ["a_2_2", "a_2_3"]
        turn = Turn(replied(use("a")), starting("a"), returned("a"))
        assert self.ids(turn, replied(use("a"), use("a_2_2"), step=1)) == ["a_2_2", "a_2_2_2_2"]

    def test_the_second_of_one_message_is_not_run(self) -> None:
        turn = Turn()
        assert turn.then(replied(use("a", "look"), use("a", "delete"))) == [
            "replied msg_2",
            "no result of a_1_2: invalid_input",
        ]
        (fact,) = [fact for fact in turn.facts if isinstance(fact, ToolFinished)]
        assert fact.error is not None
        assert fact.error.message == "Not run: this message already has a tool call with the id a."
        assert turn.then(starting("a", "a_1_2")) == ["started a"]

    def test_what_is_known_of_a_call_goes_with_its_new_id(self) -> None:
        turn = Turn(replied(use("a"), use("b")), starting("a", "b"), returned("a"), returned("b"))
        again = replied(use("a"), use("b"), step=1, asks={"a": "May a run?"}, broken={"b": "The input was cut off."})
        assert turn.then(again) == ["replied msg_3", "asked hitl_1 about a_2_2", "no result of b_2_2: invalid_input"]

    def test_the_content_is_otherwise_verbatim(self) -> None:
        content = [think(), text(), {"type": "server_tool_use", "id": "a", "name": "search"}, use("a", at=1)]
        turn = Turn(replied(use("a")), starting("a"), returned("a"))
        fact = turn.tell(replied(*content, step=1))[0]
        assert isinstance(fact, AssistantReplied)
        assert fact.content == [*content[:3], {**content[3], "id": "a_2_2"}]


class TestPeople:
    def test_a_call_that_needs_leave_is_asked_about_and_does_not_run(self) -> None:
        turn = Turn()
        facts = turn.tell(replied(use("a"), use("b"), asks={"b": "May b run?"}))
        digest = turn.state.calls[1].digest
        assert facts[1:] == [
            HumanAsked(
                at=NOW,
                request_id="hitl_1",
                kind="permission",
                question="May b run?",
                tool_call_id="b",
                digest=digest,
                opens=(),
            )
        ]
        assert turn.then(starting("a", "b")) == ["started a"]

    def test_parallel_requests_are_apart_and_in_the_order_of_the_calls(self) -> None:
        assert Turn().then(asking("a", "b")) == [
            "replied msg_2",
            "asked hitl_1 about a",
            "asked hitl_2 about b",
        ]

    def test_a_call_that_nobody_looked_at_is_a_fault_and_never_runs(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            Turn().tell(replace(replied(use("a"), use("b")), asks=[None]))

    def test_leave_goes_by_place_since_a_model_may_use_an_id_twice(self) -> None:
        ask = Ask(request_id="hitl_1", question="May delete run?")
        turn = Turn(replace(replied(use("a", "look"), use("a", "delete")), asks=[None, ask]))
        assert turn.then(starting("a", "a_1_2")) == ["started a"]
        turn = Turn(replace(replied(use("a", "delete"), use("a", "look")), asks=[ask, None]))
        assert asked_ids(turn) == ["a"]
        assert turn.then(starting("a", "a_1_2")) == []

    def test_a_call_that_cannot_run_needs_no_leave(self) -> None:
        turn = Turn()
        turn.tell(replied(use("a"), use("b"), asks={"a": "May a run?", "b": "May b run?"}, broken={"a": "Cut off."}))
        assert asked_ids(turn) == ["b"]
        assert [request.id for request in turn.state.requests] == ["hitl_2"]

    def test_yes_lets_it_run(self) -> None:
        turn = Turn(asking("a"))
        blocks = [text("only this once")]
        assert turn.tell(answered("yes", feedback="ok", content_blocks=blocks)) == [
            HumanAnswered(at=NOW, request_id="hitl_1", answer="yes", feedback="ok", content_blocks=blocks)
        ]
        assert turn.then(starting("a")) == ["started a"]

    @pytest.mark.parametrize(
        ("feedback", "says"), [("Not today.", "Not today."), (None, "A person did not allow this.")]
    )
    def test_no_gives_the_model_a_result_with_the_feedback(self, feedback: str | None, says: str) -> None:
        turn = Turn(asking("a"))
        assert turn.tell(answered("no", feedback=feedback)) == [
            HumanAnswered(at=NOW, request_id="hitl_1", answer="no", feedback=feedback),
            ToolFinished(
                at=NOW,
                tool_call_id="a",
                output=None,
                error=ToolResultError(reason="permission_denied", message=says),
            ),
        ]
        assert turn.then(starting("a")) == []

    @pytest.mark.parametrize("answer", ["", "Yes", "YES", "y", "ok", "true", "yes "])
    def test_nothing_but_yes_is_taken_as_yes_and_the_request_stays_open(self, answer: str) -> None:
        turn = Turn(asking("a"))
        assert turn.then(answered(answer)) == []
        assert asked_ids(turn) == ["a"]

    def test_exactly_one_answer_counts(self) -> None:
        turn = Turn(asking("a", "b"), answered("no"))
        assert turn.then(answered("yes")) == []
        assert turn.then(answered("yes", "hitl_2")) == ["hitl_2 answered yes"]
        assert turn.then(answered("yes", "hitl_2")) == []
        assert turn.then(answered("yes", "unknown")) == []

    def test_what_the_rules_forbid_has_its_result_at_once_and_nobody_is_asked(self) -> None:
        turn = Turn()
        forbidden = Refuse(reason="Not run: nothing leaves this house.")
        facts = turn.tell(replace(replied(use("a"), use("b")), asks=[forbidden, None]))
        assert facts[1:] == [unfinished("a", "permission_denied", "Not run: nothing leaves this house.")]
        assert turn.then(starting("a", "b")) == ["started b"]

    def test_a_call_that_the_rules_of_now_refuse_does_not_run_whatever_a_person_said(self) -> None:
        turn = Turn(asking("a", "b"), answered("yes"), answered("yes", "hitl_2"))
        facts = turn.tell(replace(starting("a", "b"), refused={"b": "Not run: a new rule."}))
        assert facts == [
            ToolStarted(at=NOW, tool_call_id="a"),
            unfinished("b", "permission_denied", "Not run: a new rule."),
        ]
        assert turn.tell(starting("b")) == []

    def test_only_the_call_that_was_shown_runs(self) -> None:
        """The log says that another input was shown than the one that is about to run."""
        turn = Turn(asking("a"), answered("yes"))
        request = replace(turn.state.requests[0], digest="of another call")
        turn.state = replace(turn.state, requests=(request,))
        assert turn.tell(starting("a")) == [
            unfinished("a", "permission_denied", "Not run: this is not the call that a person was shown.")
        ]

    def test_a_request_of_a_log_without_digests_counts(self) -> None:
        turn = Turn(asking("a"), answered("yes"))
        turn.state = replace(turn.state, requests=(replace(turn.state.requests[0], digest=""),))
        assert turn.then(starting("a")) == ["started a"]

    @pytest.mark.parametrize(
        ("answer", "remember", "laid_down"),
        [("yes", True, (Rule(effect="allow", tool="look"),)), ("yes", False, ()), ("no", True, ())],
    )
    def test_a_yes_that_is_to_be_remembered_lays_down_what_was_offered(
        self, answer: str, remember: bool, laid_down: tuple[Rule, ...]
    ) -> None:
        offered = Ask(request_id="hitl_1", question="?", remember=(Rule(effect="allow", tool="look"),))
        turn = Turn(replace(replied(use("a")), asks=[offered]), answered(answer, remember=remember))
        assert remembered(turn.facts) == laid_down

    @pytest.mark.parametrize("answer", ["", " \n"])
    def test_a_blank_answer_to_a_question_is_none(self, answer: str) -> None:
        question = Ask(request_id="hitl_1", question="Which night?", kind="question")
        turn = Turn(replace(replied(use("a")), asks=[question]))
        assert turn.tell(answered(answer)) == []
        assert turn.then(answered("tonight")) == ["hitl_1 answered tonight", "finished a"]

    def test_a_long_answer_is_kept_within_the_limits_of_an_output(self) -> None:
        question = Ask(request_id="hitl_1", question="Which night?", kind="question")
        turn = Turn(replace(replied(use("a")), asks=[question]), limits=Limits(output_bytes=20))
        result = turn.tell(answered("x" * 50))[1]
        assert isinstance(result, ToolFinished)
        assert "left out" in result.output

    def test_an_answer_to_a_question_is_the_result_of_its_call(self) -> None:
        turn = Turn(replied(use("a", "ask_person")))
        question = HumanAsked(at=NOW, request_id="hitl_9", kind="question", question="Which one?", tool_call_id="a")
        turn.state = evolve(turn.state, question)
        assert turn.tell(answered("the blue one", "hitl_9")) == [
            HumanAnswered(at=NOW, request_id="hitl_9", answer="the blue one"),
            ToolFinished(at=NOW, tool_call_id="a", output="the blue one"),
        ]

    def test_a_result_that_comes_before_its_answer_counts_for_nothing(self) -> None:
        early = ToolReturned(now=NOW, tool_call_id="a", output="ran anyway")
        assert Turn(asking("a")).then(early) == []
