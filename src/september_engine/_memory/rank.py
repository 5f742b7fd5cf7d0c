"""Rank: how well each candidate answers a question, from separate signals between 0 and 1, and why.

Fusing two ranked lists by their ranks loses more than it wins here: it cannot tell a good first place from a bad one,
a speaker's name swamps a short text, and the words of the question often stand in the turn before the answer. So each
such thing is a signal of its own, normalised by what it could be at best rather than by the best of this query, and the
score is their weighted sum. `python -m tests.retrieval --ablate` shows what each one is worth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from heapq import nsmallest

import msgspec
from msgspec.structs import replace

from .dates import DAY, mentions_time, spans_of
from .question import Question
from .rows import MemoryRow

__all__ = [
    "BM25",
    "MEANING_ALONE",
    "SOON",
    "WEIGHTS",
    "WORDS_ALONE",
    "Candidate",
    "Ranked",
    "Ranking",
    "Statistics",
    "Weights",
]

K1, B = 1.2, 0.75
"""BM25's parameters, as FTS5 has them."""

WEAK = 0.4
"""What a weak term counts for."""

SAME_TALK = 3 * 3_600_000
"""Turns further apart than this, in ms, are not of one talk: the one before does not explain the one after."""


_SENTENCE = re.compile(r"[^.!?]+[.!?]*")


SOON = 28 * DAY
"""How long after a time something that was said may still be about it."""


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What each signal counts for. Chosen on one half of the conversations in tests/retrieval, reported on the other.

    `words_before`, `words_after`, `meaning_before` and `meaning_after` are the signals of the neighbouring turns.
    """

    words: float = 1.0
    words_before: float = 0.2
    words_after: float = 0.1
    meaning: float = 0.65
    meaning_before: float = 0.15
    meaning_after: float = 0.15
    speaker: float = 0.2
    time: float = 0.5
    says_when: float = 0.1
    asks: float = -0.12


WEIGHTS = Weights()
_ALONE = Weights(**dict.fromkeys(Weights.__struct_fields__, 0.0))
WORDS_ALONE, MEANING_ALONE = replace(_ALONE, words=1.0), replace(_ALONE, meaning=1.0)
"""BM25 alone, and the cosine alone: to see what either finds, and whether all signals together find more."""


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Of all memories: how many, their mean number of terms, and how many hold each term of the question."""

    total: int
    mean_length: float
    holding: Mapping[str, int]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that may answer, the turns around it, and the cosines of all three, 0 where there are no vectors."""

    row: MemoryRow
    text: str
    before: MemoryRow | None = None
    after: MemoryRow | None = None
    cosine: float = 0.0
    cosine_before: float = 0.0
    cosine_after: float = 0.0


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate's score, the signals it is the weighted sum of (those that are not 0), and a sentence on them."""

    row: MemoryRow
    score: float
    signals: dict[str, float]
    why: str


