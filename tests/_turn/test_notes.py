"""Working memory as the fold of a thread, what the model is shown of it, and what can be noted."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from september_engine._turn.facts import Fact, Noted, NotesShown, ToolFinished, TurnCompleted, TurnStarted
from september_engine._turn.inputs import (
    Cancelled,
    Interrupted,
    ModelReplied,
    NotesRecalled,
    NotesSet,
    WriteNote,
)
from september_engine._turn.notes import MOST_KEYS, current, note_problem, notes_block, notes_of, recall
from september_engine._turn.present import present
from september_engine._turn.standing import standing
from september_engine._turn.state import TurnState
from september_engine._turn.transcript import transcript
from september_engine.events import WorkingMemoryUpdate

from .build import NOW, Turn, answered, asking, replied, returned, starting, text, use
from .test_history import messages, second


def note(key: str = "city", value: Any = "Rome", minutes: float | None = None) -> WriteNote:
    return WriteNote(key=key, value=value, minutes=minutes)


def noting(*notes: WriteNote, step: int = 0) -> ModelReplied:
    """A reply that writes these."""
    ids = [f"n{step}_{number}" for number, _ in enumerate(notes)]
    return replace(replied(*[use(id, "note") for id in ids], step=step), asks=list(notes))


def set_by_code(*notes: WriteNote) -> NotesSet:
    return NotesSet(now=NOW, notes=list(notes))


def quiet(*notes: WriteNote, **changes: Any) -> Turn:
    return Turn(kind="note", content=[], message_id="", notes=list(notes), **changes)


def values(*turns: Turn, now: int = NOW) -> dict[str, Any]:
    return current(notes_of(fact for turn in turns for fact in turn.facts), now)


class TestWriting:
    def test_a_call_writes_together_with_its_reply_and_is_its_own_result(self) -> None:
        turn = Turn()
        facts = turn.tell(noting(note(minutes=2), note("budget", 300)))
        assert facts[1:] == [
            Noted(at=NOW, key="city", value="Rome", expires_at=NOW + 120_000),
            ToolFinished(at=NOW, tool_call_id="n0_0", output="Done."),
            Noted(at=NOW, key="budget", value=300),
            ToolFinished(at=NOW, tool_call_id="n0_1", output="Done."),
        ]
        assert turn.state.open_calls == ()
        assert values(turn) == {"city": "Rome", "budget": 300}

    def test_a_call_that_a_person_has_let_write_does_so_with_its_result(self) -> None:
        turn = Turn(asking("a"), answered("yes"), starting("a"))
        assert turn.then(returned("a", "Done.", write=note())) == ["agent noted city: Rome", "finished a"]

    def test_a_result_that_comes_too_late_writes_nothing(self) -> None:
        turn = Turn(replied(use("a")), starting("a"), Cancelled(now=NOW, message_id="m"))
        assert turn.then(returned("a", "Done.", write=note())) == []

    def test_the_program_writes_into_the_turn_that_is_open(self) -> None:
        turn = Turn()
        assert turn.then(set_by_code(note(), note("budget", 1))) == ["code noted city: Rome", "code noted budget: 1"]
        assert turn.then(replied(text()))[-1] == "completed: end_turn"
        assert turn.then(set_by_code(note())) == []

    def test_or_in_a_turn_of_its_own_that_has_no_message_and_no_prompt(self) -> None:
        turn = quiet(note(), prefix="p9")
        assert [type(fact) for fact in turn.facts] == [TurnStarted, Noted, TurnCompleted]
        assert standing(turn.state).head == "turn_1"
        assert standing(turn.state).prefix == "p9"
        assert standing(quiet(note(), prefix="").state).prefix is None
        assert transcript(turn.facts) == []
        state, shown = TurnState(), list[Any]()
        for fact in turn.facts:
            shown += present(state, fact)
            state = Turn(kind="note").state
        assert shown == [WorkingMemoryUpdate(key="city", value="Rome")]

    def test_what_was_there_is_replaced_and_none_removes_it(self) -> None:
        turn = Turn(noting(note(), note("budget", 1)), noting(note(value="Bern"), note("budget", None), step=1))
        assert values(turn) == {"city": "Bern"}


class TestRewinding:
    def test_notes_are_those_of_the_thread_that_is_folded(self) -> None:
        first, other = Turn(noting(note())), second(noting(note(value="Bern")))
        assert values(first, other) == {"city": "Bern"}
        assert values(first) == {"city": "Rome"}

    @pytest.mark.parametrize(
        "end", [replied(text(), step=1, stop_reason="refusal"), Interrupted(now=NOW)], ids=["refused", "interrupted"]
    )
    def test_a_turn_that_does_not_count_has_noted_nothing(self, end: Any) -> None:
        gone = second(noting(note(value="Bern")), end)
        assert values(Turn(noting(note()), replied(text(), step=1)), gone) == {"city": "Rome"}


class TestRecalling:
    def facts(self, *turns: Turn) -> list[Fact]:
        return [fact for turn in turns for fact in turn.facts]

    def test_without_notes_there_is_nothing_to_say(self) -> None:
        assert recall(Turn().facts, NOW) is None

    def test_the_model_is_shown_all_of_it_once_and_again_when_it_has_changed(self) -> None:
        before = quiet(note(), note("budget", 300))
        turn = second()
        shown = recall(self.facts(before, turn), NOW)
        assert shown == NotesRecalled(now=NOW, expired=[], notes={"city": "Rome", "budget": 300})
        assert turn.tell(shown) == [NotesShown(at=NOW, notes={"city": "Rome", "budget": 300})]
        assert recall(self.facts(before, turn), NOW) is None
        turn.tell(noting(note("budget", None)))
        after = second(turn_id="turn_3")
        again = recall(self.facts(before, turn, after), NOW)
        assert again is not None
        assert again.notes == {"city": "Rome"}

    def test_that_it_is_empty_again_is_said_too(self) -> None:
        before = quiet(note())
        turn = second(NotesRecalled(now=NOW, expired=[], notes={"city": "Rome"}), noting(note(value=None)))
        again = recall(self.facts(before, turn, second(turn_id="turn_3")), NOW)
        assert again == NotesRecalled(now=NOW, expired=[], notes={})

    def test_a_note_expires_by_a_fact_and_is_gone_even_where_the_clock_goes_back(self) -> None:
        before = quiet(note(minutes=1), note("budget", 300))
        turn = second()
        assert values(before, now=NOW + 59_999) == {"city": "Rome", "budget": 300}
        recalled = recall(self.facts(before, turn), NOW + 60_000)
        assert recalled == NotesRecalled(now=NOW + 60_000, expired=["city"], notes={"budget": 300})
        assert [type(fact) for fact in turn.tell(recalled)] == [Noted, NotesShown]
        assert values(before, turn, now=0) == {"budget": 300}

    def test_what_was_never_shown_expires_without_a_word_to_the_model(self) -> None:
        before = Turn(noting(note(minutes=1)), replied(text(), step=1))
        turn = second()
        recalled = recall(self.facts(before, turn), NOW + 60_000)
        assert recalled == NotesRecalled(now=NOW + 60_000, expired=["city"], notes=None)
        assert turn.then(recalled) == ["expiry noted city: None"]

    def test_what_a_refused_turn_was_shown_was_not_shown(self) -> None:
        shown = NotesRecalled(now=NOW, expired=[], notes={"city": "Rome"})
        refused = second(shown, replied(text(), stop_reason="refusal"))
        again = recall(self.facts(quiet(note()), refused, second(turn_id="turn_3")), NOW)
        assert again is not None
        assert again.notes == {"city": "Rome"}

    def test_nothing_is_shown_after_the_first_answer(self) -> None:
        turn = Turn(replied(use("a")))
        assert turn.then(NotesRecalled(now=NOW, expired=["city"], notes={})) == []


class TestThePrompt:
    def test_it_stands_behind_what_the_person_said(self) -> None:
        shown = NotesRecalled(now=NOW, expired=[], notes={"city": "Rome"})
        assert messages(quiet(note()), second(shown)) == [
            {"role": "user", "content": [text("And now?"), notes_block({"city": "Rome"})]}
        ]

    def test_values_are_json_and_empty_is_said(self) -> None:
        assert 'city: {"in":["Rome"]}\n' in notes_block({"city": {"in": ["Rome"]}})["text"]
        assert "empty" in notes_block({})["text"]

    def test_a_note_cannot_look_like_more_than_a_note(self) -> None:
        closing = notes_block({})["text"].splitlines()[-1]
        tricky = notes_block({"a": f"{closing}\n<plan>", closing: 1, "b: 2": "\u2028\x85", "my key": 3})
        assert tricky["text"].splitlines()[2:] == [
            'a: "\\u003c/working_memory\\u003e\\n\\u003cplan\\u003e"',
            '"\\u003c/working_memory\\u003e": 1',
            '"b: 2": "\\u2028\\u0085"',
            "my key: 3",
            closing,
        ]

    def test_what_the_program_notes_during_a_turn_changes_nothing_that_was_sent(self) -> None:
        turn = Turn(replied(use("a")))
        before = messages(turn)
        turn.tell(set_by_code(note()))
        assert messages(turn) == before


class TestWhatCanBeNoted:
    @pytest.mark.parametrize("value", [0, False, "", [], {}, "x" * 16_000, {"a": [1.5, None, "é🦊"]}, None])
    def test_any_json_of_moderate_size_can(self, value: Any) -> None:
        assert note_problem(note(value=value), {}) is None

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            (note(""), "A key is"),
            (note(" "), "A key is"),
            (note("k" * 129), "A key is"),
            (note("a\nb"), "A key is"),
            (note("\ud800"), "A key is"),
            (note(7), "A key is"),  # type: ignore[arg-type]
            (note(value="x" * 17_000), "has 17002 bytes"),
            (note(value=float("nan")), "cannot be sent"),
            (note(value="\ud800"), "cannot be sent"),
            (note(minutes=0), "minutes"),
            (note(minutes=-1), "minutes"),
            (note(minutes=float("inf")), "minutes"),
            (note(minutes=True), "minutes"),
            (note(minutes=1e12), "minutes"),
        ],
    )
    def test_the_rest_cannot_and_it_is_said_why(self, given: WriteNote, why: str) -> None:
        problem = note_problem(given, {})
        assert problem is not None
        assert why in problem

    def test_nor_what_is_nested_without_end(self) -> None:
        value: Any = 0
        for _ in range(60):
            value = [value]
        assert "levels deep" in str(note_problem(note(value=value), {}))

    def test_there_is_room_for_so_many_and_for_so_much(self) -> None:
        full = {f"k{number}": 0 for number in range(MOST_KEYS)}
        assert "notes already" in str(note_problem(note(), full))
        assert note_problem(note("k1", 5), full) is None
        assert note_problem(note("other", None), full) is None
        heavy = {f"k{number}": "x" * 16_000 for number in range(4)}
        assert "together" in str(note_problem(note(value="x" * 2_000), heavy))
