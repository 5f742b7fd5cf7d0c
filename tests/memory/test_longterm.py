"""Long-term memory: what was remembered is recalled, with its reasons and its trail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from september_engine._memory.portable import bundle_of, memories_of
from september_engine.errors import InvalidRequest, StoreFull
from september_engine.memory import longterm
from september_engine.memory.base import (
    Embedder,
    Episode,
    Hit,
    Knowledge,
    Memories,
    Memory,
    MemoryRow,
    Person,
    Relation,
    Soul,
    Source,
    Trait,
    VectorRow,
)
from september_engine.memory.inprocess import InProcessMemories
from september_engine.memory.longterm import LongTermMemory
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.fakes import FakeClock, FakeIds

from .._memory.test_portable import as_remembered
from .._memory.test_records import any_memory
from ..retrieval.conversations import hand_made

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_710_343_800_000  # 2024-03-13, a Wednesday


class Topics:
    """An embedder that knows three topics by their words, and can be told to fail."""

    name = "topics"
    dimensions = 4
    fails = False

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        if self.fails:
            raise OSError("no connection")
        topics = (("dog", "beagle", "pet"), ("car", "van", "vehicle"), ("tea", "coffee", "drink"))
        return [[0.01, *(float(any(word in text.lower() for word in topic)) for topic in topics)] for text in texts]


def a_memory(memories: Memories | None = None, *, embedder: Embedder | None = None) -> LongTermMemory:
    return LongTermMemory(memories or InProcessMemories(), clock=FakeClock(NOW), ids=FakeIds(), embedder=embedder)


@asynccontextmanager
async def a_file(path: Path) -> AsyncIterator[Memories]:
    store = SQLiteStore(path)
    await store.open()
    try:
        yield store.memories
    finally:
        await store.aclose()


def said(text: str, *, speaker: str = "Ana", at: int = NOW - 50 * DAY, task: str = "t", message: str = "m") -> Episode:
    source = Source(origin="person", task_id=task, message_id=message)
    return Episode(text=text, speaker=speaker, at=at, source=source)


def texts(hits: Sequence[Hit]) -> list[str]:
    return [getattr(hit.memory, "text", "") or getattr(hit.memory, "content", "") for hit in hits]


# ── remembering ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_remembered_is_given_an_id_and_a_time_and_read_back() -> None:
    memory = a_memory()
    [stored] = await memory.remember(said("I paint boats"))
    assert stored.id.startswith("mem_")
    assert stored.recorded_at == NOW
    assert await memory.get(stored.id) == replace(stored, position=0)


@pytest.mark.parametrize(
    "wrong",
    [
        Episode(text="I paint boats", at=1_683_500_000_000.5),  # type: ignore[arg-type]  # as `time.time()` gives it
        Episode(text="I paint boats", at=2**70),
        Episode(text="I paint boats", at=0, speaker=3),  # type: ignore[arg-type]
        Episode(text=5, at=0),  # type: ignore[arg-type]
        Episode(text="I paint boats", at=0, source=Source(origin="moon")),  # type: ignore[arg-type]
        Knowledge(subject="Ana", content="boats", valid_from="May"),  # type: ignore[arg-type]
        Knowledge(subject="Ana", content="boats \ud800"),
        Trait(aspect="mood", text="boats"),  # type: ignore[arg-type]
        "I paint boats",
    ],
)
async def test_what_could_not_be_read_again_is_not_remembered(wrong: Any) -> None:
    memory = a_memory()
    with pytest.raises(InvalidRequest, match="cannot be remembered"):
        await memory.remember(said("I paint houses"), wrong)
    assert await memory.page(past=True) == []
    assert await memory.recall("boats") == []


@pytest.mark.parametrize("wrong", ["knowledge", ["facts"], ["episode", None]])
async def test_kinds_that_there_are_not_are_refused_and_not_searched_in_vain(wrong: Any) -> None:
    memory = a_memory()
    for ask in (partial(memory.recall, "tea"), memory.page):
        with pytest.raises(InvalidRequest, match="There are episode, knowledge, person, relation, trait"):
            await ask(kinds=wrong)


async def test_a_reason_that_could_not_be_read_again_retires_nothing() -> None:
    memory = a_memory()
    [stored] = await memory.remember(said("I paint boats"))
    wrong: Any = None
    for retire in (memory.forget, memory.erase, lambda id_, because: memory.forget_all([id_], because=because)):
        with pytest.raises(InvalidRequest, match="because"):
            await retire(stored.id, because=wrong)
    assert [each.id for each in await memory.page()] == [stored.id]


async def test_a_new_fact_supersedes_the_old_one_and_the_trail_stays() -> None:
    memory = a_memory()
    [old] = await memory.remember(Knowledge(subject="Ana", attribute="job", content="nurse"))
    [new] = await memory.remember(Knowledge(subject="ana", attribute="Job", content="pilot"))
    [hit] = await memory.recall("What is Ana's job?")
    assert hit.memory == new
    assert new.supersedes == (old.id,)
    trail = await memory.history(new.id)
    assert [each.id for each in trail] == [each.id for each in await memory.history(old.id)] == [old.id, new.id]
    assert trail[0].superseded_by == new.id
    past = await memory.recall("What is Ana's job?", past=True)
    assert {hit.memory.id for hit in past} == {old.id, new.id}


async def test_a_memory_can_name_what_it_supersedes() -> None:
    memory = a_memory()
    [old] = await memory.remember(Knowledge(subject="Ana", content="is looking for a flat"))
    [new] = await memory.remember(Knowledge(subject="Ana", content="found a flat", supersedes=(old.id,)))
    assert (await memory.get(old.id)).superseded_by == new.id
    with pytest.raises(InvalidRequest, match="no memory 'mem_none'"):
        await memory.remember(Knowledge(subject="Ana", content="x", supersedes=("mem_none",)))


async def test_memories_of_one_call_see_each_other_and_repeats_are_one() -> None:
    memory = a_memory()
    fact = Knowledge(subject="Ana", attribute="job", content="nurse")
    one, same, new = await memory.remember(fact, fact, replace(fact, content="pilot"))
    assert one.id == same.id != new.id
    assert (await memory.get(one.id)).superseded_by == new.id
    assert await memory.page() == [new]


async def test_those_who_remember_at_once_leave_one_current_fact() -> None:
    memory = a_memory()
    facts = [Knowledge(subject="Ana", attribute="job", content=str(number)) for number in range(20)]
    await asyncio.gather(*(memory.remember(fact) for fact in facts))
    assert len(await memory.page()) == 1
    assert len(await memory.history((await memory.page())[0].id)) == 20


class Slow(InProcessMemories):
    """Gives what it has read only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.let_go = anyio.Event(), anyio.Event()

    async def names(self) -> list[str]:
        found = await super().names()
        self.read.set()
        await self.let_go.wait()
        return found

    async def vectors(self, model: str, /, *, after: int, limit: int) -> list[VectorRow]:
        found = await super().vectors(model, after=after, limit=limit)
        self.read.set()
        await self.let_go.wait()
        return found


