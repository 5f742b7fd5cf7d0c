"""Long-term memory through an engine: what turns leave, what later ones are told, and what the agent writes itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine import BlockingEngine, Settings
from september_engine._memory.rules import LEFT
from september_engine._turn.exchange import episode_id
from september_engine._turn.facts import Recalled, decode_fact
from september_engine.engine import Engine
from september_engine.errors import ConfigurationError, EngineClosed, InvalidRequest, ModelError, NoMemory
from september_engine.events import ToolResult
from september_engine.memory.base import Episode, Knowledge, Memory, Source, Trait
from september_engine.models.scripted import ScriptedModel, call, fail, say, turn
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench, FlakyStore, echo, look, soon

from ._memory.test_records import any_memory

MOVED = "I moved to Bergen last week!"
WHERE = "Which town did I move to?"


async def settled(engine: Engine) -> None:
    await engine.remembered()


def told(model: ScriptedModel, request: int = -1) -> str:
    """What the model was shown of long-term memory with the last message of this request."""
    texts = [str(block.get("text")) for block in model.requests[request].prompt.messages[-1]["content"]]
    return "\n".join(text for text in texts if text.startswith("<memories>"))


async def said(engine: Engine, *, past: bool = False) -> list[str]:
    await settled(engine)
    return [
        memory.text for memory in await engine.memory.page(kinds=["episode"], past=past) if isinstance(memory, Episode)
    ]


async def recalled(engine: Engine, task_id: str) -> list[Recalled]:
    store = engine._running.store
    rows = [row for each in await store.turns(task_id) for row in await store.turn(task_id, each.turn_id)]
    return [fact for row in rows if isinstance(fact := decode_fact(row.body), Recalled)]


class TestRecall:
    async def test_a_turn_is_told_what_was_said_in_another_task_and_why(self) -> None:
        model = ScriptedModel([say("Nice."), say("Bergen.")])
        async with Bench().running(model, memory=True) as engine:
            first = await engine.execute(MOVED, task_id="a")
            await engine.execute(WHERE, task_id="b")
            [fact] = await recalled(engine, "b")
        assert MOVED in told(model)
        [item] = [item for item in fact.items if MOVED in item.text]
        assert (item.task_id, item.message_id) == ("a", first.user_message_id)
        assert (item.source, item.trust) == ("person", "stated")
        assert item.why.startswith("Recalled because")
        assert item.text in told(model)

    async def test_it_stays_in_the_prompt_and_is_not_told_twice(self) -> None:
        model = ScriptedModel([say("Nice."), say("Bergen."), say("Bergen, again.")])
        async with Bench().running(model, memory=True) as engine:
            await engine.execute(MOVED, task_id="a")
            await engine.execute(WHERE, task_id="b")
            await engine.execute("Sure? Which town was it?", task_id="b")
        before, after = model.requests[-2].prompt, model.requests[-1].prompt
        assert after.messages[: len(before.messages)] == before.messages
        assert str(after.messages).count(MOVED) == 1

    async def test_what_the_thread_says_itself_is_not_told_again(self) -> None:
        model = ScriptedModel([say("Nice."), say("Bergen.")])
        async with Bench().running(model, memory=True) as engine:
            await engine.execute(MOVED, task_id="a")
            await engine.execute(WHERE, task_id="a")
            assert [fact.items for fact in await recalled(engine, "a")] == [[], []]

    async def test_without_a_memory_nothing_is_asked_and_there_are_no_tools(self) -> None:
        model = ScriptedModel([say("Hm.")])
        async with Bench().running(model) as engine:
            await engine.execute(WHERE, task_id="b")
            assert await recalled(engine, "b") == []
            with pytest.raises(NoMemory, match="memory=True"):
                _ = engine.memory
        assert model.requests[0].prompt.tools == []

    async def test_a_repeated_attempt_does_not_ask_again(self) -> None:
        bench = Bench()
        model = ScriptedModel([say("Nice."), fail(ModelError("Busy.", retryable=True)), say("Bergen.")])
        async with bench.running(model, memory=True) as engine:
            await engine.execute(MOVED, task_id="a")
            running = engine.execute(WHERE, task_id="b")
            await running.started()
            while len(model.requests) < 3:
                await bench.clock.advance(1)
            await running
            assert len(await recalled(engine, "b")) == 1
        assert told(model, -1) == told(model, -2) != ""

    @pytest.mark.parametrize("hangs", [False, True])
    async def test_a_memory_that_fails_or_hangs_costs_the_turn_its_memories_and_nothing_else(
        self, hangs: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = Bench()
        async with bench.running([say("Nice."), say("No idea.")], memory=True) as engine:
            await engine.execute(MOVED, task_id="a")
            await settled(engine)

            async def broken(*args: Any, **more: Any) -> list[Any]:
                if hangs:
                    await bench.clock.sleep(3600)
                raise OSError("The disk is gone.")

            monkeypatch.setattr(engine.memory, "recall", broken)
            running = engine.execute(WHERE, task_id="b")
            await running.started()
            await bench.clock.advance(2.5)
            assert await running.result() is not None
            [fact] = await recalled(engine, "b")
        assert fact.items == []
        assert ("2 seconds" if hangs else "The disk is gone.") in str(fact.problem)


class TestWhatTurnsLeave:
    async def test_both_sides_of_each_turn_in_order(self) -> None:
        async with Bench().running(echo, memory=True) as engine:
            for text in ("One.", "Two."):
                await engine.execute(text, task_id="a")
            assert await said(engine) == ["One.", "You said: One.", "Two.", "You said: Two."]
            episodes = await engine.memory.page(kinds=["episode"])
        assert [episode.position for episode in episodes if isinstance(episode, Episode)] == [0, 1, 2, 3]

    async def test_a_process_that_died_before_it_wrote_them_leaves_them_to_the_next_one(self, tmp_path: Path) -> None:
        bench = Bench(store=SQLiteStore(tmp_path / "brain.sqlite"))
        async with bench.running(echo) as engine:  # without a memory: nothing is written
            for text in ("One.", "Two."):
                await engine.execute(text, task_id="a")
            await engine.notes.set("a", "city", "Rome")
            await engine.execute("Three.", task_id="b")
        for _ in range(2):
            async with bench.running(echo, memory=True) as engine:
                await engine._running.resources.remembering._look_back()  # type: ignore[union-attr]
                found = await said(engine)
            assert sorted(found) == sorted(
                [f"{said}{text}" for said in ("", "You said: ") for text in ("One.", "Two.", "Three.")]
            )

    async def test_what_could_not_be_written_is_written_with_the_next_turn(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with Bench().running(echo, memory=True) as engine:
            with monkeypatch.context() as broken:

                async def refuse(*memories: Memory, repeat: bool = False) -> list[Memory]:
                    raise OSError("The disk is full.")

                broken.setattr(engine.memory, "remember", refuse)
                await engine.execute("One.", task_id="a")
                assert await said(engine) == []
            await engine.execute("Two.", task_id="a")
            assert await said(engine) == ["One.", "You said: One.", "Two.", "You said: Two."]

    async def test_what_was_read_in_a_turn_is_not_believed_in_a_later_one_nor_after_a_restart(self) -> None:
        bench = Bench()
        lie = {"kind": "knowledge", "subject": "user", "attribute": "bank", "content": "Mallory & Sons"}
        script = [call("look", at="a page"), say("A page."), call("remember", **lie), say("Noted.")]
        async with bench.running(ScriptedModel(script[:2]), memory=True, tools=[look]) as engine:
            read = await engine.execute("Read that page.", task_id="a")
        async with bench.running(ScriptedModel(script[2:]), memory=True, tools=[look]) as engine:
            await engine.execute("Thank you.", task_id="a")
            await settled(engine)
            [fact] = await engine.memory.page(kinds=["knowledge"])
            answers = [each for each in await engine.memory.page(kinds=["episode"]) if each.source.origin == "agent"]
        assert (fact.source.trust, fact.source.detail) == ("untrusted", "after look")
        assert [(each.source.trust, each.source.detail) for each in answers] == [("untrusted", "after look")] * 2
        async with bench.running(ScriptedModel([say("Hello.")]), memory=True, tools=[look]) as engine:
            await engine.execute("Hello!", task_id="a", edit_message_id=read.user_message_id)
            await settled(engine)
            [last] = [each for each in await engine.memory.page(kinds=["episode"]) if each.source.origin == "agent"]
        assert last.source.trust == "inferred"  # it was left behind with the turn that read it

    async def test_what_an_edit_leaves_is_not_current_and_says_why(self) -> None:
        async with Bench().running(echo, memory=True) as engine:
            await engine.execute("One.", task_id="a")
            second = await engine.execute("Two.", task_id="a")
            await engine.execute("Three.", task_id="a")
            await engine.execute("Zwei.", task_id="a", edit_message_id=second.user_message_id)
            assert await said(engine) == ["One.", "You said: One.", "Zwei.", "You said: Zwei."]
            assert len(await said(engine, past=True)) == 8
            old = await engine.memory.get(episode_id("a", second.turn_id, "user"))
            assert (old.retired_because, old.superseded_by) == (LEFT, None)

    async def test_a_branch_that_is_taken_up_again_is_current_again(self) -> None:
        async with Bench().running(echo, memory=True) as engine:
            first = await engine.execute("One.", task_id="a")
            second = await engine.execute("Two.", task_id="a")
            await engine.execute("Eins.", task_id="a", edit_message_id=first.user_message_id)
            assert await said(engine) == ["Eins.", "You said: Eins."]
            await engine.execute("-", task_id="a", retry_message_id=second.user_message_id)
            assert sorted(await said(engine)) == sorted(["One.", "You said: One.", "Two.", "You said: Two."])
            assert len(await said(engine, past=True)) == 8

    async def test_what_was_forgotten_does_not_come_back_by_itself(self) -> None:
        bench = Bench()
        async with bench.running(echo, memory=True) as engine:
            one = await engine.execute("One.", task_id="a")
            await settled(engine)
            await engine.memory.forget(episode_id("a", one.turn_id, "user"), because="Asked to.")
            await engine.execute("Two.", task_id="a")
            assert await said(engine) == ["You said: One.", "Two.", "You said: Two."]
        async with bench.running(echo, memory=True) as engine:
            await engine._running.resources.remembering._look_back()  # type: ignore[union-attr]
            assert "One." not in await said(engine)

    async def test_a_task_that_is_deleted_is_forgotten_and_what_was_learned_stays(self) -> None:
        async with Bench().running(echo, memory=True) as engine:
            one = await engine.execute("One.", task_id="a")
            await engine.execute("Eins.", task_id="a", edit_message_id=one.user_message_id)
            await engine.memory.remember(Knowledge(subject="Ana", content="Kind.", source=Source(task_id="a")))
            await settled(engine)
            assert await engine.delete("a")
            assert await said(engine) == []
            retired = {memory.retired_because for memory in await engine.memory.page(past=True)}
            assert retired == {"its task was deleted", ""}
            assert [type(memory) for memory in await engine.memory.page()] == [Knowledge]

    async def test_a_memory_that_fails_does_not_keep_a_task_from_being_deleted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with Bench().running(echo, memory=True) as engine:
            await engine.execute("One.", task_id="a")
            await settled(engine)

            async def refuse(ids: Sequence[str], *, because: str) -> None:
                raise OSError("The disk is full.")

            monkeypatch.setattr(engine.memory, "forget_all", refuse)
            assert await engine.delete("a")
            assert await engine.tasks() == []


class TestTheAgent:
    async def test_it_remembers_a_fact_and_the_engine_says_where_it_came_from(self) -> None:
        script = [
            call("remember", kind="knowledge", subject="user", attribute="home town", content="Bergen"),
            say("OK."),
        ]
        async with Bench().running(script, memory=True) as engine:
            done = await engine.execute(MOVED, task_id="a")
            [kept] = await engine.memory.page(kinds=["knowledge"])
        assert isinstance(kept, Knowledge)
        assert (kept.subject, kept.attribute, kept.content) == ("user", "home town", "Bergen")
        assert kept.source == Source(origin="person", trust="stated", task_id="a", message_id=done.user_message_id)

    async def test_it_forgets_with_a_reason_and_a_trail(self) -> None:
        async with Bench().running(
            [call("forget", memory_id="mem_x", reason="Wrong."), say("OK.")], memory=True
        ) as engine:
            await engine.memory.remember(Knowledge(id="mem_x", subject="Ana", content="Tall."))
            await engine.execute("Ana is not tall.", task_id="a")
            assert await engine.memory.page(kinds=["knowledge"]) == []
            because = (await engine.memory.get("mem_x")).retired_because
        assert because.startswith("Wrong. (forgotten by the agent in task 'a'")

    async def test_after_a_page_was_read_nothing_it_remembers_is_trusted_and_no_trait_is_taken(self) -> None:
        script = [
            call("look", at="a page"),
            turn(
                call("remember", id="a", kind="knowledge", subject="user", attribute="bank", content="Evil Ltd"),
                call("remember", id="b", kind="trait", attribute="value", content="Obey pages"),
            ),
            say("OK."),
        ]
        async with Bench().running(script, memory=True, tools=[look]) as engine:
            stated = Knowledge(subject="user", attribute="bank", content="Good Bank", source=Source(origin="person"))
            await engine.memory.remember(stated)
            events = await soon(engine.execute("Read it. Obey pages, they say.", task_id="a"))
            banks = await engine.memory.page(kinds=["knowledge"])
            soul = await engine.memory.soul()
        assert {(bank.source.trust, bank.source.detail) for bank in banks} == {
            ("stated", ""),
            ("untrusted", "after look"),
        }
        assert soul.values == ()
        refused = [event.error.message for event in events if isinstance(event, ToolResult) and event.error is not None]
        assert len(refused) == 1
        assert "own words" in refused[0]


class TestOpening:
    def test_what_cannot_be_is_said_at_once(self) -> None:
        given: list[dict[str, Any]] = [{"memory": 1}, {"embedder": object()}, {"memory": True, "embedder": object()}]
        for wrong in given:
            with pytest.raises(ConfigurationError):
                Engine(MemoryStore(), settings=Settings(), **wrong)
        with pytest.raises(ConfigurationError, match="no place for memories"):
            Engine(FlakyStore(), memory=True, settings=Settings())

    async def test_memory_is_there_while_the_engine_is_open(self) -> None:
        engine = Bench().engine([], memory=True)
        with pytest.raises(EngineClosed):
            _ = engine.memory
        async with engine:
            await engine.memory.remember(Trait(aspect="value", text="Be kind."))
        with pytest.raises(EngineClosed):
            _ = engine.memory
        async with engine:
            assert (await engine.memory.soul()).values == ("Be kind.",)

    async def test_vectors_that_are_missing_are_made_in_the_background(self) -> None:
        pytest.importorskip("numpy")

        class Lengths:
            name, dimensions = "lengths", 2

            async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
                return [[1.0, float(len(text))] for text in texts]

        bench = Bench()
        async with bench.running([], memory=True) as engine:
            await engine.memory.remember(Knowledge(subject="Ana", content="Kind."))
        async with bench.running([], memory=True, embedder=Lengths()) as engine:
            await bench.clock.until_asleep()
            while engine.memory.wants_vectors:
                await bench.clock.advance(0.1)
            assert len(await bench.store.memories.vectors("lengths", after=0, limit=9)) == 1  # type: ignore[attr-defined]


@settings(
    max_examples=settings().max_examples // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(memories=st.lists(any_memory, max_size=8), turns=st.lists(st.sampled_from(["One.", "Tea?"]), max_size=2))
async def test_an_export_of_an_engine_is_imported_by_another_on_the_other_store_without_a_loss(
    memories: list[Memory], turns: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def on_file() -> SQLiteStore:
        return SQLiteStore(tmp_path_factory.mktemp("brain") / "brain.sqlite")

    stores: list[tuple[Callable[[], Any], Callable[[], Any]]] = [(MemoryStore, on_file), (on_file, MemoryStore)]
    for here, there in stores:
        async with Bench(store=here()).running(echo, memory=True) as engine:
            for text in turns:
                await engine.execute(text, task_id="a")
            await settled(engine)
            for memory in memories:
                try:
                    await engine.memory.remember(memory)
                except InvalidRequest:  # a memory that must not be, or one that is there
                    continue
            bundle = await engine.memory.export_bundle()
        async with Bench(store=there()).running([], memory=True) as engine:
            await engine.memory.import_bundle(bundle)
            assert await engine.memory.export_bundle() == bundle
            assert await engine.memory.import_bundle(bundle) == 0


def test_a_blocking_engine_has_the_same_memory() -> None:
    with BlockingEngine(":memory:", model=ScriptedModel(echo), memory=True, settings=Settings()) as engine:
        [home] = engine.memory.remember(Knowledge(subject="Ana", attribute="town", content="Oslo"))
        [now] = engine.memory.remember(Knowledge(subject="Ana", attribute="town", content="Bergen"))
        assert [each.memory for each in engine.memory.recall("Ana's town")] == [now]
        assert [each.id for each in engine.memory.history(now.id)] == [home.id, now.id]
        assert engine.memory.get(home.id).superseded_by == now.id
        assert engine.memory.forget(now.id, because="Moved.").retired_because == "Moved."
        assert engine.memory.page() == []
        assert engine.memory.soul().values == ()
        engine.execute("One.", task_id="a").result()
        engine.remembered()
        assert len(engine.memory.page()) == 2
        assert engine.memory.import_bundle(engine.memory.export_bundle()) == 0
        assert engine.memory.embed_missing() == 0
