"""Recall: what must be said to the model with a person's message, before the turn's first request.

It never fails a turn: a turn does without a memory that is broken or slow, and the log says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from .._context.causes import reason_of
from .._turn.exchange import question_of_turn
from .._turn.facts import Fact, TurnStarted
from .._turn.inputs import Input, MemoriesRecalled
from .._turn.memories import Scored, items_of
from .._turn.notes import recall
from .._turn.state import TurnState
from .isolation import is_cancelled, isolated
from .remembering import Remembering
from .resources import Resources

__all__ = ["RECALL_SECONDS", "bring_to_mind"]

logger = logging.getLogger(__name__)

RECALL_SECONDS = 2.0
"""A person waits meanwhile."""

CANDIDATES = 50
"""How many hits are looked at: some of the best may stand in the thread anyway."""

LEAST = 0.15
"""Below this score, what is only close in meaning is not told.

Measured on tests/retrieval: it leaves out 2 in 100 of the right answers among the first eight, and 5 of the 8 memories
that are nearest to a message about something that was never mentioned.
"""


async def bring_to_mind(
    thread: Sequence[Fact], *, state: TurnState, tell: Callable[[Input], Awaitable[object]], resources: Resources
) -> None:
    """Tell the turn what working memory and long-term memory hold for its first request, unless it was told before.

    `thread` ends with the facts of this turn. Cancelling is harmless.
    """
    if state.step > 0:
        return
    clock, remembering = resources.world.clock, resources.remembering
    notes = recall(thread, clock.now_ms())
    if notes is not None:
        await tell(notes)
    started = next(fact for fact in reversed(thread) if isinstance(fact, TurnStarted))
    question = question_of_turn(started.content)
    if remembering is None or state.recalled or question is None:
        return
    with remembering.recalling() as begin:
        found = await isolated(_found(remembering, question, begin), clock=clock, seconds=RECALL_SECONDS)
        if found is None:
            found = f"Long-term memory took longer than {RECALL_SECONDS:g} seconds."
        if isinstance(found, str):
            logger.warning("A turn goes on without its memories. %s", found)
            await tell(MemoriesRecalled(now=clock.now_ms(), items=[], problem=found))
            return
        items = items_of(found, task_id=state.task_id, thread=thread)
        await tell(MemoriesRecalled(now=clock.now_ms(), items=items))


async def _found(remembering: Remembering, question: str, begin: Callable[[], None]) -> list[Scored] | str:
    """The memories, or what went wrong. What ended just now is remembered first, so that the next turn can know it.

    `begin` is called when it begins to look: whoever erases waits from then on, but not while this waits for them.
    """
    try:
        await remembering.settled()
        begin()
        hits = await remembering.memory.recall(question, limit=CANDIDATES)
    except (Exception, asyncio.CancelledError) as error:
        if is_cancelled(error):
            raise
        return reason_of(error)
    near = [hit for hit in hits if hit.score >= LEAST or "meaning" not in hit.signals]
    return [Scored(memory=hit.memory, passage=hit.passage, score=hit.score, why=hit.why) for hit in near]
