"""Reader: a cursor on the log. Replay and live, one client or a hundred: all are this, with different starts.

A reader holds no queue and no scope: a slow one costs its position, leaving it stops nothing, and it may be advanced
or dropped in any task.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Self

from .._seams import Clock
from ..events import ReplayGap, encode, name_of
from ..store.base import EventRow, Store
from .channel import Channel

__all__ = ["PULSE_SECONDS", "Reader"]

PULSE_SECONDS = 1.0
"""How often the engine's one timer looks whether a heartbeat is due."""


class Reader:
    """Pages of rows after a cursor, then live ones, until the turn that is live ends.

    `live` gives the channel to follow, or None; it is asked anew each time, so a turn that starts while a reader
    catches up is followed too. With `heartbeat`, an empty page is given before so many seconds were silent.

    Where events after the cursor were trimmed, however far the reading has come, a `ReplayGap` stands in their place.
    A reading that begins at 0 asks for what is kept, so nothing can be missing before its first event.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        task_id: str,
        after: int,
        live: Callable[[], Channel | None],
        heartbeat: float | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._task_id = task_id
        self._live = live
        self._patience = None if heartbeat is None else max(heartbeat - PULSE_SECONDS, 0.0)
        self._stopped = False
        self._wake: asyncio.Event | None = None
        self._silent_since = clock.monotonic()
        self.cursor = after

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[EventRow]:
        """The next page: rows that are ready together, or [] for a heartbeat. Cancelling loses nothing."""
        while not self._stopped:
            channel = self._live()
            ended = channel is None or channel.ended
            rows = None if channel is None else channel.read(self.cursor)
            if rows is None:
                memory_begins = self.cursor if channel is None else channel.tail_begins
                rows = await self._stored()
                if channel is not None and not channel.ended:  # what is stored counts once the turn knows it, too
                    rows = rows[: bisect_right(rows, channel.row.last_ts, key=lambda row: row.ts)]
                if not rows and channel is not None:
                    self.cursor = max(self.cursor, memory_begins)
                    continue
            if rows:
                return self._page(rows)
            if ended or channel is None:
                self._stopped = True
                if channel is not None and channel.last_words:
                    return channel.last_words
                break
            await self._news(channel)
            if self._beat_due():
                return ()
        raise StopAsyncIteration

    async def _stored(self) -> Sequence[EventRow]:
        """The next rows of the log, or the gap before them: a gap is always announced."""
        rows = await self._store.events(self._task_id, after=self.cursor)
        task = await self._store.task(self._task_id) if self.cursor else None
        trimmed_to = 0 if task is None else task.trimmed_to
        if trimmed_to <= self.cursor or (rows and rows[0].ts <= trimmed_to):
            return rows
        self.cursor = trimmed_to
        gap = ReplayGap(oldest=rows[0].ts if rows else trimmed_to)
        return (EventRow(ts=0, turn_id="", type=name_of(gap), body=encode(gap)),)

    def _page(self, rows: Sequence[EventRow]) -> Sequence[EventRow]:
        self._silent_since = self._clock.monotonic()
        self.cursor = rows[-1].ts or self.cursor
        return rows

    async def _news(self, channel: Channel) -> None:
        """Wait for a publication, a pulse or a stop. Nothing can come between the look and the wait: neither awaits."""
        self._wake = asyncio.Event()
        channel.waiters.add(self._wake)
        try:
            await self._wake.wait()
        finally:
            channel.waiters.discard(self._wake)
            self._wake = None

    def _beat_due(self) -> bool:
        if self._patience is None or self._clock.monotonic() - self._silent_since < self._patience:
            return False
        self._silent_since = self._clock.monotonic()
        return True

    def pulse(self) -> None:
        """Wake the reader if its heartbeat is due; called now and then by the engine's one timer."""
        if self._wake is not None and self._patience is not None:
            if self._clock.monotonic() - self._silent_since >= self._patience:
                self._wake.set()

    def stop(self) -> None:
        """End without waiting for more. The cursor stays good."""
        self._stopped = True
        if self._wake is not None:
            self._wake.set()
