"""Conversations and questions about them whose evidence, the turns that hold the answer, is known."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from pathlib import Path

import attrs
import msgspec

__all__ = ["Conversation", "Question", "Said", "at", "diluted", "hand_made", "read", "small_talk", "wordy"]

DATA = Path(__file__).with_name("data")
MINUTE = 60_000


@attrs.frozen
class Said:
    """One turn. `id` is what evidence names; `at` is unix ms."""

    id: str
    speaker: str
    text: str
    at: int


@attrs.frozen
class Question:
    """`evidence` are the turns that hold the answer; `asked_at` is the now of "last week"."""

    text: str
    kind: str
    evidence: frozenset[str]
    asked_at: int


@attrs.frozen
class Conversation:
    """Sessions of turns in order, and what is asked about them."""

    name: str
    turns: Sequence[Said]
    questions: Sequence[Question]


def at(text: str) -> int:
    """Unix ms of a date, or of a date and a time, in UTC."""
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def small_talk() -> list[tuple[str, str]]:
    """Lines that hold no fact, each with a reply."""
    return [(line, reply) for line, _, reply in (each.partition(" | ") for each in _lines(DATA / "small_talk.txt"))]


def read(path: Path) -> list[Conversation]:
    """Conversations of your own: a JSON list of objects with the fields of `Conversation`."""
    return msgspec.json.decode(path.read_bytes(), type=list[Conversation])


def hand_made(name: str) -> Conversation:
    """A conversation of the data folder."""
    turns: list[Said] = []
    now = 0
    for line in _lines(DATA / f"{name}.txt"):
        if line.startswith("="):
            now = at(line[1:].strip())
            continue
        head, _, text = line.partition(": ")
        turn, _, speaker = head.partition(" ")
        turns.append(Said(turn, speaker, text, now))
        now += MINUTE
    questions = [
        Question(text, kind, frozenset(evidence.split()), at(asked))
        for kind, evidence, asked, text in (
            [part.strip() for part in line.split("|", 3)] for line in _lines(DATA / f"{name}.questions.txt")
        )
    ]
    unknown = set().union(*(question.evidence for question in questions)) - {turn.id for turn in turns}
    assert not unknown, f"{name}: evidence that nobody said: {unknown}"
    return Conversation(name, turns, questions)


def diluted(conversation: Conversation, *, to: int, seed: int) -> Conversation:
    """The same with small talk between, in its own sessions and inside of others, up to so many turns."""
    chance = random.Random(seed)
    pairs = small_talk()
    speakers = list(dict.fromkeys(turn.speaker for turn in conversation.turns))
    turns = list(conversation.turns)
    starts = [place for place, turn in enumerate(turns) if place and turn.at - turns[place - 1].at > 60 * MINUTE]
    missing = max(0, (to - len(turns)) // 2)
    inserted: dict[int, list[Said]] = {}
    for number in range(missing):
        place = chance.choice([*starts, len(turns)])
        before = turns[place - 1].at
        after = turns[place].at if place < len(turns) else before + 20 * 86_400_000
        when = chance.randrange(before + 2 * MINUTE, max(after - 2 * MINUTE, before + 3 * MINUTE))
        first, second = chance.sample(speakers, 2)
        line, reply = chance.choice(pairs)
        inserted.setdefault(place, []).append(Said(f"small-{number}-a", first, line, when))
        inserted[place].append(Said(f"small-{number}-b", second, reply, when + MINUTE))
    mixed: list[Said] = []
    for place in range(len(turns) + 1):
        mixed += sorted(inserted.get(place, []), key=lambda said: (said.at, said.id))
        mixed += turns[place : place + 1]
    return attrs.evolve(conversation, turns=mixed)


def wordy(conversation: Conversation, *, words: int, seed: int) -> Conversation:
    """The same with small talk inside of each turn, before and after what is said: turns of some `words` words."""
    chance = random.Random(seed)
    lines = [line for pair in small_talk() for line in pair]

    def padded(turn: Said) -> Said:
        said: list[str] = []
        while sum(len(line.split()) for line in said) < words:
            said.append(chance.choice(lines))
        said.insert(chance.randrange(len(said) + 1), turn.text)
        return attrs.evolve(turn, text=" ".join(said))

    return attrs.evolve(conversation, turns=[padded(turn) for turn in conversation.turns])


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
