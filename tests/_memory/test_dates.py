"""Dates: what "last week" is, said at a given time."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._memory.dates import DAY, mentions_time, spans_of
from september_engine._memory.words import terms_of

from ..strategies import awkward_text

NOW = int(dt.datetime(2024, 3, 13, 15, 30, tzinfo=dt.UTC).timestamp() * 1000)  # a Wednesday


def days(text: str) -> list[tuple[str, str]]:
    """The first and the last day of each span of a text."""
    return [(day_of(span.begin), day_of(span.end - 1)) for span in spans_of(text, NOW)]


def day_of(ms: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=ms // DAY)).isoformat()


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("on 2023-05-08", "2023-05-08", "2023-05-08"),
        ("on 8 May 2023", "2023-05-08", "2023-05-08"),
        ("on the 8th of May, 2023", "2023-05-08", "2023-05-08"),
        ("on May 8th, 2023", "2023-05-08", "2023-05-08"),
        ("on 5 March", "2024-03-05", "2024-03-05"),
        ("on 24 December", "2023-12-24", "2023-12-24"),
        ("in June 2023", "2023-06-01", "2023-06-30"),
        ("in February", "2024-02-01", "2024-02-29"),
        ("last Sept.", "2023-09-01", "2023-09-30"),
        ("in the summer of 2022", "2022-06-01", "2022-08-31"),
        ("winter 2022", "2022-12-01", "2023-02-28"),
        ("in 2022", "2022-01-01", "2022-12-31"),
        ("yesterday", "2024-03-12", "2024-03-12"),
        ("the day before yesterday", "2024-03-11", "2024-03-11"),
        ("today", "2024-03-13", "2024-03-13"),
        ("last week", "2024-03-04", "2024-03-10"),
        ("last weekend", "2024-03-09", "2024-03-10"),
        ("this month", "2024-03-01", "2024-03-31"),
        ("last month", "2024-02-01", "2024-02-29"),
        ("last year", "2023-01-01", "2023-12-31"),
        ("last Friday", "2024-03-08", "2024-03-08"),
        ("last Wednesday", "2024-03-06", "2024-03-06"),
        ("three days ago", "2024-03-09", "2024-03-11"),
        ("two weeks ago", "2024-02-24", "2024-03-03"),
        ("in the past 10 days", "2024-03-03", "2024-03-13"),
    ],
)
def test_a_time_is_a_span_of_days(text: str, first: str, last: str) -> None:
    assert days(f"What did she say {text}?") == [(first, last)]


@pytest.mark.parametrize("text", ["I may march home", "31 February", "chapter 12", "room 101", ""])
def test_what_is_no_time_is_none(text: str) -> None:
    assert spans_of(text, NOW) == []


def test_of_a_day_that_no_calendar_has_its_month_or_year_is_left() -> None:
    assert days("31 February 2023") == [("2023-02-01", "2023-02-28")]
    assert days("2023-13-45") == [("2023-01-01", "2023-12-31")]


def test_times_are_given_in_the_order_of_the_text_and_a_part_of_one_is_not_another() -> None:
    assert days("between 8 May 2023 and last week") == [("2023-05-08", "2023-05-08"), ("2024-03-04", "2024-03-10")]


def test_a_text_says_a_time_or_does_not() -> None:
    assert mentions_time(terms_of("We met last Friday"))
    assert mentions_time(terms_of("It was in 2019"))
    assert not mentions_time(terms_of("We may meet in room 3019, they march on"))


@given(awkward_text | st.text(st.sampled_from("0123456789 lastweekyagoMy-./")), st.integers(-(2**63), 2**63 - 1))
def test_any_text_at_any_time_can_be_read(text: str, now: int) -> None:
    for span in spans_of(text, now):
        assert span.begin < span.end
