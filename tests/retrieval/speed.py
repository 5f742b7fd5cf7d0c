"""How long a recall takes among many memories. Numbers to read; no test is decided by them.

Beside a busy neighbour the time that the process was at work says more than the time that passed.
"""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from september_engine.memory.base import Episode, Source
from september_engine.memory.longterm import LongTermMemory
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.fakes import FakeClock, FakeIds

__all__ = ["speed"]

QUERIES = 40
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


class _Random:
    """Vectors without a meaning, which cost as much to compare as any; making them costs nothing."""

    name = "random"
    dimensions = 384

    def __init__(self) -> None:
        import numpy

        self._chance = numpy.random.default_rng(1)

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        vectors: list[list[float]] = self._chance.standard_normal((len(texts), self.dimensions)).tolist()
        return vectors


async def speed(count: int) -> None:
    """Remember so many turns in a file, and print the median and the worst time of a recall."""
    chance = random.Random(1)
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(2, 4))) for _ in range(30_000)]
    often = list(itertools.accumulate(1 / (place + 10) for place in range(len(words))))  # as in a language
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStore(Path(folder) / "brain.sqlite")
        await store.open()
        try:
            clock, ids = FakeClock(), FakeIds()
            with_vectors = LongTermMemory(store.memories, clock=clock, ids=ids, embedder=_Random())
            began = time.perf_counter()
            for start in range(0, count, 2_000):
                turns = [
                    Episode(
                        text=" ".join(chance.choices(words, cum_weights=often, k=chance.randint(6, 30))),
                        at=1_600_000_000_000 + (start + number) * 600_000,
                        speaker=f"Speaker{(start + number) % 50}",
                        source=Source(origin="person", task_id=f"task-{(start + number) // 400}"),
                    )
                    for number in range(min(2_000, count - start))
                ]
                await with_vectors.remember(*turns)
            print(f"remembered {count:,} in {time.perf_counter() - began:.0f} s")
            common = [" ".join(chance.choices(words, cum_weights=often, k=8)) for _ in range(QUERIES)]
            frequent = [" ".join(chance.choices(words[:40], k=6)) for _ in range(QUERIES)]
            rare = [" ".join(chance.choices(words[2_000:], k=5)) for _ in range(QUERIES)]
            for name, embedder in (("no vectors", None), ("vectors", _Random())):
                memory = LongTermMemory(store.memories, clock=clock, ids=ids, embedder=embedder)
                await _time(memory, f"{name}, first recall (loads)", ["hello there"])
                await _time(memory, f"{name}, a sentence", common)
                await _time(memory, f"{name}, only the commonest words", frequent)
                await _time(memory, f"{name}, rare words", rare)
                dated = [f"What did Speaker7 say about {query} last week?" for query in common]
                await _time(memory, f"{name}, a name and a time", dated)
        finally:
            await store.aclose()


async def _time(memory: LongTermMemory, name: str, queries: Sequence[str]) -> None:
    waited, worked = [], []
    for query in queries:
        began, busy = time.perf_counter(), time.process_time()
        await memory.recall(query, limit=10, now=1_650_000_000_000)
        waited.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - busy) * 1000)
    figures = f"median {statistics.median(waited):6.1f} ms, worst {max(waited):6.1f} ms"
    print(f"{name:40} {figures}, of which at work {statistics.median(worked):6.1f} ms", flush=True)
