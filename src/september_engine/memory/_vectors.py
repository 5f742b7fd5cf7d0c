"""Vectors in the process: one matrix with a row for each memory, or each part of a long one.

A few are all compared. Of many, those whose signs differ least from the query's are: the signs are a 32nd of the size,
and to read everything is what takes the time.

The result must not depend on the processor, and float32 sums do: their order follows the width of its vector units. So
components are rounded to a grid on which sums of products in float64 are exact, in whatever order they are made. The
float32 product only makes a shortlist. Equals come newest first, by the number that the store gave them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from .._extras import extra
from ..errors import ConfigurationError
from .base import KINDS, Kind, VectorRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Cosines", "VectorIndex"]

ALL_COMPARED = 16_384
"""Up to this many rows are compared whole."""

MOST_ALIKE = 4_096
"""Of more, only this many are, chosen by their signs: hardly any of the nearest hundred is missed."""

GRID = 2.0**20
"""Components are multiples of 1/GRID: exact in float32, and so are sums of products in float64 (40 bits and some)."""

SAME = 2.0**17
"""Cosines are rounded to multiples of 1/SAME: a text embedded twice, in batches of other sizes, is equally near."""


class VectorIndex:
    """The vectors of one model. Every method may be called in any thread.

    Raises `MissingExtra` where NumPy is not installed.
    """

    def __init__(self, dimensions: int) -> None:
        with extra("embeddings", "An index of vectors"):
            import numpy
        self._np = numpy
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._kinds: NDArray[np.int8] = numpy.zeros(0, numpy.int8)
        self._numbers: NDArray[np.int64] = numpy.zeros(0, numpy.int64)
        self._current: NDArray[np.bool_] = numpy.zeros(0, bool)
        self._parts = 0
        self._matrix: NDArray[np.float32] = numpy.zeros((0, dimensions), numpy.float32)
        self._signs: NDArray[np.uint64] = numpy.zeros((-(-dimensions // 64), 0), numpy.uint64)
        self._owner: NDArray[np.int32] = numpy.zeros(0, numpy.int32)
        self._spans: list[tuple[int, int]] = []
        self.last = 0

    def __len__(self) -> int:
        return len(self._ids)

    def encoded(self, vectors: Sequence[Sequence[float]]) -> list[bytes]:
        """Vectors as they are stored: of length 1. Raises `ConfigurationError` for those of another shape."""
        np = self._np
        array = np.asarray(vectors, np.float32)
        if array.shape != (len(vectors), self._dimensions):
            raise ConfigurationError(
                f"The embedder said {self._dimensions} dimensions and gave vectors of shape {array.shape}."
            )
        lengths = np.linalg.norm(array.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ConfigurationError("The embedder gave a vector without a direction (zero, or not a number).")
        return [row.astype("<f4").tobytes() for row in array / lengths]

    def add(self, rows: Iterable[VectorRow]) -> None:
        """Take in what a store has, in its order; a memory's later vector takes the place of its earlier one."""
        np = self._np
        with self._lock:
            for row in rows:
                place = self._rows.setdefault(row.id, len(self._ids))
                parts = self._on_grid(np.frombuffer(row.vector, "<f4").reshape(-1, self._dimensions))
                span = (self._parts, self._parts + len(parts))
                if place == len(self._ids):
                    self._ids.append(row.id)
                    self._spans.append(span)
                else:  # no other memory's rows need to move
                    self._matrix[self._rows_of(place)] = parts[0]
                    self._spans[place] = span
                self._parts += len(parts)
                self._make_room()
                self._matrix[slice(*span)] = parts
                self._signs[:, slice(*span)] = self._signs_of(parts).T
                self._owner[slice(*span)] = place
                self._kinds[place] = KINDS.index(row.kind)
                self._current[place] = row.current
                self._numbers[place] = self.last = row.number

    def _on_grid(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        rounded: NDArray[np.float32] = self._np.rint(vectors * self._np.float32(GRID)) / self._np.float32(GRID)
        return rounded

    def _rows_of(self, place: int) -> NDArray[np.intp]:
        return self._np.flatnonzero(self._owner[: self._parts] == place)

    def _signs_of(self, vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
        """A bit for each number of each vector: whether it is positive."""
        bits = self._np.packbits(vectors > 0, axis=1)
        padded = self._np.zeros((len(bits), 8 * len(self._signs)), self._np.uint8)
        padded[:, : bits.shape[1]] = bits
        words: NDArray[np.uint64] = padded.view(self._np.uint64)
        return words

    def _make_room(self) -> None:
        """Twice as much each time, so that adding one costs the same however many there are."""
        np = self._np
        if len(self._ids) > len(self._kinds):
            more = max(1024, len(self._kinds))
            self._kinds = np.concatenate([self._kinds, np.zeros(more, np.int8)])
            self._current = np.concatenate([self._current, np.zeros(more, bool)])
            self._numbers = np.concatenate([self._numbers, np.zeros(more, np.int64)])
        if self._parts > len(self._owner):
            there = len(self._owner)
            size = max(1024, 2 * there, self._parts)
            matrix = np.zeros((size, self._dimensions), np.float32)
            matrix[:there] = self._matrix
            self._matrix = matrix
            self._signs = np.concatenate([self._signs, np.zeros((len(self._signs), size - there), np.uint64)], axis=1)
            self._owner = np.concatenate([self._owner, np.zeros(size - there, np.int32)])

    def retire(self, ids: Iterable[str]) -> None:
        """These are no longer current."""
        with self._lock:
            for id_ in ids:
                if (place := self._rows.get(id_)) is not None:
                    self._current[place] = False

    def take_out(self, ids: Iterable[str]) -> None:
        """What these meant is gone."""
        with self._lock:
            for id_ in ids:
                if (place := self._rows.get(id_)) is not None:
                    rows = self._rows_of(place)
                    self._matrix[rows] = 0
                    self._signs[:, rows] = 0
                    self._current[place] = False

    def cosines(self, vectors: Sequence[bytes], *, kinds: Sequence[Kind], past: bool, limit: int) -> Cosines:
        """The mean cosine of every memory with these vectors, and the ids of the nearest `limit` that are wanted."""
        np = self._np
        with self._lock:
            count = len(self._ids)
            matrix, owner = self._matrix[: self._parts], self._owner[: self._parts]
            query = self._on_grid(np.mean([np.frombuffer(vector, "<f4") for vector in vectors], axis=0))
            wanted = np.array([kind in kinds for kind in KINDS])[self._kinds[:count]]
            if not past:
                wanted &= self._current[:count]
            if len(matrix) > ALL_COMPARED:
                alike = self._most_alike(query, wanted[owner])
                matrix, owner = matrix[alike], owner[alike]
            # not `@`: this product waits for memory, and BLAS's threads would only wait for it in turns
            about = np.einsum("ij,j->i", matrix, query)
            short = wanted[owner]
            if (cut := self._at_least(about, owner, short, limit)) is not None:
                short &= about >= cut
            owner = owner[short]
            nearest_part = np.full(count, -np.inf)
            np.maximum.at(nearest_part, owner, _exact(matrix[short], query, np))
            places = np.flatnonzero(nearest_part > -np.inf)
            order = np.lexsort((-self._numbers[places], -nearest_part[places]))[:limit]
            nearest = [self._ids[place] for place in places[order]]
            return Cosines(nearest, query, self._matrix[: self._parts], self._rows, self._spans, np)

    def _at_least(
        self, about: NDArray[np.float32], owner: NDArray[np.int32], wanted: NDArray[np.bool_], limit: int
    ) -> float | None:
        """What a wanted row must at least be about as near as, to be of one of the nearest; None where all may be."""
        np = self._np
        nearest_part = np.full(len(self._ids), -np.inf, np.float32)
        np.maximum.at(nearest_part, owner[wanted], about[wanted])
        nearest_part = nearest_part[nearest_part > -np.inf]
        if len(nearest_part) <= limit:
            return None
        off = self._dimensions * 2.0**-23 + 2 / SAME  # what sums in float32 may be off, and what is rounded, twice
        return float(np.partition(nearest_part, -limit)[-limit]) - off

    def _most_alike(self, query: NDArray[np.float32], wanted: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The wanted rows with the fewest signs that differ from the query's; of equals the newest."""
        numpy = self._np
        apart = numpy.zeros(self._parts, numpy.uint16)
        for mine, signs in zip(self._signs_of(query[None])[0], self._signs, strict=True):
            apart += numpy.bitwise_count(signs[: self._parts] ^ mine)
        apart[~wanted] = numpy.iinfo(numpy.uint16).max
        most = numpy.partition(apart, MOST_ALIKE - 1)[MOST_ALIKE - 1]
        closer, equal = numpy.flatnonzero(apart < most), numpy.flatnonzero(apart == most)
        newest = equal[numpy.argsort(-self._numbers[self._owner[equal]], kind="stable")]
        alike: NDArray[np.intp] = numpy.concatenate([closer, newest[: MOST_ALIKE - len(closer)]])
        return alike


def _exact(matrix: NDArray[np.float32], query: NDArray[np.float32], numpy: ModuleType) -> NDArray[np.float64]:
    """The cosines of rows on the grid with a query on it: the same on every machine."""
    rounded: NDArray[np.float64] = numpy.rint(matrix.astype(numpy.float64) @ query.astype(numpy.float64) * SAME) / SAME
    return rounded


class Cosines:
    """What one query scored: `nearest` ids, and the cosine of any memory; 0 for one without a vector."""

    def __init__(
        self,
        nearest: list[str],
        query: NDArray[np.float32],
        matrix: NDArray[np.float32],
        rows: Mapping[str, int],
        spans: Sequence[tuple[int, int]],
        numpy: ModuleType,
    ) -> None:
        self.nearest = nearest
        self._query = query
        self._matrix = matrix
        self._rows = rows
        self._spans = spans
        self._numpy = numpy
        self._known: dict[str | None, float] = {}

    def of(self, id_: str | None) -> float:
        if id_ not in self._known:
            self._known[id_] = max(self.of_parts(id_), default=0.0)
        return self._known[id_]

    def of_parts(self, id_: str | None) -> list[float]:
        """The cosine of each part of a memory; none where it has no vector, or came after the query."""
        place = None if id_ is None else self._rows.get(id_)
        if place is None:
            return []
        cosines: list[float] = _exact(self._matrix[slice(*self._spans[place])], self._query, self._numpy).tolist()
        return cosines