class BM25:
    """Okapi BM25 for the terms of one question, as a part of what a text could reach that holds them all often.

    `near` are other words that may be meant by a term, and what each counts for. A term counts once: by the best of its
    words that the text holds, and by none more than it counts itself.
    """

    def __init__(
        self,
        terms: Sequence[str],
        about: Statistics,
        *,
        weak: Collection[str] = (),
        near: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        rarity = {term: _rarity(about.holding.get(term, 0), about.total) * (K1 + 1) for term in terms}
        count = {term: WEAK if term in weak else 1.0 for term in rarity}
        self._worth: dict[str, list[tuple[str, float]]] = {
            term: [(term, rarity[term] * count[term])] for term in rarity
        }
        for term, words in (near or {}).items():
            for word, share in words.items():
                held = _rarity(about.holding.get(word, 0), about.total) * (K1 + 1)
                self._worth.setdefault(word, []).append((term, min(held, rarity[term]) * count[term] * share))
        self._best = math.fsum(rarity[term] * count[term] for term in rarity)
        self._base, self._by_length = K1 * (1 - B), K1 * B / max(about.mean_length, 1.0)
        self._known: dict[str, float] = {}

    def __call__(self, row: MemoryRow | None) -> float:
        """The score of a memory, from 0 to 1; 0 for none."""
        if row is None:
            return 0.0
        found = self._known.get(row.id)
        if found is None:
            found = self._known[row.id] = self._of(row.words.split())
        return found

    def _of(self, held: Sequence[str]) -> float:
        if not (shared := self._worth.keys() & set(held)):
            return 0.0
        length = self._base + self._by_length * len(held)
        best: dict[str, float] = {}
        for word in shared:
            often = held.count(word)
            for term, worth in self._worth[word]:
                best[term] = max(worth * often / (often + length), best.get(term, 0.0))
        return min(math.fsum(best.values()) / self._best, 1.0)


def _rarity(holding: int, total: int) -> float:
    """The inverse document frequency, never below a little: a word that most memories hold still says something."""
    return max(math.log((total - holding + 0.5) / (holding + 0.5)), 1e-6)


class Ranking:
    """The ranking for one question."""

    def __init__(self, question: Question, about: Statistics, *, weights: Weights = WEIGHTS) -> None:
        self._question = question
        self._words = BM25(question.terms, about, weak=question.weak, near=question.near)
        self._weights = {name: getattr(weights, name) for name in weights.__struct_fields__}

    def promising(self, rows: Iterable[MemoryRow], cosine: Callable[[str], float], *, most: int) -> list[MemoryRow]:
        """The best by what they say themselves: the turns beside these are worth a look."""
        weights, speakers = self._weights, self._question.speakers

        def score(row: MemoryRow) -> float:
            total: float = (
                weights["words"] * self._words(row)
                + weights["meaning"] * cosine(row.id)
                + (weights["speaker"] if row.speaker in speakers else 0.0)
                + weights["time"] * _time(row, "", self._question)
            )
            return total

        return nsmallest(most, rows, key=lambda row: _order(score(row), row))

    def best(self, candidates: Sequence[Candidate], *, limit: int) -> list[Ranked]:
        """The best candidates, best first, that anything speaks for; equals are in the order newest, then id."""
        return [
            Ranked(
                row=candidate.row,
                score=round(score, 6),
                signals={name: round(value, 4) for name, value in signals.items()},
                why=_why(candidate, signals, self._question),
            )
            for score, candidate, signals in self._scored(candidates)[:limit]
            if score > 0
        ]

    def _scored(self, candidates: Sequence[Candidate]) -> list[tuple[float, Candidate, dict[str, float]]]:
        scored = []
        for candidate in candidates:
            signals = self._signals(candidate)
            score = math.fsum([self._weights[name] * value for name, value in signals.items()])
            scored.append((score, candidate, signals))
        scored.sort(key=lambda each: _order(each[0], each[1].row))
        return scored

    def _signals(self, candidate: Candidate) -> dict[str, float]:
        """The signals of one candidate that are not 0."""
        row, question = candidate.row, self._question
        before, after = _near(row, candidate.before), _near(row, candidate.after)
        signals = {
            "words": self._words(row),
            "words_before": self._words(before),
            "words_after": self._words(after),
            "meaning": candidate.cosine,
            "meaning_before": 0.0 if before is None else candidate.cosine_before,
            "meaning_after": 0.0 if after is None else candidate.cosine_after,
            "speaker": float(row.speaker in question.speakers),
            "time": _time(row, candidate.text, question),
            "says_when": float(question.asks_when and mentions_time(row.words.split())),
            "asks": _asks(candidate.text) if "?" in candidate.text else 0.0,
        }
        return {name: value for name, value in signals.items() if value > 0}


def _order(score: float, row: MemoryRow) -> tuple[float, int, str]:
    """What to sort by: the best score, of equals the newest, then the id. The last digits of a score are chance."""
    return -round(score, 6), -row.at, row.id


def _near(row: MemoryRow, other: MemoryRow | None) -> MemoryRow | None:
    return other if other is not None and abs(other.at - row.at) <= SAME_TALK else None


def _time(row: MemoryRow, text: str, question: Question) -> float:
    """1 for what was said in a time that was asked for, or speaks of it ("yesterday", said the day after); less for
    what was said soon after it, because things are told when they are over.
    """
    if not question.spans:
        return 0.0
    told = spans_of(text, row.at) if text and mentions_time(row.words.split()) else []
    best = 0.0
    for span in question.spans:
        narrow = min(1.0, 62 * DAY / (span.end - span.begin))  # "in 2023" tells little, where all is of 2023
        if span.begin <= row.at < span.end or any(one.begin < span.end and span.begin < one.end for one in told):
            best = max(best, narrow)
        elif 0 <= row.at - span.end < SOON:
            best = max(best, narrow * 0.5 * math.exp((span.end - row.at) / (7 * DAY)))
    return best


def _asks(text: str) -> float:
    """The part of a text that is questions: they rarely hold an answer, but many an answer ends with one."""
    sentences = _SENTENCE.findall(text)
    asked = sum(len(sentence) for sentence in sentences if sentence.rstrip().endswith("?"))
    return asked / max(sum(map(len, sentences)), 1)


def _why(candidate: Candidate, signals: Mapping[str, float], question: Question) -> str:
    """What brought it here, in a sentence."""
    reasons: list[str] = []
    held = set(candidate.row.words.split())
    if shared := [term for term in (*question.terms, *question.others) if term in held]:
        reasons.append(f"it holds {', '.join(repr(term) for term in shared)}")
    elif "words_before" in signals or "words_after" in signals:
        reasons.append("the words stand in the turn next to it")
    if (cosine := signals.get("meaning", 0.0)) >= 0.2:
        reasons.append(f"it means something close (cosine {cosine:.2f})")
    if "speaker" in signals:
        reasons.append(f"it is {candidate.row.speaker}'s" if candidate.row.kind == "episode" else "it is about them")
    if "time" in signals:
        times = " or ".join(repr(span.words) for span in question.spans)
        inside = any(span.begin <= candidate.row.at < span.end for span in question.spans)
        soon = _time(candidate.row, "", question) == signals["time"]
        reasons.append(f"it {'is from' if inside else 'was said soon after' if soon else 'speaks of'} {times}")
    if "says_when" in signals:
        reasons.append("it says a time")
    return f"Recalled because {', and '.join(reasons or ['nothing is nearer, though it is not near'])}."
