"""A turn that was asked for a value: what becomes of an answer that is none."""

from __future__ import annotations

from september_engine._context.check import problems
from september_engine._turn.commands import CallModel, Compact, todo
from september_engine._turn.compaction import Summary, cut_of, outcome
from september_engine._turn.facts import OutputRefused, TurnFailed
from september_engine._turn.history import prompt_of
from september_engine._turn.inputs import Resumed
from september_engine._turn.limits import Limits
from september_engine._turn.present import present
from september_engine._turn.state import evolve, fold
from september_engine._turn.transcript import transcript
from september_engine.events import Retry
from september_engine.messages import Usage, text_of

from .build import NOW, Turn, replied, returned, starting, text, use

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
GOOD, BAD = text('{"name":"Ada"}'), text('{"name":7}')
WHY = "Expected `str`, got `int` - at `$.name`."


def asked(**changes: object) -> Turn:
    return Turn(output_schema=SCHEMA, **changes)


def test_the_schema_goes_to_the_model_and_survives_a_resume() -> None:
    turn = asked()
    (command,) = todo(turn.state)
    assert isinstance(command, CallModel)
    assert command.output_schema == SCHEMA
    turn.tell(Resumed(now=NOW, blocks=0, repeatable=[]))
    (again,) = todo(fold(turn.facts))
    assert isinstance(again, CallModel)
    assert again.output_schema == SCHEMA


def test_an_answer_that_fits_completes_the_turn() -> None:
    assert asked().then(replied(GOOD)) == ["replied msg_2", "completed: end_turn"]


def test_one_that_does_not_is_told_why_and_given_again() -> None:
    turn = asked()
    assert turn.then(replied(BAD, misfit=WHY)) == ["replied msg_2", "refused output of msg_2"]
    refused = turn.facts[-1]
    assert isinstance(refused, OutputRefused)
    assert refused.message == (
        f"Your answer is not what was asked for: {WHY} Answer again, with nothing but JSON that fits the schema."
    )
    assert turn.then(replied(GOOD, step=1)) == ["replied msg_3", "completed: end_turn"]


def test_the_model_sees_its_answer_and_what_is_wrong_with_it_behind_all_that_was_before() -> None:
    turn = asked()
    before = prompt_of(turn.facts, prefix="p1", model="big")
    turn.tell(replied(BAD, misfit=WHY))
    prompt = prompt_of(turn.facts, prefix="p1", model="big")
    assert problems(prompt) == []
    assert prompt.messages[: len(before.messages)] == before.messages
    assert [message["role"] for message in prompt.messages] == ["user", "assistant", "user"]
    assert WHY in text_of(prompt.messages[-1]["content"])


def test_a_client_is_told_that_what_it_has_shown_does_not_count() -> None:
    turn = asked()
    facts = turn.tell(replied(text("Well."), BAD, misfit=WHY))
    state = evolve(fold(turn.facts[:-2]), facts[0])
    assert present(state, facts[1]) == [Retry(attempt=1, reason="INVALID_OUTPUT", wait_ms=0, retracts=[0, 1])]


def test_people_find_the_note_in_the_thread_too() -> None:
    turn = asked()
    turn.tell(replied(BAD, misfit=WHY))
    *_, answer, note = transcript(turn.facts)
    assert (note.role, note.id, note.parent_id) == ("user", "msg_2-refused", answer.id)


def test_after_the_last_attempt_the_turn_ends_and_says_what_was_wrong() -> None:
    turn = asked(limits=Limits(attempts=2))
    turn.tell(replied(BAD, misfit=WHY))
    assert turn.then(replied(BAD, step=1, misfit=WHY)) == ["replied msg_3", "failed: INVALID_OUTPUT"]
    end = turn.facts[-1]
    assert isinstance(end, TurnFailed)
    assert end.details == {"answers": 2, "problem": WHY}
    assert end.counts


def test_calls_of_tools_come_first_and_are_no_answer() -> None:
    turn = asked()
    turn.tell(replied(text("Let me look."), use("a")))
    turn.tell(starting("a"))
    turn.tell(returned("a"))
    assert turn.then(replied(GOOD, step=1))[-1] == "completed: end_turn"


def test_an_answer_that_was_cut_gets_more_room() -> None:
    turn = asked()
    turn.tell(replied(text('{"name":"A'), stop_reason="max_tokens", misfit="The JSON was cut."))
    (command,) = todo(turn.state)
    assert isinstance(command, CallModel)
    assert command.max_tokens == 4 * Limits().answer_tokens
    refused = turn.facts[-1]
    assert isinstance(refused, OutputRefused)
    assert refused.cut
    assert "limit of tokens" in refused.message


def test_a_refusal_is_no_output_and_does_not_count() -> None:
    turn = asked()
    turn.tell(replied(text("No."), stop_reason="refusal", misfit="It is not JSON."))
    end = turn.facts[-1]
    assert isinstance(end, TurnFailed)
    assert (end.code, end.counts, end.details) == ("INVALID_OUTPUT", False, {"stop_reason": "refusal"})


def test_answers_that_do_not_fit_are_steps_and_cost() -> None:
    turn = asked(limits=Limits(steps=1))
    assert turn.then(replied(BAD, misfit=WHY))[-1] == "failed: BUDGET_EXCEEDED"


def test_what_is_wrong_is_told_in_brief() -> None:
    turn = asked()
    turn.tell(replied(BAD, misfit="x" * 100_000))
    refused = turn.facts[-1]
    assert isinstance(refused, OutputRefused)
    assert len(refused.message) < 4096


def test_why_it_was_refused_is_kept_where_what_came_before_is_told_in_brief() -> None:
    limits = Limits(context_tokens=2_000, max_tokens=100)
    turn = asked(limits=limits)
    for tell in (replied(use("c0")), starting("c0"), returned("c0", "row " * 500)):
        turn.tell(tell)
    turn.tell(replied(BAD, step=1, misfit=WHY, usage=Usage(input_tokens=1_900, output_tokens=60)))
    (order,) = todo(turn.state)
    assert isinstance(order, Compact)
    cut = cut_of(turn.facts, order, model="big")
    told = Summary(text="There are rows.", strategy="summary")
    turn.tell(outcome(turn.facts, order, cut, told, now=NOW, model="big"))
    prompt = prompt_of(turn.facts, prefix="p1", model="big")
    assert problems(prompt) == []
    said = [text_of(message["content"]) for message in prompt.messages]
    assert "There are rows." in said[0]
    assert said[-3:-1] == ["Hi", BAD["text"]]
    assert WHY in said[-1]
    (command,) = todo(turn.state)
    assert isinstance(command, CallModel)
    assert command.output_schema == SCHEMA
    assert turn.then(replied(GOOD, step=2)) == ["replied msg_4", "completed: end_turn"]
