from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from september_engine import Limits, ModelError, tool
from september_engine._runtime.world import World
from september_engine.errors import EngineError, StoreBusy, StoreFull
from september_engine.models.scripted import ScriptedModel, call, fail, hold, say, think, turn
from september_engine.store.base import Batch
from september_engine.store.memory import MemoryStore
from september_engine.testing.fakes import FakeClock

from .server import (
    KEY,
    answer_of,
    connections,
    engine_with,
    names_of,
    parsed,
    read_all,
    request,
    serving,
    status_of,
    streams,
    until,
)

GOOD = {"message": "Hello", "task_id": "t"}


async def test_a_turn_is_a_stream_from_started_to_completed() -> None:
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", json=GOOD)
        frames = parsed(response.text)
    assert response.status_code == 200
    assert names_of(frames) == [
        "thread_lifecycle",
        "content_block_start",
        "text_delta",
        "content_block_stop",
        "usage",
        "thread_lifecycle",
    ]
    assert frames[0].data["phase"] == "started"
    assert frames[-1].data["phase"] == "completed"
    assert answer_of(frames) == "Hello."
    ids = [frame.id or 0 for frame in frames]
    assert ids == sorted(set(ids))


async def test_the_headers_of_a_stream_forbid_storing_and_name_the_turn() -> None:
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", json=GOOD)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-task-id"] == "t"
    assert response.headers["x-turn-id"] == parsed(response.text)[0].data["turn_id"]


async def test_a_task_id_that_no_header_can_hold_is_percent_encoded_there() -> None:
    task_id = "a b/../\u00e9\U0001f600%41\r\nX-Evil: 1"
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", json={"message": "Hi", "task_id": task_id})
    assert response.headers["x-task-id"] == "a%20b/../%C3%A9%F0%9F%98%80%2541%0D%0AX-Evil:%201"
    assert "x-evil" not in response.headers
    assert parsed(response.text)[0].data["task_id"] == task_id


async def test_events_are_sent_as_they_happen() -> None:
    gate = anyio.Event()
    model = ScriptedModel([turn(say("Before."), hold(gate), say("After."))])
    async with (
        serving(engine_with(model)) as served,
        served.client.stream("POST", "/execute", json=GOOD) as response,
    ):
        chunks = response.aiter_text()
        seen = ""
        while "Before." not in seen:
            seen += await anext(chunks)
        assert "After." not in seen
        gate.set()
        async for chunk in chunks:
            seen += chunk
    assert answer_of(parsed(seen)) == "Before.After."


# ── what a request may look like ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"message": None}, 400, "message"),
        ({"task_id": None}, 400, "task_id"),
        ({"message": ""}, 400, "message"),
        ({"message": " \n\t "}, 400, "message"),
        ({"task_id": ""}, 400, "task_id"),
        ({"task_id": "x" * 513}, 400, "512"),
        ({"message": 5}, 422, "message"),
        ({"task_id": ["t"]}, 422, "task_id"),
        ({"media": {}}, 422, "media"),
        ({"media": ["a.png"]}, 422, "media[0]"),
        ({"direct": "true"}, 422, "direct"),
        ({"direct": 1}, 422, "direct"),
        ({"edit_message_id": 7}, 422, "edit_message_id"),
        ({"edit_message_id": "m", "retry_message_id": "m"}, 400, "edit_message_id"),
        (
            {"media": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
            400,
            "media[0]",
        ),
    ],
)
async def test_a_wrong_field_is_told_by_name_and_nothing_is_written(
    fields: dict[str, Any], status: int, says: str
) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", json=GOOD | fields)
        tasks = await served.engine.tasks()
    assert response.status_code == status
    body = response.json()
    assert body["error"] == "INVALID_REQUEST"
    assert says in body["message"]
    assert set(body) <= {"error", "message", "details"}
    assert tasks == []


