"""Erased is erased: canaries in everything that an engine stores, and the bytes of its files afterwards."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest

from september_engine import BlockingEngine, Settings, _cli
from september_engine._runtime.distilling import TURNS
from september_engine._turn.compaction import HEAD
from september_engine._turn.facts import Compacted, decode_fact
from september_engine._turn.limits import Limits
from september_engine.engine import Engine
from september_engine.errors import EngineClosed
from september_engine.memory.base import Episode, Knowledge, Memory, Person, Relation, Source, Trait
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import ScriptedModel, Step, call, say
from september_engine.store import _memories
from september_engine.store.sqlite import SQLiteStore
from september_engine.tools.tool import tool
from tests._context.pictures import png
from tests.engines import Bench, echo

from .programs import run
from .store.test_compact import holding
from .store.test_migrate import BEFORE_LEFT_BRANCHES

C = "qx77431"
LONG = " ".join(f"Sentence {number} of a long story goes on and on." for number in range(60))
CANARIES: dict[str, Callable[[], Memory]] = {
    "episode": lambda: Episode(text=f"The locker has {C}.", speaker=f"Zz{C}", at=1),
    "head": lambda: Episode(text=f"{C}: Hello there.", at=1),
    "long": lambda: Episode(text=f"{LONG} Then {C} came. {LONG}", speaker="Ana", at=1),
    "accents": lambda: Episode(text=f"Straße {C} 東京{C} Ñandú", at=1),
    "knowledge": lambda: Knowledge(subject=f"Ana {C}", attribute=C, content=f"Has {C}.", type=C),
    "person": lambda: Person(name=f"Ana {C}", about=f"Likes {C}.", aliases=(C,)),
    "relation": lambda: Relation(subject=C, relation=f"likes {C}", object=C),
    "trait": lambda: Trait(aspect="value", text=f"Be {C}."),
    "source": lambda: Episode(text="Plain.", at=1, source=Source(origin="web", detail=f"https://x.org/{C}")),
    "stop words": lambda: Episode(text="It is he.", speaker=C, at=1),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "brain.sqlite"


class Embedder:
    """One direction for each first letter: enough to have vectors."""

    name, dimensions = "letters", 8

    async def embed(self, texts: list[str], /) -> list[list[float]]:
        return [[1.0 + (hash(len(text)) >> bit & 1) for bit in range(8)] for text in texts]


def on(path: Path) -> Bench:
    return Bench(store=SQLiteStore(path))


@pytest.mark.parametrize("kind", CANARIES)
@pytest.mark.parametrize("ended", ["open", "closed"])
async def test_nothing_of_an_erased_memory_is_in_the_files(path: Path, kind: str, ended: str) -> None:
    bench = on(path)
    async with bench.running(echo, memory=True, embedder=Embedder()) as engine:
        await engine.memory.remember(*[Episode(text=f"Other {number}.", at=number) for number in range(12)])
        [kept] = await engine.memory.remember(CANARIES[kind]())
        await engine.memory.recall(f"Who has {C}?", limit=5)
        await engine.memory.forget(kept.id, because=f"{C} is wrong.")
        assert holding(path, C)
        await engine.memory.erase(kept.id, because="It was asked for.")
        if ended == "open":  # SQLite may have moved what was in a page: compacting looks after that, too
            await engine.compact()
            assert holding(path, C) == []
        assert C not in (await engine.memory.export_bundle()).decode()
        assert len(await engine.memory.page()) == 12
    assert holding(path, C) == []


async def test_a_history_is_erased_one_memory_at_a_time(path: Path) -> None:
    async with on(path).running(echo, memory=True) as engine:
        [old] = await engine.memory.remember(Knowledge(subject="Ana", attribute="employer", content=f"Old{C}"))
        [new] = await engine.memory.remember(Knowledge(subject="Ana", attribute="employer", content="New."))
        gone = await engine.memory.erase(old.id, because="Asked to.")
        assert [each.superseded_by for each in gone] == [new.id]
        assert holding(path, C) == []
        assert [each.id for each in await engine.memory.page()] == [new.id]


async def test_what_was_distilled_from_an_episode_goes_with_it(path: Path) -> None:
    fact = {"line": 1, "subject": "user", "attribute": "", "content": f"Has {C}.", "type": "fact", "confidence": 1.0}
    other = {**fact, "line": 3, "content": "Likes tea."}
    light = ScriptedModel(
        [say(msgspec.json.encode({"knowledge": [fact, other], "people": [], "relations": []}).decode())]
    )
    bench = on(path)
    async with bench.running(lambda request: say("Fine."), memory=True, distil=light) as engine:
        first = await engine.execute(f"I have {C}.", task_id="a")
        for number in range(TURNS - 1):
            await engine.execute(f"Tea, {number}.", task_id="a")
        await engine.remembered()
        while len(await engine.memory.page(kinds=["knowledge"])) < 2:
            await engine.health()
        episodes = await engine.memory.page(kinds=["episode"])
        [said] = [each for each in episodes if each.source.message_id == first.user_message_id]
        gone = await engine.memory.erase(said.id, because="Asked to.")
        assert [type(each) for each in gone] == [Episode, Knowledge]
        [left] = await engine.memory.page(kinds=["knowledge"])
        assert isinstance(left, Knowledge)
        assert left.content == "Likes tea."
        assert C not in (await engine.memory.export_bundle()).decode()


async def test_a_retry_does_not_bring_back_what_was_erased_but_who_says_it_again_does(bench: Bench) -> None:
    async def said(engine: Engine) -> int:
        await engine.remembered()
        return [each.text for each in await engine.memory.page() if isinstance(each, Episode)].count(f"I have {C}.")

    async with bench.running(lambda request: say("Fine."), memory=True) as engine:
        first = await engine.execute(f"I have {C}.", task_id="a")
        assert await said(engine) == 1
        [memory] = [each for each in await engine.memory.page() if C in str(each)]
        await engine.memory.erase(memory.id, because="Asked to.")
        again = await engine.execute("Again.", task_id="a", retry_message_id=first.user_message_id)
        assert await said(engine) == 0
        await engine.execute("Again.", task_id="a", retry_message_id=again.message_id)
        assert await said(engine) == 0
        await engine.execute(f"I have {C}.", task_id="a", edit_message_id=first.user_message_id)
        assert await said(engine) == 1


async def test_what_is_distilled_while_it_is_erased_does_not_stay() -> None:
    bench = Bench()
    fact = {"line": 1, "subject": "user", "attribute": "", "content": f"Has {C}.", "type": "fact", "confidence": 1.0}

    def erases(request: ModelRequest) -> Step:
        return say(msgspec.json.encode({"knowledge": [fact], "people": [], "relations": []}).decode())

    light = ScriptedModel(erases)
    async with bench.running(lambda request: say("Fine."), memory=True, distil=light) as engine:
        await engine.execute(f"I have {C}.", task_id="a")
        await engine.remembered()
        distilling = engine._running.resources.remembering._distilling  # type: ignore[union-attr]
        assert distilling is not None
        ask = distilling._ask

        async def slow(episodes: list[Episode]) -> str:
            answer = await ask(episodes)
            await engine.memory.erase(episodes[0].id, because="Asked to.")
            return answer

        distilling._ask = slow  # type: ignore[method-assign]
        assert await distilling.step()
        assert C not in (await engine.memory.export_bundle()).decode()


async def test_a_summary_does_not_keep_what_only_the_memory_said(path: Path) -> None:
    light = ScriptedModel(lambda request: say(f"The locker has {C}. They talk."), name="light")
    limits = Limits(context_tokens=2_400, max_tokens=300)
    model = ScriptedModel(lambda request: say("word " * 300))
    async with on(path).running(model, light=light, memory=True, limits=limits) as engine:
        [kept] = await engine.memory.remember(Knowledge(subject="locker", content=f"It has {C}."))
        for number in range(9):
            done = await engine.execute(f"What of the locker, {number}?", task_id="a")
        store = engine._running.store
        thread = await store.thread("a", done.turn_id)
        assert [fact for row in thread if isinstance(fact := decode_fact(row.body), Compacted) and C in fact.summary]
        await engine.memory.erase(kept.id, because="Asked to.")
        thread = await store.thread("a", done.turn_id)
        summaries = [fact.summary for row in thread if isinstance(fact := decode_fact(row.body), Compacted)]
        assert summaries
        assert all(summary.startswith(f"{HEAD}\n\nThe locker has [erased]. They talk.") for summary in summaries)
        await engine.execute("And now?", task_id="a")
        assert C not in str(model.requests[-1].prompt)
        await engine.compact()
        assert holding(path, C) == []


@tool
def big() -> str:
    """Something large."""
    return f"{C}big " * 40_000


async def test_nothing_of_a_deleted_task_is_in_the_files(path: Path) -> None:
    """Messages, edits, notes, plans, media, stored results, memories, and what other tasks were told of it."""
    script = [
        call("note", key=f"{C}key", value=f"{C}value"),
        call("big"),
        say(f"{C}answer about the locker"),
        say("Eins."),
        say("In b."),
    ]
    bench = on(path)
    async with bench.running(ScriptedModel(script), memory=True, notes="any", tools=[big]) as engine:
        first = await engine.execute(f"{C}said about the locker", task_id="a", media=[png()])
        await engine.execute(f"{C}edited about the locker", task_id="a", edit_message_id=first.user_message_id)
        await engine.remembered()
        await engine.execute("What about the locker?", task_id="b")
        await engine.remembered()
        [learned] = await engine.memory.remember(Knowledge(subject="Ana", content="Kind.", source=Source(task_id="a")))
        assert holding(path, C)
        assert await engine.delete("a")
        assert C not in (await engine.memory.export_bundle()).decode()
        await engine.compact()
        assert holding(path, C) == []
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM blobs").fetchone() == (0,)
        current = [each.id for each in await engine.memory.page(kinds=["knowledge"])]
        assert current == [learned.id]  # what was learned stays until it is erased, too
        said = [each.text for each in await engine.memory.page() if isinstance(each, Episode)]
        assert said == ["What about the locker?", "In b."]


async def test_a_deleted_task_leaves_the_index_of_words_when_the_engine_closes(path: Path) -> None:
    async with on(path).running(echo, memory=True) as engine:
        for number in range(6):
            await engine.execute(f"{C}a{number} is here.", task_id=f"t{number}")
        await engine.remembered()
        for number in range(6):
            await engine.delete(f"t{number}")
    with closing(sqlite3.connect(path)) as db:
        db.execute("VACUUM")
    assert holding(path, C) == []


async def test_deleting_without_memory_erases_what_was_remembered_with_it(path: Path) -> None:
    async with on(path).running(echo, memory=True) as engine:
        await engine.execute(f"{C} is here.", task_id="a")
        await engine.remembered()
    async with on(path).running(echo) as engine:
        await engine.delete("a")
    async with on(path).running(echo, memory=True) as engine:
        assert await engine.memory.recall(C) == []
        assert await engine.memory.page() == []
        assert C not in (await engine.memory.export_bundle()).decode()


async def test_memories_that_are_erased_at_the_same_time_are_all_taken_out_of_a_log(path: Path) -> None:
    model = ScriptedModel(lambda request: say("Fine."), new_prefix=True)
    async with on(path).running(model, memory=True) as engine:
        facts = [Knowledge(subject="locker", content=f"It has {C}{number}.") for number in range(4)]
        kept = await engine.memory.remember(*facts)
        await engine.execute("What of the locker?", task_id="a")
        assert str(model.requests[-1].prompt).count(C) == len(kept)
        async with anyio.create_task_group() as group:
            for each in kept:
                group.start_soon(partial(engine.memory.erase, each.id, because="Asked to."))
        await engine.execute("And now?", task_id="a")
        assert C not in str(model.requests[-1].prompt)
        await engine.compact()
        assert holding(path, C) == []


async def test_what_was_erased_elsewhere_is_erased_by_an_import(path: Path) -> None:
    async with on(path).running(lambda request: say("Fine."), memory=True, embedder=Embedder()) as engine:
        [kept] = await engine.memory.remember(Knowledge(subject="locker", content=f"It has {C}."))
        bundle = await engine.memory.export_bundle()
        async with Bench().running(echo, memory=True) as other:
            await other.memory.import_bundle(bundle)
            await other.memory.erase(kept.id, because="Asked to.")
            bundle = await other.memory.export_bundle()
        await engine.execute("What of the locker?", task_id="a")
        assert holding(path, C)
        assert await engine.memory.import_bundle(bundle) == 1
        assert holding(path, C) == []
        assert (await engine.memory.get(kept.id)).retired_because == "Asked to."
        assert await engine.memory.import_bundle(bundle) == 0


async def test_what_an_early_release_erased_goes_from_logs_and_index_once_the_file_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = on(path)
    async with bench.running(lambda request: say("Fine."), memory=True) as engine:
        [gone] = await engine.memory.remember(Knowledge(subject="locker", content=f"It has {C}."))
        await engine.memory.remember(Knowledge(subject="locker", content="It is green."))
        await engine.execute("What of the locker?", task_id="a")
        with monkeypatch.context() as early:  # it left both as they were
            early.setattr(engine.memory, "unquote", None)
            early.setattr(_memories, "owe_words", lambda db: None)
            await engine.memory.erase(gone.id, because="Asked to.")
    with closing(sqlite3.connect(path)) as db:
        db.executescript(BEFORE_LEFT_BRANCHES)
        for table in ("facts", "memory_words_data"):
            assert C[2:] in str(db.execute(f"SELECT * FROM {table}").fetchall())  # terms share their beginnings
    model = ScriptedModel(lambda request: say("Fine."), new_prefix=True)
    bench.store = SQLiteStore(path)
    async with bench.running(model, memory=True) as engine:
        await engine.execute("And now?", task_id="a")
        assert C not in str(model.requests[-1].prompt)
        assert "green" in str(model.requests[-1].prompt)
    with closing(sqlite3.connect(path)) as db:
        db.execute("VACUUM")
    assert holding(path, C) == []


async def test_a_vector_that_was_under_way_does_not_come_back(bench: Bench) -> None:
    async with bench.running(echo, memory=True, embedder=Embedder()) as engine:
        memory = engine.memory
        await memory._memories.put([])
        embedder = memory._embedder
        memory._embedder = None
        [kept] = await memory.remember(Episode(text=f"{C} is here.", at=1))
        memory._embedder = embedder
        meanings = memory._meanings_of

        async def slow(memories: list[Memory]) -> list[bytes]:
            found = await meanings(memories)
            memory._meanings_of = meanings  # type: ignore[method-assign]
            await memory.erase(kept.id, because="Asked to.")
            return found

        memory._meanings_of = slow  # type: ignore[method-assign, assignment]
        await memory.embed_missing(limit=1)
        assert await memory._memories.vectors("letters", after=0, limit=9) == []


async def test_in_memory_nothing_of_it_is_kept_either() -> None:
    async with Bench().running(echo, memory=True, embedder=Embedder()) as engine:
        [kept] = await engine.memory.remember(CANARIES["long"]())
        await engine.memory.recall(C)
        await engine.memory.erase(kept.id, because="Asked to.")
        assert C not in str(vars(engine.memory._memories))
        report = await engine.compact(progress=lambda progress: None)
        assert (report.bytes_before, report.bytes_after) == (0, 0)


def test_the_blocking_engine_compacts(path: Path) -> None:
    stages: list[str] = []
    with BlockingEngine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
        engine.execute(f"{C} is here.", task_id="a").result()
        engine.delete("a")
        report = engine.compact(progress=lambda progress: stages.append(progress.stage))
        assert report.bytes_after > 0
        assert stages[0] == "words"
        assert holding(path, C) == []


async def test_an_engine_that_is_closed_does_not_compact(path: Path) -> None:
    engine = Engine(path, model=ScriptedModel(echo), settings=Settings())
    with pytest.raises(EngineClosed):
        await engine.compact()


class TestTheCommand:
    def compact(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return run("-m", "september_engine", "compact", *arguments, cwd=cwd)

    def test_it_compacts_and_says_what_it_does(self, path: Path) -> None:
        with BlockingEngine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
            engine.execute(f"{C} is here.", task_id="a").result()
            engine.delete("a")
        done = self.compact(cwd=path.parent)
        assert done.returncode == 0, done.stderr
        assert "bytes before" in done.stdout
        assert [line.partition(" …")[0] for line in done.stderr.splitlines()] == list(_cli.COMPACTING.values())
        assert holding(path, C) == []

    def test_a_database_that_is_open_or_not_there_is_named(self, path: Path) -> None:
        with BlockingEngine(path, model=ScriptedModel(echo), settings=Settings()) as engine:
            engine.health()
            done = self.compact("--db", str(path), cwd=path.parent)
            assert done.returncode == 2
            assert "Stop it first" in done.stderr
        done = self.compact("--db", "none.sqlite", cwd=path.parent)
        assert done.returncode == 2
        assert "There is no database at" in done.stderr
        assert not (path.parent / "none.sqlite").exists()
