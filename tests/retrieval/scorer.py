"""The scorer: which part of a question's evidence is among the first 5, 10 and 25 that a way of searching gives."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

from september_engine._memory.rank import WEIGHTS, Weights
from september_engine._memory.words import spoken, terms_of
from september_engine.memory._vectors import VectorIndex
from september_engine.memory.base import KINDS, Embedder, Memories, Memory
from september_engine.memory.longterm import LongTermMemory
from september_engine.testing.fakes import FakeClock, FakeIds

from .conversations import Conversation, Question
from .forms import FORMS, TOLD, Form

__all__ = ["CUTS", "Cached", "Hashed", "Table", "score"]

CUTS = (5, 10, 25)
RRF = 60

Search = Callable[[Question], Awaitable[Sequence[str]]]
Table = Mapping[str, Mapping[str, tuple[float, ...]]]
"""By way of searching and by kind of question ("all" for all): recall at each cut, from 0 to 1."""


class Cached:
    """An embedder that embeds each text once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Sequence[float]] = {}

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        return self._embedder.dimensions

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= zip(new, await self._embedder.embed(new), strict=True)
        return [self._known[text] for text in texts]


class Hashed:
    """An embedder that knows no meaning, only which letters stand together: for where no weights are installed."""

    name = "hashed-trigrams"
    dimensions = 256

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        vectors: list[list[float]] = []
        for text in texts:
            vector = [1e-3] * self.dimensions
            for word in spoken(text):
                for place in range(len(word)):
                    vector[zlib.crc32(f" {word} "[place : place + 3].encode()) % self.dimensions] += 1
            vectors.append(vector)
        return vectors


@attrs.define
class _Ways:
    """One conversation, remembered, and the ways of searching it. Each gives ids, best first."""

    memories: Memories
    plain: LongTermMemory
    fused: LongTermMemory
    index: VectorIndex
    embedder: Embedder

    async def bm25(self, question: Question) -> Sequence[str]:
        found = await self.memories.match(terms_of(question.text), kinds=KINDS, past=False, limit=100)
        return [row.id for row in found.rows]

    async def vectors(self, question: Question) -> Sequence[str]:
        query = self.index.encoded(await self.embedder.embed([question.text]))
        return self.index.cosines(query, kinds=KINDS, past=False, limit=100).nearest

    async def by_ranks(self, question: Question) -> Sequence[str]:
        """Textbook reciprocal-rank fusion of the two, for comparison."""
        scores: dict[str, float] = defaultdict(float)
        for way in (self.bm25, self.vectors):
            for place, id_ in enumerate(await way(question)):
                scores[id_] += 1 / (RRF + place)
        return sorted(scores, key=lambda id_: -scores[id_])

    async def without_vectors(self, question: Question) -> Sequence[str]:
        hits = await self.plain.recall(question.text, now=question.asked_at, limit=CUTS[-1])
        return [hit.memory.id for hit in hits]

    async def with_vectors(self, question: Question) -> Sequence[str]:
        hits = await self.fused.recall(question.text, now=question.asked_at, limit=CUTS[-1])
        return [hit.memory.id for hit in hits]


async def score(
    conversations: Sequence[Conversation],
    *,
    make: Callable[[], Memories],
    embedder: Embedder,
    weights: Weights = WEIGHTS,
    form: str = TOLD,
    only: Sequence[str] = ("BM25", "vectors", "rank fusion", "recall, no vectors", "recall"),
) -> Table:
    """Recall of each way of searching, by kind of question, over all questions of these conversations.

    `form` is one of `FORMS`: how the turns are put into memory.
    """
    found: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    for conversation in conversations:
        ways = await _remembered(conversation, make(), embedder, weights, FORMS[form])
        all_ways: Mapping[str, Search] = {
            "BM25": ways.bm25,
            "vectors": ways.vectors,
            "rank fusion": ways.by_ranks,
            "recall, no vectors": ways.without_vectors,
            "recall": ways.with_vectors,
        }
        for question in conversation.questions:
            for name in only:
                ids = await all_ways[name](question)
                recalled = tuple(
                    len(question.evidence.intersection(ids[:cut])) / len(question.evidence) for cut in CUTS
                )
                found[name]["all"].append(recalled)
                found[name][question.kind].append(recalled)
    return {
        name: {
            kind: tuple(sum(column) / len(rows) for column in zip(*rows, strict=True)) for kind, rows in kinds.items()
        }
        for name, kinds in found.items()
    }


async def _remembered(
    conversation: Conversation, memories: Memories, embedder: Embedder, weights: Weights, form: Form
) -> _Ways:
    clock, ids = FakeClock(), FakeIds()
    fused = LongTermMemory(memories, clock=clock, ids=ids, embedder=embedder, weights=weights)
    turns: list[Memory] = []
    for turn in conversation.turns:
        task = turn.id.partition(":")[0] if ":" in turn.id else conversation.name
        turns.append(form(turn, task))
    await fused.remember(*turns)
    index = VectorIndex(embedder.dimensions)
    index.add(await memories.vectors(embedder.name, after=0, limit=1_000_000))
    plain = LongTermMemory(memories, clock=clock, ids=ids, weights=weights)
    return _Ways(memories, plain, fused, index, embedder)