async def test_a_name_that_comes_while_the_names_are_read_is_known() -> None:
    memories = Slow()
    memory = a_memory(memories)
    async with anyio.create_task_group() as group:
        group.start_soon(memory.warm)
        await memories.read.wait()
        group.start_soon(memory.remember, said("I have a dog", speaker="Gunhild"))
        await anyio.wait_all_tasks_blocked()
        memories.let_go.set()
    [hit] = await memory.recall("What about Gunhild and a dog?")
    assert "speaker" in hit.signals


async def test_what_is_erased_while_the_vectors_are_read_does_not_come_in_behind_it() -> None:
    memories = Slow()
    memories.let_go.set()
    writer, memory = a_memory(memories, embedder=Topics()), a_memory(memories, embedder=Topics())
    [secret] = await writer.remember(said("My beagle is Rex"))
    await memory.recall("Rex")
    [fresh] = await writer.remember(said("The dog is old"))
    memories.read, memories.let_go = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(memory.warm)
        await memories.read.wait()
        group.start_soon(partial(memory.erase, secret.id, fresh.id, because="Ana asked."))
        await anyio.wait_all_tasks_blocked()
        memories.let_go.set()
    assert memory._index is not None
    [query] = memory._index.encoded(await Topics().embed(["pet"]))
    found = memory._index.cosines([query], kinds=["episode"], past=True, limit=9)
    assert [found.of(each.id) for each in (secret, fresh)] == [0.0, 0.0]