@pytest.mark.parametrize("missing", ["message", "task_id"])
async def test_a_missing_field_is_the_callers_400(missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", json=body)
    assert (response.status_code, response.json()["details"]) == (400, {"missing": [missing]})


async def test_what_published_clients_send_besides_is_ignored() -> None:
    fields: dict[str, Any] = {
        "media": None,
        "direct": None,
        "edit_message_id": None,
        "retry_message_id": None,
        "user": {"id": 1},
    }
    async with serving(engine_with()) as served:
        assert answer_of(await served.execute(**fields)) == "Hello."


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "application/x-www-form-urlencoded"])
async def test_json_is_json_whatever_its_content_type_says(content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", content=json.dumps(GOOD).encode(), headers=headers)
    assert response.status_code == 200


# ── what keeps a turn from starting ──────────────────────────────────────────────────────────────────────────────────


async def test_a_second_turn_on_a_running_task_is_refused_with_the_id_of_the_first() -> None:
    gate = anyio.Event()
    async with serving(engine_with(ScriptedModel([turn(hold(gate), say("Done."))]))) as served:
        async with served.client.stream("POST", "/execute", json=GOOD) as first:
            second = await served.client.post("/execute", json=GOOD)
            gate.set()
            text = (await first.aread()).decode()
    assert (second.status_code, second.json()["error"]) == (409, "TASK_BUSY")
    assert second.json()["details"] == {"turn_id": first.headers["x-turn-id"]}
    assert answer_of(parsed(text)) == "Done."


async def test_of_two_turns_at_once_exactly_one_runs() -> None:
    gate = anyio.Event()
    async with serving(engine_with(ScriptedModel([turn(hold(gate), say("Done."))]))) as served:
        posts = [asyncio.create_task(served.client.post("/execute", json=GOOD)) for _ in range(5)]
        await until(lambda: sum(post.done() for post in posts) == 4)
        gate.set()
        statuses = sorted([(await post).status_code for post in posts])
    assert statuses == [200, 409, 409, 409, 409]


async def test_a_task_that_waits_for_a_person_takes_no_turn() -> None:
    @tool(requires_permission=True)
    def erase() -> str:
        """Erase everything."""
        return "erased"

    engine = engine_with(ScriptedModel([call("erase"), say("Done.")]), tools=[erase])
    async with serving(engine) as served, served.client.stream("POST", "/execute", json=GOOD) as first:
        chunks = first.aiter_text()
        seen = ""
        while "hitl_request" not in seen:
            seen += await anext(chunks)
        second = await served.client.post("/execute", json=GOOD)
        pending = await served.engine.pending()
        await served.engine.cancel("t")
    assert (second.status_code, second.json()["error"]) == (409, "HITL_REQUIRED")
    assert second.json()["details"]["request_id"] == pending[0].request_id


@pytest.mark.parametrize("field", ["edit_message_id", "retry_message_id"])
async def test_an_unknown_message_and_one_of_another_task_get_the_same_answer(field: str) -> None:
    async with serving(engine_with()) as served:
        theirs = (await served.execute(task_id="theirs"))[0].data["message_id"]
        await served.execute(task_id="mine")
        answers = [
            await served.client.post("/execute", json={"message": "Again", "task_id": "mine", field: message_id})
            for message_id in (theirs, "msg_nobody")
        ]
    assert [answer.status_code for answer in answers] == [404, 404]
    bodies = [answer.text.replace(theirs, "ID").replace("msg_nobody", "ID") for answer in answers]
    assert json.loads(bodies[0])["error"] == "MESSAGE_NOT_FOUND"
    assert bodies[0] == bodies[1]


class BrokenStore(MemoryStore):
    """A store whose next appends fail, from the n-th on."""

    def __init__(self, error: Exception, *, after: int = 0) -> None:
        super().__init__()
        self.error: Exception | None = error
        self.left = after

    async def append(self, batch: Batch, /) -> None:
        if self.error is not None and self.left <= 0:
            raise self.error
        self.left -= 1
        await super().append(batch)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreBusy("Somebody else has the lock."), 503, "STORE_BUSY"),
        (StoreFull("The disk is full."), 503, "STORE_FULL"),
        (EngineError("A page is broken."), 500, "INTERNAL_ERROR"),
        (ValueError("a bug in the store"), 500, "INTERNAL_ERROR"),
    ],
)
async def test_a_store_that_cannot_write_is_a_status_and_the_next_try_works(
    error: Exception, status: int, code: str
) -> None:
    store = BrokenStore(error)
    async with serving(engine_with(store=store)) as served:
        response = await served.client.post("/execute", json=GOOD)
        store.error = None
        frames = await served.execute()
    assert (response.status_code, response.json()["error"]) == (status, code)
    assert answer_of(frames) == "Hello."


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreFull("The disk is full."), "STORE_FULL"),
        (StoreBusy("Somebody else has the lock."), "STORE_BUSY"),
        (ValueError("a secret of the store"), "INTERNAL_ERROR"),
    ],
)
async def test_a_store_that_fails_later_ends_the_stream_with_its_code(error: Exception, code: str) -> None:
    gate = anyio.Event()
    store = BrokenStore(error, after=1)
    async with serving(engine_with(ScriptedModel([turn(hold(gate), say("Hello."))]), store=store)) as served:
        async with served.client.stream("POST", "/execute", json=GOOD) as response:
            gate.set()
            frames = parsed((await response.aread()).decode())
        store.error = None
    assert response.status_code == 200
    assert [(frame.event, frame.id) for frame in frames[-2:]] == [("thread_lifecycle", None), ("error", None)]
    assert frames[-1].data["error"] == code
    assert "secret" not in frames[-1].data["message"]


