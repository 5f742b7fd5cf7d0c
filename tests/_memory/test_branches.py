"""Which memories follow a branch. How both stores follow it is in tests/memory/test_branches.py."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from september_engine._memory.branches import displaced_by, is_left, is_left_row, moved, said_in, turns_of, with_turn
from september_engine._memory.records import Episode, Forgetting, Knowledge, Memory, Mention, Source
from september_engine._memory.rows import MemoryRow, memory_of, row_of
from september_engine._memory.rules import LEFT, MOST_MENTIONS, mentioned, settled

HERE, THERE = Mention(task_id="t", turn_id="1"), Mention(task_id="t", turn_id="2")


def town(id_: str, content: str, *mentions: Mention, **more: object) -> Knowledge:
    fact = Knowledge(id=id_, recorded_at=5, subject="Ana", attribute="town", content=content, mentions=mentions)
    return replace(fact, **more)


def after(memories: Sequence[Memory], *left: str, back: Sequence[str] = ()) -> dict[str, Memory]:
    """The memories of one slot after these turns were left, and those came back."""
    rows = {memory.id: row_of(memory) for memory in memories}
    marks = {("t", turn): True for turn in left} | {("t", turn): False for turn in back}
    touched = [row for row in rows.values() if marks.keys() & turns_of(row).keys()]
    changed = moved(
        touched,
        marks,
        at=9,
        beside=lambda slot: [row for row in rows.values() if row.slot == slot],
        known=lambda ids: [rows[id_] for id_ in ids if id_ in rows],
    )
    rows |= {row.id: row for row in changed}
    assert all(row.current is (memory_of(row).retired_at is None) for row in rows.values())
    return {id_: memory_of(row) for id_, row in rows.items()}


def test_a_row_tells_its_turns_and_what_no_release_wrote_has_none() -> None:
    fact = town("a", "Oslo", HERE, forgotten=(Forgetting(at=1, because="x", task_id="t", turn_id="2", left=True),))
    assert turns_of(row_of(fact)) == {("t", "1"): False, ("t", "2"): True}
    odd = MemoryRow(id="x", kind="episode", at=1, body=b'{"turn_id":"superseded_by":')
    assert (turns_of(odd), is_left_row(odd), displaced_by(odd), said_in(odd)) == ({}, False, None, None)
    assert displaced_by(row_of(town("a", "Oslo", superseded_by="b", retired_at=1))) == "b"


def test_it_is_left_when_every_turn_that_mentions_it_is() -> None:
    away = replace(HERE, left=True)
    assert not is_left(town("a", "Oslo"))
    assert not is_left(town("a", "Oslo", away, THERE))
    assert not is_left(town("a", "Oslo", away, Mention()))
    assert is_left(town("a", "Oslo", away))


def test_why_and_when_it_went_is_said() -> None:
    gone = after([town("a", "Oslo", HERE)], "1")["a"]
    assert (gone.retired_at, gone.retired_because, gone.superseded_by) == (9, LEFT, None)
    assert after([gone], back=["1"])["a"] == town("a", "Oslo", HERE)


def test_a_trail_of_several_is_followed_to_the_first_that_stays() -> None:
    facts: list[Memory] = [town("a", "Bergen")]
    for id_, content, said in (("b", "Oslo", HERE), ("c", "Rome", THERE), ("d", "Paris", HERE)):
        facts = [*facts[:-1], *settled(town(id_, content, said), facts[-1:]).write]
    assert [each.superseded_by for each in facts] == ["b", "c", "d", None]
    assert after(facts, "1")["a"].superseded_by == "c"
    assert after(facts, "1", "2")["a"].retired_at is None


def test_an_explicit_place_is_given_back_too() -> None:
    old = Episode(id="old", text="I live in Oslo.", at=1, recorded_at=1)
    new = Episode(id="new", text="I moved.", at=2, recorded_at=2, mentions=(HERE,), supersedes=("old",))
    gone = settled(new, [old]).write[0]
    rows = {row.id: row for row in (row_of(gone), row_of(new))}
    [left] = moved([rows["new"]], {("t", "1"): True}, at=9, beside=lambda slot: [], known=lambda ids: [])
    [back] = moved([rows["old"]], {}, at=None, beside=lambda slot: [], known=lambda ids: [left])
    assert back.current


def test_what_was_retired_otherwise_stays_retired() -> None:
    gone = town("a", "Oslo", HERE, retired_at=3, retired_because="its task was deleted")
    assert after([gone], "1")["a"].retired_because == "its task was deleted"


def test_a_mention_trusted_too_far_is_not_believed_when_it_is_the_one_that_is_left() -> None:
    lie = Mention(source=Source(origin="web", trust="stated"))
    fact = town("a", "Oslo", replace(HERE, source=Source(origin="person")), lie, source=Source(origin="person"))
    assert after([fact], "1")["a"].source == Source(origin="web", trust="untrusted")


def test_turns_are_noted_once_and_not_without_end_and_not_where_it_stays_anyway() -> None:
    fact = town("a", "Oslo", HERE)
    assert mentioned(fact, town("b", "Oslo", HERE)) is fact
    both = mentioned(fact, town("b", "Oslo", THERE))
    assert [each.turn_id for each in both.mentions] == ["1", "2"]
    assert mentioned(town("a", "Oslo"), fact) == town("a", "Oslo")
    program = mentioned(fact, town("b", "Oslo"))
    assert program.mentions[1].task_id is None
    assert mentioned(program, town("b", "Oslo", THERE)) is program
    many = town("a", "Oslo", *(Mention(task_id="t", turn_id=str(number)) for number in range(MOST_MENTIONS)))
    assert mentioned(many, town("b", "Oslo", Mention(task_id="t", turn_id="x"))) is many


def test_a_memory_of_an_early_release_names_its_message_and_one_of_the_program_does_not() -> None:
    source = Source(origin="agent", task_id="t", message_id="m")
    early = town("mem_" + "a" * 24, "Oslo", source=source)
    assert said_in(row_of(early)) == ("t", "m")
    assert said_in(row_of(replace(early, id="mem_" + "a" * 32))) is None
    assert said_in(row_of(replace(early, source=Source(task_id="t")))) is None
    assert turns_of(with_turn(row_of(early), ("t", "1"))) == {("t", "1"): False}
