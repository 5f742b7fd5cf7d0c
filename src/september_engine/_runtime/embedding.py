"""Embedding: an embedder of others, asked so that nobody waits for it for long.

What turns leave is written one after the other, so an embedder that never answers would hold up all of it, and whoever
deletes a task with it. One that was silent is not asked again for a while: until then memory does without meaning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from .._plain import configuration, plain_number, plain_text, plain_whole
from .._seams import Clock
from ..memory.base import Embedder
from .isolation import is_cancelled, isolated

__all__ = ["AWAY_SECONDS", "EMBEDDING_SECONDS", "PatientEmbedder"]

EMBEDDING_SECONDS = 30.0
"""For one call, of 64 texts at most."""

AWAY_SECONDS = 60.0
"""So long one that was silent is left alone."""

Vectors: TypeAlias = Sequence[Sequence[float]]


class PatientEmbedder:
    """An embedder that is given up after `EMBEDDING_SECONDS`, and not asked at all for `AWAY_SECONDS` after that."""

    def __init__(self, embedder: Embedder, *, clock: Clock) -> None:
        self._embedder = embedder
        self._clock = clock
        self._away_until = 0.0

    def __repr__(self) -> str:
        return repr(self._embedder)

    @property
    def name(self) -> str:
        """As the embedder's. Raises `ConfigurationError` where it is no text."""
        with configuration():
            return plain_text(self._embedder.name, "The embedder's name")

    @property
    def dimensions(self) -> int:
        """As the embedder's. Raises `ConfigurationError` where it is no whole number from 1 up."""
        with configuration():
            return plain_whole(self._embedder.dimensions, "The embedder's dimensions", least=1)

    async def embed(self, texts: Sequence[str], /) -> Vectors:
        """As the embedder does. Raises what it raises, and `TimeoutError`; a cancellation of its own is an error."""
        if self._clock.monotonic() < self._away_until:
            raise TimeoutError("The embedder did not answer a moment ago.")
        outcome = await isolated(self._asked(texts), clock=self._clock, seconds=EMBEDDING_SECONDS)
        if outcome is None:
            self._away_until = self._clock.monotonic() + AWAY_SECONDS
            raise TimeoutError(f"The embedder did not answer within {EMBEDDING_SECONDS:g} seconds.")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _asked(self, texts: Sequence[str]) -> Vectors | Exception:
        """Raises nothing: what goes wrong is returned."""
        try:
            return _vectors(await self._embedder.embed(texts))
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            return error if isinstance(error, Exception) else RuntimeError("The embedder gave up.")


def _vectors(given: Vectors) -> Vectors:
    """Arrays as they are, and lists of numbers; NumPy would go through anything else, however deep it is."""
    if hasattr(given, "shape"):
        return given
    return [one if hasattr(one, "shape") else [plain_number(each, "a vector") for each in one] for one in given]
