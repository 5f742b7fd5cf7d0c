from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._context.text import SurrogateJoiner, clean, visible

surrogates = st.characters(categories=["Cs"])
"""Halves of pairs, which `str` takes and UTF-8 does not."""

anything = st.text(st.one_of(st.characters(), surrogates, st.sampled_from("\ud83d\ude00")), max_size=20)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        ("plain ✓ 😀", "plain ✓ 😀"),
        ("\ud83d\ude00", "😀"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("nul \x00 stays", "nul \x00 stays"),
    ],
)
def test_pairs_are_joined_and_lone_halves_replaced(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(anything)
def test_what_is_clean_can_be_encoded_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert clean(cleaned) == cleaned


@given(st.lists(anything, max_size=8))
def test_pieces_give_what_the_whole_gives(pieces: list[str]) -> None:
    joiner = SurrogateJoiner()
    given_out = [joiner.feed(piece) for piece in pieces]
    assert "".join(given_out) + joiner.flush() == clean("".join(pieces))


def test_a_pair_cut_in_two_comes_out_whole_with_the_second_piece() -> None:
    joiner = SurrogateJoiner()
    assert joiner.feed("hi \ud83d") == "hi "
    assert joiner.feed("\ude00!") == "😀!"
    assert joiner.flush() == ""


def test_what_would_be_obeyed_or_hidden_is_spelt_out() -> None:
    assert visible("a\nb é🦊") == "a\nb é🦊"
    assert visible("a\x1b[2K\r\u202e\u200b\0\x85") == "a\\x1b[2K\\r\\u202e\\u200b\\x00\\x85"
