"""exchange: what a turn asks of long-term memory, and what it leaves there. Pure.

A turn that counted leaves what the person said, and what was answered at last. Once tools, attached files or untrusted
memories have brought something into the thread, nobody can say who speaks in an answer: it is untrusted, in this turn
and later ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

import msgspec

from .._context.text import clean
from .._memory.records import Episode, Mention, Source
from ..messages import Block, shown_text, text_of, tool_uses
from .facts import AssistantCut, AssistantReplied, Fact, HumanAnswered, Recalled, TurnCompleted, TurnFailed, TurnStarted
from .limits import brief
from .planning import is_small_talk
from .state import fold

__all__ = [
    "SPEAKERS",
    "Exchange",
    "episode_id",
    "exchange_of",
    "outside_before",
    "outside_tools",
    "question_of_turn",
    "said_by_person",
]

SPEAKERS = ("user", "assistant")

QUESTION_CHARS = 4_000
"""Of a person's message, what memory is asked with."""

EPISODE_BYTES = 16 * 1024
"""Of a message, what is remembered."""


def question_of_turn(content: Sequence[Block]) -> str | None:
    """What memory is asked for a message; None where there is nothing to ask, as after a greeting."""
    said = clean(text_of(content))[:QUESTION_CHARS].strip()
    return None if not said or is_small_talk(content) else said


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn leaves in long-term memory. With `again` it is a retry: the person's message was said before."""

    turn_id: str
    parent: str | None
    episodes: tuple[Episode, ...]
    again: bool = False


def exchange_of(facts: Sequence[Fact], *, inside: Collection[str]) -> Exchange | None:
    """The exchange of one turn, without episodes where it did not count; None for what does not begin as a turn.

    `inside` are the names of tools that bring nothing in from outside.
    """
    started = facts[0] if facts else None
    if not isinstance(started, TurnStarted):
        return None
    episodes: list[Episode] = []
    if any(isinstance(fact, TurnCompleted | TurnFailed) and fact.counts for fact in facts) and started.kind != "note":
        words = text_of(started.content)
        said = _episode(started, started.message_id, words, started.at, "user", Source(origin="person"))
        answer = _answer(facts)
        outside = [*outside_tools(facts, inside), *outside_before(facts, inside)]
        by_agent = Source(origin="agent", trust="untrusted" if outside else "inferred", detail=_after(outside))
        episodes = [said]
        if answer is not None:
            episodes.append(_episode(started, *answer, "assistant", by_agent))
    return Exchange(
        turn_id=started.turn_id,
        parent=started.parent,
        episodes=tuple(episode for episode in episodes if episode.text.strip()),
        again=started.kind == "retry",
    )


def episode_id(task_id: str, turn_id: str, speaker: str, *, again: int = 0) -> str:
    """The id of what a speaker's side of a turn is remembered as: always the same, so that it is remembered once.

    `again` counts how often the turn came back to its thread, where an early release had retired it meanwhile.
    """
    raw = msgspec.json.encode([task_id, turn_id, speaker, again])
    return f"mem_{hashlib.sha256(raw).hexdigest()[:24]}"


def outside_tools(facts: Iterable[Fact], inside: Collection[str]) -> list[str]:
    """The names of the tools that were called and may have brought in what nobody here said."""
    called = [use["name"] for fact in facts if isinstance(fact, AssistantReplied) for use in tool_uses(fact.content)]
    return [name for name in dict.fromkeys(called) if name not in inside]


def outside_before(facts: Iterable[Fact], inside: Collection[str]) -> list[str]:
    """What else may have: tools in the turns before this one, attached files, and untrusted memories."""
    names = fold(fact for fact in facts if isinstance(fact, TurnStarted | HumanAnswered | Recalled)).called
    return [name for name in names if name not in inside]


def said_by_person(facts: Iterable[Fact]) -> str:
    """All that a person said in this turn: the message, and the answers to questions."""
    said: list[str] = []
    for fact in facts:
        match fact:
            case TurnStarted():
                said.append(text_of(fact.content))
            case HumanAnswered():
                said += [fact.answer, fact.feedback or "", text_of(fact.content_blocks)]
            case _:
                pass
    return "\n".join(said)


def _episode(started: TurnStarted, message_id: str, text: str, at: int, speaker: str, source: Source) -> Episode:
    return Episode(
        id=episode_id(started.task_id, started.turn_id, speaker),
        text=brief(clean(text), EPISODE_BYTES),
        at=at,
        speaker=speaker,
        source=msgspec.structs.replace(source, task_id=started.task_id, message_id=message_id),
        mentions=(Mention(task_id=started.task_id, turn_id=started.turn_id),),
    )


def _answer(facts: Sequence[Fact]) -> tuple[str, str, int] | None:
    """The answer that the turn ended with: its message id, text and time."""
    for fact in reversed(facts):
        if isinstance(fact, AssistantReplied) and not tool_uses(fact.content):
            return fact.message_id, shown_text([fact.content]), fact.at
        if isinstance(fact, AssistantCut):
            return fact.message_id, fact.text, fact.at
    return None


def _after(names: Sequence[str]) -> str:
    return f"after {', '.join(list(dict.fromkeys(names))[:5])}" if names else ""
