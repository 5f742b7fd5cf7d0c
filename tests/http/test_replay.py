from __future__ import annotations

import asyncio

import anyio
import pytest

from september_engine._runtime.world import World
from september_engine.models.scripted import ScriptedModel, hold, say, turn
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.fakes import FakeClock

from .server import Frame, answer_of, engine_with, names_of, parsed, serving, until

GOOD = {"message": "Hello", "task_id": "t"}


async def test_a_replay_gives_the_same_events_again() -> None:
    async with serving(engine_with()) as served:
        live = await served.execute()
        assert await served.replay("task_id=t") == live
        assert await served.replay("task_id=t&after=0") == live


async def test_a_replay_from_any_event_on_joins_to_the_whole() -> None:
    async with serving(engine_with()) as served:
        live = await served.execute("One") + await served.execute("Two")
        for place, frame in enumerate(live):
            assert await served.replay(f"task_id=t&after={frame.id}") == live[place + 1 :]


async def test_the_last_event_id_counts_instead_of_after_where_it_is_one() -> None:
    async with serving(engine_with()) as served:
        live = await served.execute()
        last = str(live[2].id)
        assert await served.replay("task_id=t&after=0", **{"Last-Event-ID": last}) == live[3:]
        assert await served.replay("task_id=t", **{"Last-Event-ID": last}) == live[3:]
        for odd in ("", "abc", "-5", "1.5", "9" * 30):
            assert await served.replay(f"task_id=t&after={last}", **{"Last-Event-ID": odd}) == live[3:]


async def test_without_a_task_it_is_the_one_whose_turn_started_last() -> None:
    async with serving(engine_with()) as served:
        await served.execute(task_id="first")
        second = await served.execute(task_id="second \u00e9")
        response = await served.client.get("/execute/replay")
        assert parsed(response.text) == second
        assert response.headers["x-task-id"] == "second%20%C3%A9"
        again = await served.execute("Again", task_id="first")
        assert (await served.replay())[-len(again) :] == again


@pytest.mark.parametrize("task_id", ["", "x" * 513])
async def test_a_task_id_that_is_none_is_refused(task_id: str) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.get("/execute/replay", params={"task_id": task_id})
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("query", ["", "after=0", "task_id=nobody", "task_id=nobody&after=5"])
async def test_where_nothing_is_kept_the_stream_is_empty(query: str) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.get(f"/execute/replay?{query}")
    assert (response.status_code, response.text) == (200, "")
    assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=1e308", "after=NaN", "after=12345678901234567890", "after=", "after=1&after=2", "task_id="],
)
async def test_a_cursor_that_is_none_is_a_400(query: str) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.get(f"/execute/replay?{query}")
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_REQUEST")


async def test_a_replay_of_a_live_turn_follows_it_to_its_end() -> None:
    gate = anyio.Event()
    model = ScriptedModel([turn(say("Before."), hold(gate), say("After."))])
    async with serving(engine_with(model)) as served:
        posted = asyncio.create_task(served.client.post("/execute", json=GOOD))
        await until(lambda: model.open_streams)
        async with served.client.stream("GET", "/execute/replay?task_id=t") as response:
            chunks = response.aiter_text()
            seen = ""
            while "Before." not in seen:
                seen += await anext(chunks)
            gate.set()
            async for chunk in chunks:
                seen += chunk
        assert parsed(seen) == parsed((await posted).text)
    assert answer_of(parsed(seen)) == "Before.After."


async def test_a_client_that_reconnects_after_every_event_sees_each_exactly_once() -> None:
    gates = [anyio.Event() for _ in range(8)]
    model = ScriptedModel([turn(*(step for gate in gates for step in (say("x"), hold(gate))))])
    async with serving(engine_with(model)) as served:
        await served.engine.execute("Hello", task_id="t").started()
        seen: list[Frame] = []
        while not seen or seen[-1].data.get("phase") != "completed":
            after = seen[-1].id if seen else 0
            async with served.client.stream("GET", f"/execute/replay?task_id=t&after={after}") as response:
                text = ""
                async for chunk in response.aiter_text():
                    text += chunk
                    if "\n\n" in text:
                        break
                    if not gates[0].is_set():
                        gates.pop(0).set()
            seen += parsed(text.partition("\n\n")[0] + "\n\n")
            if len(seen) % 3 == 0 and gates:
                gates.pop(0).set()
        whole = await served.replay("task_id=t")
    assert seen == whole


async def test_a_hundred_replays_at_once_all_get_everything() -> None:
    gate = anyio.Event()
    async with serving(engine_with(ScriptedModel([turn(say("Before."), hold(gate), say("After."))]))) as served:
        await served.engine.execute("Hello", task_id="t").started()
        replays: list[list[Frame]] = []

        async def one() -> None:
            replays.append(await served.replay("task_id=t"))

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(one)
            gate.set()
    assert len(replays) == 100
    assert all(frames == replays[0] for frames in replays)
    assert answer_of(replays[0]) == "Before.After."


