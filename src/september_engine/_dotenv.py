"""The `.env` file: which variables it sets, and where. Pure text in, values out.

The file often belongs to another program, or to several, and every program reads it by rules of its own. So nothing in
it is an error here: what is no assignment is skipped, and it is the caller who knows which names matter.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import attrs

__all__ = ["Assignment", "assignments", "decoded", "parse_dotenv"]

_LINE_END = re.compile(r"\r\n|\n|\r")
_LINE = re.compile(r"(?P<export>export[ \t]+)?(?P<name>[^\s=:'\"`#]+)(?P<rest>.*)", re.DOTALL)
_QUOTED = {
    "'": re.compile(r"'(?P<value>[^']*)'[ \t]*(?:#[^\r\n]*)?(?=[\r\n]|\Z)"),
    '"': re.compile(r'"(?P<value>(?:[^"\\]|\\.)*)"[ \t]*(?:#[^\r\n]*)?(?=[\r\n]|\Z)', re.DOTALL),
    "`": re.compile(r"`(?P<value>[^`]*)`[ \t]*(?:#[^\r\n]*)?(?=[\r\n]|\Z)"),
}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@attrs.frozen
class Assignment:
    """One line, or one quoted value over several, that begins with a name.

    `value` is None where `problem` says why there is none. `line` counts from 1.
    """

    name: str
    line: int
    value: str | None
    problem: str | None = None


def decoded(content: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark, as some Windows shells write it.

    Bytes that are neither stay recognisable as lone surrogates, so that they spoil only the line that they stand in.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")


def parse_dotenv(text: str) -> dict[str, str]:
    """The variables that a `.env` file sets: lines of `NAME=value`; of a name that stands twice, the last.

    `export` in front is allowed. A value is bare (a ` #` ends it), 'literal', `literal`, or "with \\n, \\t, \\" and
    \\\\ escapes". A quoted value may go over several lines. Nothing is substituted. Whatever else there is, is skipped.
    """
    return {found.name: found.value for found in assignments(text) if found.value is not None}


def assignments(text: str) -> Iterator[Assignment]:
    """What the file says of each name, in order, with the lines that name something and assign nothing."""
    at, number = 0, 1
    while at < len(text):
        line_end = _LINE_END.search(text, at)
        end = line_end.start() if line_end else len(text)
        found, end = _assignment(text, at, end, number)
        if found is not None:
            yield found
        line_end = _LINE_END.match(text, end)
        after = line_end.end() if line_end else len(text)
        number += len(_LINE_END.findall(text, at, after))
        at = after


def _assignment(text: str, start: int, end: int, number: int) -> tuple[Assignment | None, int]:
    """What the line from `start` to `end` says, and where it ends: later than `end` where a quoted value goes on."""
    line = text[start:end].strip()
    if (match := _LINE.match(line)) is None:
        return None, end
    name, rest = match["name"], match["rest"].lstrip()
    if not rest.startswith("="):
        if match["export"] and not rest:  # as a shell script exports what it has set before
            return None, end
        return Assignment(name, number, None, "has no value: write NAME=value"), end
    value = rest[1:].lstrip()
    if (pattern := _QUOTED.get(value[:1])) is None:
        bare = "" if value.startswith("#") else re.split(r"\s#", value, maxsplit=1)[0].rstrip()
        return Assignment(name, number, bare), end
    quote = value[0]
    opened = text.index(quote, text.index("=", start))
    if (quoted := pattern.match(text, opened)) is None:
        return Assignment(name, number, None, "has a quote that does not close, or text after it"), end
    inside = quoted["value"]
    if quote == '"':
        inside = _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), inside)
    return Assignment(name, number, inside), quoted.end()
