"""Text that can be stored, shown and sent: every `str` the engine keeps is valid Unicode.

Python takes a lone half of a surrogate pair into a `str`, but no UTF-8 encoder does, and the Messages API refuses a
request that holds one; so it is replaced where text comes in, once, by the character Unicode has for that.
"""

from __future__ import annotations

__all__ = ["SurrogateJoiner", "clean", "visible"]

REPLACEMENT = "\ufffd"


def clean(text: str) -> str:
    """The text with surrogate pairs joined to the character they mean, and each lone half replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


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
