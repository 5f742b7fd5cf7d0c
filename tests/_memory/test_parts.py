"""Parts: a long text in short pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from september_engine._memory.parts import MOST_PARTS, PART_WORDS, parts_of

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
