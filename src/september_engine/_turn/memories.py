"""memories: what of long-term memory is shown with the message of a turn. Pure.

1. A turn asks once, before its first request. The answer is a fact: whoever resumes or replays the turn sees what it
   saw, and the prompts of the thread stay append-only.
2. What stands in the thread already is not shown again: neither its own messages nor what was recalled before. What a
   compaction left behind does not stand there any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from .._context.asides import aside
from .._memory.present import NOTE, line_of
from .._memory.records import Memory
from ..messages import Block
from .facts import AssistantCut, AssistantReplied, Fact, Recalled, RecalledItem, TurnStarted
from .kept import kept_facts
from .state import counting

__all__ = ["MOST_RECALLED", "Scored", "items_of", "memories_block", "shown_before"]

MOST_RECALLED = 8

SHOWN_BYTES = 8 * 1024
"""All lines of one recall."""


def shown_before(thread: Sequence[Fact]) -> tuple[set[str], set[str]]:
    """What the model is shown anyway: the ids of the thread's messages, and of the memories recalled before."""
    messages: set[str] = set()
    memories: set[str] = set()
    for fact in counting(kept_facts(thread)):
        if isinstance(fact, TurnStarted | AssistantReplied | AssistantCut):
            messages.add(fact.message_id)
        elif isinstance(fact, Recalled):
            memories |= {item.id for item in fact.items}
    return messages, memories


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that was found, and what of its text is told."""

    memory: Memory
    passage: str
    score: float
    why: str


def items_of(found: Iterable[Scored], *, task_id: str, thread: Sequence[Fact]) -> list[RecalledItem]:
    """What of this is shown: as many as there is room for."""
    messages, memories = shown_before(thread)
    items: list[RecalledItem] = []
    room = SHOWN_BYTES
    for one in found:
        source = one.memory.source
        if one.memory.id in memories or (source.task_id == task_id and source.message_id in messages):
            continue
        line = line_of(one.memory, passage=one.passage)
        if len(line.encode()) > room:
            continue
        room -= len(line.encode())
        items.append(
            RecalledItem(
                id=one.memory.id,
                text=line,
                why=one.why,
                score=round(one.score, 4),
                task_id=source.task_id,
                message_id=source.message_id,
                source=source.origin,
                trust=source.trust,
            )
        )
        if len(items) == MOST_RECALLED:
            break
    return items


def memories_block(items: Sequence[RecalledItem]) -> Block:
    """What was recalled, as the model reads it; what was erased since is left out."""
    return aside("memories", "\n".join([NOTE, *(item.text for item in items if item.text)]))