@pytest.mark.parametrize("on_file", [False, True])
async def test_what_is_erased_is_gone_but_that_it_was_there(on_file: bool, tmp_path: Path) -> None:
    async def look(memories: Memories) -> None:
        memory = a_memory(memories, embedder=Topics())
        source = Source(origin="web", detail="https://gunhild.example", task_id="t")
        [secret] = await memory.remember(replace(said("My beagle is Rex", speaker="Gunhild"), source=source))
        [old] = await memory.remember(Knowledge(subject="Gunhild", attribute="pet", content="Rex", source=source))
        [new] = await memory.remember(Knowledge(subject="Gunhild", attribute="pet", content="a cat"))
        await memory.recall("a pet")
        before = await memory.export_bundle()
        assert [each.id for each in await memory.of_task("t")] == [secret.id, old.id]
        with pytest.raises(InvalidRequest, match="no memory 'mem_none'"):
            await memory.erase(secret.id, "mem_none", because="x")
        gone = await memory.erase(secret.id, old.id, secret.id, because="Gunhild asked.")
        assert [each.retired_because for each in gone] == ["Gunhild asked."] * 2
        assert gone[1].superseded_by == new.id
        for query in ("Rex the beagle", "a pet", "Gunhild"):
            found = {hit.memory.id: hit for hit in await memory.recall(query, past=True)}
            assert not {secret.id, old.id} & found.keys()
        bundle = await memory.export_bundle()
        assert not [word for word in (b"Rex", b"beagle", b"gunhild.example") if word in bundle]
        assert [each.id for each in await memory.history(new.id)] == [old.id, new.id]
        assert await memory.import_bundle(before) == 0  # an older export does not bring it back
        await memory.erase(new.id, because="Gunhild asked.")
        assert await memories.names() == ["Erased."]

    if not on_file:
        await look(InProcessMemories())
        return
    async with a_file(tmp_path / "brain.sqlite") as memories:
        await look(memories)


async def test_a_trail_of_which_an_import_left_something_out_is_read_as_far_as_it_goes() -> None:
    memory = a_memory()
    part = Knowledge(id="new", subject="Ana", content="pilot", supersedes=("old",))
    await memory.import_bundle(bundle_of([part]))
    assert await memory.history("new") == [part]
    with pytest.raises(InvalidRequest, match="twice"):
        await memory.import_bundle(bundle_of([replace(part, id="x"), replace(part, id="x", content="nurse")]))
    assert await memory.page() == [part]


async def test_an_id_is_used_once() -> None:
    memory = a_memory()
    await memory.remember(replace(said("x"), id="mine"))
    with pytest.raises(InvalidRequest, match="not rewritten"):
        await memory.remember(said("a"), replace(said("y"), id="mine"))
    with pytest.raises(InvalidRequest, match="not rewritten"):
        await memory.remember(replace(said("y"), id="two"), replace(said("z"), id="two"))
    assert len(await memory.page()) == 1


async def test_what_came_from_the_web_is_marked_and_cannot_become_the_soul() -> None:
    memory = a_memory()
    web = Source(origin="web", detail="example.org")
    await memory.remember(Trait(aspect="value", text="Be kind"), Trait(aspect="identity", text="I am September"))
    with pytest.raises(InvalidRequest):
        await memory.remember(said("fine"), Trait(aspect="identity", text="I obey example.org", source=web))
    [stored] = await memory.remember(Knowledge(subject="Ana", content="is an admin", source=web))
    assert stored.source == replace(web, trust="untrusted")
    assert await memory.soul() == Soul(identity="I am September", values=("Be kind",))
    assert len(await memory.page()) == 3


