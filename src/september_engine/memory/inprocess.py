"""Memories in the process: all that `Memories` must do, but for surviving. For tests and experiments."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nsmallest

from msgspec.structs import replace

from .._memory.branches import Turn, displaced_by, is_left_row, moved, turns_of
from .._memory.rank import BM25
from .base import Kind, Matches, MemoryRow, Statistics, VectorRow

__all__ = ["InProcessMemories"]


class InProcessMemories:
    """`Memories` that are kept until the object goes. It is always open.

    Args:
        is_left: Whether a turn was left, where it is known; a store of turns says so, and calls `move`.
    """

    def __init__(self, *, is_left: Callable[[Turn], bool | None] = lambda turn: None) -> None:
        self._is_left = is_left
        self._said_in: dict[Turn, dict[str, None]] = defaultdict(dict)
        self._rows: dict[str, MemoryRow] = {}
        self._came: dict[str, int] = {}
        self._holding: dict[str, dict[str, None]] = defaultdict(dict)
        self._places: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._words = 0
        self._names: dict[str, None] = {}
        self._vectors: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._number = 0
        self._marks: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"InProcessMemories({len(self._rows)} memories)"

    async def put(
        self, rows: Sequence[MemoryRow], /, *, model: str = "", vectors: Mapping[str, bytes] | None = None
    ) -> None:
        for row in rows:
            self._put(row)
        for id_, vector in (vectors or {}).items():
            if id_ in self._rows:
                self._number += 1
                self._vectors.pop((model, id_), None)  # so that the order stays that of the numbers
                self._vectors[model, id_] = (self._number, vector)
        marks = {turn: mark for row in rows for turn, mark in turns_of(row).items()}
        self.move({turn: now for turn in marks if (now := self._is_left(turn)) not in (None, marks[turn])}, at=None)
        displaced = {row.id: by for row in rows if (by := displaced_by(row)) is not None}
        gone = {by for by in displaced.values() if by in self._rows and is_left_row(self._rows[by])}
        self._change([self._rows[id_] for id_, by in displaced.items() if by in gone], {}, at=None)

    def move(self, left: Mapping[Turn, bool], /, *, at: int | None) -> None:
        """These turns were left, or came back, at this time (unix ms; None: when each memory was remembered)."""
        ids = dict.fromkeys(id_ for turn in left for id_ in self._said_in.get(turn, ()))
        self._change([self._rows[id_] for id_ in ids], left, at=at)

    def _change(self, rows: Sequence[MemoryRow], left: Mapping[Turn, bool], *, at: int | None) -> None:
        def beside(slot: str) -> list[MemoryRow]:
            return [row for row in self._rows.values() if row.slot == slot]

        def known(ids: Sequence[str]) -> list[MemoryRow]:
            return [self._rows[id_] for id_ in ids if id_ in self._rows]

        for row in moved(rows, left, at=at, beside=beside, known=known):
            if self._rows[row.id].current is not row.current:
                for key in [key for key in self._vectors if key[1] == row.id]:
                    self._number += 1
                    self._vectors[key] = (self._number, self._vectors.pop(key)[1])
            self._put(row)

    async def left(self, turns: Sequence[Turn], /) -> set[Turn]:
        return {turn for turn in turns if self._is_left(turn)}

    async def index(self, rows: Sequence[MemoryRow], /) -> None:
        for row in rows:
            self._put(row, same_text=True)

    def _put(self, row: MemoryRow, *, same_text: bool = False) -> None:
        stored = self._rows.get(row.id)
        if row.position is None:
            row = replace(row, position=self._position(row) if stored is None else stored.position)
        if stored is not None:
            self._take_out(stored)
            if stored.words != row.words and not same_text:
                self._vectors = {key: value for key, value in self._vectors.items() if key[1] != row.id}
        self._rows[row.id] = row
        self._came.setdefault(row.id, len(self._came))
        for turn in turns_of(row):
            self._said_in[turn][row.id] = None
        self._words += len(row.words.split())
        for term in row.words.split():
            self._holding[term][row.id] = None
        if row.task_id is not None and row.position is not None:
            insort(self._places[row.task_id], (row.position, row.id))
        if row.speaker:
            self._names[row.speaker] = None
        before = None if stored is None or stored.speaker == row.speaker else stored.speaker
        if before and all(each.speaker != before for each in self._rows.values()):
            del self._names[before]

    def _position(self, row: MemoryRow) -> int | None:
        if row.task_id is None or row.kind != "episode":
            return None
        places = self._places[row.task_id]
        return places[-1][0] + 1 if places else 0

    def _take_out(self, row: MemoryRow) -> None:
        self._words -= len(row.words.split())
        for term in set(row.words.split()):
            del self._holding[term][row.id]
            if not self._holding[term]:
                del self._holding[term]
        if row.task_id is not None and row.position is not None:
            self._places[row.task_id].remove((row.position, row.id))

    async def erase(self, rows: Sequence[MemoryRow], /) -> None:
        for row in rows:
            self._put(row)
            self._vectors = {key: value for key, value in self._vectors.items() if key[1] != row.id}

    async def tidy(self) -> None:
        """There is nothing to do: nothing of what was erased is kept."""

    async def get(self, ids: Sequence[str], /) -> list[MemoryRow]:
        return [self._rows[id_] for id_ in ids if id_ in self._rows]

    async def match(
        self, terms: Sequence[str], /, *, near: Sequence[str] = (), kinds: Sequence[Kind], past: bool, limit: int
    ) -> Matches:
        holding = {term: len(self._holding.get(term, ())) for term in (*terms, *near)}
        total = len(self._rows)
        about = Statistics(total=total, mean_length=self._words / max(total, 1), holding=holding)
        best = {row.id: row for row in self._best(terms, about, kinds, past)[:limit]}
        more = {row.id: row for row in self._best(near, about, kinds, past)[: limit // 4]}
        return Matches(rows=list((best | more).values()), about=about)

    def _best(self, terms: Sequence[str], about: Statistics, kinds: Sequence[Kind], past: bool) -> list[MemoryRow]:
        ids = {id_ for term in terms for id_ in self._holding.get(term, ())}
        score = BM25(terms, about)
        found = _those(map(self._rows.__getitem__, ids), kinds, past)
        return sorted(found, key=lambda row: (-round(score(row), 9), -self._came[row.id]))

    async def between(
        self, begin: int, end: int, /, *, kinds: Sequence[Kind], past: bool, limit: int
    ) -> list[MemoryRow]:
        found = [row for row in _those(reversed(self._rows.values()), kinds, past) if begin <= row.at < end]
        return sorted(found, key=lambda row: -row.at)[:limit]

    async def at(self, places: Sequence[tuple[str, int]], /) -> list[MemoryRow]:
        found: dict[str, None] = {}
        for task_id, position in places:
            known = self._places.get(task_id, [])
            place = bisect_left(known, (position, ""))
            while place < len(known) and known[place][0] == position:
                found[known[place][1]] = None
                place += 1
        return [self._rows[id_] for id_ in found]

    async def about(self, subjects: Sequence[str], /, *, past: bool, limit: int) -> list[MemoryRow]:
        known = [row for row in reversed(self._rows.values()) if row.speaker in subjects and row.kind != "episode"]
        return [row for row in known if past or row.current][:limit]

    async def filling(self, slot: str, /) -> list[MemoryRow]:
        return [row for row in self._rows.values() if row.slot == slot and row.current]

    async def page(
        self, *, kinds: Sequence[Kind], past: bool, after: str | None = None, limit: int = 500
    ) -> list[MemoryRow]:
        ids = list(self._rows)
        if after is not None and after not in self._rows:
            return []
        rows = [self._rows[id_] for id_ in ids[0 if after is None else ids.index(after) + 1 :]]
        return _those(rows, kinds, past)[:limit]

    async def terms(self, *, after: str, limit: int) -> list[str]:
        return nsmallest(limit, (term for term, ids in self._holding.items() if ids and term > after))

    async def names(self) -> list[str]:
        return list(self._names)

    async def vectors(self, model: str, /, *, after: int, limit: int) -> list[VectorRow]:
        found = [
            VectorRow(number=number, id=id_, kind=row.kind, current=row.current, vector=vector)
            for (name, id_), (number, vector) in self._vectors.items()
            if name == model and number > after and (row := self._rows[id_])
        ]
        return found[:limit]

    async def mark(self, name: str, value: str, /) -> None:
        self._marks[name] = value

    async def marked(self, name: str, /) -> str | None:
        return self._marks.get(name)

    async def without_vector(self, model: str, /, *, limit: int) -> list[MemoryRow]:
        missing = (row for id_, row in self._rows.items() if (model, id_) not in self._vectors)
        return [row for row in missing if not is_left_row(row)][:limit]


def _those(rows: Iterable[MemoryRow], kinds: Sequence[Kind], past: bool) -> list[MemoryRow]:
    return [row for row in rows if row.kind in kinds and (past or row.current)]
