"""Whether the events of a turn are what its facts show. A part of the log checker. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from .._turn.facts import AssistantCut, AssistantReplied, AttemptFailed, Fact, OutputRefused, TurnFailed, TurnResumed
from .._turn.present import present
from .._turn.state import TurnState, evolve
from ..events import (
    CompactionEvent,
    Error,
    Event,
    HitlRequest,
    HitlResolved,
    Plan,
    Retry,
    Rewound,
    ThreadLifecycle,
    ToolCall,
    ToolResult,
    UsageEvent,
    WorkingMemoryUpdate,
    decode,
    encode,
    name_of,
)
from ..messages import text_of
from ..store.base import EventRow, FactRow
from ._log_screen import Screen

__all__ = ["shown_problems"]

PRESENTED = (
    ThreadLifecycle,
    Error,
    ToolCall,
    ToolResult,
    HitlRequest,
    HitlResolved,
    Plan,
    WorkingMemoryUpdate,
    UsageEvent,
    Retry,
    Rewound,
    CompactionEvent,
)
"""The events that come from facts; those of the model's stream and of no consequence stand between them."""


def shown_problems(facts: Sequence[FactRow], decoded: Sequence[Fact], rows: Sequence[EventRow]) -> Iterator[str]:
    """Whether the events are what the facts show, with the model's stream between them."""
    events: list[Event] = []
    for shown in rows:
        try:
            events.append(decode(shown.type, shown.body))
        except (KeyError, msgspec.DecodeError):
            yield f"event {shown.ts}: {shown.type} cannot be decoded"
            return
    state, screen, at = TurnState(), Screen(), 0
    for row, fact in zip(facts, decoded, strict=True):
        for expected in present(state, fact):
            while at < len(events) and not isinstance(events[at], PRESENTED):
                if (problem := screen.take(events[at])) is not None:
                    yield f"event {rows[at].ts}: {problem}"
                at += 1
            if at == len(events) or encode(events[at]) != encode(expected) or name_of(events[at]) != name_of(expected):
                there = "nothing" if at == len(events) else f"{name_of(events[at])} {encode(events[at])!r}"
                yield f"fact {row.seq}: shows {name_of(expected)} {encode(expected)!r}, and {there} is there"
                return
            at += 1
        yield from _shown_text(screen, state, fact)
        state = evolve(state, fact)
    yield from _rest(state, events[at:], screen)


def _shown_text(screen: Screen, state: TurnState, fact: Fact) -> Iterator[str]:
    match fact:
        case AssistantReplied():
            if screen.text != text_of(fact.content):
                yield f"step {state.step}: the text that was shown is not the text that was stored"
            if screen.blocks != state.next_block + fact.blocks:
                yield f"step {state.step}: the blocks that were shown are not the blocks that were stored"
        case AssistantCut():
            screen.cut = fact.text  # what was shown of it comes with the events of the end
            return
        case TurnFailed():
            if screen.cut not in (None, screen.text):
                yield f"step {state.step}: the text that was shown is not the text that was kept"
        case OutputRefused():
            first = fact.retracts[0] if fact.retracts else screen.blocks
            if fact.retracts != list(range(first, screen.blocks)):
                yield f"step {state.step}: what was refused is not what is taken back"
            return
        case AttemptFailed() | TurnResumed():
            if fact.retracts != list(range(state.next_block, screen.blocks)):
                yield f"step {state.step}: what was shown in vain is not what is taken back"
        case _:
            return
    crashed = isinstance(fact, TurnResumed) or (isinstance(fact, TurnFailed) and not fact.counts)
    if screen.block is not None and not crashed:
        yield f"step {state.step}: block {screen.block.block_index} was not closed"
    screen.text, screen.block = "", None


def _rest(state: TurnState, events: Sequence[Event], screen: Screen) -> Iterator[str]:
    """What stands behind the events of the last fact: the answer that is being written, and nothing after the end."""
    for event in events:
        if isinstance(event, PRESENTED) or state.status != "running":
            yield f"{name_of(event)} is there, and no fact shows it"
        elif (problem := screen.take(event)) is not None:
            yield problem
