"""Long-term memory's records and ports: what is remembered, where it is kept, and what gives texts a meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from .._memory.rank import MEANING_ALONE, WEIGHTS, WORDS_ALONE, Statistics, Weights
from .._memory.records import (
    KINDS,
    Episode,
    Forgetting,
    Kind,
    Knowledge,
    Memory,
    Mention,
    Origin,
    Person,
    Relation,
    Source,
    Trait,
    Trust,
)
from .._memory.rows import MemoryRow

__all__ = [
    "KINDS",
    "MEANING_ALONE",
    "WEIGHTS",
    "WORDS_ALONE",
    "Embedder",
    "Episode",
    "Forgetting",
    "Hit",
    "Kind",
    "Knowledge",
    "LongTerm",
    "Matches",
    "Memories",
    "Memory",
    "MemoryRow",
    "Mention",
    "Origin",
    "Person",
    "Relation",
    "Soul",
    "Source",
    "Statistics",
    "Trait",
    "Trust",
    "VectorRow",
    "Weights",
]


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A memory that answers. `signals` are what `score` is made of, each from 0 to 1; `why` says it in a sentence.

    `passage` is its text; of a text above 1,000 characters, the 1,000 around the place that answers.
    """

    memory: Memory
    passage: str
    score: float
    signals: dict[str, float]
    why: str

    @property
    def task_id(self) -> str | None:
        """The task it came from."""
        return self.memory.source.task_id

    @property
    def message_id(self) -> str | None:
        """The message it came from."""
        return self.memory.source.message_id


class Soul(msgspec.Struct, frozen=True, kw_only=True):
    """Who the agent is, as it stands now."""

    identity: str = ""
    values: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, traits: Sequence[Trait]) -> Soul:
        """What the current traits say, oldest first: the latest identity, and all values and patterns."""
        texts = {aspect: [trait.text for trait in traits if trait.aspect == aspect] for aspect in ("value", "pattern")}
        identity = next((trait.text for trait in reversed(traits) if trait.aspect == "identity"), "")
        return cls(identity=identity, values=tuple(texts["value"]), patterns=tuple(texts["pattern"]))


class Embedder(Protocol):
    """Gives texts vectors that are close where the texts mean something close."""

    @property
    def name(self) -> str:
        """What the vectors are kept under: another model, or another version, is another name."""
        ...

    @property
    def dimensions(self) -> int: ...

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        """One vector for each text, of any length but zero. May raise: then a recall goes on without."""
        ...


class Matches(msgspec.Struct, frozen=True, kw_only=True):
    """Memories that hold terms that were asked for, about the best first, and the statistics to score them by."""

    rows: Sequence[MemoryRow]
    about: Statistics


class VectorRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The vector of a memory, as little-endian float32; of a long text the vectors of its parts, one behind the other.

    `number` grows as vectors are added: the cursor of reading them.
    """

    number: int
    id: str
    kind: str
    current: bool
    vector: bytes


class Memories(Protocol):
    """Where memories are kept. Like a `Store` it appends and reads, and decides nothing.

    `kinds` filters; `past` lets memories through that are no longer current. Reading raises `StoreCorrupt` where a row
    fails its checksum; everything raises `EngineClosed` where the store is not open.

    Memories follow the conversations that they came from. Where a task comes to stand at another turn, the memories of
    the turns that this leaves, or brings back, are changed by the store as `_memory.branches.moved` says, in the same
    transaction; and so are rows that are put for a turn that was left before. So nobody, however late, can put into
    memory what an edit has left.
    """

    async def put(
        self, rows: Sequence[MemoryRow], /, *, model: str = "", vectors: Mapping[str, bytes] | None = None
    ) -> None:
        """Write these rows, each in place of the one with its id, and vectors of this model by memory id: all or none.

        A row with a task but no position is given the one after its task's last. When this returns, they are durable.
        Cancelling stops the wait, not the write. Raises `StoreBusy`, `StoreFull`, `StoreCorrupt`.
        """
        ...

    async def erase(self, rows: Sequence[MemoryRow], /) -> None:
        """Write these rows, each in place of the one with its id, of which nothing else is kept: no words, no vector.

        As `put`. What an index still holds of it is found by nobody, and goes with `tidy`.
        """
        ...

    async def tidy(self) -> None:
        """Take what was erased out of indexes and logs. Harmless when repeated; the cost follows all memories."""
        ...

    async def index(self, rows: Sequence[MemoryRow], /) -> None:
        """Write rows whose `words` were made anew of the same text. As `put`, but they keep their vectors."""
        ...

    async def get(self, ids: Sequence[str], /) -> list[MemoryRow]:
        """Those of these memories that there are, in the order of the ids."""
        ...

    async def match(
        self, terms: Sequence[str], /, *, near: Sequence[str] = (), kinds: Sequence[Kind], past: bool, limit: int
    ) -> Matches:
        """At most `limit` memories that hold one of the terms, by BM25; of equals those that were put last come first.

        Behind them at most a quarter as many more that hold one of the words `near`, which may be meant by a term.
        Where the terms are so common that scoring all memories that hold one would take too long, the common ones
        alone bring nothing in: what they add to a score is for the caller to count.
        """
        ...

    async def between(
        self, begin: int, end: int, /, *, kinds: Sequence[Kind], past: bool, limit: int
    ) -> list[MemoryRow]:
        """Memories of a time, `begin <= at < end`, newest first."""
        ...

    async def at(self, places: Sequence[tuple[str, int]], /) -> list[MemoryRow]:
        """The episodes at these places (task id and position), current or not, each once."""
        ...

    async def about(self, subjects: Sequence[str], /, *, past: bool, limit: int) -> list[MemoryRow]:
        """What is known of these subjects, as they are written in `speaker`: all kinds but episodes, newest first."""
        ...

    async def filling(self, slot: str, /) -> list[MemoryRow]:
        """The current memories of a slot, oldest first."""
        ...

    async def page(
        self, *, kinds: Sequence[Kind], past: bool, after: str | None = None, limit: int = 500
    ) -> list[MemoryRow]:
        """Memories in the order they were first put, beginning behind the one with the id `after`."""
        ...

    async def terms(self, *, after: str, limit: int) -> list[str]:
        """The terms that memories hold, each once, behind `after` in the order of their UTF-8 bytes."""
        ...

    async def names(self) -> list[str]:
        """Everybody who speaks in, or is the subject of, a memory."""
        ...

    async def vectors(self, model: str, /, *, after: int, limit: int) -> list[VectorRow]:
        """The vectors of a model with a higher number, lowest first."""
        ...

    async def without_vector(self, model: str, /, *, limit: int) -> list[MemoryRow]:
        """Memories that have no vector of this model, oldest first, without those of turns that were left."""
        ...

    async def left(self, turns: Sequence[tuple[str, str]], /) -> set[tuple[str, str]]:
        """Those of these turns (task id and turn id) that an edit or retry has left."""
        ...

    async def mark(self, name: str, value: str, /) -> None:
        """Keep a value under a name, in place of the one before: how far some work has come. As `put`."""
        ...

    async def marked(self, name: str, /) -> str | None:
        """The value under this name, if there is one."""
        ...


class LongTerm(Protocol):
    """Long-term memory as the engine uses it; `LongTermMemory` is one, and says what each of these does."""

    @property
    def wants_vectors(self) -> bool: ...

    async def remember(self, *memories: Memory, repeat: bool = False) -> list[Memory]: ...

    async def forget(self, memory_id: str, *, because: str, turn: tuple[str, str] | None = None) -> Memory: ...

    async def forget_all(self, ids: Sequence[str], /, *, because: str) -> None: ...

    async def erase_all(self, ids: Sequence[str], /, *, because: str) -> None: ...

    async def tidy(self) -> None: ...

    async def recall(self, query: str, *, limit: int = 10) -> list[Hit]: ...

    async def known(self, ids: Sequence[str], /) -> list[Memory]: ...

    async def page(
        self, *, kinds: Sequence[Kind] = KINDS, past: bool = False, after: str | None = None, limit: int = 100
    ) -> list[Memory]: ...

    async def embed_missing(self, *, limit: int = 10_000) -> int: ...

    async def mark(self, name: str, value: str, /) -> None: ...

    async def marked(self, name: str, /) -> str | None: ...

    async def warm(self) -> None: ...
