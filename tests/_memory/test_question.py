"""Question: what a query asks for."""

from __future__ import annotations

from september_engine._memory.question import QUERY_CHARS, Names, Question, question_of

NOW = 1_710_343_800_000  # 2024-03-13
NAMES = Names(["Caroline", "Mel Brooks", "user", "assistant", "Mrs. Okafor", "the deploy key"])


def asked(text: str) -> Question:
    return question_of(text, now=NOW, names=NAMES)


def test_a_speakers_name_is_not_a_word_to_look_for_but_a_speaker() -> None:
    question = asked("What did Caroline research?")
    assert question.terms == ("research",)
    assert question.speakers == {"Caroline"}
    assert question.anonymous == "What did I research?"


def test_a_possessive_name_becomes_my() -> None:
    assert asked("What is Caroline's hobby?").anonymous == "What is my hobby?"


def test_a_first_name_is_enough_for_a_person_and_other_names_are_needed_whole() -> None:
    assert asked("Where does Mel live?").speakers == {"Mel Brooks"}
    assert asked("What about mrs okafor?").speakers == {"Mrs. Okafor"}
    assert asked("Where is the key?").speakers == frozenset()
    assert asked("Where is the deploy key?").speakers == {"the deploy key"}


def test_a_name_nobody_has_is_a_word() -> None:
    assert asked("Who is Biscuit?").terms == ("biscuit",)


def test_without_a_name_i_am_the_user_and_you_are_the_assistant() -> None:
    assert asked("Where do I work?").speakers == {"user"}
    assert asked("What did you tell me?").speakers == {"assistant"}
    assert question_of("Where do I work?", now=NOW, names=Names(["Ana"])).speakers == frozenset()


def test_relative_times_are_no_words_to_look_for_and_dates_are() -> None:
    question = asked("What did Caroline paint last week?")
    assert question.terms == ("paint",)
    assert [span.words for span in question.spans] == ["last week"]
    assert asked("Who painted on 4 October?").terms == ("paint", "4", "octob")


def test_when_is_heard() -> None:
    assert asked("When did Mel paint?").asks_when
    assert not asked("What did Mel paint?").asks_when


def test_names_learnt_later_are_known() -> None:
    names = Names()
    names.add(["Ana", "", "?!"])
    assert question_of("Ana?", now=NOW, names=names).speakers == {"Ana"}


def test_where_nobody_is_known_to_speak_any_name_may_be_a_speakers() -> None:
    question = question_of("What did Caroline tell Ben? And why?", now=NOW, names=Names())
    assert question.terms == ("carolin", "tell", "ben")
    assert question.weak == {"carolin", "ben"}
    assert question.anonymous == "What did I tell I And why?"
    assert asked("Who is Biscuit?").weak == frozenset()


def test_of_a_very_long_query_the_beginning_counts() -> None:
    long = " ".join(f"word{number}" for number in range(100_000))
    assert asked(long) == asked(long[:QUERY_CHARS])
    assert len(asked(long).terms) < QUERY_CHARS / 3
