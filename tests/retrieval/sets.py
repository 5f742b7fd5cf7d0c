"""The conversations to measure with, in two halves: weights are chosen on `DEVELOPMENT` and reported on `HELD_OUT`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from .conversations import Conversation, diluted, hand_made, wordy
from .generator import generated

__all__ = ["DEVELOPMENT", "HELD_OUT", "QUICK", "together"]

Makers = Mapping[str, Callable[[], Sequence[Conversation]]]


def together(name: str, conversations: Sequence[Conversation]) -> Conversation:
    """Many conversations in one memory: more people, more who did the same thing, the same questions."""
    return Conversation(
        name,
        [attrs.evolve(turn, id=f"{each.name}:{turn.id}") for each in conversations for turn in each.turns],
        [
            attrs.evolve(question, evidence=frozenset(f"{each.name}:{id_}" for id_ in question.evidence))
            for each in conversations
            for question in each.questions
        ],
    )


def _long(name: str, seed: int) -> Conversation:
    return diluted(hand_made(name), to=400, seed=seed)


DEVELOPMENT: Makers = {
    "written by hand": lambda: [hand_made("nadia_and_tom")],
    "the same among 400 turns": lambda: [_long("nadia_and_tom", 1)],
    "in turns of 100 words": lambda: [wordy(hand_made("nadia_and_tom"), words=100, seed=1)],
    "generated": lambda: [generated(seed) for seed in (1, 2, 3, 4)],
    "four in one memory": lambda: [
        together("four", [_long("nadia_and_tom", 1), *(generated(seed) for seed in (1, 2, 21))])
    ],
}
HELD_OUT: Makers = {
    "written by hand": lambda: [hand_made("lena")],
    "the same among 400 turns": lambda: [_long("lena", 2)],
    "in turns of 100 words": lambda: [wordy(hand_made("lena"), words=100, seed=1)],
    "generated": lambda: [generated(seed) for seed in (5, 6, 7, 8)],
    "four in one memory": lambda: [together("four", [_long("lena", 2), *(generated(seed) for seed in (5, 6, 22))])],
}
QUICK: Makers = {
    "written by hand": lambda: [hand_made("nadia_and_tom"), hand_made("lena")],
    "generated": lambda: [generated(5, turns=300)],
}
