"""Conversations and questions about them whose evidence, the turns that hold the answer, is known."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from pathlib import Path

import attrs

__all__ = ["Conversation", "Question", "Said", "at", "diluted", "hand_made"]

DATA = Path(__file__).with_name("data")
MINUTE = 60_000

SMALL_TALK = """
How are you today?|Pretty tired, but I can't complain.|The weather is awful again, isn't it?|Tell me about it, it never stops.
Did you sleep well?|Like a stone, thanks for asking.|I have to hang up in a minute, somebody is at the door.|No problem, talk later!
That made me smile, thank you.|You're welcome, any time.|I was stuck in traffic for an hour.|Sounds terrible, I'd lose my mind.
What's for dinner at your place?|Leftovers, I think. Nothing special.|I should really clean the windows.|Mine are even worse, believe me.
The news is depressing lately.|I stopped watching it, honestly.|My phone battery dies all the time.|Mine too, I carry a charger everywhere.
Sorry for the late answer!|Don't worry, I was busy as well.|Can we talk about it at the weekend?|Sure, just call me when you are free.
I laughed so hard at that video.|Which one? Send it to me!|I need more coffee.|Me too, a whole bucket.
Work was a lot today.|Same here, one call after another.|Good luck for tomorrow!|Thanks, I can use it.
I can't find my keys again.|Look in the jacket, they're always there.|It smells of rain outside.|I love that smell.
Take care of yourself.|You too, and greetings to everybody.|That reminds me of the old days.|Those were good times.
I wonder what the summer will bring.|Heat, I guess, and mosquitoes.|The bus was full this morning.|I walked, it was nicer.
Have you seen the moon?|Yes! So bright and huge.|I'm thinking of cutting my hair.|Do it, it grows back.
My neighbour is drilling again.|Earplugs are a blessing.|The music at the shop was so loud.|I noticed that as well.
"""
"""Pairs of a line and its reply that hold no fact: what most of a conversation is."""


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
    pairs = [pair for line in SMALL_TALK.strip().splitlines() for pair in _pairs(line.split("|"))]
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


def _pairs(parts: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
