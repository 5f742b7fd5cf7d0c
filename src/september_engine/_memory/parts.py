"""Parts: a long text as several short ones, each of which an embedder can grasp.

One vector for a long text means a little of everything in it and is near to nothing that is asked; and an embedder
reads only so far. So each part has a vector, and a text is as near as its nearest part.
"""

from __future__ import annotations

import re

__all__ = ["MOST_PARTS", "parts_of"]

PART_WORDS = 32
"""Measured on the development half: 25 to 50 find the most, 100 hardly more than the whole text as one."""

MOST_PARTS = 16
"""Of a very long text the parts are longer instead."""

_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?\n]+|$)\s*|[.!?\n]+\s*")


def parts_of(text: str) -> list[str]:
    """The text in parts of whole sentences where these are short enough; joined they are the text."""
    words = len(text.split())
    if words <= PART_WORDS:
        return [text]
    most = max(PART_WORDS, -(-2 * words // MOST_PARTS))  # two neighbouring parts hold more than this
    parts: list[str] = []
    room = 0
    for piece in (piece for sentence in _SENTENCE.findall(text) for piece in _pieces(sentence, most)):
        length = len(piece.split())
        if not parts or length > room:
            parts.append("")
            room = most
        parts[-1] += piece
        room -= length
    return parts


def _pieces(sentence: str, most: int) -> list[str]:
    """A sentence, cut where it is longer than a part may be."""
    words = re.findall(r"\s*\S+\s*", sentence)
    if len(words) <= most:
        return [sentence]
    return ["".join(words[start : start + most]) for start in range(0, len(words), most)]
