"""The text of a command, before anything reads it: only characters that a person sees and bash takes as they are."""

from __future__ import annotations

from .doubt import NotUnderstood

__all__ = ["MOST_BYTES", "check"]

MOST_BYTES = 10_000

BLANK_LETTERS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters by their class that show as nothing."""


def check(command: str) -> None:
    """Raises `NotUnderstood` for a text that is too long, or that holds what cannot be seen."""
    # tree-sitter drops a carriage return, a terminal hides control characters, and a person sees a non-ASCII blank as
    # the end of a word, which bash does not
    too_long = f"it is longer than {MOST_BYTES} bytes"
    if len(command) > MOST_BYTES:
        raise NotUnderstood(too_long)
    hidden = next((one for one in command if _is_hidden(one)), None)
    if hidden is not None:
        raise NotUnderstood(f"it holds the character U+{ord(hidden):04X}, which cannot be seen")
    if len(command.encode()) > MOST_BYTES:
        raise NotUnderstood(too_long)


def _is_hidden(character: str) -> bool:
    return character not in "\n\t" and (not character.isprintable() or character in BLANK_LETTERS)
