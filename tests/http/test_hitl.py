"""People over HTTP: what waits, and their answers."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from september_engine import tool
from september_engine._runtime.world import World
from september_engine.models.scripted import ScriptedModel, call, say, turn
from september_engine.permissions import Policy, Write
from september_engine.store.memory import MemoryStore
from september_engine.testing.fakes import FakeClock
from september_engine.tools.ask_user import ask_user

from .server import Frame, Served, answer_of, engine_with, names_of, parsed, serving

RAN: list[str] = []


@tool(actions=lambda input: [Write(path=str(input["path"]))])
async def touch(path: str) -> str:
    """Write a file."""
    RAN.append(path)
    return f"wrote {path}"


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


THREE = turn(*[call("touch", id=f"c{number}", path=f"/out/{number}") for number in range(3)])


async def pending(served: Served) -> list[dict[str, Any]]:
    body = (await served.client.get("/hitl/pending")).json()
    assert body.keys() == {"pending"}
    found: list[dict[str, Any]] = body["pending"]
    return found


async def respond(served: Served, answer: str = "yes", task_id: str = "t", **fields: Any) -> httpx2.Response:
    return await served.client.post("/hitl/respond", json={"task_id": task_id, "answer": answer, **fields})


class Stream:
    """A turn that is read while it waits."""

    def __init__(self, served: Served, message: str = "go", task_id: str = "t") -> None:
        self._served = served
        self._body = {"message": message, "task_id": task_id}
        self.frames: list[Frame] = []
        self.asked = anyio.Event()

    async def run(self, count: int = 1) -> None:
        """Read to the end; `asked` is set once so many requests were seen."""
        seen = ""
        async with self._served.client.stream("POST", "/execute", json=self._body) as response:
            async for chunk in response.aiter_text():
                seen += chunk
                if seen.count("event: hitl_request") >= count:
                    self.asked.set()
        self.frames = parsed(seen)


async def test_a_request_is_an_event_and_an_item_and_its_answer_lets_the_turn_go_on() -> None:
    async with serving(engine_with(ScriptedModel([THREE, say("Done.")]), tools=[touch])) as served:
        stream = Stream(served)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run, 3)
            await stream.asked.wait()
            waiting = await pending(served)
            busy = await served.client.post("/execute", json={"message": "And?", "task_id": "t"})
            assert (busy.status_code, busy.json()["error"]) == (409, "HITL_REQUIRED")
            assert busy.json()["details"]["request_id"] == waiting[0]["request_id"]
            task = (await served.client.get("/tasks/t")).json()
            assert task["status"] == "waiting"
            # any order, one of them denied
            for place, answer in ((2, "yes"), (0, "no"), (1, "yes")):
                request_id = waiting[place]["request_id"]
                told = await respond(served, answer, request_id=request_id, feedback="Mind the gap.")
                assert (told.status_code, told.json()) == (200, {"status": "resumed", "request_id": request_id})
        assert await pending(served) == []
    shown = [frame.data for frame in stream.frames if frame.event == "hitl_request"]
    assert shown == waiting
    assert [item["request_id"].startswith("hitl-") for item in waiting] == [True] * 3
    assert waiting[0].keys() == {
        *("request_id", "task_id", "kind", "question", "created_at"),
        *("tool_call_id", "tool", "input", "remember"),
    }
    assert (waiting[0]["kind"], waiting[0]["task_id"], waiting[0]["input"]) == ("permission", "t", {"path": "/out/0"})
    resolved = [frame.data for frame in stream.frames if frame.event == "hitl_resolved"]
    assert [(each["request_id"], each["answer"]) for each in resolved] == [
        (waiting[2]["request_id"], "yes"),
        (waiting[0]["request_id"], "no"),
        (waiting[1]["request_id"], "yes"),
    ]
    results = {frame.data["tool_call_id"]: frame.data for frame in stream.frames if frame.event == "tool_result"}
    assert results["c0"]["error"] == {"reason": "permission_denied", "message": "Mind the gap."}
    assert sorted(RAN) == ["/out/1", "/out/2"]
    assert answer_of(stream.frames) == "Done."


async def test_without_a_name_the_oldest_request_of_the_task_is_meant() -> None:
    async with serving(engine_with(ScriptedModel([THREE, say("Done.")]), tools=[touch])) as served:
        stream = Stream(served)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run, 3)
            await stream.asked.wait()
            order = [item["request_id"] for item in await pending(served)]
            assert [(await respond(served)).json()["request_id"] for _ in range(3)] == order


@pytest.mark.parametrize("answer", ["", "Yes", "y", "yes ", "true", "\u202eyes"])
async def test_garbage_is_refused_and_never_taken_as_yes(answer: str) -> None:
    async with serving(engine_with(ScriptedModel([THREE]), tools=[touch])) as served:
        stream = Stream(served)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run, 3)
            await stream.asked.wait()
            refused = await respond(served, answer)
            assert (refused.status_code, refused.json()["error"]) == (400, "INVALID_REQUEST")
            assert len(await pending(served)) == 3
            await served.client.post("/tasks/t/cancel")
    assert RAN == []
    assert stream.frames[-1].data["error"] == "CANCELLED"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"task_id": "t"}, 400),
        ({"answer": "yes"}, 400),
        ({"task_id": "t", "answer": None}, 400),
        ({"task_id": None, "answer": "yes"}, 400),
        ({"task_id": "t", "answer": True}, 422),
        ({"task_id": 5, "answer": "yes"}, 422),
        ({"task_id": "t", "answer": "yes", "feedback": 5}, 422),
        ({"task_id": "t", "answer": "yes", "request_id": 5}, 422),
        ({"task_id": "t", "answer": "yes", "remember": "always"}, 422),
        ({"task_id": "t", "answer": "yes", "content_blocks": "x"}, 422),
        ({"task_id": "t", "answer": "yes", "content_blocks": [{"type": "video"}]}, 400),
        ({"task_id": "x" * 513, "answer": "yes"}, 400),
        ({"task_id": "", "answer": "yes"}, 400),
    ],
)
async def test_a_body_that_is_none_is_refused(body: dict[str, Any], status: int) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.post("/hitl/respond", json=body)
    assert (response.status_code, response.json()["error"]) == (status, "INVALID_REQUEST")


async def test_where_nothing_waits_there_is_nothing_to_answer() -> None:
    async with serving(engine_with()) as served:
        await served.execute()
        for task_id in ("t", "nobody"):
            response = await respond(served, task_id=task_id)
            assert (response.status_code, response.json()["error"]) == (404, "HITL_NOT_PENDING")
        assert await pending(served) == []


async def test_the_second_answer_is_told_the_first_also_after_the_turn_has_ended() -> None:
    async with serving(engine_with(ScriptedModel([call("touch", path="/out"), say("Done.")]), tools=[touch])) as served:
        stream = Stream(served)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run)
            await stream.asked.wait()
            [item] = await pending(served)
            await respond(served, "no", request_id=item["request_id"])
        late = await respond(served, "yes", request_id=item["request_id"])
        other_task = await respond(served, "yes", request_id=item["request_id"], task_id="other")
    assert (late.status_code, late.json()["error"]) == (409, "HITL_ALREADY_ANSWERED")
    assert late.json()["details"] == {"request_id": item["request_id"], "answer": "no"}
    assert (other_task.status_code, other_task.json()["error"]) == (404, "HITL_NOT_PENDING")
    assert RAN == []


async def test_three_calls_across_a_restart_run_once_each_or_not_at_all() -> None:
    store = MemoryStore()
    async with serving(engine_with(ScriptedModel([THREE]), store=store, tools=[touch])) as served:
        one = served.engine.execute("go", task_id="t")
        async for event in one:
            if event.__struct_config__.tag == "hitl_request" and len(await served.engine.pending()) == 3:
                break
        waiting = await pending(served)
        await respond(served, "yes", request_id=waiting[1]["request_id"])
    assert RAN == ["/out/1"]
    async with serving(engine_with(ScriptedModel([say("Done.")]), store=store, tools=[touch])) as served:
        assert await pending(served) == [waiting[0], waiting[2]]
        again = await respond(served, "no", request_id=waiting[1]["request_id"])
        assert (again.status_code, again.json()["details"]["answer"]) == (409, "yes")
        await respond(served, "no", request_id=waiting[2]["request_id"])
        await respond(served, "yes")
        frames = await served.replay("task_id=t")
    assert RAN == ["/out/1", "/out/0"]
    assert frames[-1].data["phase"] == "completed"


async def test_a_stream_that_waits_is_never_silent_for_long() -> None:
    clock = FakeClock()
    engine = engine_with(ScriptedModel([call("touch", path="/out")]), tools=[touch], world=World(clock=clock))
    async with serving(engine) as served:
        stream = Stream(served)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run)
            await stream.asked.wait()
            for _ in range(3):
                await clock.advance(15)
            await respond(served, "no")
    assert names_of(stream.frames).count("heartbeat") >= 2


async def test_a_question_is_answered_and_what_came_with_the_answer_reaches_the_model() -> None:
    model = ScriptedModel([call("ask_user", question="Which night?"), say("Tonight.")])
    async with serving(engine_with(model, tools=[ask_user])) as served:
        stream = Stream(served)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run)
            await stream.asked.wait()
            [item] = await pending(served)
            assert item.keys() == {"request_id", "task_id", "kind", "question", "created_at"}
            note = {"type": "text", "text": "The moon is full."}
            await respond(served, "tonight", content_blocks=[note], feedback="After ten.")
    said = model.requests[1].prompt.messages[-1]["content"]
    assert [block.get("content", block.get("text")) for block in said] == [
        "tonight",
        "A person added: After ten.",
        "The moon is full.",
    ]


async def test_an_answer_for_good_is_not_asked_for_again_in_its_task() -> None:
    script = ScriptedModel([call("touch", path="/out"), say("One."), call("touch", path="/out"), say("Two.")])
    async with serving(engine_with(script, tools=[touch])) as served:
        stream = Stream(served)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run)
            await stream.asked.wait()
            assert (await pending(served))[0]["remember"] == ["allow touch: write /out"]
            refused = await respond(served, "no", remember=True)
            assert refused.status_code == 400
            assert (await respond(served, "yes", remember=True)).status_code == 200
        frames = await served.execute("again")
    assert "hitl_request" not in names_of(frames)
    assert RAN == ["/out", "/out"]


async def test_a_denied_call_asks_nobody() -> None:
    from_start = Policy(roots=("/in",))
    engine = engine_with(ScriptedModel([call("touch", path="/in/a"), say("Done.")]), tools=[touch], policy=from_start)
    async with serving(engine) as served:
        frames = await served.execute()
    assert "hitl_request" not in names_of(frames)
    assert RAN == ["/in/a"]


async def test_waiting_for_days_by_the_clock_then_an_answer() -> None:
    clock = FakeClock()
    engine = engine_with(
        ScriptedModel([call("touch", path="/out"), say("Done.")]), tools=[touch], world=World(clock=clock)
    )
    async with serving(engine) as served:
        one = served.engine.execute("go", task_id="t")
        await one.started()
        clock.wall += 71 * 3600 * 1000
        await clock.advance(61)
        assert len(await pending(served)) == 1
        await respond(served, "yes")
        assert (await one).text == "Done."
