from __future__ import annotations

from september_engine._turn.inputs import Cancelled
from september_engine._turn.transcript import RESULTS_SUFFIX, transcript
from september_engine.events import ToolResultError, timestamp
from september_engine.messages import Message

from .build import NOW, Turn, failure, finished, replied, result, returned, starting, text, think, use

AT = timestamp(NOW)


def test_a_thread_reads_as_it_went_each_message_after_its_parent() -> None:
    first = Turn(
        replied(think(), text("Let me see."), use("a")), starting("a"), returned("a", {"found": 1}, now=NOW + 9)
    )
    first.tell(replied(text("Found."), step=1))
    second = Turn(
        replied(text("Bye.")), turn_id="turn_2", message_id="msg_8", content=[text("Thanks")], parent="turn_1"
    )
    usage = replied().usage
    assert transcript([*first.facts, *second.facts]) == [
        Message(id="msg_1", role="user", content=[text("Hi")], parent_id=None, turn_id="turn_1", created_at=AT),
        Message(
            id="msg_2",
            role="assistant",
            content=[think(), text("Let me see."), use("a")],
            parent_id="msg_1",
            turn_id="turn_1",
            created_at=AT,
            stop_reason="tool_use",
            usage=usage,
            model="big",
        ),
        Message(
            id="msg_2" + RESULTS_SUFFIX,
            role="user",
            content=[result("a", {"found": 1})],
            parent_id="msg_2",
            turn_id="turn_1",
            created_at=timestamp(NOW + 9),
        ),
        Message(
            id="msg_3",
            role="assistant",
            content=[text("Found.")],
            parent_id="msg_2-results",
            turn_id="turn_1",
            created_at=AT,
            stop_reason="end_turn",
            usage=usage,
            model="big",
        ),
        Message(
            id="msg_8",
            role="user",
            content=[text("Thanks")],
            parent_id="msg_3",
            turn_id="turn_2",
            created_at=AT,
        ),
        Message(
            id="msg_2",
            role="assistant",
            content=[text("Bye.")],
            parent_id="msg_8",
            turn_id="turn_2",
            created_at=AT,
            stop_reason="end_turn",
            usage=usage,
            model="big",
        ),
    ]


def test_an_answer_that_was_stopped_is_there_as_far_as_it_was_shown() -> None:
    turn = Turn(failure(blocks=1), Cancelled(now=NOW, message_id="msg_9", text="Hello, I"))
    assert transcript(turn.facts)[1:] == [
        Message(
            id="msg_9",
            role="assistant",
            content=[text("Hello, I")],
            parent_id="msg_1",
            turn_id="turn_1",
            created_at=AT,
            stop_reason="cancelled",
        )
    ]


def test_results_stand_in_call_order_as_they_land() -> None:
    turn = Turn(replied(use("a"), use("b"), use("c")), starting("a", "b", "c"))
    assert [message.id for message in transcript(turn.facts)] == ["msg_1", "msg_2"]
    turn.tell(returned("c", "third", now=NOW + 1))
    turn.tell(returned("a", "first", now=NOW + 2))
    results = transcript(turn.facts)[-1]
    assert results.content == [result("a", "first"), result("c", "third")]
    assert results.created_at == timestamp(NOW + 2)


def test_a_result_with_an_error_says_so() -> None:
    error = ToolResultError(reason="timeout", message="It took too long.")
    turn = Turn(replied(use("a")), starting("a"), returned("a", None, error=error))
    assert transcript(turn.facts)[-1].content == [
        result("a", None, is_error=True, error={"reason": "timeout", "message": "It took too long."})
    ]


def test_calls_of_two_turns_with_one_id_keep_their_own_results() -> None:
    turns = [
        Turn(replied(use("a")), starting("a"), returned("a", f"seen in {turn_id}"), turn_id=turn_id)
        for turn_id in ("turn_1", "turn_2")
    ]
    messages = transcript([*turns[0].facts, *turns[1].facts])
    assert [message.content for message in messages if message.id.endswith(RESULTS_SUFFIX)] == [
        [result("a", "seen in turn_1")],
        [result("a", "seen in turn_2")],
    ]


def test_of_two_results_the_first_is_shown_and_a_later_step_keeps_its_own() -> None:
    turn = Turn(replied(use("a")), starting("a"), returned("a", "first"))
    facts = [*turn.facts, finished("a", "second"), turn.facts[2], finished("a", "of step 2")]
    assert [message.content for message in transcript(facts)[2::2]] == [
        [result("a", "first")],
        [result("a", "of step 2")],
    ]


def test_a_step_without_a_result_does_not_get_that_of_the_next() -> None:
    turn = Turn(replied(use("a")))
    facts = [*turn.facts, turn.facts[2], finished("a", "of step 2")]
    assert [message.role for message in transcript(facts)] == ["user", "assistant", "assistant", "user"]


def test_calls_of_two_steps_keep_their_own_results() -> None:
    turn = Turn(replied(use("a")), starting("a"), returned("a", "one"), replied(use("a"), step=1))
    turn.tell(starting("a_2_2"))
    turn.tell(returned("a_2_2", "two"))
    assert [message.content for message in transcript(turn.facts)[2::2]] == [
        [result("a", "one")],
        [result("a_2_2", "two")],
    ]


def test_a_turn_that_was_refused_is_still_readable() -> None:
    turn = Turn(replied(text("I will not."), stop_reason="refusal"))
    assert [message.stop_reason for message in transcript(turn.facts)] == [None, "refusal"]


def test_an_empty_thread_has_no_messages() -> None:
    assert transcript([]) == []