async def test_a_replay_takes_no_place_and_stops_nothing() -> None:
    async with serving(engine_with()) as served:
        await served.execute()
        async with served.client.stream("GET", "/execute/replay?task_id=t"):
            assert answer_of(await served.execute()) == "Hello."


async def test_a_cursor_in_the_future_gets_the_servers_time_and_what_comes_from_now_on() -> None:
    gate, clock = anyio.Event(), FakeClock()
    model = ScriptedModel([turn(say("Before."), hold(gate), say("After."))])
    async with serving(engine_with(model, world=World(clock=clock)), now=lambda: clock.wall / 1000) as served:
        await served.engine.execute("Hello", task_id="t").started()
        async with served.client.stream("GET", f"/execute/replay?task_id=t&after={10**15}") as response:
            chunks = response.aiter_text()
            with anyio.fail_after(10):
                seen = await anext(chunks)
            gate.set()
            async for chunk in chunks:
                seen += chunk
    frames = parsed(seen)
    assert (frames[0].event, frames[0].id) == ("heartbeat", None)
    assert frames[0].data == {"timestamp": "2023-11-14T22:13:20.000Z"}
    assert "After." in answer_of(frames)
    assert frames[-1].data["phase"] == "completed"


async def test_a_cursor_that_a_burst_put_a_little_ahead_of_the_clock_is_an_ordinary_one() -> None:
    clock = FakeClock()
    async with serving(engine_with(world=World(clock=clock)), now=lambda: clock.wall / 1000) as served:
        live = await served.execute()
        assert live[-1].id is not None
        assert live[-1].id > clock.wall
        assert await served.replay(f"task_id=t&after={live[-2].id}") == live[-1:]
        assert await served.replay(f"task_id=t&after={live[-1].id}") == []


async def test_what_was_trimmed_is_announced_as_a_gap() -> None:
    clock = FakeClock()
    engine = engine_with(world=World(clock=clock), channel_state_ttl_active=100.0)
    async with serving(engine) as served:
        first = await served.execute("One")
        await clock.advance(400)
        second = await served.execute("Two")
        replayed = await served.replay(f"task_id=t&after={first[0].id}")
        everything = await served.replay("task_id=t&after=0")
    assert everything == second
    assert (replayed[0].event, replayed[0].id) == ("replay_gap", None)
    assert replayed[0].data == {"oldest": second[0].id}
    assert replayed[1:] == second


async def test_after_a_restart_the_file_replays_what_clients_saw(tmp_path: object) -> None:
    path = f"{tmp_path}/brain.sqlite"
    async with serving(engine_with(store=SQLiteStore(path))) as served:
        live = await served.execute()
    async with serving(engine_with(store=SQLiteStore(path))) as served:
        assert await served.replay("task_id=t") == live
        assert await served.replay(f"after={live[0].id}") == live[1:]


# ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_silent_stream_beats_every_fifteen_seconds_without_moving_the_cursor() -> None:
    clock, gate = FakeClock(), anyio.Event()
    engine = engine_with(ScriptedModel([turn(say("Before."), hold(gate), say("After."))]), world=World(clock=clock))
    async with serving(engine, now=lambda: clock.wall / 1000) as served:
        async with served.client.stream("POST", "/execute", json=GOOD) as response:
            chunks = response.aiter_text()
            seen = ""
            while "Before." not in seen:
                seen += await anext(chunks)
            for _ in range(3):
                for _ in range(16):
                    await clock.advance(1.0)
                beats = seen.count("event: heartbeat")
                while seen.count("event: heartbeat") == beats:
                    seen += await anext(chunks)
            gate.set()
            async for chunk in chunks:
                seen += chunk
        replayed = await served.replay("task_id=t")
    frames = parsed(seen)
    beating = [frame for frame in frames if frame.event == "heartbeat"]
    assert [frame.id for frame in beating] == [None] * 3
    assert all(frame.data["timestamp"].startswith("2023-11-14T22:1") for frame in beating)
    assert replayed == [frame for frame in frames if frame.event != "heartbeat"]


async def test_a_busy_stream_does_not_beat() -> None:
    async with serving(engine_with(ScriptedModel([say("Hello. " * 500)]))) as served:
        assert "heartbeat" not in names_of(await served.execute())


# ── the end of the engine ────────────────────────────────────────────────────────────────────────────────────────────


async def test_streams_that_the_engine_stops_end_well_and_their_cursor_goes_on() -> None:
    gate = anyio.Event()
    async with serving(engine_with(ScriptedModel([turn(say("Before."), hold(gate), say("After."))]))) as served:
        async with served.client.stream("POST", "/execute", json=GOOD) as response:
            chunks = response.aiter_text()
            seen = ""
            while "Before." not in seen:
                seen += await anext(chunks)
            served.engine.stop_streams()
            async for chunk in chunks:
                seen += chunk
        gate.set()
        frames = parsed(seen)
        rest = await served.replay(f"task_id=t&after={frames[-1].id}")
        whole = await served.replay("task_id=t")
    assert frames + rest == whole
    assert rest[-1].data["phase"] == "completed"
