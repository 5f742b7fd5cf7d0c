"""Parts: a long text in short pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from september_engine._memory.parts import MOST_PARTS, PART_WORDS, PASSAGE_CHARS, parts_of, passage_of
from september_engine._memory.words import terms_of

from ..strategies import awkward_text

SENTENCE = "The weather was fine and we all went down to the sea. "


def test_a_short_text_is_one_part() -> None:
    assert parts_of("") == [""]
    assert parts_of("I adopted a beagle!") == ["I adopted a beagle!"]


def test_a_long_text_is_parted_between_sentences() -> None:
    parts = parts_of(SENTENCE * 6)
    assert parts == [SENTENCE * 2] * 3


def test_a_sentence_without_an_end_is_cut_and_a_very_long_text_has_no_more_parts_for_it() -> None:
    assert [len(part.split()) for part in parts_of("word " * 100)] == [32, 32, 32, 4]
    assert len(parts_of("word " * 50_000)) <= MOST_PARTS


@given(st.lists(awkward_text | st.sampled_from(["one two three. ", "word ", "\n", "Eh? "]), max_size=150).map("".join))
def test_no_word_is_lost_and_parts_are_few_and_short(text: str) -> None:
    parts = parts_of(text)
    assert "".join(parts) == text
    assert len(parts) <= MOST_PARTS + 1
    assert all(len(part.split()) <= max(PART_WORDS, len(text.split()) // 4) for part in parts)


DEEP = SENTENCE * 60 + "We named the beagle Otto. " + SENTENCE * 60


def test_the_passage_of_a_short_text_is_the_text() -> None:
    assert passage_of("I adopted a beagle!", terms=["beagl"]) == "I adopted a beagle!"


def test_the_passage_of_a_long_text_is_where_the_words_are() -> None:
    passage = passage_of(DEEP, terms=terms_of("What is the name of the beagle?"))
    assert "We named the beagle Otto." in passage
    assert (passage[0], passage[-1], len(passage)) == ("…", "…", PASSAGE_CHARS + 2)


def test_it_is_where_the_meaning_is() -> None:
    parts = parts_of(DEEP)
    near = [0.9 if "Otto" in part else 0.1 for part in parts]
    assert "Otto" in passage_of(DEEP, terms=terms_of("Who is the dog?"), near=near)


def test_where_nothing_speaks_for_a_place_it_is_the_beginning() -> None:
    passage = passage_of(DEEP)
    assert passage == DEEP[:PASSAGE_CHARS] + "…"
    assert passage_of(DEEP, near=[0.3]) == passage, "cosines of another text"


@given(st.lists(awkward_text | st.sampled_from([SENTENCE * 9, "word ", "\n"]), max_size=60).map("".join), st.data())
def test_a_passage_is_a_bounded_piece_of_its_text(text: str, data: st.DataObject) -> None:
    count = len(parts_of(text))
    near = data.draw(st.just([]) | st.lists(st.floats(-1, 1), min_size=count, max_size=count))
    passage = passage_of(text, terms=terms_of(text)[:3], near=near)
    assert len(passage) <= PASSAGE_CHARS + 2
    assert passage.removeprefix("…").removesuffix("…").strip("…") in text
