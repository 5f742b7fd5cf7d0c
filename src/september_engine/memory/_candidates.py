"""Candidates: what words, meaning, names and times bring in, and the turns beside it, for the ranking."""

from __future__ import annotations

from collections.abc import Sequence

from .._memory.parts import passage_of
from .._memory.question import Question
from .._memory.rank import SOON, Candidate, Ranked, Ranking
from .._memory.rows import MemoryRow, memory_of, text_of
from ._vectors import Cosines
from .base import Hit, Kind, Matches, Memories

__all__ = ["brought_in", "candidate_of", "hit_of", "neighbours"]

BESIDE = 60
"""How many memories a time that is asked for brings in, and how many facts those who are named."""


async def brought_in(
    memories: Memories,
    question: Question,
    matches: Matches,
    cosines: Cosines | None,
    *,
    kinds: Sequence[Kind],
    past: bool,
) -> dict[str, MemoryRow]:
    """What is worth ranking, by id: what holds the words, what is nearest, what is about those named or of then."""
    rows = {row.id: row for row in matches.rows}
    if cosines is not None:
        found = await memories.get([id_ for id_ in cosines.nearest if id_ not in rows])
        rows |= {row.id: row for row in found if row.kind in kinds and (past or row.current)}
    if question.speakers:
        found = await memories.about(sorted(question.speakers), past=past, limit=BESIDE)
        rows |= {row.id: row for row in found if row.kind in kinds}
    for span in question.spans:
        for begin, end in ((span.begin, span.end), (span.end, span.end + SOON)):
            found = await memories.between(begin, end, kinds=kinds, past=past, limit=BESIDE)
            rows |= {row.id: row for row in found}
    return rows


async def neighbours(
    memories: Memories, rows: dict[str, MemoryRow], ranking: Ranking, cosines: Cosines | None, *, past: bool, most: int
) -> dict[tuple[str, int], MemoryRow]:
    """All rows by place, and the turns beside the most promising ones: the answer may be next to the words.

    What is not current says nothing about its neighbours either, unless the `past` is asked for.
    """
    near = {place: row for row in rows.values() if (place := place_of(row)) is not None}
    first = ranking.promising(rows.values(), _no_cosine if cosines is None else cosines.of, most=most)
    beside = {(place[0], place[1] + step) for row in first if (place := place_of(row)) is not None for step in (-1, 1)}
    found = await memories.at(sorted(beside - near.keys()))
    return near | {place: row for row in found if (past or row.current) and (place := place_of(row)) is not None}


def _no_cosine(id_: str) -> float:
    return 0.0


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


def hit_of(best: Ranked, question: Question, cosines: Cosines | None) -> Hit:
    """What was ranked, as it is given to whoever asked."""
    memory = memory_of(best.row)
    near = () if cosines is None else cosines.of_parts(best.row.id)
    passage = passage_of(text_of(memory), terms=(*question.terms, *question.others), near=near)
    return Hit(memory=memory, passage=passage, score=best.score, signals=best.signals, why=best.why)
