from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._context.causes import DEEPEST, MOST, REASON_CHARS, kind_of, reason_of


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def noted(error: BaseException, *notes: str) -> BaseException:
    for note in notes:
        error.add_note(note)
    return error


PRINTERS = ExceptionGroup("two printers", [RuntimeError("the printer is on fire"), ValueError("no paper")])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no paper"), "ValueError: no paper"),
        (ValueError(), "ValueError"),
        (Broken(), "Broken"),
        (PRINTERS, "ExceptionGroup: two printers (RuntimeError: the printer is on fire; ValueError: no paper)"),
        (
            ExceptionGroup("all", [ExceptionGroup("some", [ValueError("a")]), KeyError("b")]),
            "ExceptionGroup: all (ExceptionGroup: some (ValueError: a); KeyError: 'b')",
        ),
        (
            BaseExceptionGroup("stopped", [asyncio.CancelledError(), ValueError("a")]),
            "BaseExceptionGroup: stopped (CancelledError; ValueError: a)",
        ),
        (caused(OSError("no file"), KeyError("path")), "OSError: no file (caused by KeyError: 'path')"),
        (caused(OSError("no file: a"), ValueError("a")), "OSError: no file: a"),
        (caused(OSError(), PRINTERS), f"OSError (caused by {reason_of(PRINTERS)})"),
        (noted(ValueError("a"), "Look at line 3.", "\ud800"), "ValueError: a Look at line 3. \ufffd"),
        (
            ExceptionGroup("many", [ValueError(str(number)) for number in range(100)]),
            f"ExceptionGroup: many ({'; '.join(f'ValueError: {n}' for n in range(MOST - 1))}; and {101 - MOST} more)",
        ),
    ],
)
def test_an_error_tells_what_went_wrong_and_why(error: BaseException, told: str) -> None:
    assert reason_of(error) == told


def test_the_causes_of_causes_end_somewhere() -> None:
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    assert reason_of(first).count("caused by") <= DEEPEST
    nested: Exception = ValueError("deep")
    for _ in range(500):
        nested = ExceptionGroup("more", [nested])
    assert reason_of(nested).count("more") <= DEEPEST + 1
    assert len(reason_of(ValueError("x" * 10**6))) < REASON_CHARS + 100


def test_what_is_not_to_be_told_in_full_tells_its_kinds() -> None:
    assert kind_of(ValueError("secret")) == "ValueError"
    assert kind_of(PRINTERS) == "ExceptionGroup of RuntimeError, ValueError"
    assert (
        kind_of(ExceptionGroup("a", [PRINTERS, KeyError()])) == "ExceptionGroup of RuntimeError, ValueError, KeyError"
    )
    kinds: list[Any] = [type(f"E{number}", (Exception,), {}) for number in range(20)]
    assert kind_of(ExceptionGroup("many", [kind() for kind in kinds])).endswith(f"E{MOST - 1}, …")


LEAVES = st.builds(ValueError, st.text(max_size=20)) | st.just(Broken())
TREES = st.recursive(
    LEAVES, lambda below: st.lists(below, min_size=1, max_size=4).map(lambda e: ExceptionGroup("g", e))
)


@given(TREES, TREES)
def test_whatever_it_is_there_is_a_text_within_bounds(error: Exception, cause: Exception) -> None:
    error.__cause__ = cause
    assert 0 < len(reason_of(error)) < (MOST + 5) * (REASON_CHARS + 100)
    reason_of(error).encode()
    assert kind_of(error)