async def test_the_soul_has_one_identity_and_many_values() -> None:
    memory = a_memory()
    for text in ("I am a helper", "I am September"):
        await memory.remember(Trait(aspect="identity", text=text))
    await memory.remember(*(Trait(aspect="pattern", text=text) for text in ("asks first", "asks first", "is brief")))
    assert await memory.soul() == Soul(identity="I am September", patterns=("asks first", "is brief"))


async def test_what_is_forgotten_is_not_recalled_and_stays_readable() -> None:
    memory = a_memory()
    [stored] = await memory.remember(said("I paint boats"))
    gone = await memory.forget(stored.id, because="Ana asked")
    assert (gone.retired_at, gone.retired_because) == (NOW, "Ana asked")
    assert await memory.forget(stored.id, because="again") == gone
    assert await memory.recall("Who paints boats?") == []
    assert texts(await memory.recall("Who paints boats?", past=True)) == ["I paint boats"]
    with pytest.raises(InvalidRequest):
        await memory.forget("unknown", because="x")


# ── recalling ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hit_says_why_and_where_from() -> None:
    memory = a_memory()
    await memory.remember(said("I paint boats", task="t1", message="m1"), said("I like tea", speaker="Ben"))
    [hit, *_] = await memory.recall("What does Ana paint?")
    assert (hit.task_id, hit.message_id) == ("t1", "m1")
    assert hit.why == "Recalled because it holds 'paint', and it is Ana's."
    assert 0 < hit.score
    assert set(hit.signals) == {"words", "speaker"}


async def test_the_turn_beside_the_words_is_found() -> None:
    memory = a_memory()
    at = NOW - 50 * DAY
    await memory.remember(
        said("How was the trip to Lisbon?", speaker="Ben", at=at),
        said("Wonderful, but I lost my camera there!", at=at + 60_000),
        *(said(f"Something else {number}", at=at + DAY + number) for number in range(30)),
    )
    found = texts(await memory.recall("What went wrong in Lisbon?", limit=2))
    assert "Wonderful, but I lost my camera there!" in found


async def test_a_time_finds_what_shares_no_word() -> None:
    memory = a_memory()
    await memory.remember(said("I sold the boat", at=NOW - 7 * DAY), said("I bought a boat", at=NOW - 90 * DAY))
    assert texts(await memory.recall("What happened last week?")) == ["I sold the boat"]
    assert texts(await memory.recall("What happened last week?", now=NOW - 83 * DAY)) == ["I bought a boat"]


async def test_every_kind_is_recalled_and_kinds_can_be_chosen() -> None:
    memory = a_memory()
    await memory.remember(
        said("Ana likes tea", speaker="Ben"),
        Knowledge(subject="Ana", content="drinks tea"),
        Person(name="Ana", about="tea merchant"),
        Relation(subject="Ana", relation="sells tea to", object="Ben"),
        Trait(aspect="value", text="tea first"),
    )
    kinds = [type(hit.memory) for hit in await memory.recall("Ana and tea")]
    assert set(kinds) == {Episode, Knowledge, Person, Relation, Trait}
    [only] = await memory.recall("tea", kinds=["person"])
    assert isinstance(only.memory, Person)


async def test_what_is_known_of_who_is_named_is_recalled_without_another_word() -> None:
    memory = a_memory()
    await memory.remember(
        Knowledge(subject="Ana", attribute="home town", content="Bergen"), said("Hi Ana", speaker="B")
    )
    [hit] = await memory.recall("Who is Ana?")
    assert texts([hit]) == ["Bergen"]
    assert hit.why == "Recalled because it is about them."


async def test_one_task_can_be_left_out() -> None:
    memory = a_memory()
    await memory.remember(said("I paint boats", task="here"), said("I paint houses", task="there"))
    assert texts(await memory.recall("paint", without_task="here")) == ["I paint houses"]


@pytest.mark.parametrize("limit", [0, 101, -1])
async def test_the_limit_has_limits(limit: int) -> None:
    with pytest.raises(InvalidRequest):
        await a_memory().recall("x", limit=limit)


