from __future__ import annotations

import pytest
from msgspec.structs import replace

from september_engine._turn.commands import CallModel, RunTool, todo
from september_engine._turn.inputs import Cancelled, Resumed
from september_engine._turn.limits import Limits
from september_engine._turn.state import TurnState
from september_engine.messages import Block

from .build import NOW, Turn, answered, asking, failure, replied, returned, starting, text, think, use


def call(**changes: object) -> CallModel:
    usual: dict[str, object] = {
        "step": 0,
        "attempt": 1,
        "wait_ms": 0,
        "first_block": 0,
        "max_tokens": 4096,
        "fallback": False,
        "prefix": "p1",
    }
    return CallModel(**usual | changes)  # type: ignore[arg-type]  # the names are checked by the struct


def test_nothing_is_owed_before_the_start_and_after_the_end() -> None:
    assert todo(TurnState()) == ()
    assert todo(Turn(replied(text())).state) == ()
    assert todo(Turn(Cancelled(now=NOW, message_id="m")).state) == ()


def test_a_new_turn_owes_the_first_model_call() -> None:
    assert todo(Turn().state) == (call(),)


def test_after_the_tools_the_next_model_call_is_owed() -> None:
    turn = Turn(replied(text(), use("a")), starting("a"), returned("a"))
    assert todo(turn.state) == (call(step=1, first_block=2),)


def test_a_failed_attempt_is_owed_again_after_its_wait_with_blocks_that_count_on() -> None:
    turn = Turn(failure(blocks=3))
    assert todo(turn.state) == (call(attempt=2, wait_ms=250, first_block=3),)


def test_the_fallback_model_is_named() -> None:
    turn = Turn(failure(retryable=False, has_fallback=True))
    assert todo(turn.state) == (call(fallback=True),)


def test_an_answer_that_was_cut_in_a_tool_call_gets_four_times_the_room() -> None:
    cut = replied(use("a"), stop_reason="max_tokens", broken={"a": "The input was cut."})
    turn = Turn(cut, limits=Limits(max_tokens=1000))
    assert todo(turn.state) == (call(step=1, first_block=1, max_tokens=4000),)


@pytest.mark.parametrize("content", [[], [text(" ")], [think()]])
def test_an_answer_that_was_cut_before_its_first_word_is_asked_for_again_once_with_more_room(
    content: list[Block],
) -> None:
    turn = Turn(limits=Limits(max_tokens=1000))
    cut = replied(*content, stop_reason="max_tokens")
    assert turn.then(cut) == ["replied msg_2"]
    assert todo(turn.state) == (call(step=1, first_block=len(content), max_tokens=4000),)
    assert turn.then(replace(cut, step=1)) == ["replied msg_2", "completed: max_tokens"]


def test_an_answer_that_was_cut_in_its_words_is_one() -> None:
    assert Turn().then(replied(text("Well,"), stop_reason="max_tokens"))[-1] == "completed: max_tokens"


def test_all_calls_of_a_message_are_owed_at_once_as_far_as_there_is_room() -> None:
    turn = Turn(replied(use("a", "look", at=1), use("b", "find"), use("c")))
    a, b = RunTool(id="a", tool="look", input={"at": 1}), RunTool(id="b", tool="find", input={})
    assert [command.id for command in todo(turn.state) if isinstance(command, RunTool)] == ["a", "b", "c"]
    assert todo(turn.state, concurrency=2) == (a, b)
    turn.tell(starting("a"))
    assert todo(turn.state, concurrency=2) == (b,)
    assert todo(turn.state, concurrency=1) == ()


def test_a_call_that_needs_leave_is_owed_when_a_person_said_yes() -> None:
    turn = Turn(asking("a", "b"))
    assert todo(turn.state) == ()
    turn.tell(answered("yes", "hitl_2"))
    assert todo(turn.state) == (RunTool(id="b", tool="look", input={}),)
    turn.tell(answered("no", "hitl_1"))
    assert todo(turn.state) == (RunTool(id="b", tool="look", input={}),)


def test_a_call_that_may_be_repeated_is_owed_to_the_next_process() -> None:
    turn = Turn(replied(use("a")), starting("a"), Resumed(now=NOW, blocks=0, repeatable=["look"]))
    assert todo(turn.state) == (RunTool(id="a", tool="look", input={}),)


def test_asking_again_without_a_new_fact_gives_the_same() -> None:
    for turn in (Turn(), Turn(replied(use("a"), use("b"))), Turn(asking("a"))):
        assert todo(turn.state) == todo(turn.state)
