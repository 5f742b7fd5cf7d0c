"""Text that can be stored, shown and sent: every `str` the engine keeps is valid Unicode.

Python takes a lone half of a surrogate pair into a `str`, but no UTF-8 encoder does, and the Messages API refuses a
request that holds one; so it is replaced where text comes in, once, by the character Unicode has for that.
"""

from __future__ import annotations

import re

__all__ = ["SurrogateJoiner", "clean", "clean_terminal", "visible"]

REPLACEMENT = "\ufffd"

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, movements of the cursor
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # titles, links, and other strings, up to their end
    r"|\x1b[ -/]*[0-~]?"  # what is left: two or three characters
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
LONGEST_STATE = 500
"""Of a longer line that backspaces change, only what was new is repeated."""

_BOLD = re.compile(r"([^\x08])(?:\x08\1)+")
_UNDERLINED = re.compile(r"_\x08([^\x08_])")
_TAKEN_BACK = re.compile("([^\x08]*)(\x08*)")
_PROGRESS = re.compile(r"\d\s*%|\d\s*(?:/|of)\s*\d|\d\s*[kMGT]?i?B\b|[#=.█━▓▒░]{3}|^\s*[-|/\\]?\s*$")
"""A percentage, a count out of another, an amount of data, a bar, a spinner."""

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/|of)\s*(\d+(?:\.\d+)?)(?!\s*/?\d)")
_WORD = re.compile(r"[^\W\d_]+")
_UNITS = frozenset("b kb mb gb tb k m g t kib mib gib tib s ms h min it bytes".split())
_UNREADABLE = re.compile(f"{REPLACEMENT}{{64,}}")


def clean(text: str) -> str:
    """The text with surrogate pairs joined to the character they mean, and each lone half replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clean_terminal(raw: bytes) -> str:
    """What a program wrote to its terminal, as text to read; never raises.

    What is not UTF-8, NUL and other control characters become U+FFFD, and 64 or more in a row their number. Escape
    sequences are gone. What a line was overwritten with (by CR or backspaces) stands on a line of its own, so that
    nothing is lost; only of progress, which says the same with other numbers, the last state alone stays.
    """
    text = _ESCAPES.sub("", raw.decode("utf-8", "replace").replace("\r\n", "\n"))
    text = "\n".join(_states(line) for line in text.split("\n"))
    text = _CONTROL.sub(REPLACEMENT, text)
    return _UNREADABLE.sub(lambda run: f"[… {len(run[0])} unreadable characters …]", text)


def _states(line: str) -> str:
    """The states of a line, one below the other, without those that a later one of the same progress replaced."""
    if "\r" not in line and "\b" not in line:
        return line
    states = [state for written in line.split("\r") for state in _overstruck(written) if state.strip()]
    kept: list[str] = []
    for state in states:
        if kept and _is_progress(kept[-1], state):
            kept.pop()
        kept.append(state)
    return "\n".join(kept) or line.rpartition("\r")[2].replace("\b", "")


def _overstruck(line: str) -> list[str]:
    """What a line showed before each run of backspaces, and at its end. Bold and underlined text is one state."""
    line = _BOLD.sub(r"\1", _UNDERLINED.sub(r"\1", line))
    states, shown = list[str](), ""
    for text, back in _TAKEN_BACK.findall(line):
        shown += text
        if back:
            states.append(shown if len(shown) <= LONGEST_STATE else text)
            shown = shown[: max(len(shown) - len(back), 0)]
    return [*states, shown]


def _is_progress(one: str, next_one: str) -> bool:
    """Whether both say how far something is, and the next one how far the same has come."""
    if not (_PROGRESS.search(one) and _PROGRESS.search(next_one)) or _goes_back(one, next_one):
        return False
    return _words_of(next_one)[: len(words := _words_of(one))] == words


def _goes_back(one: str, next_one: str) -> bool:
    """Whether it is a date, a percentage or count smaller than before, or out of another number: data, no progress."""
    if re.search(r"\d/\d+/\d", one):  # a date
        return True
    for pattern in (_PERCENT, _COUNT):
        before, after = pattern.search(one), pattern.search(next_one)
        if before is not None and after is not None:
            return float(after[1]) < float(before[1]) or before.groups()[1:] != after.groups()[1:]
    return False


def _words_of(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in _UNITS]


class SurrogateJoiner:
    """`clean` for text that comes in pieces, where a pair may be cut in two.

    What `feed` and `flush` give, joined, is `clean` of the whole; the half that a piece ends in waits for the next.
    """

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str, /) -> str:
        """The text that is certain now; "" where that is nothing."""
        text = self._half + piece
        self._half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        return clean(text[: len(text) - len(self._half)])

    def flush(self) -> str:
        """What is left when no more comes: "" or U+FFFD."""
        half, self._half = self._half, ""
        return REPLACEMENT if half else ""


def visible(text: str) -> str:
    """With what a terminal or a page would obey, or hide, spelt out: what a person is asked to allow must be seen."""
    return "".join(char if char.isprintable() or char == "\n" else _spelt(char) for char in text)


def _spelt(char: str) -> str:
    return char.encode("unicode_escape").decode()