async def test_an_engine_that_shuts_down_takes_no_turn() -> None:
    async with serving(engine_with()) as served:
        await served.engine.drain(0.0)
        response = await served.client.post("/execute", json=GOOD)
    assert (response.status_code, response.json()["error"]) == (503, "SHUTTING_DOWN")


async def test_a_fault_of_ours_is_a_500_that_tells_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_with()
    async with serving(engine) as served:

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError(f"the key is {KEY}")

        engine.execute = broken  # type: ignore[method-assign, assignment]
        response = await served.client.post("/execute", json=GOOD)
    assert (response.status_code, response.json()["error"]) == (500, "INTERNAL_ERROR")
    assert KEY not in response.text
    assert "RuntimeError" not in response.text
    assert response.json()["details"]["id"].startswith("req_")
    assert "A fault inside the server" in caplog.text
    assert f"RuntimeError: the key is {KEY}" in caplog.text  # the server's own log strikes keys out


async def test_a_damaged_task_is_a_500_whose_id_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with serving(engine_with(store=store)) as served:
        await served.execute()
        for fact in store._tasks["t"].turns.values():
            fact.facts.clear()
        response = await served.client.get("/tasks/t/messages")
    assert (response.status_code, response.json()["error"]) == (500, "INTERNAL_ERROR")
    assert response.json()["details"]["id"].startswith("req_")
    assert "StoreCorrupt" in caplog.text


async def test_a_fault_inside_a_turn_is_an_error_event_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_with(ScriptedModel([call("nothing"), say("Done.")]))
    async with serving(engine) as served:
        # a fault of the shell's own, which no input of a client can bring about
        engine._running.resources.tools = None  # type: ignore[assignment]
        frames = await served.execute()
    last = frames[-1]
    assert (last.event, last.data["error"]) == ("error", "INTERNAL_ERROR")
    assert last.data["details"]["id"] == frames[0].data["turn_id"]
    assert "NoneType" not in last.data["message"]
    assert "NoneType" in caplog.text


