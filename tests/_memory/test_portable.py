"""Portable: an export read again is what was exported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._memory.portable import bundle_of, memories_of, merged
from september_engine._memory.records import Episode, Memory
from september_engine._memory.rules import forgotten
from september_engine.errors import InvalidRequest

from .test_records import any_memory


@given(st.lists(any_memory, max_size=5, unique_by=lambda memory: memory.id))
def test_nothing_is_lost(memories: list[Memory]) -> None:
    named = [memory for memory in memories if memory.id]
    assert memories_of(bundle_of(named)) == named


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        (b"", "not an export"),
        (b"[]", "not an export"),
        (b'{"format":"september-memory/1","memories":[{"kind":"dream"}]}', "dream"),
        (b'{"format":"september-memory/9","memories":[]}', "september-memory/9"),
        (b'{"format":"september-memory/1","memories":[{"kind":"episode","text":"x","at":1}]}', "no id"),
        (b'{"format":"september-memory/1","memories":[{"kind":"episode","id":"a","text":"x","at":1e40}]}', "at"),
        (
            b'{"format":"september-memory/1","memories":[{"kind":"episode","id":"a","text":"x","at":9223372036854775808}]}',
            "<=",
        ),
        (b'\xff{"format"', "not an export"),
    ],
)
def test_what_is_no_export_is_refused(bundle: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        memories_of(bundle)


def test_a_trail_only_grows() -> None:
    here = Episode(id="a", text="x", at=1)
    gone = forgotten(here, at=2, because="asked")
    assert merged(None, here) is here
    assert merged(here, here) is None
    assert merged(here, gone) is gone
    assert merged(gone, here) is None
