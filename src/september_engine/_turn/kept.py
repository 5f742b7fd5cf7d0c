"""kept: which facts of a thread a request is built from, once earlier turns were summarised. Pure.

What a compaction left behind is not looked at any more: the cost of a request follows what is sent, and not the age of
the thread. Whether the whole thread is given here or only what is needed, the outcome is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from .facts import AttemptFailed, Compacted, Fact, TurnCompleted, TurnStarted, message_id_of

__all__ = ["kept_facts"]


def kept_facts(facts: Sequence[Fact]) -> Sequence[Fact]:
    """The facts from the one on that the last compaction kept first; all of them where there was none.

    Where that is an answer in the middle of a turn, the turn's start comes first, and the repairs between the two: what
    a provider refused once is not sent again.
    """
    place = _last_compaction(facts)
    if place is None:
        return facts
    compacted = facts[place]
    assert isinstance(compacted, Compacted)
    kept = next((at for at in range(place, -1, -1) if message_id_of(facts[at]) == compacted.kept_from), None)
    if kept is None:
        return facts
    start = next((at for at in range(kept, -1, -1) if isinstance(facts[at], TurnStarted)), kept)
    if start == kept:
        return facts[kept:]
    repairs = [fact for fact in facts[start:kept] if isinstance(fact, AttemptFailed) and fact.repair is not None]
    return [facts[start], *repairs, *facts[kept:]]


def _last_compaction(facts: Sequence[Fact]) -> int | None:
    """Where the compaction stands that counts: one in a turn that does not count is passed over."""
    counts = True
    for place in range(len(facts) - 1, -1, -1):
        match facts[place]:
            case TurnCompleted(counts=False):
                counts = False
            case TurnStarted():
                counts = True
            case Compacted() if counts:
                return place
            case _:
                pass
    return None
