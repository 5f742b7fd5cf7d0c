"""size: how much of a model's context a turn fills. Pure.

What the provider counted last, and a guess at what came after.
"""

from __future__ import annotations

from .._context.tokens import tokens_of
from ..messages import Usage
from .facts import (
    AssistantCut,
    AssistantReplied,
    Compacted,
    Fact,
    HumanAnswered,
    NotesShown,
    OutputRefused,
    PlanChosen,
    Recalled,
    ToolFinished,
    TurnCompleted,
    TurnStarted,
)
from .limits import Limits

__all__ = ["budget_of", "context_after", "room_for_answer", "weight_of"]


def budget_of(limits: Limits) -> int | None:
    """The most tokens a request may have, so that its answer has room; None where no window is known.

    A fiftieth is left for what a guess can miss. An answer never claims more than half of the window.
    """
    window = limits.context_tokens
    if window is None:
        return None
    return max(window - min(limits.answer_tokens, window // 2) - window // 50, 1)


def room_for_answer(limits: Limits, context: int, wanted: int) -> int:
    """How long an answer may be behind this much context: what is wanted, or what is left of the window."""
    if limits.context_tokens is None:
        return wanted
    left = limits.context_tokens - limits.context_tokens // 50 - context
    return min(wanted, max(left, limits.answer_tokens))


def weight_of(fact: Fact) -> int:
    """A guess at the tokens that a fact adds to the context."""
    match fact:
        case TurnStarted() | AssistantReplied():
            return tokens_of(fact.content)
        case AssistantCut():
            return tokens_of(fact.text)
        case ToolFinished():
            return tokens_of(fact.output if fact.error is None else fact.error.message) + OVERHEAD
        case NotesShown():
            return tokens_of(fact.notes) + OVERHEAD
        case Recalled():
            return sum(tokens_of(item.text) for item in fact.items) + OVERHEAD
        case PlanChosen(by="planner"):
            return sum(tokens_of(step.title) for step in fact.steps) + OVERHEAD
        case OutputRefused():
            return tokens_of(fact.message) + OVERHEAD
        case HumanAnswered():
            return tokens_of(fact.feedback) + tokens_of(fact.content_blocks)
        case _:
            return 0


OVERHEAD = 20
"""Tokens of what stands around a result, a plan, the notes, memories or a note about an answer."""


def context_after(context: int, began_with: int, fact: Fact) -> int:
    """The tokens of the context after a fact. `began_with` is how many it had before the turn."""
    match fact:
        case TurnStarted():
            return fact.context + weight_of(fact)
        case AssistantReplied() if fact.usage != Usage():
            return fact.usage.input_tokens + fact.usage.output_tokens
        case Compacted():
            return fact.after_tokens
        case TurnCompleted(counts=False):
            return began_with
        case _:
            return context + weight_of(fact)
