"""Heads: what a line of a transcript says before the text: when it was said, and by whom.

"Ana: hello", "[8 May 2023, 13:56] Ana: hello" and 'Ana said, "hello"' are read. A bracket or a first line is only taken
off where it is a day and hardly more, and a name where nothing else says who spoke.
"""

from __future__ import annotations

import re

import msgspec

from .dates import date_of

__all__ = ["Head", "head_of"]

_STAMP = re.compile(
    r"\s*(?:\[([^\]\n]{6,60})\]|\(([^)\n]{6,60})\)|([^\n]{6,60})\n|((?:19|20)\d\d-\d\d-\d\d(?:[T ,]+[\d:.]+Z?)?))"
    r"\s*[-–—|:,]?\s*(?=\S)"
)
_NAME = r"[^\W\d_][\w.'’-]*(?: [^\W\d_][\w.'’-]*){0,2}"
_COLON = re.compile(rf"({_NAME}): +(?=\S)")
_SAID = re.compile(rf"({_NAME}) (?:said|says)[,:]? *[\"“](?P<said>.*)[\"”]\s*", re.DOTALL)


class Head(msgspec.Struct, frozen=True):
    """The speaker and the time (unix ms) that a line names, where it does, and the text without."""

    text: str
    speaker: str | None = None
    at: int | None = None


def head_of(line: str, *, speaker: str | None = None) -> Head:
    """Take a line apart. Where the `speaker` is known, no other name is taken for one."""
    stamp = _STAMP.match(line)
    at = date_of(next(part for part in stamp.groups() if part)) if stamp else None
    rest = line[stamp.end() :] if stamp and at is not None else line
    if (quoted := _SAID.fullmatch(rest)) and _is(quoted[1], speaker) and quoted["said"].strip():
        return Head(quoted["said"], quoted[1], at)
    if (named := _COLON.match(rest)) and _is(named[1], speaker):
        return Head(rest[named.end() :], named[1], at)
    return Head(line) if stamp and stamp[4] else Head(rest, None, at)  # a sentence may begin with a day


def _is(name: str, speaker: str | None) -> bool:
    return speaker is None or name.casefold() == speaker.casefold()
