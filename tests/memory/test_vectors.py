"""Vectors: the index in the process."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys

import pytest
from msgspec.structs import replace

pytest.importorskip("numpy", reason="the extra `embeddings` is not installed")

from september_engine.errors import ConfigurationError
from september_engine.memory import _vectors
from september_engine.memory._vectors import VectorIndex
from september_engine.memory.base import KINDS, VectorRow


def row(number: int, id_: str, *values: float, kind: str = "episode", current: bool = True) -> VectorRow:
    length = math.hypot(*values)
    vector = struct.pack(f"<{len(values)}f", *(value / length for value in values))
    return VectorRow(number=number, id=id_, kind=kind, current=current, vector=vector)


def an_index(*rows: VectorRow) -> VectorIndex:
    index = VectorIndex(2)
    index.add(rows)
    return index


def nearest(index: VectorIndex, *query: float, past: bool = False, limit: int = 9) -> list[str]:
    return index.cosines(index.encoded([query]), kinds=KINDS, past=past, limit=limit).nearest


def test_the_nearest_come_first_and_every_cosine_is_known() -> None:
    index = an_index(row(1, "right", 1, 0), row(2, "up", 0, 1), row(3, "left", -1, 0))
    found = index.cosines(index.encoded([(2, 0)]), kinds=KINDS, past=False, limit=2)
    assert found.nearest == ["right", "up"]
    assert [found.of(id_) for id_ in ("right", "up", "left", "unknown", None)] == [1, 0, -1, 0, 0]
    assert len(index) == index.last == 3


def test_of_equals_the_newest_come_first() -> None:
    index = an_index(*(row(number, str(number), 3, 4) for number in range(1, 101)))
    assert nearest(index, 3, 4, limit=5) == ["100", "99", "98", "97", "96"]
    index.add([row(101, "7", 3, 4)])  # a later vector makes it the newest, as it will be when the file is opened again
    assert nearest(index, 3, 4, limit=3) == ["7", "100", "99"]


def test_of_equals_that_do_not_all_fit_into_the_comparison_the_newest_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_vectors, "ALL_COMPARED", 50)
    monkeypatch.setattr(_vectors, "MOST_ALIKE", 20)
    index = an_index(*(row(number, str(number), 3, 4) for number in range(1, 101)), row(200, "far", -3, -4))
    assert nearest(index, 3, 4, limit=25) == [str(number) for number in range(100, 80, -1)]


SCRIPT = """
import random, struct
from september_engine.memory import _vectors
from september_engine.memory.base import KINDS, VectorRow