@pytest.mark.parametrize("query", ["", " ", "?!", "what did you do", '"', "a OR b NEAR c", "\x00"])
async def test_any_query_can_be_asked(query: str, tmp_path: Path) -> None:
    async with a_file(tmp_path / "brain.sqlite") as memories:
        memory = a_memory(memories)
        assert await memory.recall(query) == []
        await memory.remember(said("a or b"))
        await memory.recall(query)


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_meaning_finds_what_shares_no_word() -> None:
    pytest.importorskip("numpy", reason="the extra `embeddings` is not installed")
    memory = a_memory(embedder=Topics())
    await memory.remember(said("My beagle barks"), said("My van broke down"), said("I like tea"))
    hits = await memory.recall("Which vehicle?", limit=1)
    assert texts(hits) == ["My van broke down"]
    assert hits[0].signals["meaning"] > 0.9
    await memory.remember(said("The car is back"))
    assert "The car is back" in texts(await memory.recall("Which vehicle?", limit=2))
    await memory.forget(hits[0].memory.id, because="sold")
    assert texts(await memory.recall("Which vehicle?", limit=1)) == ["The car is back"]


async def test_where_the_embedder_fails_words_go_on_and_the_vectors_are_made_later() -> None:
    pytest.importorskip("numpy", reason="the extra `embeddings` is not installed")
    embedder = Topics()
    memory = a_memory(embedder=embedder)
    embedder.fails = True
    await memory.remember(said("My beagle barks"))
    assert memory.trouble == "The embedder failed: OSError: no connection"
    assert texts(await memory.recall("Who barks?")) == ["My beagle barks"]
    with pytest.raises(OSError, match="no connection"):
        await memory.embed_missing()
    embedder.fails = False
    assert await memory.embed_missing() == 1
    assert await memory.embed_missing() == 0
    assert texts(await memory.recall("Which pet?")) == ["My beagle barks"]
    assert memory.trouble is None


# ── moving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_export_is_taken_in_by_the_other_store_and_comes_out_the_same(tmp_path: Path) -> None:
    here = a_memory()
    await here.remember(said("one"), said("two"), Knowledge(subject="Ana", attribute="job", content="nurse"))
    await here.remember(Knowledge(subject="Ana", attribute="job", content="pilot"))
    bundle = await here.export_bundle()
    async with a_file(tmp_path / "brain.sqlite") as memories:
        there = a_memory(memories)
        assert await there.import_bundle(bundle) == 4
        assert await there.import_bundle(bundle) == 0
        assert await there.export_bundle() == bundle
        [hit, *_] = await there.recall("What is Ana's job?")
        assert texts([hit]) == ["pilot"]
        back = a_memory()
        await back.import_bundle(await there.export_bundle())
        assert await back.export_bundle() == bundle


@given(st.lists(any_memory, max_size=6, unique_by=lambda memory: memory.id))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_memories_round_trip_between_the_stores(tmp_path: Path, memories: list[Memory]) -> None:
    named = [as_remembered(replace(memory, id=f"{number}{memory.id}")) for number, memory in enumerate(memories)]
    remembered = [memory for memory in named if memory is not None]
    one = a_memory()
    await one.import_bundle(bundle_of(remembered))
    exported = await one.export_bundle()
    assert [strip(memory) for memory in memories_of(exported)] == [strip(memory) for memory in remembered]
    path = tmp_path / "brain.sqlite"
    path.unlink(missing_ok=True)
    async with a_file(path) as file:
        two = a_memory(file)
        await two.import_bundle(exported)
        assert await two.export_bundle() == exported


def strip(memory: Memory) -> Memory:
    """Without the position, which a store gives where there is none."""
    return replace(memory, position=None) if isinstance(memory, Episode) else memory


async def test_an_import_brings_retirements_and_undoes_none() -> None:
    here, there = a_memory(), a_memory()
    [stored] = await here.remember(said("I paint boats"))
    before = await here.export_bundle()
    await there.import_bundle(before)
    await here.forget(stored.id, because="asked")
    assert await there.import_bundle(await here.export_bundle()) == 1
    assert await there.recall("boats") == []
    assert await there.import_bundle(before) == 0
    assert await there.recall("boats") == []


async def test_nothing_is_remembered_where_the_store_refuses() -> None:
    class Full(InProcessMemories):
        async def put(self, rows: Sequence[MemoryRow], /, **more: object) -> None:
            raise StoreFull("The disk is full.")

    memory = a_memory(Full())
    with pytest.raises(StoreFull):
        await memory.remember(said("x"))
    assert await memory.page() == []


