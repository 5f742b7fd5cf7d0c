"""Dates: the time that a text speaks of, as a span of unix ms.

Only what English says plainly is read: a written date, a month, a year, and words relative to a given now. All in UTC.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from functools import cache

import msgspec

from .stems import stem

__all__ = ["DAY", "Span", "date_of", "mentions_time", "spans_of"]

DAY = 86_400_000
_MONTHS = "january february march april may june july august september october november december".split()
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_NUMBERS = {word: number for number, word in enumerate("zero one two three four five six seven eight nine ten".split())}
_NUMBERS |= {"a": 1, "an": 1, "a couple of": 2, "couple of": 2, "a few": 3, "few": 3, "several": 4}
_SEASONS = {"spring": 3, "summer": 6, "fall": 9, "autumn": 9, "winter": 12}

_MONTH = "(?P<month>" + "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS) + r"|sept)\b\.?"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_COUNT = r"(?P<count>\d{1,3}|" + "|".join(sorted(_NUMBERS, key=len, reverse=True)) + ")"
_SPANS = (
    r"\b(?P<iso>(?:19|20)\d\d[-/.]\d{1,2}[-/.]\d{1,2})\b",
    rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+{_MONTH}(?:,?\s+{_YEAR})?",
    rf"\b{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?!\d)(?:,?\s+{_YEAR})?",
    rf"\b{_MONTH},?\s+(?:of\s+)?{_YEAR}\b",
    rf"\b(?:in|since|during|last|this|until|by|early|late|mid)[\s-]+{_MONTH}",
    rf"\b(?P<season>spring|summer|autumn|fall|winter)(?:\s+of)?\s+{_YEAR}\b",
    rf"\b{_YEAR}\b",
    r"\b(?P<relative>the day before yesterday|yesterday|today|tonight|this morning)\b",
    rf"\b{_COUNT}\s+(?P<unit>day|week|month|year)s?\s+(?:ago|earlier|back)\b",
    r"\b(?P<which>last|past|previous|this)\s+(?P<unit>week|weekend|month|year)\b",
    rf"\b(?:last|past|previous|this)\s+(?P<weekday>{'|'.join(_DAYS)})\b",
    rf"\b(?:in\s+the\s+)?(?:last|past)\s+{_COUNT}\s+(?P<window>day|week|month|year)s\b",
)

_WITH_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_BESIDE_DATES = re.compile(
    r"\b(?:session|date|time|at|on|utc|gmt|t|z|(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*)\b|[\W_]", re.IGNORECASE
)
_ISO_TIME = re.compile(r"(?<=\d)T(?=\d)|(?<=\d)(?:\.\d+)?Z\b")
_CLOCK = re.compile(r"(?<!\d)([01]?\d|2[0-3]):([0-5]\d)(?!\d)(?::\d\d)?\s*(?:([ap])\.?m\b)?", re.IGNORECASE)


@cache
def _patterns() -> list[re.Pattern[str]]:
    return [re.compile(span, re.IGNORECASE) for span in _SPANS]


@cache
def _time_terms() -> frozenset[str]:
    months = [name for name in _MONTHS if name not in ("may", "march")]
    others = "yesterday today tonight tomorrow ago week weekend month year summer winter autumn".split()
    feasts = "birthday anniversary christmas easter thanksgiving".split()
    return frozenset(stem(word) for word in (*_DAYS, *months, *others, *feasts))


class Span(msgspec.Struct, frozen=True):
    """From `begin` up to, and not including, `end`; `words` is how the text says it."""

    begin: int
    end: int
    words: str


def mentions_time(terms: Iterable[str]) -> bool:
    """Whether a text of these stems says a time at all: what answers "when"."""
    return any(
        term in _time_terms() or (len(term) == 4 and term[:2] in ("19", "20") and term.isdigit()) for term in terms
    )


def spans_of(text: str, now: int) -> list[Span]:
    """The times that a text speaks of, as somebody means them who speaks at `now`. What is part of another is left."""
    found: list[tuple[int, int, Span]] = []
    for pattern in _patterns():
        for match in pattern.finditer(text):
            place = match.span()
            if any(start < place[1] and place[0] < end for start, end, _ in found):
                continue
            for begin, end in _read({name: said for name, said in match.groupdict().items() if said}, now):
                found.append((*place, Span(begin, end, match.group().strip())))
    return [span for _, _, span in sorted(found, key=lambda each: each[0])]


def date_of(text: str) -> int | None:
    """The day that a text is, with its year, and the time of day if it says one; None where it says more than that."""
    text = _ISO_TIME.sub(" ", text)
    spans = spans_of(text, 0)
    if len(spans) != 1 or spans[0].end - spans[0].begin != DAY or not _WITH_YEAR.search(spans[0].words):
        return None
    clock = _CLOCK.search(text)
    rest = text.replace(spans[0].words, " ").replace(clock[0] if clock else " ", " ")
    if len(_BESIDE_DATES.sub("", rest)) > 3:
        return None
    return spans[0].begin if clock is None else spans[0].begin + _time_of_day(clock)


def _time_of_day(clock: re.Match[str]) -> int:
    hour, minute = int(clock[1]), int(clock[2])
    if clock[3]:
        hour = hour % 12 + 12 * (clock[3].lower() == "p")
    return (hour * 60 + minute) * 60_000


def _read(said: dict[str, str], now: int) -> Iterator[tuple[int, int]]:
    """The span that the named parts of a match mean; none where there is no such day."""
    today = _date(now)
    try:
        if "iso" in said:
            yield _days(dt.date(*(int(part) for part in re.split("[-/.]", said["iso"]))))
        elif "month" in said:
            yield _in_month(said, today)
        elif "season" in said:
            first = _SEASONS[said["season"].lower()]
            begin = dt.date(int(said["year"]), first, 1)
            yield _days(begin, _months_later(begin, 3))
        elif "year" in said:
            yield _days(dt.date(int(said["year"]), 1, 1), dt.date(int(said["year"]) + 1, 1, 1))
        else:
            yield _relative(said, today)
    except (ValueError, OverflowError):
        return


def _in_month(said: dict[str, str], today: dt.date) -> tuple[int, int]:
    month = 1 + [name[:3] for name in _MONTHS].index(said["month"][:3].lower())
    year = int(said["year"]) if "year" in said else today.year - (month > today.month)
    if "day" in said:
        return _days(dt.date(year, month, int(said["day"])))
    first = dt.date(year, month, 1)
    return _days(first, _months_later(first, 1))


def _relative(said: dict[str, str], today: dt.date) -> tuple[int, int]:
    day = dt.timedelta(days=1)
    if "relative" in said:
        back = {"yesterday": 1, "the day before yesterday": 2}.get(said["relative"].lower(), 0)
        return _days(today - back * day)
    if "weekday" in said:
        back = (today.weekday() - _DAYS.index(said["weekday"].lower()) - 1) % 7 + 1
        return _days(today - back * day)
    if "count" in said:
        text = said["count"].lower()
        count = int(text) if text.isdigit() else _NUMBERS[text]
        unit = (said.get("unit") or said["window"]).lower()
        length = {"day": 1, "week": 7, "month": 30.4, "year": 365.25}[unit]
        then = today - dt.timedelta(days=round(count * length))
        if "window" in said:
            return _days(then, today + day)
        slack = dt.timedelta(days=max(1, round(length / 2)))
        return _days(then - slack, then + slack + day)
    return _calendar(said["which"].lower() == "this", said["unit"].lower(), today)


def _calendar(this: bool, unit: str, today: dt.date) -> tuple[int, int]:
    """This or the last week, weekend, month or year, as a calendar has them."""
    if unit == "year":
        year = today.year - (not this)
        return _days(dt.date(year, 1, 1), dt.date(year + 1, 1, 1))
    if unit == "month":
        first = _months_later(today.replace(day=1), 0 if this else -1)
        return _days(first, _months_later(first, 1))
    monday = today - dt.timedelta(days=today.weekday() + (0 if this else 7))
    return _days(monday + dt.timedelta(days=5 if unit == "weekend" else 0), monday + dt.timedelta(days=7))


def _months_later(date: dt.date, count: int) -> dt.date:
    months = date.year * 12 + date.month - 1 + count
    return dt.date(months // 12, months % 12 + 1, 1)


def _date(ms: int) -> dt.date:
    """The day in UTC; times that no calendar has count as its first or last."""
    days = min(max(ms // DAY, -719_162), 2_932_896)
    return dt.date(1970, 1, 1) + dt.timedelta(days=days)


def _days(first: dt.date, end: dt.date | None = None) -> tuple[int, int]:
    begin = (first - dt.date(1970, 1, 1)).days
    return begin * DAY, (begin + 1 if end is None else (end - dt.date(1970, 1, 1)).days) * DAY
