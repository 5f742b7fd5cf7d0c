"""Working memory through an engine: the agent's `note`, and `engine.notes` for the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from september_engine import BlockingEngine, Limits, Settings
from september_engine.errors import (
    ConfigurationError,
    EngineClosed,
    InvalidRequest,
    StoreFull,
    TaskNotFound,
)
from september_engine.events import HitlRequest, ThreadLifecycle, ToolResult, WorkingMemoryUpdate
from september_engine.models.scripted import ScriptedModel, call, say, turn
from september_engine.permissions import Policy, Rule
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench, FlakyStore, careful, held, idle, names, soon, text, ticks, until, well_formed

GO = "Plan my trip."


def memory(model: ScriptedModel, request: int = -1) -> str:
    """What the model was shown of working memory with the last message of this request."""
    blocks = [block for message in model.requests[request].prompt.messages for block in message["content"]]
    shown = [block["text"] for block in blocks if str(block.get("text")).startswith("<working_memory>")]
    return shown[-1] if shown else ""


def updates(events: list[Any]) -> list[tuple[str, Any]]:
    return [(event.key, event.value) for event in events if isinstance(event, WorkingMemoryUpdate)]


class TestTheAgent:
    async def test_notes_are_shown_kept_and_known_in_the_next_turn_and_the_next_process(self, tmp_path: Path) -> None:
        path = tmp_path / "brain.sqlite"
        bench = Bench(store=SQLiteStore(path))
        noting = turn(call("note", id="a", key="city", value="Rome"), call("note", id="b", key="budget", value=300))
        async with bench.running([noting, say("Noted.")], notes="any") as engine:
            events = await soon(engine.execute(GO, task_id="t"))
            well_formed(events)
            assert updates(events) == [("city", "Rome"), ("budget", 300)]
            assert await engine.notes.get("t") == {"city": "Rome", "budget": 300}
        model = ScriptedModel([say("Rome."), say("Still Rome.")])
        other = Bench(store=SQLiteStore(path))
        other.world = bench.world
        async with other.running(model, notes="any") as engine:
            await engine.execute("Where to?", task_id="t")
            assert 'city: "Rome"\nbudget: 300' in memory(model)
            await engine.execute("Sure?", task_id="t")
        assert str(model.requests[-1].prompt.messages).count("<working_memory>") == 1, "shown where it has changed"

    async def test_one_message_may_write_a_key_twice_and_the_last_counts(self) -> None:
        noting = turn(call("note", id="a", key="city", value="Rome"), call("note", id="b", key="city", value="Bern"))
        async with Bench().running([noting, say("Noted.")], notes="any") as engine:
            await engine.execute(GO, task_id="t")
            assert await engine.notes.get("t") == {"city": "Bern"}

    async def test_an_edit_and_a_retry_rewind_it_with_the_thread(self) -> None:
        script = [call("note", key="city", value="Rome"), say("1"), call("note", key="city", value="Bern"), say("2")]
        async with Bench().running([*script, say("3"), say("4")], notes="any") as engine:
            first = await engine.execute(GO, task_id="t")
            second = await engine.execute("No, Bern.", task_id="t")
            assert await engine.notes.get("t") == {"city": "Bern"}
            await engine.execute("(again)", task_id="t", retry_message_id=second.user_message_id)
            assert await engine.notes.get("t") == {"city": "Rome"}
            await engine.execute("Hello.", task_id="t", edit_message_id=first.user_message_id)
            assert await engine.notes.get("t") == {}

    async def test_a_note_expires_and_that_is_shown(self) -> None:
        bench = Bench()
        model = ScriptedModel([call("note", key="otp", value=7, minutes=1), say("1"), say("2"), say("3")])
        async with bench.running(model, notes="any") as engine:
            await engine.execute(GO, task_id="t")
            await engine.execute("And?", task_id="t")
            assert "otp: 7" in memory(model)
            await bench.clock.advance(60)
            assert await engine.notes.get("t") == {}
            events = await soon(engine.execute("And now?", task_id="t"))
            assert names(events)[:2] == ["started", "working_memory_update"]
            assert updates(events) == [("otp", None)]
            assert "empty now" in memory(model)

    async def test_what_does_not_fit_is_told_to_the_model_and_written_nowhere(self) -> None:
        wrong = turn(
            call("note", id="a", key="budget", value="much"),
            call("note", id="b", key="country", value="Italy"),
            call("note", id="c", key="city", value="x" * 20_000),
            call("note", id="d", key="city"),
        )
        model = ScriptedModel([wrong, say("Sorry.")])
        async with Bench().running(model, notes={"city": str, "budget": int}) as engine:
            events = await soon(engine.execute(GO, task_id="t"))
            assert updates(events) == []
            reasons = [event.error.reason for event in events if isinstance(event, ToolResult) and event.error]
            assert reasons == ["invalid_input"] * 4
        assert "Keys: city, budget" in str(model.requests[1].prompt.messages[-1])

    async def test_the_notes_of_one_answer_are_counted_together(self) -> None:
        much = turn(*(call("note", id=f"c{number}", key=f"k{number}", value="x" * 16_000) for number in range(6)))
        async with Bench().running([much, say("So much for that.")], notes="any") as engine:
            events = await soon(engine.execute(GO, task_id="t"))
            refused = [event.error.message for event in events if isinstance(event, ToolResult) and event.error]
            assert (len(updates(events)), len(refused)) == (4, 2)
            assert "All notes together have at most 65536 bytes" in refused[0]

    async def test_a_rule_may_ask_a_person_first(self) -> None:
        asks = Policy(rules=(Rule(effect="ask", tool="note"),))
        noting = turn(call("note", id="a", key="city", value="Rome"), call("note", id="b", key="city", value=1))
        model = ScriptedModel([noting, say("Done.")])
        async with Bench().running(model, policy=asks, notes={"city": str}) as engine:
            asked = engine.execute(GO, task_id="t")
            await until(asked, HitlRequest)
            assert await engine.notes.get("t") == {}
            for request in await engine.pending():
                await engine.respond("t", "yes", request_id=request.request_id)
            events = await soon(asked)
            well_formed(events)
            assert updates(events) == [("city", "Rome")]

    async def test_without_notes_there_is_no_such_tool(self) -> None:
        model = ScriptedModel([call("note", key="city", value="Rome"), say("Sorry.")])
        async with Bench().running(model, tools=[careful]) as engine:
            await engine.execute(GO, task_id="t")
            assert await engine.notes.get("t") == {}
        assert "unknown_tool" in str(model.requests[1].prompt.messages[-1])

    @pytest.mark.parametrize("notes", [{}, [], "some", {"city": object()}, 7])
    def test_a_declaration_that_means_nothing_is_refused(self, notes: Any) -> None:
        with pytest.raises(ConfigurationError):
            Bench().engine([], notes=notes)


class TestTheProgram:
    async def test_it_notes_before_the_first_turn_and_between_turns(self) -> None:
        model = ScriptedModel([say("1"), say("2")])
        async with Bench().running(model) as engine:
            await engine.notes.set("t", "city", "Rome")
            assert await engine.notes.get("t") == {"city": "Rome"}
            assert await engine.messages("t") == []
            await engine.execute(GO, task_id="t")
            assert 'city: "Rome"' in memory(model)
            await engine.notes.update("t", {"budget": 300, "city": None, "who": ("Ada", "Tom")})
            assert await engine.notes.delete("t", "budget")
            assert not await engine.notes.delete("t", "budget")
            assert [message.role for message in await engine.messages("t")] == ["user", "assistant"]
            await engine.execute("And?", task_id="t")
            assert 'who: ["Ada","Tom"]' in memory(model)
            assert "city" not in memory(model)

    async def test_a_replay_tells_it(self) -> None:
        async with Bench().running([say("1")]) as engine:
            await engine.execute(GO, task_id="t")
            cursor = (await soon(engine.replay(task_id="t")))[-1]
            assert isinstance(cursor, ThreadLifecycle)
            await engine.notes.set("t", "city", "Rome")
            events = await soon(engine.replay(task_id="t"))
            assert names(events)[-2:] == ["completed", "working_memory_update"]

    async def test_while_a_turn_runs_it_is_told_in_its_stream_and_to_the_model_with_the_next_message(self) -> None:
        gate = anyio.Event()
        model = ScriptedModel([say("Let me see.", hold=gate, at=1), say("2")])
        async with Bench().running(model) as engine:
            asked = engine.execute(GO, task_id="t")
            await until(asked, ThreadLifecycle)
            await engine.notes.set("t", "city", "Rome", minutes=10)
            assert await engine.notes.get("t") == {"city": "Rome"}
            gate.set()
            events = await soon(asked)
            well_formed(events)
            assert updates(events) == [("city", "Rome")]
            assert len(await _turns(engine)) == 1
            await engine.execute("And?", task_id="t")
        assert memory(model, 0) == ""
        assert "Rome" in memory(model, 1)

    async def test_while_a_turn_waits_for_a_person_it_works_too_even_in_another_process(self) -> None:
        bench = Bench()
        async with bench.running([call("careful")], tools=[careful]) as engine:
            await until(engine.execute(GO, task_id="t"), HitlRequest)
        async with bench.running([say("Done.")], tools=[careful]) as engine:
            await engine.notes.set("t", "city", "Rome")
            assert (await engine.task("t")).status == "waiting"
            await engine.respond("t", "yes")
            assert updates(await soon(engine.replay(task_id="t"))) == [("city", "Rome")]
            await idle(engine)
            assert await engine.notes.get("t") == {"city": "Rome"}

    async def test_it_goes_with_a_turn_that_does_not_count(self) -> None:
        bench = Bench()
        async with bench.running([held()]) as engine:
            await until(engine.execute(GO, task_id="t"), ThreadLifecycle)
            await engine.notes.set("t", "city", "Rome")
        async with bench.running([]) as engine:
            assert await engine.notes.get("t") == {}

    async def test_an_edit_from_before_takes_it_back_and_one_from_after_does_not(self) -> None:
        async with Bench().running(lambda request: say("Yes.")) as engine:
            first = await engine.execute(GO, task_id="t")
            await engine.notes.set("t", "city", "Rome")
            second = await engine.execute("And?", task_id="t")
            await engine.execute("And then?", task_id="t", edit_message_id=second.user_message_id)
            assert await engine.notes.get("t") == {"city": "Rome"}
            await engine.execute("Hello.", task_id="t", edit_message_id=first.user_message_id)
            assert await engine.notes.get("t") == {}

    async def test_a_branch_that_ends_in_notes_is_named_by_the_message_before_them(self) -> None:
        async with Bench().running([say("1")]) as engine:
            first = await engine.execute(GO, task_id="t")
            await engine.notes.set("t", "city", "Rome")
            [branch] = (await engine.task("t")).branches
            assert branch.message_id == first.user_message_id
            assert branch.current

    async def test_many_at_once_all_count_and_none_keeps_a_turn_from_beginning(self) -> None:
        async with Bench().running(lambda request: say("Yes.")) as engine:
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(engine.notes.set, "t", f"k{number}", number)
                await ticks(3)
                assert (await engine.execute(GO, task_id="t")).text == "Yes."
            assert await engine.notes.get("t") == {f"k{number}": number for number in range(20)}

    async def test_the_next_turn_does_not_read_the_thread_again_for_it(self) -> None:
        store = FlakyStore()
        reads: list[str] = []
        thread = store.thread

        async def counted(task_id: str, turn_id: str, /, *, since: str | None = None) -> Any:
            reads.append(turn_id)
            return await thread(task_id, turn_id, since=since)

        store.thread = counted  # type: ignore[method-assign]
        async with Bench(store=store).running(lambda request: say("Yes.")) as engine:
            await engine.execute(GO, task_id="t")
            await engine.notes.set("t", "city", "Rome")
            reads.clear()
            await engine.execute("And?", task_id="t")
            assert reads == []

    @pytest.mark.parametrize(
        ("key", "value"),
        [("", 1), ("k" * 200, 1), ("city", 7), ("land", "Italy"), ("city", object()), ("city", "x" * 20_000)],
    )
    async def test_what_cannot_be_noted_is_refused_and_nothing_is_written(self, key: str, value: Any) -> None:
        async with Bench().running([], notes={"city": str}) as engine:
            with pytest.raises(InvalidRequest):
                await engine.notes.update("t", {"city": "Rome", key: value})
            with pytest.raises(TaskNotFound):
                await engine.notes.get("t")

    async def test_values_of_a_declared_type_may_be_objects(self) -> None:
        class Seat(msgspec.Struct):
            row: int

        async with Bench().running([], notes={"seat": Seat}) as engine:
            await engine.notes.set("t", "seat", Seat(row=7))
            assert await engine.notes.get("t") == {"seat": {"row": 7}}

    async def test_a_closed_engine_and_a_full_disk_say_so(self) -> None:
        store = FlakyStore()
        bench = Bench(store=store)
        engine = bench.engine([])
        with pytest.raises(EngineClosed):
            await engine.notes.set("t", "city", "Rome")
        async with bench.running([]) as engine:
            store.failing = StoreFull("The disk is full.")
            with pytest.raises(StoreFull):
                await engine.notes.set("t", "city", "Rome")
            store.failing = None
            await engine.notes.set("t", "city", "Rome")
            await engine.drain(0)
            with pytest.raises(EngineClosed):
                await engine.notes.set("t", "city", "Bern")

    async def test_a_task_with_nothing_but_notes_can_be_listed_deleted_and_begun(self) -> None:
        async with Bench().running([say("1")]) as engine:
            await engine.notes.set("t", "city", "Rome")
            assert [task.task_id for task in await engine.tasks()] == ["t"]
            assert text(await soon(engine.replay(task_id="t"))) == ""
            assert await engine.delete("t")
            with pytest.raises(TaskNotFound):
                await engine.notes.get("t")


async def _turns(engine: Any) -> list[Any]:
    turns: list[Any] = await engine._running.store.turns("t")
    return turns


def test_without_await() -> None:
    with BlockingEngine(":memory:", model=ScriptedModel([say("1")]), settings=Settings(), notes="any") as engine:
        engine.notes.set("t", "city", "Rome")
        engine.notes.update("t", {"budget": 300}, minutes=5)
        assert engine.notes.get("t") == {"city": "Rome", "budget": 300}
        assert engine.notes.delete("t", "city")
        assert engine.plan("t") == []


async def test_programs_that_write_at_once_do_not_pass_the_bounds_together(bench: Bench) -> None:
    refused = 0

    async def write(prefix: int) -> None:
        nonlocal refused
        try:
            await engine.notes.update("t", {f"{prefix}-{number}": number for number in range(100)})
        except InvalidRequest:
            refused += 1

    async with bench.running([], notes="any") as engine, anyio.create_task_group() as group:
        for prefix in range(4):
            group.start_soon(write, prefix)
    async with bench.running([], notes="any") as engine:
        assert (len(await engine.notes.get("t")), refused) == (200, 2)


@pytest.mark.parametrize("window", [7_000, 10_000])
async def test_a_large_memory_stands_once_in_a_request_and_leaves_room_to_go_on(window: int) -> None:
    model = ScriptedModel(lambda request: say("So it went. " * 40), context_window=window)
    async with Bench().running(model, limits=Limits(max_tokens=300), notes="any") as engine:
        await engine.notes.set("t", "map", "N" * 12_000)
        compactions = 0
        for number in range(40):
            events = await soon(engine.execute(f"{number} " + "word " * 60, task_id="t"))
            assert names(events)[-1] != "error"
            compactions += names(events).count("compaction_event")
    assert compactions > 0
    assert {str(request.prompt.messages).count("N" * 12_000) for request in model.requests} == {1}
