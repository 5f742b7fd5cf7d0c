"""Memories in the file: what each operation of their port reads and writes. Plain functions in the connection's thread.

FTS5 finds and counts words. It takes about two microseconds to score a memory, so a question whose words are common
could cost seconds; `match` therefore looks up how common each one is. The rarest bring memories in by their score; of
the common ones, only the newest memories that hold all of them do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from .._memory.branches import Turn, is_left_row, turns_of
from ..errors import StoreCorrupt
from ..memory.base import KINDS, Matches, MemoryRow, Statistics, VectorRow
from ._compact import owe_words
from ._rows import Row, crc_of

__all__ = [
    "TermCounts",
    "about",
    "at",
    "between",
    "erase_memories",
    "filling",
    "get",
    "holds_memories",
    "in_slot",
    "index_memories",
    "left_behind",
    "mark",
    "match",
    "names",
    "of_tasks",
    "of_turns",
    "page",
    "put_mark",
    "put_memories",
    "put_row",
    "readable",
    "terms",
    "vectors",
    "without_vector",
]

T = TypeVar("T")

COLUMNS = "m.memory, m.id, m.kind, m.at, m.task_id, m.position, m.speaker, m.slot, m.current, m.words, m.body, m.crc"
SELECT = f"SELECT {COLUMNS} FROM memories m"

NEWEST = "memory_words.rowid DESC"
BEST = f"round(bm25(memory_words, 1.0, 0.0), 9), {NEWEST}"

MOST_SCORED = 1_000
"""How many memories FTS5 may score for one question: some milliseconds."""

MOST_NEAR = 250
"""How many more for the words near to what it asks for."""

MANY = 500
"""FTS5 counts by reading: the count of a term that more memories than this hold is worth keeping."""

AT_ONCE = 400
"""How many values one statement may bind: below every build's limit."""


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def put_memories(db: sqlite3.Connection, rows: Sequence[MemoryRow], model: str, vectors: Mapping[str, bytes]) -> None:
    """Write rows and vectors."""
    keys: dict[str, int] = {}
    names: set[str | None] = set()
    for row in rows:
        keys[row.id], name = put_row(db, row)
        names.add(name)
    _forget_names(db, names)
    for id_, vector in vectors.items():
        key = keys.get(id_) or _key_of(db, id_)
        if key is not None:
            values = (model, key, vector)
            db.execute("DELETE FROM memory_vectors WHERE model = ? AND memory = ?", values[:2])
            insert = "INSERT INTO memory_vectors (model, memory, vector, crc) VALUES (?, ?, ?, ?)"
            db.execute(insert, (*values, crc_of(values[:2], vector)))


def erase_memories(db: sqlite3.Connection, rows: Sequence[MemoryRow]) -> None:
    """Write rows in place of those with their ids. Their terms stay in the index until it is merged.

    All are taken out of the index first: to FTS5, a row that is put in after it was taken out begins a new segment.
    """
    stored = [(_key_of(db, row.id), row) for row in rows]
    for key, _ in sorted((key, row.id) for key, row in stored if key is not None):
        [(words, kind)] = db.execute("SELECT words, kind FROM memories WHERE memory = ?", (key,))
        _out_of_index(db, key, words, kind)
        db.execute("DELETE FROM memory_vectors WHERE memory = ?", (key,))
        totals = "UPDATE memory_totals SET memories = memories - 1, words = words - ?"
        db.execute(totals, (len(words.split()),))
    _forget_names(db, {put_row(db, row, indexed=False)[1] for _, row in sorted(stored, key=lambda each: each[0] or 0)})
    if rows:
        owe_words(db)


def index_memories(db: sqlite3.Connection, rows: Sequence[MemoryRow]) -> None:
    """Write rows whose words were made anew of the same text."""
    for row in rows:
        put_row(db, row, same_text=True)


