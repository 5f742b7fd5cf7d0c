"""Vectors in the process: one matrix with a row for each memory, or each part of a long one, scored by one product."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .base import KINDS, Kind, VectorRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VectorIndex"]


class VectorIndex:
    """The vectors of one model. Every method may be called in any thread.

    Raises `ConfigurationError` where NumPy is not installed.
    """

    def __init__(self, dimensions: int) -> None:
        try:
            import numpy
        except ImportError as missing:
            raise ConfigurationError(
                'Vectors need NumPy. Install it: pip install "september-engine[embeddings]"'
            ) from missing
        self._np = numpy
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._kinds: NDArray[np.int8] = numpy.zeros(0, numpy.int8)
        self._current: NDArray[np.bool_] = numpy.zeros(0, bool)
        self._parts = 0
        self._matrix: NDArray[np.float32] = numpy.zeros((0, dimensions), numpy.float32)
        self._owner: NDArray[np.int32] = numpy.zeros(0, numpy.int32)
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
        lengths = np.linalg.norm(array, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ConfigurationError("The embedder gave a vector without a direction (zero, or not a number).")
        return [row.astype("<f4").tobytes() for row in array / lengths]

    def add(self, rows: Iterable[VectorRow]) -> None:
        """Take in what a store has, in its order; a memory's later vector takes the place of its earlier one."""
        np = self._np
        with self._lock:
            for row in rows:
                place = self._rows.setdefault(row.id, len(self._ids))
                parts = np.frombuffer(row.vector, "<f4").reshape(-1, self._dimensions)
                mine = range(self._parts, self._parts + len(parts))
                if place == len(self._ids):
                    self._ids.append(row.id)
                else:
                    before = np.flatnonzero(self._owner[: self._parts] == place).tolist()
                    self._matrix[before] = parts[0]  # no other memory's rows need to move
                    mine = range(self._parts, self._parts + len(parts) - 1)
                    parts = parts[1:]
                self._parts += len(parts)
                self._make_room()
                self._matrix[mine.start : mine.stop] = parts
                self._owner[mine.start : mine.stop] = place
                self._kinds[place] = KINDS.index(row.kind)
                self._current[place] = row.current
                self.last = row.number

    def _make_room(self) -> None:
        """Twice as much each time, so that adding one costs the same however many there are."""
        np = self._np
        if len(self._ids) > len(self._kinds):
            more = max(1024, len(self._kinds))
            self._kinds = np.concatenate([self._kinds, np.zeros(more, np.int8)])
            self._current = np.concatenate([self._current, np.zeros(more, bool)])
        if self._parts > len(self._owner):
            there = len(self._owner)
            size = max(1024, 2 * there, self._parts)
            matrix = np.zeros((size, self._dimensions), np.float32)
            matrix[:there] = self._matrix
            self._matrix = matrix
            self._owner = np.concatenate([self._owner, np.zeros(size - there, np.int32)])

    def retire(self, ids: Iterable[str]) -> None:
        """These are no longer current."""
        with self._lock:
            for id_ in ids:
                if (place := self._rows.get(id_)) is not None:
                    self._current[place] = False

    def take_out(self, ids: Iterable[str]) -> None:
        """What these meant is gone."""
        np = self._np
        with self._lock:
            for id_ in ids:
                if (place := self._rows.get(id_)) is not None:
                    self._matrix[np.flatnonzero(self._owner[: self._parts] == place)] = 0
                    self._current[place] = False

    def cosines(self, vectors: Sequence[bytes], *, kinds: Sequence[Kind], past: bool, limit: int) -> Cosines:
        """The mean cosine of every memory with these vectors, and the ids of the nearest `limit` that are wanted."""
        np = self._np
        with self._lock:
            count = len(self._ids)
            query = np.mean([np.frombuffer(vector, "<f4") for vector in vectors], axis=0)
            # not `@`: this product waits for memory, and BLAS's threads would only wait for it in turns
            values = np.einsum("ij,j->i", self._matrix[: self._parts], query)
            if self._parts > count:  # a memory is as near as its nearest part
                nearest_part = np.full(count, -1.0, np.float32)
                np.maximum.at(nearest_part, self._owner[: self._parts], values)
                values = nearest_part
            wanted = np.array([kind in kinds for kind in KINDS])[self._kinds[:count]]
            if not past:
                wanted &= self._current[:count]
            allowed = np.where(wanted, values, -np.inf)
            top = np.argpartition(allowed, -limit)[-limit:] if count > limit else np.arange(count)
            nearest = [self._ids[place] for place in top[np.argsort(-allowed[top], kind="stable")] if wanted[place]]
            return Cosines(nearest, values, self._rows)


class Cosines:
    """What one query scored: `nearest` ids, and the cosine of any memory; 0 for one without a vector."""

    def __init__(self, nearest: list[str], values: NDArray[np.float32], rows: Mapping[str, int]) -> None:
        self.nearest = nearest
        self._values = values
        self._rows = rows

    def of(self, id_: str | None) -> float:
        place = self._rows.get(id_, len(self._values)) if id_ is not None else len(self._values)
        return float(self._values[place]) if place < len(self._values) else 0.0
