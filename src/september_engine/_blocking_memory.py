"""Long-term memory for code that does not await."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from .memory.base import KINDS, Hit, Kind, Memory, Soul, Weights
from .memory.longterm import LongTermMemory

__all__ = ["BlockingMemory"]

T = TypeVar("T")


class _Call(Protocol):
    """Does the work in the engine's thread and waits for it."""

    def __call__(self, work: Callable[[], Awaitable[T]], /) -> T: ...


class BlockingMemory:
    """`LongTermMemory` without `await`. Each method raises what the one of `LongTermMemory` raises."""

    def __init__(self, call: _Call, memory: Callable[[], LongTermMemory]) -> None:
        self._call = call
        self._memory = memory

    def remember(self, *memories: Memory) -> list[Memory]:
        """Remember these, in order, and return what now says each."""
        return self._call(lambda: self._memory().remember(*memories))

    def forget(self, memory_id: str, *, because: str, turn: tuple[str, str] | None = None) -> Memory:
        """Retire a memory; it stays readable with the reason."""
        return self._call(lambda: self._memory().forget(memory_id, because=because, turn=turn))

    def erase(self, *ids: str, because: str) -> list[Memory]:
        """Take what these memories say out of memory for good."""
        return self._call(lambda: self._memory().erase(*ids, because=because))

    def erase_all(self, ids: Sequence[str], /, *, because: str) -> None:
        """Erase several memories at once, without what was distilled from them; then `tidy`."""
        self._call(lambda: self._memory().erase_all(ids, because=because))

    def tidy(self) -> None:
        """Take what was erased out of the store's indexes and logs."""
        self._call(lambda: self._memory().tidy())

    def of_task(self, task_id: str) -> list[Memory]:
        """Everything that came from a task, current or not."""
        return self._call(lambda: self._memory().of_task(task_id))

    def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        kinds: Sequence[Kind] = KINDS,
        past: bool = False,
        without_task: str | None = None,
        now: int | None = None,
        weights: Weights | None = None,
    ) -> list[Hit]:
        """The memories that answer best, best first."""
        return self._call(
            lambda: self._memory().recall(
                query, limit=limit, kinds=kinds, past=past, without_task=without_task, now=now, weights=weights
            )
        )

    def get(self, memory_id: str) -> Memory:
        """One memory, current or not."""
        return self._call(lambda: self._memory().get(memory_id))

    def history(self, memory_id: str) -> list[Memory]:
        """The trail through this memory, oldest first."""
        return self._call(lambda: self._memory().history(memory_id))

    def page(
        self, *, kinds: Sequence[Kind] = KINDS, past: bool = False, after: str | None = None, limit: int = 100
    ) -> list[Memory]:
        """Memories in the order they were remembered, beginning behind the id `after`."""
        return self._call(lambda: self._memory().page(kinds=kinds, past=past, after=after, limit=limit))

    def soul(self) -> Soul:
        """Who the agent is now."""
        return self._call(lambda: self._memory().soul())

    def export_bundle(self) -> bytes:
        """Everything, current or not, as one JSON document."""
        return self._call(lambda: self._memory().export_bundle())

    def import_bundle(self, bundle: bytes) -> int:
        """Take an export in; returns how many memories were written."""
        return self._call(lambda: self._memory().import_bundle(bundle))

    def embed_missing(self, *, limit: int = 10_000) -> int:
        """Give memories that have none a vector."""
        return self._call(lambda: self._memory().embed_missing(limit=limit))
