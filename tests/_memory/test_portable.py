"""Portable: an export read again is what was exported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._memory.portable import bundle_of, memories_of, merged
from september_engine._memory.records import Episode, Knowledge, Memory, Source
from september_engine._memory.rules import checked, erased, forgotten
from september_engine.errors import InvalidRequest

from .test_records import any_memory


def as_remembered(memory: Memory) -> Memory | None:
    """None for what nobody could have remembered."""
    try:
        return checked(memory) if memory.id else None
    except InvalidRequest:
        return None


@given(st.lists(any_memory, max_size=5, unique_by=lambda memory: memory.id))
def test_nothing_is_lost(memories: list[Memory]) -> None:
    remembered = [each for each in map(as_remembered, memories) if each is not None]
    assert memories_of(bundle_of(remembered)) == remembered


@given(any_memory.filter(lambda memory: memory.id))
def test_what_could_not_be_remembered_is_no_export(memory: Memory) -> None:
    if as_remembered(memory) != memory:
        with pytest.raises(InvalidRequest, match="was never remembered"):
            memories_of(bundle_of([memory]))


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (Knowledge(id="a", subject="s", content="c", confidence=5), "confidence 5"),
        (Episode(id="a", text="x", at=1, source=Source(origin="web", trust="stated")), "web cannot have the trust"),
        (Episode(id="a", text=" ", at=1), "blank"),
    ],
)
def test_it_says_which_and_why(memory: Memory, said: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'a' that was never remembered.*{said}"):
        memories_of(bundle_of([memory]))


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
        (
            b'{"format":"september-memory/1","memories":[{"kind":"episode","id":"a","text":"x","at":1,"position":9223372036854775807}]}',
            "position",  # the next one of its task could not be counted any more
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


def test_an_export_rewrites_nothing() -> None:
    here = Knowledge(id="a", subject="Ana", attribute="town", content="Bergen")
    other = Knowledge(id="a", subject="Ana", attribute="town", content="Oslo")
    for imported in (other, forgotten(other, at=2, because="moved"), Episode(id="a", text="x", at=1)):
        with pytest.raises(InvalidRequest, match="another memory 'a' here"):
            merged(here, imported)


def test_what_is_erased_here_or_there_is_no_other_memory() -> None:
    here: Memory = Knowledge(id="a", subject="Ana", attribute="town", content="Bergen")
    gone = erased(here, at=2, because="asked")
    assert merged(here, gone) is gone
    assert merged(gone, here) is None
    assert merged(gone, forgotten(here, at=1, because="wrong")) is None
