from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine.tools._text import binary_kind, decoded, named, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tab\tand line\n", "tab\tand line\n"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\0b\rc\x7f", "a␀b␍c␡"),
        ("\x9b31m", "\ufffd31m"),
        ("naïve 🦊", "naïve 🦊"),
        ("\ud800", "\ufffd"),
    ],
)
def test_control_characters_are_shown_and_not_sent(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_name_is_one_line_and_reads_as_it_is() -> None:
    assert named("a\nb\tc") == "a␊b␉c"
    assert named("txt.\u202efdp.exe") == "txt.\ufffdfdp.exe"
    assert named("caf\udce9") == "caf\ufffd"


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert decoded(b"caf\xe9 \x1b") == "caf\ufffd ␛"


@given(st.text())
def test_what_is_shown_can_be_stored_and_obeyed_by_nothing(text: str) -> None:
    for shown, kept in ((printable(text), "\t\n"), (named(text), "")):
        shown.encode()
        assert [char for char in shown if unicodedata.category(char) == "Cc" and char not in kept] == []


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"plain text", None),
        (b"\x7fELF\x02\0", "a program"),
        (b"PK\x03\x04\0", "a zip archive"),
        (b"\xff\xfeh\0i\0", "text in UTF-16"),
        (b"a\0b", "binary data"),
    ],
)
def test_what_a_file_is_by_how_it_begins(head: bytes, kind: str | None) -> None:
    assert binary_kind(head) == kind
