"""shortening: when what came before is summarised, and when that no longer helps. Part of `decide`. Pure.

1. Each compaction takes at least a fifth away, and leaves a request that fits: otherwise the turn ends. So they cannot
   follow each other for ever. One that gets rid of what a provider refuses need not save anything.
2. Where nothing helps, the message is left out, and the thread stands where it stood before it: it is never stuck.
"""

from __future__ import annotations

from .facts import Compacted, Fact, Noted, PrefixChosen, TurnFailed
from .inputs import Summarised
from .size import budget_of
from .state import TurnState

__all__ = ["LEAST_SHARE", "may_shorten", "over_budget", "summarised"]

LEAST_SHARE = 5
"""A compaction takes away at least one part in five, or it is no use."""


def may_shorten(state: TurnState) -> bool:
    """Whether a provider that found it too long, or refused it, is answered by a compaction.

    Once until the next answer, and where there is a past.
    """
    has_past = state.parent is not None or state.step > 0
    return has_past and not state.shortened and state.compactions < state.limits.compactions


def over_budget(state: TurnState) -> str | None:
    """Why no further compaction may be made though one is owed, or None."""
    most = state.limits.compactions
    if not state.owes_compaction or state.compactions < most:
        return None
    return f"The turn has summarised what came before {most} times, and is too long again (limit: compactions)."


def summarised(state: TurnState, input: Summarised) -> list[Fact]:
    """The compaction, and again all that requests need of what it left behind; or the end of the turn."""
    if input.step != state.step or not state.owes_compaction:
        return []
    budget, compacted = budget_of(state.limits), input.compacted
    before, after = compacted.before_tokens, compacted.after_tokens
    enough = state.refused or after * LEAST_SHARE <= before * (LEAST_SHARE - 1)
    if enough and (budget is None or after <= budget):
        chosen = PrefixChosen(at=input.now, prefix=state.prefix, system=input.system, tools=input.tools)
        return [compacted, chosen, *_noted_meanwhile(state, compacted)]
    window = "" if budget is None else f" of {state.limits.context_tokens} tokens"
    shorter = f", and {after} once everything is summarised that can be" if after < before else ""
    message = (
        f"The conversation is too long for the model's context window{window}: it has about {before} tokens{shorter}. "
        "The message was left out; the conversation stands where it stood before."
    )
    usage, cost = compacted.usage, compacted.cost_usd
    failed = TurnFailed(
        at=input.now, code="CONTEXT_OVERFLOW", message=message, counts=False, usage=usage, cost_usd=cost
    )
    return [failed]


def _noted_meanwhile(state: TurnState, compacted: Compacted) -> list[Noted]:
    """What the program noted or removed while a model was still summing up: noted again, or it would be left behind."""
    known = {note.key: note for note in compacted.notes}
    kept = [None if note.value is None else note for note in state.noted]
    return [note for note, now in zip(state.noted, kept, strict=True) if known.get(note.key) != now]
