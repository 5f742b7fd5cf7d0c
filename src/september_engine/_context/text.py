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
    sequences are gone. Of a line that was written over (CR, as progress bars do), the last state stays.
    """
    text = _ESCAPES.sub("", raw.decode("utf-8", "replace").replace("\r\n", "\n"))
    text = "\n".join(_last_state(line) for line in text.split("\n"))
    text = _CONTROL.sub(REPLACEMENT, text)
    return _UNREADABLE.sub(lambda run: f"[… {len(run[0])} unreadable characters …]", text)


def _last_state(line: str) -> str:
    line = next((state for state in reversed(line.split("\r")) if state), "")
    if "\b" not in line:
        return line
    kept: list[str] = []
    for character in line:  # a backspace takes one back, as manual pages do for bold
        if character != "\b":
            kept.append(character)
        elif kept:
            kept.pop()
    return "".join(kept)


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