_vectors.ALL_COMPARED, _vectors.MOST_ALIKE = {limits}
chance = random.Random(5)
texts = [[chance.gauss(0, 1) for _ in range(384)] for _ in range(40)]
index = _vectors.VectorIndex(384)
encoded = index.encoded(texts)
index.add(
    VectorRow(number=n, id=str(n), kind="episode", current=True, vector=encoded[n * 7 % 40]) for n in range(1, 801)
)
found = index.cosines([encoded[3]], kinds=KINDS, past=False, limit=50)
print(found.nearest, [found.of(id_).hex() for id_ in found.nearest])
"""


@pytest.mark.parametrize("limits", [(16_384, 4_096), (300, 150)])
def test_every_processor_finds_the_same_in_the_same_order(limits: tuple[int, int]) -> None:
    import numpy

    features = numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    plain = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(features), "OPENBLAS_CORETYPE": "Nehalem"}
    found = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(limits=limits)], env=env, capture_output=True, text=True, check=True
        ).stdout
        for env in (dict(os.environ), plain)
    ]
    assert found[0] == found[1] != ""


def test_many_queries_are_averaged() -> None:
    index = an_index(row(1, "right", 1, 0), row(2, "between", 0.7071, 0.7071))
    found = index.cosines(index.encoded([(1, 0), (0, 1)]), kinds=KINDS, past=False, limit=1)
    assert found.nearest == ["between"]


def test_a_later_vector_takes_the_place_of_an_earlier_one() -> None:
    index = an_index(row(1, "a", 1, 0), row(2, "b", 0.9, 0.1), row(3, "a", 0, 1))
    assert nearest(index, 1, 0) == ["b", "a"]
    assert len(index) == 2


def test_a_memory_is_as_near_as_its_nearest_part() -> None:
    parts = row(1, "long", 0, 1).vector + row(1, "", 1, 0).vector
    index = an_index(replace(row(1, "long", -1, 0), vector=parts), row(2, "short", 0.9, 0.1), row(3, "other", -1, 0))
    found = index.cosines(index.encoded([(1, 0)]), kinds=KINDS, past=False, limit=3)
    assert found.nearest == ["long", "short", "other"]
    assert (found.of("long"), found.of("other"), len(index)) == (1, -1, 3)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 2)])
def test_a_later_vector_may_have_other_parts(before: int, after: int) -> None:
    old = replace(row(1, "a", 1, 0), vector=row(1, "a", 1, 0).vector * before)
    new = replace(row(3, "a", 0, -1), vector=row(3, "a", 0, -1).vector * after)
    index = an_index(old, row(2, "b", 0.5, -0.5), new)
    assert nearest(index, 1, 0) == ["b", "a"]
    assert nearest(index, 0, -1) == ["a", "b"]
    index.take_out(["a", "unknown"])
    query = index.encoded([(0, -1)])
    assert index.cosines(query, kinds=KINDS, past=True, limit=2).of("a") == 0
    assert nearest(index, 0, -1) == ["b"]


def test_kinds_and_what_is_past_are_left_out() -> None:
    index = an_index(row(1, "a", 1, 0), row(2, "fact", 1, 0, kind="knowledge"), row(3, "old", 1, 0, current=False))
    query = index.encoded([(1, 0)])
    assert index.cosines(query, kinds=["knowledge"], past=True, limit=9).nearest == ["fact"]
    assert set(nearest(index, 1, 0)) == {"a", "fact"}
    index.retire(["a", "unknown"])
    assert nearest(index, 1, 0) == ["fact"]
    assert set(nearest(index, 1, 0, past=True)) == {"a", "fact", "old"}


def test_it_grows() -> None:
    index = an_index(*(row(number, str(number), 1, number) for number in range(1, 3_001)))
    assert nearest(index, 0, 1, limit=1) == ["3000"]
    assert nearest(index, 1, 0, limit=2) == ["1", "2"]
    assert nearest(VectorIndex(2), 1, 0) == []


@pytest.mark.parametrize("vectors", [[(1.0,)], [(0.0, 0.0)], [(float("nan"), 1.0)], [(float("inf"), 1.0)]])
def test_a_vector_that_has_no_direction_or_another_shape_is_refused(vectors: list[tuple[float, ...]]) -> None:
    with pytest.raises(ConfigurationError):
        VectorIndex(2).encoded(vectors)


def test_of_very_many_only_those_that_are_alike_are_compared_and_the_nearest_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    monkeypatch.setattr(_vectors, "ALL_COMPARED", 1_000)
    monkeypatch.setattr(_vectors, "MOST_ALIKE", 300)
    chance = np.random.default_rng(1)
    vectors = chance.standard_normal((3_000, 100)).astype("<f4")
    vectors[:60] = vectors[0] + chance.standard_normal((60, 100)) / 2  # they are about the same
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        VectorRow(
            number=place + 1,
            id=str(place),
            kind="knowledge" if place % 2 else "episode",
            current=place % 3 > 0,
            vector=vector.tobytes(),
        )
        for place, vector in enumerate(vectors)
    ]
    index = VectorIndex(100)
    index.add(rows)
    found = index.cosines([vectors[0].tobytes()], kinds=["knowledge"], past=False, limit=15)
    exact = vectors @ vectors[0]
    mine = [place for place in np.argsort(-exact) if place % 2 and place % 3]
    assert found.nearest == [str(place) for place in mine[:15]]
    assert [found.of(str(place)) for place in range(3_000)] == pytest.approx(exact.tolist(), abs=1e-5)
    few = index.cosines([vectors[0].tobytes()], kinds=["person"], past=True, limit=15)
    assert few.nearest == []


def test_what_came_after_a_query_has_no_cosine_with_it() -> None:
    index = an_index(row(1, "a", 1, 0))
    found = index.cosines(index.encoded([(1, 0)]), kinds=KINDS, past=False, limit=1)
    index.add([row(2, "b", 1, 0), row(3, "a", 0, 1)])
    assert (found.of("b"), found.of("a")) == (0, 0)