# ── what goes wrong inside a turn ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "code", ["LLM_RATE_LIMITED", "LLM_PROVIDER_ERROR", "LLM_TIMEOUT", "LLM_AUTH", "CONTEXT_OVERFLOW"]
)
async def test_a_model_that_fails_ends_the_stream_errored_with_its_code(code: str) -> None:
    model = ScriptedModel(lambda request: fail(ModelError("It did not work.", code=code)))
    async with serving(engine_with(model)) as served:
        frames = await served.execute()
    assert names_of(frames)[-2:] == ["thread_lifecycle", "error"]
    assert frames[-2].data["phase"] == "errored"
    assert frames[-1].data["error"] == code


async def test_a_rate_limit_says_when_to_come_again_where_the_provider_did() -> None:
    limited = ModelError("Too many.", code="LLM_RATE_LIMITED", retry_after=7.5)
    async with serving(engine_with(ScriptedModel(lambda request: fail(limited)))) as served:
        frames = await served.execute()
    began = frames[0].data["message_id"]
    assert frames[-1].data["details"] == {"retry_after": 7.5, "retry_message_id": began}


async def test_a_request_that_nobody_answers_ends_the_stream_with_its_code() -> None:
    @tool(requires_permission=True)
    def send() -> str:
        """Send it."""
        return "sent"

    clock = FakeClock()
    model = ScriptedModel([call("send")])
    engine = engine_with(model, tools=[send], world=World(clock=clock), channel_state_ttl_hitl=60.0)
    async with serving(engine) as served:
        async with served.client.stream("POST", "/execute", json=GOOD) as response:
            chunks = response.aiter_text()
            seen = ""
            while "hitl_request" not in seen:
                seen += await anext(chunks)
            await clock.advance(120)
            frames = parsed(seen + "".join([chunk async for chunk in chunks]))
    assert (frames[-1].event, frames[-1].data["error"]) == ("error", "HITL_EXPIRED")


async def test_a_budget_that_is_spent_ends_the_stream_with_its_code() -> None:
    @tool
    def again() -> str:
        """Do it again."""
        return "again"

    model = ScriptedModel(lambda request: call("again"))
    async with serving(engine_with(model, tools=[again], limits=Limits(steps=2))) as served:
        frames = await served.execute()
    assert frames[-1].data["error"] == "BUDGET_EXCEEDED"


async def test_a_tool_that_fails_is_a_result_and_never_an_error_event() -> None:
    @tool
    def lookup() -> str:
        """Look it up."""
        raise RuntimeError("out of order")

    engine = engine_with(ScriptedModel([turn(think("Hm."), call("lookup")), say("It is broken.")]), tools=[lookup])
    async with serving(engine) as served:
        frames = await served.execute()
    (result,) = [frame for frame in frames if frame.event == "tool_result"]
    assert result.data["error"]["reason"]
    assert "error" not in names_of(frames)
    assert answer_of(frames) == "It is broken."


# ── edit, retry, cancel ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_edit_replaces_a_message_and_what_followed() -> None:
    model = ScriptedModel([say("One."), say("Two."), say("Three.")])
    async with serving(engine_with(model)) as served:
        first = (await served.execute("A"))[0].data["message_id"]
        await served.execute("B")
        frames = await served.execute("C", edit_message_id=first)
        messages = (await served.client.get("/tasks/t/messages")).json()["messages"]
    assert {"message_id": first, "kind": "edit"} in [frame.data for frame in frames if frame.event == "rewound"]
    assert [message["content"][0]["text"] for message in messages] == ["C", "Three."]


async def test_a_retry_runs_again_from_a_message_and_keeps_its_text() -> None:
    model = ScriptedModel([say("One."), say("Two.")])
    async with serving(engine_with(model)) as served:
        first = (await served.execute("A"))[0].data["message_id"]
        frames = await served.execute("ignored", retry_message_id=first)
        messages = (await served.client.get("/tasks/t/messages")).json()["messages"]
    assert "rewound" in names_of(frames)
    assert [message["content"][0]["text"] for message in messages] == ["A", "Two."]