def put_row(
    db: sqlite3.Connection,
    row: MemoryRow,
    *,
    renumber: bool = False,
    indexed: bool = True,
    same_text: bool = False,
) -> tuple[int, str | None]:
    """Write one row and what follows from it; the turns that a memory once came from stay known.

    Returns its key, and the name that it no longer has. With `renumber`, whoever has read the vectors of one that is
    current again, or no longer, reads them again. Without `indexed`, the one before is out of the index already. With
    `same_text`, the words were made anew of the same text, and its vectors stay.
    """
    stored = db.execute(f"{SELECT} WHERE m.id = ?", (row.id,)).fetchone()
    position = row.position
    if stored is not None:
        key, words = int(stored[0]), stored[9] if indexed else None
        position = stored[5] if position is None else position
    else:
        key, words = _new_key(db), None
        if position is None and row.task_id is not None and row.kind == "episode":
            position = _next_position(db, row.task_id)
    if words != row.words:
        _index(db, key, row, words)
        if stored is not None and not same_text:  # its vectors were made of another
            db.execute("DELETE FROM memory_vectors WHERE memory = ?", (key,))
    values = (key, row.id, row.kind, row.at, row.task_id, position, row.speaker, row.slot, int(row.current), row.words)
    checked = (*values, row.body, crc_of(values, row.body))
    columns = COLUMNS.replace("m.", "")
    db.execute(
        f"INSERT OR REPLACE INTO memories ({columns}, left_behind) VALUES ({_marks(checked)}, ?)",
        (*checked, int(is_left_row(row))),
    )
    turns = [(task_id, turn_id, key) for task_id, turn_id in turns_of(row)]
    db.executemany("INSERT OR IGNORE INTO memory_turns VALUES (?, ?, ?)", turns)
    if renumber and stored is not None and bool(stored[8]) is not row.current:
        _renumber(db, key)
    if row.speaker:
        db.execute("INSERT OR IGNORE INTO memory_names VALUES (?)", (row.speaker,))
    return key, None if stored is None or stored[6] == row.speaker else stored[6]


def _forget_names(db: sqlite3.Connection, names: Iterable[str | None]) -> None:
    """Of these, those that no memory has any more. All memories may be read for one."""
    unused = "DELETE FROM memory_names WHERE name = :name AND NOT EXISTS (SELECT 1 FROM memories WHERE speaker = :name)"
    db.executemany(unused, [{"name": name} for name in names if name])


def _renumber(db: sqlite3.Connection, key: int) -> None:
    columns = "SELECT number, model, memory, vector, crc FROM memory_vectors WHERE memory = ?"
    for number, *values in db.execute(columns, (key,)).fetchall():
        db.execute("DELETE FROM memory_vectors WHERE number = ?", (number,))
        db.execute("INSERT INTO memory_vectors (model, memory, vector, crc) VALUES (?, ?, ?, ?)", values)


def _index(db: sqlite3.Connection, key: int, row: MemoryRow, before: str | None) -> None:
    """Keep the index of words and its totals in step."""
    if before is not None:
        _out_of_index(db, key, before, row.kind)
    db.execute("INSERT INTO memory_words (rowid, words, kind) VALUES (?, ?, ?)", (key, row.words, row.kind))
    more = len(row.words.split()) - len((before or "").split())
    totals = "UPDATE memory_totals SET memories = memories + ?, words = words + ?"
    db.execute(totals, (before is None, more))


def _out_of_index(db: sqlite3.Connection, key: int, words: str, kind: str) -> None:
    """FTS5 must be told what it had indexed."""
    away = "INSERT INTO memory_words (memory_words, rowid, words, kind) VALUES ('delete', ?, ?, ?)"
    db.execute(away, (key, words, kind))


def _new_key(db: sqlite3.Connection) -> int:
    [(key,)] = db.execute("SELECT coalesce(max(memory), 0) + 1 FROM memories")
    return int(key)


def _next_position(db: sqlite3.Connection, task_id: str) -> int:
    last = "SELECT max(position) FROM memories WHERE task_id = ? AND position IS NOT NULL"
    [(position,)] = db.execute(last, (task_id,))
    return 0 if position is None else int(position) + 1


def _key_of(db: sqlite3.Connection, id_: str) -> int | None:
    found = db.execute("SELECT memory FROM memories WHERE id = ?", (id_,)).fetchone()
    return None if found is None else int(found[0])


def holds_memories(db: sqlite3.Connection, rows: Sequence[MemoryRow]) -> bool:
    """Whether these are in the database, and so the vectors that came with them: asked after a commit in doubt.

    Vectors alone count as lost; writing them again is harmless.
    """
    stored = {row.id: row.body for row in get(db, [row.id for row in rows])}
    return bool(rows) and all(stored.get(row.id) == row.body for row in rows)


