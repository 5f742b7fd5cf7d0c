"""Heads: who spoke and when, where a transcript's line says so itself."""

from __future__ import annotations

import pytest
from hypothesis import given

from september_engine._memory.heads import Head, head_of

from ..retrieval.conversations import at
from ..strategies import awkward_text

THEN = at("2023-05-08T13:56")
DAY = at("2023-05-08")


@pytest.mark.parametrize(
    ("line", "head"),
    [
        ("Ana: I paint: boats", Head("I paint: boats", "Ana")),
        ("user: hello", Head("hello", "user")),
        ('Mary Ann said, "I paint\nboats"', Head("I paint\nboats", "Mary Ann")),
        ("Ana says: “boats”", Head("boats", "Ana")),
        ("[8 May 2023, 13:56] Ana: boats", Head("boats", "Ana", THEN)),
        ("(1:56 pm on 8 May, 2023) Ana: boats", Head("boats", "Ana", THEN)),
        ("[2023/05/08 (Mon) 13:56] user: boats", Head("boats", "user", THEN)),
        ("2023-05-08T13:56:00.5Z Ana: boats", Head("boats", "Ana", THEN)),
        ("Date: Monday, May 8, 2023\nAna: boats", Head("boats", "Ana", DAY)),
        ("[12:10 a.m. 8 May 2023] boats", Head("boats", None, DAY + 600_000)),
    ],
)
def test_a_line_says_who_spoke_and_when(line: str, head: Head) -> None:
    assert head_of(line) == head


@pytest.mark.parametrize(
    "line",
    [
        "boats",
        "https://example.org: x",
        "12:30: x",
        "this is a long sentence: x",
        "2023-05-08 was the day",
        "[picture of the regatta of 8 May 2023] look",
        "[in May 2023] boats",
        "[8 May] boats",
        "[8 May 2023]",
        'Ana said, ""',
        'Ana said, "boats" and left',
    ],
)
def test_what_only_looks_like_a_head_stays_in_the_text(line: str) -> None:
    assert head_of(line) == Head(line)


def test_where_the_speaker_is_known_only_that_name_is_taken_off() -> None:
    assert head_of("ana: boats", speaker="Ana") == Head("boats", "ana")
    assert head_of("Ana: boats", speaker="user") == Head("Ana: boats")
    assert head_of("[8 May 2023] Ana: boats", speaker="user") == Head("Ana: boats", None, DAY)


@given(awkward_text)
def test_nothing_but_a_head_is_lost(line: str) -> None:
    head = head_of(line)
    assert head.text in line
    assert head.text or not line
