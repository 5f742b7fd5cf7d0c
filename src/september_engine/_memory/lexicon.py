"""Lexicon: the words that memories hold, and which of them may be another form of one that is asked for.

Most languages inflect words, glue them together, or write articles and prepositions into them: who asks for
"Haustür", "вокзал" or "מטבח" means "Haustürschlüssel", "вокзала" and "במטבח". No stemmer knows them all. What such
forms have in common is letters in a row, so words are compared by their trigrams: a k-gram index of the vocabulary
(Manning, Raghavan, Schütze, "Introduction to Information Retrieval", 3.2 and 3.3.4). The index of memories stays one
of whole words, and a recall asks it for a few more of them, which count for less.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from itertools import chain

from .words import is_pair

__all__ = ["Lexicon"]

FORMS, LEAST_ALIKE, COUNTS = 6, 0.35, 0.9
"""Of a word that no memory holds: how many others stand in for it, how alike they must be, and what one would count for
that is the same.
"""

FORMS_TOO, LEAST_ALIKE_TOO, COUNTS_TOO = 3, 0.6, 0.4
"""The same beside a word that some memory holds; what begins or ends with that word may be less alike."""

HEAD = 0.3
"""What the first syllable of a Korean pair counts for: "집에" is the house with a particle, "읽었" has read."""

LONGEST = 64
"""Of a longer word the beginning is compared."""


class Lexicon:
    """The words of memories. One that no memory holds any more does no harm: it finds nothing."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words: list[str] = []
        self._sizes = array("H")
        self._known: set[str] = set()
        self._holding: dict[str, array[int]] = {}
        self.add(words)

    def add(self, words: Iterable[str]) -> None:
        """Take in words, those that are known already too."""
        for word in words:
            if word in self._known or is_pair(word):
                continue
            self._known.add(word)
            grams = _grams(word)
            for gram in (*grams, *_edges(word)):
                self._holding.setdefault(gram, array("L")).append(len(self._words))
            self._words.append(word)
            self._sizes.append(len(grams) + 2)  # its length, where all its trigrams are different

    def near(self, word: str) -> Mapping[str, float]:
        """Words that may be forms of this one, or hold it, and how much each counts for, from 0 to 1."""
        if is_pair(word):
            return {word[0]: HEAD} if len(word) == 2 and "\uac00" <= word[0] <= "\ud7a3" else {}
        if len(word) < 3:
            return self._beside(word)
        grams = _grams(word)
        size, all_of_it = len(grams) + 2, len(grams)
        known = word in self._known
        forms, least, counts = (FORMS_TOO, LEAST_ALIKE_TOO, COUNTS_TOO) if known else (FORMS, LEAST_ALIKE, COUNTS)
        shared = Counter(chain.from_iterable(self._holding.get(gram, ()) for gram in grams))
        need = least * size - 2
        words, sizes = self._words, self._sizes
        alike = [
            (-((common + 2) / size * ((common + 2) / sizes[place]) ** 0.5), words[place])
            for place, common in shared.items()
            if common >= need or common == all_of_it
        ]
        close = [
            (less, other)
            for less, other in alike
            if other != word and (-less >= least or (-less >= LEAST_ALIKE and _holds(other, word)))
        ]
        if not known:  # a longer word that holds all of it is nearer than one of its length that holds most of it
            close = [(-((-less) ** 0.5) if len(word) > 3 and word in other else less, other) for less, other in close]
        if any(map(str.isdigit, word)):  # another number is no other form of a number
            close = [(less, other) for less, other in close if other in word or word in other]
        return {other: counts * -less for less, other in nsmallest(forms, close)}

    def _beside(self, word: str) -> Mapping[str, float]:
        """The short words that begin or end with one of two letters."""
        found = {self._words[place] for edge in _edges(word) for place in self._holding.get(edge, ())}
        forms, counts = (FORMS_TOO, COUNTS_TOO) if word in self._known else (FORMS, COUNTS)
        first = nsmallest(forms, found - {word}, key=lambda other: (len(other), other))
        return {other: counts * (2 / len(other)) ** 0.5 for other in first}


def _holds(other: str, word: str) -> bool:
    """Whether it begins or ends with the word, as inflected and compound ones do; three letters are chance."""
    return len(word) > 3 and (other.startswith(word) or other.endswith(word))


def _edges(word: str) -> tuple[str, ...]:
    """The two letters that a short word begins and ends with, where words are that short: not in Latin letters."""
    if word.isascii() or not 2 <= len(word) <= 5:
        return ()
    return f"^{word[:2]}", f"{word[-2:]}$"


def _grams(word: str) -> set[str]:
    word = word[:LONGEST]
    return {word[place : place + 3] for place in range(len(word) - 2)}