def put_mark(db: sqlite3.Connection, name: str, value: str) -> None:
    """Keep a value under a name."""
    db.execute("INSERT OR REPLACE INTO memory_marks VALUES (?, ?)", (name, value))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def get(db: sqlite3.Connection, ids: Sequence[str]) -> list[MemoryRow]:
    """The memories with these ids, in their order."""
    found: dict[str, MemoryRow] = {}
    for some in _chunks(ids):
        found |= {row.id: row for row in _all(db, f"{SELECT} WHERE m.id IN ({_marks(some)})", some)}
    return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]


def _chunks(values: Sequence[T]) -> Iterator[tuple[T, ...]]:
    return (tuple(values[start : start + AT_ONCE]) for start in range(0, len(values), AT_ONCE))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def readable(db: sqlite3.Connection, ids: Sequence[str]) -> list[MemoryRow]:
    """As `get`, without those that are damaged: the others must not wait for them."""
    return _readable(db, [(f"WHERE m.id IN ({_marks(some)})", some) for some in _chunks(ids)])


def in_slot(db: sqlite3.Connection, slot: str) -> list[MemoryRow]:
    """All memories of a slot, current or not, in the order they came, without those that are damaged."""
    return _readable(db, [("WHERE m.slot = ? ORDER BY m.memory", (slot,))])


def of_turns(db: sqlite3.Connection, turns: Sequence[Turn]) -> list[MemoryRow]:
    """The memories that these turns mentioned or forgot, without those that are damaged."""
    there = "WHERE m.memory IN (SELECT memory FROM memory_turns WHERE task_id = ? AND turn_id = ?)"
    return list({row.id: row for row in _readable(db, [(there, turn) for turn in turns])}.values())


def of_tasks(db: sqlite3.Connection) -> Iterator[MemoryRow]:
    """The memories that have a task, in the order they came, without those that are damaged."""
    last = -1
    while keys := db.execute(
        "SELECT memory FROM memories WHERE task_id > '' AND memory > ? ORDER BY memory LIMIT ?", (last, AT_ONCE)
    ).fetchall():
        last = keys[-1][0]
        some = tuple(key for (key,) in keys)
        yield from _readable(db, [(f"WHERE m.memory IN ({_marks(some)}) ORDER BY m.memory", some)])


