"""Records and their rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from september_engine._memory.records import KINDS, Episode, Knowledge, Memory, Person, Relation, Trait
from september_engine._memory.rows import memory_of, row_of, said_at, slot_of, speaker_of, text_of

from ..strategies import structs

any_memory: st.SearchStrategy[Memory] = st.one_of(
    [structs(kind) for kind in (Episode, Knowledge, Person, Relation, Trait)]
)


@given(any_memory)
def test_a_memory_comes_back_from_its_row_as_it_was(memory: Memory) -> None:
    row = row_of(memory)
    assert memory_of(row) == memory
    assert row.kind in KINDS
    assert row.current is (memory.retired_at is None)


def test_an_episode_takes_the_position_that_its_store_gave_it() -> None:
    row = replace(row_of(Episode(text="x", at=1)), position=4)
    assert memory_of(row) == Episode(text="x", at=1, position=4)


def test_a_transcript_line_names_its_speaker() -> None:
    line = Episode(text="Mary Ann: I paint: boats", at=0)
    assert (speaker_of(line), text_of(line)) == ("Mary Ann", "I paint: boats")
    assert text_of(replace(line, speaker="Bo")) == line.text
    assert text_of(replace(line, speaker="Mary Ann")) == "I paint: boats"


def test_when_it_was_said_is_what_the_line_says_or_what_was_told() -> None:
    day = 1_683_504_000_000
    line = Episode(text="[8 May 2023] Ana: boats", at=5)
    assert (row_of(line).at, said_at(replace(line, at=day + 40_000))) == (day, day + 40_000)
    assert said_at(Episode(text="boats", at=5)) == 5
    assert said_at(Knowledge(subject="Ana", content="tea", valid_from=7, recorded_at=9)) == 7
    assert said_at(Knowledge(subject="Ana", content="tea", recorded_at=9)) == 9


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            Knowledge(subject="Ana", attribute="Home Town", content="Bern"),
            Knowledge(subject="ana", attribute="home town", content="Rome"),
        ),
        (Knowledge(subject="Ana", content="likes tea"), Knowledge(subject="Ana", content="Likes tea.")),
        (Person(name="Zoë"), Person(name="zoe", about="a nurse")),
        (Trait(aspect="identity", text="a"), Trait(aspect="identity", text="b")),
    ],
)
def test_what_can_be_only_one_fills_one_slot(one: Memory, other: Memory) -> None:
    assert slot_of(one) == slot_of(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Knowledge(subject="Ana", content="tea"), Knowledge(subject="Ana", content="coffee")),
        (Trait(aspect="value", text="a"), Trait(aspect="pattern", text="a")),
        (Person(name="!"), Person(name="?")),
        (Knowledge(subject="a b", content="c"), Knowledge(subject="a", content="b c")),
    ],
)
def test_other_facts_fill_other_slots(one: Memory, other: Memory) -> None:
    assert slot_of(one) != slot_of(other)


def test_episodes_stand_side_by_side() -> None:
    assert slot_of(Episode(text="x", at=0)) is None
