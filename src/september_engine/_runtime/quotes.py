"""Quotes: copies of memories in the logs of tasks, taken out when the memories are erased."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
from msgspec.structs import replace

from .._memory.records import Memory
from .._turn.facts import encode_fact
from .._turn.quotes import unquoted
from ..store.base import Store
from .remembering import Remembering
from .threads import RecentThreads, decoded

__all__ = ["Quotes"]


class Quotes:
    """Where turns were told memories.

    Args:
        store: Where their logs are.
        remembering: Knows which turns are being told memories just now.
        recent: The threads that are kept in memory.
        tell_live: Called with a task and memories, so that a turn that runs forgets them, too.
    """

    def __init__(
        self,
        store: Store,
        *,
        remembering: Remembering,
        recent: RecentThreads,
        tell_live: Callable[[str, Sequence[Memory]], None],
    ) -> None:
        self._store = store
        self._recent = recent
        self._tell_live = tell_live
        self._remembering = remembering
        self._one_at_a_time = anyio.Lock()

    async def take_out(self, memories: Sequence[Memory]) -> None:
        """Take these memories, which no new recall finds, out of the logs of all tasks that were told them.

        Raises what the store raises, for a damaged log too: delete that task then. Doing it twice does no harm.
        """
        await self._remembering.recalled()
        async with self._one_at_a_time:  # two that rewrite the same fact would each bring back what the other took out
            for task_id in await self._store.quoting([memory.id for memory in memories]):
                self._drop(task_id, memories)  # what a turn adds from now on is clean
                await self._rewrite(task_id, memories)
                self._drop(task_id, memories)  # a turn that began meanwhile has read the log of before

    def _drop(self, task_id: str, memories: Sequence[Memory]) -> None:
        """Keep no copies in the process."""
        self._recent.drop(task_id)
        self._tell_live(task_id, memories)

    async def _rewrite(self, task_id: str, memories: Sequence[Memory]) -> None:
        turns = await self._store.turns(task_id)
        rows = [row for turn in turns for row in await self._store.turn(task_id, turn.turn_id)]
        rows.sort(key=lambda row: row.seq)
        facts = decoded(rows) if rows else []
        clean = unquoted(facts, memories)
        changed = [
            replace(row, body=encode_fact(new))
            for row, old, new in zip(rows, facts, clean, strict=True)
            if new is not old
        ]
        await self._store.rewrite(task_id, changed, no_longer=[memory.id for memory in memories])
