"""Writes turns to a store the way the engine does, for tests that need a log and no engine."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ..store.base import Batch, Blob, EventRow, FactRow, Store, TaskRow, TurnRow

__all__ = ["Writer"]


class Writer:
    """Writes turns to one task the way the engine does: it numbers the rows and keeps the index."""

    def __init__(self, store: Store, task_id: str = "task", *, at: int = 1_000) -> None:
        self.store = store
        self.row = TaskRow(task_id=task_id, epoch=0, last_ts=at, last_seq=0, created_at=at, updated_at=at)
        self.turn_id = ""

    async def begin(
        self,
        turn_id: str,
        *,
        parent: str | None = None,
        texts: Sequence[str] = ("hello",),
        quotes: Sequence[str] = (),
    ) -> Batch:
        """Start a turn with one fact and one event per text, claiming the task."""
        self.turn_id = turn_id
        self.row = replace(self.row, epoch=self.row.epoch + 1, open_turn=turn_id, spent_usd=None)
        turn = TurnRow(turn_id=turn_id, parent=parent, message_id=f"m-{turn_id}", started_at=self.row.last_ts + 1)
        return await self._append(texts, message_id=turn.message_id, turn=turn, claim=True, quotes=quotes)

    async def more(self, *texts: str, blobs: Sequence[Blob] = ()) -> Batch:
        """Go on with one fact and one event per text, which refer to these blobs."""
        return await self._append(texts, blobs=blobs)

    async def deltas(self, *texts: str) -> Batch:
        """Events without facts, and without the index."""
        events = self._events(texts)
        batch = Batch(task_id=self.row.task_id, epoch=self.row.epoch, events=events, barrier=False)
        await self.store.append(batch)
        return batch

    async def end(self, *, ended_at: int, head: bool = True) -> Batch:
        """End the turn with one fact and one event."""
        turn = TurnRow(turn_id=self.turn_id, parent=None, message_id="", started_at=0, ended_at=ended_at)
        head_now = self.turn_id if head else self.row.head
        spent = self.row.spent_tokens + 7
        self.row = replace(self.row, open_turn=None, head=head_now, spent_tokens=spent, spent_usd=0.1)
        return await self._append(["end"], turn=turn)

    async def _append(
        self,
        texts: Sequence[str],
        *,
        message_id: str | None = None,
        turn: TurnRow | None = None,
        claim: bool = False,
        blobs: Sequence[Blob] = (),
        quotes: Sequence[str] = (),
    ) -> Batch:
        facts: list[FactRow] = []
        for text in texts:
            seq, body = self.row.last_seq + 1, f"fact {text}".encode()
            facts.append(
                FactRow(seq=seq, ts=self.row.last_ts + 1, turn_id=self.turn_id, body=body, message_id=message_id)
            )
            self.row, message_id = replace(self.row, last_seq=seq), None
        events = self._events(texts)
        batch = Batch(
            task_id=self.row.task_id,
            epoch=self.row.epoch,
            facts=facts,
            events=events,
            task=self.row,
            turn=turn,
            blobs=blobs,
            quotes=quotes,
            claim=claim,
        )
        await self.store.append(batch)
        return batch

    def _events(self, texts: Sequence[str]) -> list[EventRow]:
        events: list[EventRow] = []
        for text in texts:
            self.row = replace(self.row, last_ts=self.row.last_ts + 1)
            body = f'{{"text":"{text}"}}'.encode()
            events.append(EventRow(ts=self.row.last_ts, turn_id=self.turn_id, type="text_delta", body=body))
        return events
