"""standing: where a turn leaves its thread, for whoever starts the next one without reading it. Pure."""

from __future__ import annotations

import msgspec

from .state import TurnState

__all__ = ["Standing", "standing"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a turn leaves its thread: what the task's index row must say after these facts.

    `tokens` and `usd` (None: unknown) are what all turns of the task have spent: whichever branch they are on, whether
    they count or not, what was spent stays spent.
    """

    head: str | None
    open_turn: str | None
    prefix: str | None
    waiting_since: int | None
    tokens: int = 0
    usd: float | None = 0.0


def standing(state: TurnState) -> Standing:
    """The index of a thread whose latest turn is in this state.

    While a turn is open the thread stands where it stood before, and so it does again when the turn does not count.
    A prefix is only claimed where `head` really has it: None makes the next turn write its own.
    """
    ended = state.status in ("completed", "errored")
    counted = ended and (state.counts or state.status == "completed")
    return Standing(
        head=state.turn_id if counted else state.previous,
        open_turn=None if ended else state.turn_id,
        prefix=(state.prefix or None) if counted else None,
        waiting_since=state.waiting_since,
        tokens=state.task_tokens_now,
        usd=state.task_usd_now,
    )