async def test_a_cancelled_turn_ends_errored_and_keeps_what_was_shown() -> None:
    gate = anyio.Event()
    model = ScriptedModel([turn(say("So far."), hold(gate)), say("Next.")], strict=False)
    async with serving(engine_with(model)) as served:
        async with served.client.stream("POST", "/execute", json=GOOD) as response:
            chunks = response.aiter_text()
            seen = ""
            while "So far." not in seen:
                seen += await anext(chunks)
            cancelled = await served.client.post("/tasks/t/cancel")
            async for chunk in chunks:
                seen += chunk
        again = await served.client.post("/tasks/t/cancel")
        following = await served.execute("And now?")
    assert (cancelled.json(), again.json()) == ({"cancelled": True}, {"cancelled": False})
    frames = parsed(seen)
    assert (frames[-2].data["phase"], frames[-1].data["error"]) == ("errored", "CANCELLED")
    assert answer_of(following) == "Next."


# ── clients that leave or dawdle ─────────────────────────────────────────────────────────────────────────────────────


class SlowStore(MemoryStore):
    """A store whose appends wait until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = anyio.Event()
        self.waiting = 0

    async def append(self, batch: Batch, /) -> None:
        self.waiting += 1
        await self.gate.wait()
        await super().append(batch)


async def test_a_client_that_is_gone_before_the_first_byte_has_its_turn_all_the_same() -> None:
    store, hang = SlowStore(), anyio.Event()
    model = ScriptedModel([turn(hold(hang), say("Hello."))])
    async with serving(engine_with(model, store=store), idle_seconds=0.5) as served:
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(request("POST", "/execute", body=json.dumps(GOOD).encode()))
            await until(lambda: store.waiting)
        assert (await served.client.get("/health")).status_code == 200  # by then the server has read the other's end
        store.gate.set()
        # only when the connection and its stream are gone for good does the model say anything
        await until(lambda: model.open_streams and connections() == streams() == 0)
        hang.set()
        frames = await served.replay("task_id=t")
    assert answer_of(frames) == "Hello."
    assert frames[-1].data["phase"] == "completed"


async def test_a_client_that_leaves_stops_nothing_and_leaves_nothing_behind() -> None:
    gate = anyio.Event()
    engine = engine_with(ScriptedModel([turn(say("One."), hold(gate), say("Two."))]))
    async with serving(engine, idle_seconds=0.2) as served:
        async with served.client.stream("POST", "/execute", json=GOOD) as response:
            reading = response.aiter_raw()
            await anext(reading)
            assert streams() == 1
        await until(lambda: streams() == connections() == 0)
        alone = len(asyncio.all_tasks())
        async with AsyncExitStack() as stack:
            readings = []
            for _ in range(10):
                response = await stack.enter_async_context(served.client.stream("GET", "/execute/replay?task_id=t"))
                readings.append(response.aiter_raw())
                await anext(readings[-1])
            assert streams() == 10
        await until(lambda: len(asyncio.all_tasks()) <= alone)
        gate.set()
        frames = await served.replay("task_id=t")
    assert answer_of(frames) == "One.Two."
    assert frames[-1].data["phase"] == "completed"


async def test_a_client_that_reads_slowly_slows_nobody_else() -> None:
    """Far more is streamed than sockets hold, to a client that does not read: the turn and the others go on."""
    text = "x" * 12_000_000
    model = ScriptedModel([say(text)], piece=100_000)
    body = json.dumps(GOOD).encode()
    async with serving(engine_with(model)) as served, await anyio.connect_tcp("127.0.0.1", served.port) as slow:
        await slow.send(request("POST", "/execute", body=body))
        assert status_of(await slow.receive(100)) == 200
        frames = await served.replay("task_id=t")
        assert len(answer_of(frames)) == len(text)
        assert streams() == 1
        late = (await read_all(slow)).count(b"event: text_delta")
    assert late == names_of(frames).count("text_delta")
