"""Rank: how well each candidate answers a question, from separate signals between 0 and 1, and why.

Fusing two ranked lists by their ranks loses more than it wins here: it cannot tell a good first place from a bad one,
a speaker's name swamps a short text, and the words of the question often stand in the turn before the answer. So each
such thing is a signal of its own, normalised by what it could be at best rather than by the best of this query, and the
score is their weighted sum. `python -m tests.retrieval --ablate` shows what each one is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from .dates import DAY, mentions_time
from .question import Question
from .rows import MemoryRow

__all__ = ["WEIGHTS", "Candidate", "Ranked", "Statistics", "Weights", "bm25", "ranked"]

K1, B = 1.2, 0.75
"""BM25's parameters, as FTS5 has them."""

SAME_TALK = 3 * 3_600_000
"""Turns further apart than this, in ms, are not of one talk: the one before does not explain the one after."""


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What each signal counts for. Chosen on one half of the conversations in tests/retrieval, reported on the other.

    `words_before`, `words_after`, `meaning_before` and `meaning_after` are the signals of the neighbouring turns.
    """

    words: float = 1.0
    words_before: float = 0.2
    words_after: float = 0.1
    meaning: float = 0.75
    meaning_before: float = 0.15
    meaning_after: float = 0.15
    speaker: float = 0.2
    time: float = 0.6
    says_when: float = 0.1
    asks: float = -0.12


WEIGHTS = Weights()


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Of all memories: how many, their mean number of terms, and how many hold each term of the question."""

    total: int
    mean_length: float
    holding: Mapping[str, int]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that may answer, the turns around it, and, where there are vectors, the cosines of all three."""

    row: MemoryRow
    text: str
    before: MemoryRow | None = None
    after: MemoryRow | None = None
    cosine: float | None = None
    cosine_before: float = 0.0
    cosine_after: float = 0.0


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate's score, the signals it is the weighted sum of (those that are not 0), and a sentence on them."""

    row: MemoryRow
    score: float
    signals: dict[str, float]
    why: str


def bm25(words: str, terms: Sequence[str], about: Statistics) -> float:
    """Okapi BM25 of a text for these terms, as a part of what a text could reach that holds them all often."""
    held = words.split()
    length = K1 * (1 - B + B * len(held) / max(about.mean_length, 1.0))
    score = best = 0.0
    for term in terms:
        weight = _rarity(about.holding.get(term, 0), about.total)
        best += weight * (K1 + 1)
        if count := held.count(term):
            score += weight * count * (K1 + 1) / (count + length)
    return min(score / best, 1.0) if best else 0.0


def _rarity(holding: int, total: int) -> float:
    """The inverse document frequency, never below a little: a word that most memories hold still says something."""
    return max(math.log((total - holding + 0.5) / (holding + 0.5)), 1e-6)


def ranked(
    candidates: Sequence[Candidate], question: Question, about: Statistics, *, weights: Weights = WEIGHTS, limit: int
) -> list[Ranked]:
    """The best candidates, best first; equals are in the order newest, then id."""
    cache: dict[str, float] = {}

    def words(row: MemoryRow | None) -> float:
        if row is None:
            return 0.0
        if row.id not in cache:
            cache[row.id] = bm25(row.words, question.terms, about)
        return cache[row.id]

    scored: list[tuple[float, Candidate, dict[str, float]]] = []
    for candidate in candidates:
        signals = {
            "words": words(candidate.row),
            "words_before": words(_near(candidate.row, candidate.before)),
            "words_after": words(_near(candidate.row, candidate.after)),
            **_meaning(candidate),
            "speaker": float(candidate.row.speaker in question.speakers),
            "time": _time(candidate.row, question),
            "says_when": float(question.asks_when and mentions_time(candidate.text)),
            "asks": float(candidate.text.rstrip().endswith("?")),
        }
        score = sum(getattr(weights, name) * value for name, value in signals.items())
        scored.append((score, candidate, signals))
    scored.sort(key=lambda each: (-each[0], -each[1].row.at, each[1].row.id))
    return [
        Ranked(
            row=candidate.row,
            score=round(score, 6),
            signals={name: round(value, 4) for name, value in signals.items() if value},
            why=_why(candidate, signals, question),
        )
        for score, candidate, signals in scored[:limit]
    ]


def _near(row: MemoryRow, other: MemoryRow | None) -> MemoryRow | None:
    return other if other is not None and abs(other.at - row.at) <= SAME_TALK else None


def _meaning(candidate: Candidate) -> dict[str, float]:
    if candidate.cosine is None:
        return {}
    near = [_near(candidate.row, other) is not None for other in (candidate.before, candidate.after)]
    return {
        "meaning": max(candidate.cosine, 0.0),
        "meaning_before": max(candidate.cosine_before, 0.0) * near[0],
        "meaning_after": max(candidate.cosine_after, 0.0) * near[1],
    }


def _time(row: MemoryRow, question: Question) -> float:
    """1 in a time that was asked for; less soon after it, because things are told when they are over."""
    best = 0.0
    for span in question.spans:
        if span.begin <= row.at < span.end:
            return 1.0
        if row.at >= span.end:
            best = max(best, 0.5 * math.exp((span.end - row.at) / (7 * DAY)))
    return best


def _why(candidate: Candidate, signals: Mapping[str, float], question: Question) -> str:
    """What brought it here, in a sentence."""
    reasons: list[str] = []
    held = set(candidate.row.words.split())
    if shared := [term for term in question.terms if term in held]:
        reasons.append(f"it holds {', '.join(repr(term) for term in shared)}")
    elif signals["words_before"] or signals["words_after"]:
        reasons.append("the words stand in the turn next to it")
    if (cosine := signals.get("meaning", 0.0)) >= 0.2:
        reasons.append(f"it means something close (cosine {cosine:.2f})")
    if signals["speaker"]:
        reasons.append(f"it is {candidate.row.speaker}'s" if candidate.row.kind == "episode" else "it is about them")
    if signals["time"] == 1.0:
        reasons.append(f"it is from {' or '.join(repr(span.words) for span in question.spans)}")
    elif signals["time"] >= 0.05:
        reasons.append(f"it was said soon after {' or '.join(repr(span.words) for span in question.spans)}")
    if signals["says_when"]:
        reasons.append("it says a time")
    return f"Recalled because {', and '.join(reasons)}." if reasons else "The nearest there is, though not near."
