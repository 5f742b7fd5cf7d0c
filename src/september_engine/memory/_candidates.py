"""Candidates: a stored memory together with the turns beside it, for the ranking."""

from __future__ import annotations

from .._memory.rank import Candidate
from .._memory.rows import MemoryRow, memory_of, text_of
from ._vectors import Cosines

__all__ = ["candidate_of", "place_of"]


def place_of(row: MemoryRow) -> tuple[str, int] | None:
    """The place of an episode in its task."""
    return (row.task_id, row.position) if row.task_id is not None and row.position is not None else None


def candidate_of(row: MemoryRow, near: dict[tuple[str, int], MemoryRow], cosines: Cosines | None) -> Candidate:
    """A row with the turns around it, as they are to be ranked."""
    place = place_of(row)
    before = near.get((place[0], place[1] - 1)) if place else None
    after = near.get((place[0], place[1] + 1)) if place else None
    return Candidate(
        row=row,
        text=text_of(memory_of(row)),
        before=before,
        after=after,
        cosine=0.0 if cosines is None else cosines.of(row.id),
        cosine_before=0.0 if cosines is None or before is None else cosines.of(before.id),
        cosine_after=0.0 if cosines is None or after is None else cosines.of(after.id),
    )