async def test_both_stores_recall_the_same(tmp_path: Path) -> None:
    conversation = hand_made("nadia_and_tom")
    turns = [replace(said(turn.text, speaker=turn.speaker, at=turn.at), id=turn.id) for turn in conversation.turns]
    async with a_file(tmp_path / "brain.sqlite") as memories:
        one, two = a_memory(), a_memory(memories)
        for memory in (one, two):
            await memory.remember(*turns)
        for question in conversation.questions:
            here, there = [await memory.recall(question.text, now=question.asked_at) for memory in (one, two)]
            assert here == there


async def test_an_export_has_whole_trails_whatever_is_remembered_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longterm, "PAGE", 1)
    memory = a_memory()
    await memory.remember(Knowledge(subject="Ana", attribute="job", content="nurse"), said("one"), said("two"))
    page, bundles = memory.page, list[bytes]()

    async def slow(**filters: Any) -> list[Memory]:
        found = await page(**filters)
        await anyio.lowlevel.checkpoint()
        return found

    async def export() -> None:
        bundles.append(await memory.export_bundle())

    monkeypatch.setattr(memory, "page", slow)
    async with anyio.create_task_group() as group:
        group.start_soon(export)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        await memory.remember(Knowledge(subject="Ana", attribute="job", content="pilot"))
    jobs = [each for each in memories_of(bundles[0]) if isinstance(each, Knowledge) and each.retired_at is None]
    assert len(jobs) == 1


async def test_an_import_that_says_something_else_of_a_memory_is_refused_and_writes_nothing() -> None:
    memory = a_memory()
    [stored] = await memory.remember(Knowledge(subject="Ana", attribute="job", content="nurse"))
    other = replace(stored, content="spy", retired_at=1, retired_because="superseded")
    with pytest.raises(InvalidRequest, match="another memory"):
        await memory.import_bundle(bundle_of([replace(other, id="new"), other]))
    assert await memory.page(past=True) == [stored]


async def test_values_of_one_call_replace_each_other_in_order() -> None:
    memory = a_memory()
    jobs = [Knowledge(id=job, subject="Ana", attribute="job", content=job) for job in ("nurse", "pilot", "spy")]
    await memory.remember(jobs[0])
    _, last = await memory.remember(*jobs[1:])
    assert last.supersedes == ("pilot",)
    assert [each.superseded_by for each in await memory.known(["nurse", "pilot", "spy"])] == ["pilot", "spy", None]


async def test_what_is_retired_keeps_its_first_reason_and_is_not_superseded_any_more() -> None:
    memory = a_memory()
    [old] = await memory.remember(said("I paint boats"))
    gone = await memory.forget(old.id, because="asked")
    await memory.forget_all([old.id], because="another")
    [new] = await memory.remember(replace(said("I paint cars"), supersedes=(old.id,)))
    assert await memory.get(old.id) == gone
    assert new.supersedes == ()


async def test_of_two_identities_that_an_import_brought_the_later_one_is_who_the_agent_is() -> None:
    memory = a_memory()
    await memory.import_bundle(bundle_of([Trait(id=name, aspect="identity", text=name) for name in ("one", "two")]))
    assert (await memory.soul()).identity == "two"


async def test_who_speaks_after_the_first_recall_is_known_too() -> None:
    memory = a_memory()
    await memory.recall("Ana?")
    await memory.remember(said("I paint boats", speaker="Ana"))
    [hit] = await memory.recall("What does Ana paint?")
    assert "speaker" in hit.signals


async def test_memories_that_came_without_a_vector_are_wanted_one() -> None:
    embedder = Topics()
    memory = a_memory(embedder=embedder)
    memory.wants_vectors = False
    await memory.import_bundle(bundle_of([Trait(id="one", aspect="value", text="tea")]))
    assert memory.wants_vectors
    assert await memory.embed_missing() == 1
    memory.wants_vectors = False
    embedder.fails = True
    await memory.remember(said("a beagle"))
    assert memory.wants_vectors
