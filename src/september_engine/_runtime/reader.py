"""Reader: a cursor on the log. Replay and live, one client or a hundred: all are this, with different starts.

A reader holds no queue and no scope: a slow one costs its position, leaving it stops nothing, and it may be advanced
or dropped in any task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import anyio

from .._seams import Clock
from ..store.base import EventLog, EventRow
from .channel import Channel

__all__ = ["Reader"]


class Reader:
    """Pages of rows after a cursor, then live ones, until the turn that is live ends.

    `live` gives the channel to follow, or None; it is asked anew each time, so a turn that starts while a reader
    catches up is followed too. With `heartbeat`, an empty page is given after so many silent seconds.
    """

    def __init__(
        self,
        *,
        store: EventLog,
        clock: Clock,
        task_id: str,
        after: int,
        live: Callable[[], Channel | None],
        heartbeat: float | None = None,
        first: Sequence[EventRow] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._task_id = task_id
        self._live = live
        self._heartbeat = heartbeat
        self._first = first
        self._stopped = False
        self._wake: anyio.Event | None = None
        self._silent_since = clock.monotonic()
        self.cursor = after

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[EventRow]:
        """The next page: rows that are ready together, or [] for a heartbeat. Cancelling loses nothing."""
        if self._first:
            first, self._first = self._first, ()
            return first
        while not self._stopped:
            channel = self._live()
            ended = channel is None or channel.ended
            rows = None if channel is None else channel.read(self.cursor)
            if rows is None:
                memory_begins = self.cursor if channel is None else channel.tail_begins
                rows = await self._store.events(self._task_id, after=self.cursor)
                if not rows and channel is not None:
                    self.cursor = max(self.cursor, memory_begins)
                    continue
            if rows:
                return self._page(rows)
            if ended or channel is None:
                break
            await self._news(channel)
            if self._beat_due():
                return ()
        raise StopAsyncIteration

    def _page(self, rows: Sequence[EventRow]) -> Sequence[EventRow]:
        self._silent_since = self._clock.monotonic()
        if rows[-1].ts == 0:
            self._stopped = True
        else:
            self.cursor = rows[-1].ts
        return rows

    async def _news(self, channel: Channel) -> None:
        """Wait for a publication, a pulse or a stop. Nothing can come between the look and the wait: neither awaits."""
        self._wake = anyio.Event()
        channel.waiters.add(self._wake)
        try:
            await self._wake.wait()
        finally:
            channel.waiters.discard(self._wake)
            self._wake = None

    def _beat_due(self) -> bool:
        if self._heartbeat is None or self._clock.monotonic() - self._silent_since < self._heartbeat:
            return False
        self._silent_since = self._clock.monotonic()
        return True

    def pulse(self) -> None:
        """Wake the reader if its heartbeat is due; called now and then by the engine's one timer."""
        if self._wake is not None and self._heartbeat is not None:
            if self._clock.monotonic() - self._silent_since >= self._heartbeat:
                self._wake.set()

    def stop(self) -> None:
        """End without waiting for more. The cursor stays good."""
        self._stopped = True
        if self._wake is not None:
            self._wake.set()
