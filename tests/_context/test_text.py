from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._context.text import SurrogateJoiner, clean, clean_terminal, visible

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


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain\n\ttext\n", "plain\n\ttext\n"),
        ("Grüße 😀 \u200d".encode(), "Grüße 😀 \u200d"),
        (b"\x1b[1;31mred\x1b[0m \x1b[2K\x1b[1Aup", "red up"),
        (b"\x1b]0;title\x07text \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "text link"),
        (b"\x1b]0;never ended\nnext", "\nnext"),
        (b"\x1b(B\x1b=\x1bc\x1b", ""),
        ("\x9b31mred".encode(), "red"),
        (b"dos\r\nunix\n", "dos\nunix\n"),
        (b" 10%\r 50%\r100%\ndone\r", "100%\ndone"),
        (b"\r\r\n", "\n"),
        (b"N\bNA\bAM\bME\bE _\bx", "NAME x"),
        (b"\b\bab\b\b\bc", "ab\nc"),
        (b"Ada\rBen\rCleo\n", "Ada\nBen\nCleo\n"),
        (b"Ada\b\b\bBen\x1b[2K\rCleo", "Ada\nBen\nCleo"),
        (b"1\r2\r3", "1\n2\n3"),
        (b"id,5%\rname,6%\r", "id,5%\nname,6%"),
        (b"1/2\r3/4\r5/6\n", "1/2\n3/4\n5/6\n"),
        (b"90%\r10%\n", "90%\n10%\n"),
        (b"1/2/2024\r2/2/2024\n", "1/2/2024\n2/2/2024\n"),
        (b"10.0.0.0/8\r10.1.0.0/16\n", "10.0.0.0/8\n10.1.0.0/16\n"),
        (b"10%\b\b\b20%\n|\b/\b-\bok", "20%\n-\nok"),
        (b"get:  10% (1/9)\rget: 100% (9/9), done.\n", "get: 100% (9/9), done.\n"),
        (b"9%|## | 1/9 [0:01<0:09, 1.1it/s]\r100%|###| 9/9 [0:09<0:00, 1kB/s]", "100%|###| 9/9 [0:09<0:00, 1kB/s]"),
        (b"a\0b\x07c\x7fd", "a\ufffdb\ufffdc\ufffdd"),
        (b"\xff\xfe \xc3( \xed\xa0\x80", "\ufffd\ufffd \ufffd( \ufffd\ufffd\ufffd"),
        (b"a" + bytes(63) + b"b", f"a{chr(0xFFFD) * 63}b"),
        (b"a" + bytes(64) + b"b", "a[… 64 unreadable characters …]b"),
    ],
)
def test_what_a_terminal_would_show_can_be_read(raw: bytes, text: str) -> None:
    assert clean_terminal(raw) == text


SAFE = {"\n", "\t"}


NASTY = st.lists(st.sampled_from([b"\x1b[", b"\x1b]", b"\b", b"\r", b"a", b"\xc3"])).map(b"".join)


@given(st.binary(max_size=200) | NASTY)
def test_no_terminal_and_no_store_is_troubled(raw: bytes) -> None:
    text = clean_terminal(raw)
    text.encode()
    assert not {character for character in text if unicodedata.category(character) in ("Cc", "Cs")} - SAFE
    assert clean_terminal(text.encode()) == text


def test_much_of_it_takes_no_longer_than_it_must() -> None:
    for raw in (b"a" * 50_000 + b"\b" * 50_000, b"\x1b[" * 50_000, b"\x1b]" * 50_000, b"\r" * 100_000, b"ab\b" * 9_000):
        clean_terminal(raw)
