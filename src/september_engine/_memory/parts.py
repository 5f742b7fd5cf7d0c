"""Parts: a long text as several short ones, each of which an embedder can grasp.

One vector for a long text means a little of everything in it and is near to nothing that is asked; and an embedder
reads only so far. So each part has a vector, and a text is as near as its nearest part.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import accumulate

from .words import terms_of

__all__ = ["MOST_PARTS", "PASSAGE_CHARS", "parts_of", "passage_of"]

PART_WORDS = 32
"""Measured on the development half: 25 to 50 find the most, 100 hardly more than the whole text as one."""

MOST_PARTS = 16
"""Of a very long text the parts are longer instead."""

PASSAGE_CHARS = 1_000
"""What is told of one memory, at most."""

_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?\n]+|$)\s*|[.!?\n]+\s*")


def parts_of(text: str) -> list[str]:
    """The text in parts of whole sentences where these are short enough; joined they are the text."""
    words = len(text.split())
    if words <= PART_WORDS:
        return [text]
    return _parted(text, max(PART_WORDS, -(-2 * words // MOST_PARTS)))  # two neighbouring parts hold more than this


def passage_of(text: str, *, terms: Collection[str] = (), near: Sequence[float] = ()) -> str:
    """What of a text answers a question: all of a short one; of a long one the place that does, and what is around it.

    `terms` are the question's stems, `near` the cosines of the text's parts with it. What is left out shows as "…".
    """
    if len(text) <= PASSAGE_CHARS:
        return text
    pieces = _parted(text, PART_WORDS)
    ends = list(accumulate(map(len, pieces)))
    meaning = _spread(near, list(accumulate(map(len, parts_of(text)))), ends)
    asked = frozenset(terms)
    values = [
        len(asked.intersection(terms_of(piece))) / max(len(asked), 1) + close
        for piece, close in zip(pieces, meaning, strict=True)
    ]
    best = max(range(len(pieces)), key=lambda place: values[place])
    middle = ends[best] - len(pieces[best]) // 2
    begin = max(0, min(middle - PASSAGE_CHARS // 2, len(text) - PASSAGE_CHARS))
    end = begin + PASSAGE_CHARS
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"


def _spread(near: Sequence[float], part_ends: Sequence[int], piece_ends: Sequence[int]) -> list[float]:
    """For each piece the cosine of the part that it ends in; 0 where the parts are not known."""
    if len(near) != len(part_ends):
        return [0.0] * len(piece_ends)
    part = 0
    spread: list[float] = []
    for end in piece_ends:
        while part_ends[part] < end:
            part += 1
        spread.append(near[part])
    return spread


def _parted(text: str, most: int) -> list[str]:
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