def left_behind(db: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    """Those of these memories that only turns mention which were left."""
    found: set[str] = set()
    for some in _chunks(ids):
        query = f"SELECT id FROM memories WHERE left_behind = 1 AND id IN ({_marks(some)})"
        found |= {id_ for (id_,) in db.execute(query, some).fetchall()}
    return found


def _readable(db: sqlite3.Connection, queries: Sequence[tuple[str, Row]]) -> list[MemoryRow]:
    rows: list[MemoryRow] = []
    for where, values in queries:
        for row in db.execute(f"{SELECT} {where}", values).fetchall():
            with suppress(StoreCorrupt):
                rows.append(_memory_row(row))
    return rows


class TermCounts:
    """How many memories hold each common term, as it was when there were hardly fewer memories than now."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, db: sqlite3.Connection, term: str, total: int) -> int:
        """The count: exact for a rare term, and for a common one within one in a hundred."""
        count, then = self._known.get(term, (0, 0))
        if count and then <= total <= then * 1.01:
            return count
        found = db.execute("SELECT doc FROM memory_terms WHERE term = ? AND col = 'words'", (term,)).fetchone()
        count = 0 if found is None else int(found[0])
        if count > MANY:
            self._known[term] = (count, total)
        return count


def match(
    db: sqlite3.Connection,
    terms: Sequence[str],
    kinds: Sequence[str],
    past: bool,
    limit: int,
    counted: TermCounts,
    near: Sequence[str] = (),
) -> Matches:
    """The memories that hold these terms best, and behind them those that hold words near to them."""
    [(total, words)] = db.execute("SELECT memories, words FROM memory_totals")
    counts = {term: counted.of(db, term, total) for term in (*terms, *near)}
    statistics = Statistics(total=total, mean_length=words / max(total, 1), holding=counts)
    if not kinds:
        return Matches(rows=[], about=statistics)
    known = _by_rarity(terms, counts)
    rare = _rare(known, counts, MOST_SCORED)
    common = known[len(rare) :]
    rows: dict[str, MemoryRow] = {}
    for order, terms_, together in ((BEST, rare, " OR "), (NEWEST, common, " AND "), (NEWEST, common[:1], "")):
        if terms_ and len(rows) < limit:
            rows |= {row.id: row for row in _matching(db, _wanted(terms_, together, kinds), order, past, limit)}
    rows = dict(list(rows.items())[:limit])
    if also := _by_rarity(near, counts):
        some = _rare(also, counts, MOST_NEAR)
        order, wanted = (BEST, some) if some else (NEWEST, also[:1])
        rows |= {row.id: row for row in _matching(db, _wanted(wanted, " OR ", kinds), order, past, limit // 4)}
    return Matches(rows=list(rows.values()), about=statistics)


def _by_rarity(terms: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    """Those of the terms that some memory holds, the rarest first."""
    return sorted({term for term in terms if counts[term]}, key=lambda term: (counts[term], term))


def _wanted(terms: Sequence[str], together: str, kinds: Sequence[str]) -> str:
    """An FTS5 query for memories of these kinds."""
    wanted = f"words : ({together.join(_quoted(term) for term in terms)})"
    return wanted if set(kinds) == set(KINDS) else f"{wanted} AND kind : ({' OR '.join(map(_quoted, kinds))})"


def _matching(db: sqlite3.Connection, wanted: str, order: str, past: bool, limit: int) -> list[MemoryRow]:
    """The first memories for an FTS5 query that may be shown.

    Looking at every match to see whether it is current costs more than scoring it. So the first are taken as they come,
    and only where hardly any of them are current are all looked at.
    """
    current = "" if past else "AND m.current = 1"
    some = "SELECT memory_words.rowid FROM memory_words"
    taken = db.execute(f"{some} WHERE memory_words MATCH ? ORDER BY {order} LIMIT ?", (wanted, limit)).fetchall()
    rows = _keyed(db, [key for (key,) in taken], current)
    if len(taken) < limit or len(rows) * 2 >= limit:
        return rows
    joined = f"{some} JOIN memories m ON m.memory = memory_words.rowid WHERE memory_words MATCH ? {current}"
    taken = db.execute(f"{joined} ORDER BY {order} LIMIT ?", (wanted, limit)).fetchall()
    return _keyed(db, [key for (key,) in taken], "")


def _keyed(db: sqlite3.Connection, keys: Sequence[int], current: str) -> list[MemoryRow]:
    """The memories with these keys that pass, in the order of the keys."""
    found: dict[int, MemoryRow] = {}
    for some in _chunks(keys):
        query = f"{SELECT} WHERE m.memory IN ({_marks(some)}) {current}"
        found |= {row[0]: _memory_row(row) for row in db.execute(query, some).fetchall()}
    return [found[key] for key in keys if key in found]


def _rare(known: Sequence[str], counts: Mapping[str, int], most: int) -> Sequence[str]:
    """The terms, of those in order of how rare they are, whose memories may all be scored."""
    scored = 0
    for place, term in enumerate(known):
        scored += counts[term]
        if scored > most:
            return known[:place]
    return known


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


def between(
    db: sqlite3.Connection, begin: int, end: int, kinds: Sequence[str], past: bool, limit: int
) -> list[MemoryRow]:
    """Memories of a time, newest first."""
    filters, values = _filters(kinds, past)
    where = f"WHERE m.at >= ? AND m.at < ? {filters} ORDER BY m.at DESC, m.memory DESC LIMIT ?"
    return _all(db, f"{SELECT} {where}", (_in_range(begin), _in_range(end), *values, limit))


def at(db: sqlite3.Connection, places: Sequence[tuple[str, int]]) -> list[MemoryRow]:
    """The episodes at these places."""
    found: dict[str, MemoryRow] = {}
    for some in _chunks(list(dict.fromkeys(places))):
        wanted = f"WITH places (task_id, position) AS (VALUES {', '.join(['(?, ?)'] * len(some))}) {SELECT}"
        there = "JOIN places p ON m.task_id = p.task_id AND m.position = p.position"
        found |= {row.id: row for row in _all(db, f"{wanted} {there}", tuple(part for place in some for part in place))}
    return list(found.values())


def about(db: sqlite3.Connection, subjects: Sequence[str], past: bool, limit: int) -> list[MemoryRow]:
    """What is known of these, newest first."""
    where = f"m.speaker IN ({_marks(subjects)}) AND m.kind <> 'episode' {'' if past else 'AND m.current = 1'}"
    return _all(db, f"{SELECT} WHERE {where} ORDER BY m.memory DESC LIMIT ?", (*subjects, limit))


def filling(db: sqlite3.Connection, slot: str) -> list[MemoryRow]:
    """The current memories of a slot."""
    return _all(db, f"{SELECT} WHERE m.slot = ? AND m.current = 1 ORDER BY m.memory", (slot,))


def page(db: sqlite3.Connection, kinds: Sequence[str], past: bool, after: str | None, limit: int) -> list[MemoryRow]:
    """Memories in the order they came."""
    key = 0 if after is None else _key_of(db, after)
    if key is None:
        return []
    filters, values = _filters(kinds, past)
    return _all(db, f"{SELECT} WHERE m.memory > ? {filters} ORDER BY m.memory LIMIT ?", (key, *values, limit))


def mark(db: sqlite3.Connection, name: str) -> str | None:
    """The value under a name."""
    found = db.execute("SELECT value FROM memory_marks WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])


def terms(db: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Terms that memories hold, in order."""
    query = "SELECT term FROM memory_terms WHERE term > ? AND col = 'words' ORDER BY term LIMIT ?"
    return [term for (term,) in db.execute(query, (after, limit)).fetchall()]


def names(db: sqlite3.Connection) -> list[str]:
    """All names."""
    return [name for (name,) in db.execute("SELECT name FROM memory_names").fetchall()]


def vectors(db: sqlite3.Connection, model: str, after: int, limit: int) -> list[VectorRow]:
    """Vectors behind a number."""
    query = (
        "SELECT v.number, v.model, v.memory, v.vector, v.crc, m.id, m.kind, m.current FROM memory_vectors v "
        "JOIN memories m ON m.memory = v.memory WHERE v.model = ? AND v.number > ? ORDER BY v.number LIMIT ?"
    )
    found: list[VectorRow] = []
    for number, model_, memory, vector, crc, id_, kind, current in db.execute(query, (model, after, limit)).fetchall():
        if crc_of((model_, memory), vector) != crc:
            raise _corrupt("the vector of a memory")
        found.append(VectorRow(number=number, id=id_, kind=kind, current=bool(current), vector=vector))
    return found


def without_vector(db: sqlite3.Connection, model: str, limit: int) -> list[MemoryRow]:
    """Memories that have no vector yet."""
    vector = "SELECT 1 FROM memory_vectors v WHERE v.model = ? AND v.memory = m.memory"
    missing = f"WHERE m.left_behind = 0 AND NOT EXISTS ({vector})"
    return _all(db, f"{SELECT} {missing} ORDER BY m.memory LIMIT ?", (model, limit))


def _filters(kinds: Sequence[str], past: bool) -> tuple[str, tuple[str, ...]]:
    among = f"AND m.kind IN ({', '.join('?' * len(kinds))})"
    return (among if past else f"{among} AND m.current = 1"), tuple(kinds)


def _in_range(number: int) -> int:
    return min(max(number, -(2**63)), 2**63 - 1)


def _all(db: sqlite3.Connection, query: str, values: Row) -> list[MemoryRow]:
    return [_memory_row(row) for row in db.execute(query, values).fetchall()]


def _memory_row(row: Row) -> MemoryRow:
    _, id_, kind, at, task_id, position, speaker, slot, current, words, body, crc = row
    if not isinstance(body, bytes) or crc_of(row[:10], body) != crc:
        raise _corrupt("a memory")
    return MemoryRow(
        id=id_,
        kind=kind,
        at=at,
        body=body,
        words=words,
        speaker=speaker,
        task_id=task_id,
        position=position,
        slot=slot,
        current=bool(current),
    )


def _corrupt(what: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"The checksum of {what} does not match: the file was damaged. It is not shown. Restore the database from a "
        "backup."
    )
