from __future__ import annotations

import re
from typing import Any

import anyio
import pytest

from september_engine import tool
from september_engine.events import HitlRequest
from september_engine.models.scripted import ScriptedModel, call, hold, say, turn
from tests._context.pictures import document, image, png
from tests.test_engine_media import UNUSABLE

from .server import engine_with, serving, until


async def test_tasks_come_newest_first_and_page_by_page() -> None:
    async with serving(engine_with()) as served:
        for name in "abcde":
            await served.execute(task_id=name)
        pages, before = [], ""
        while True:
            page = (await served.client.get(f"/tasks?limit=2{before}")).json()
            pages.append([task["task_id"] for task in page["tasks"]])
            if page["next"] is None:
                break
            before = f"&before={page['next']}"
    assert pages == [["e", "d"], ["c", "b"], ["a"]]


async def test_a_last_page_that_is_full_has_no_next_one() -> None:
    async with serving(engine_with()) as served:
        for name in "ab":
            await served.execute(task_id=name)
        tasks = (await served.client.get("/tasks?limit=2")).json()
        messages = (await served.client.get("/tasks/a/messages?limit=2")).json()
        assert (await served.client.get("/tasks?limit=1000")).status_code == 200
    assert (len(tasks["tasks"]), tasks["next"]) == (2, None)
    assert (len(messages["messages"]), messages["next"]) == (2, None)


async def test_a_page_that_would_begin_at_a_deleted_task_is_not_the_last_one() -> None:
    async with serving(engine_with()) as served:
        for name in "abc":
            await served.execute(task_id=name)
        page = (await served.client.get("/tasks?limit=1")).json()
        await served.client.delete(f"/tasks/{page['next']}")
        response = await served.client.get(f"/tasks?before={page['next']}")
        last = await served.client.get("/tasks?before=a")
    assert (response.status_code, response.json()["error"]) == (404, "TASK_NOT_FOUND")
    assert (last.status_code, last.json()["tasks"]) == (200, [])


async def test_a_task_says_what_it_does_and_where_its_branches_end() -> None:
    gate = anyio.Event()
    model = ScriptedModel([say("One."), say("Two."), turn(hold(gate), say("Three."))])
    async with serving(engine_with(model)) as served:
        first = (await served.execute("A"))[0].data
        second = (await served.execute("B", retry_message_id=first["message_id"]))[0].data
        idle = (await served.client.get("/tasks/t")).json()
        third = served.engine.execute("C", task_id="t")
        await third.started()
        running = (await served.client.get("/tasks/t")).json()
        listed = (await served.client.get("/tasks")).json()["tasks"]
        gate.set()
        await third
    assert (idle["status"], idle["turn_id"]) == ("idle", None)
    assert [(branch["turn_id"], branch["current"]) for branch in idle["branches"]] == [
        (first["turn_id"], False),
        (second["turn_id"], True),
    ]
    assert (running["status"], running["turn_id"]) == ("running", third.turn_id)
    assert [(task["task_id"], task["status"]) for task in listed] == [("t", "running")]


async def test_messages_come_with_their_ids_parents_and_turns_the_last_ones_first() -> None:
    async with serving(engine_with()) as served:
        started = [(await served.execute(text))[0].data for text in ("A", "B", "C")]
        last = (await served.client.get("/tasks/t/messages?limit=4")).json()
        rest = (await served.client.get(f"/tasks/t/messages?limit=4&before={last['next']}")).json()
    messages = rest["messages"] + last["messages"]
    assert [message["content"][0]["text"] for message in messages] == ["A", "Hello.", "B", "Hello.", "C", "Hello."]
    assert [message["id"] for message in messages][::2] == [event["message_id"] for event in started]
    assert [message["turn_id"] for message in messages][::2] == [event["turn_id"] for event in started]
    assert [message["parent_id"] for message in messages] == [None, *(message["id"] for message in messages)][:-1]
    assert (len(last["messages"]), len(rest["messages"]), rest["next"]) == (4, 2, None)


async def test_the_messages_of_an_old_branch_stay_readable() -> None:
    async with serving(engine_with()) as served:
        begun = (await served.execute("A"))[0].data
        await served.execute("B", edit_message_id=begun["message_id"])
        now = (await served.client.get("/tasks/t/messages")).json()["messages"]
        old = (await served.client.get(f"/tasks/t/messages?branch={begun['turn_id']}")).json()["messages"]
        assert [each["content"][0]["text"] for each in (now[0], old[0])] == ["B", "A"]
        unknown = await served.client.get("/tasks/t/messages?branch=turn_nobody")
        assert (unknown.status_code, unknown.json()["error"]) == (404, "MESSAGE_NOT_FOUND")


@pytest.mark.parametrize("path", ["/tasks/nobody", "/tasks/nobody/messages"])
async def test_an_unknown_task_is_a_404(path: str) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.get(path)
    assert (response.status_code, response.json()["error"]) == (404, "TASK_NOT_FOUND")


async def test_cancelling_an_unknown_task_is_a_404_and_deleting_one_is_done_already() -> None:
    async with serving(engine_with()) as served:
        cancelled = await served.client.post("/tasks/nobody/cancel")
        deleted = await served.client.delete("/tasks/nobody")
    assert (cancelled.status_code, cancelled.json()["error"]) == (404, "TASK_NOT_FOUND")
    assert (deleted.status_code, deleted.json()) == (200, {"deleted": False})


async def test_an_unknown_message_to_page_from_is_a_404() -> None:
    async with serving(engine_with()) as served:
        await served.execute()
        response = await served.client.get("/tasks/t/messages?before=msg_nobody")
    assert (response.status_code, response.json()["error"]) == (404, "MESSAGE_NOT_FOUND")


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", ""])
@pytest.mark.parametrize("path", ["/tasks", "/tasks/t/messages"])
async def test_a_page_has_one_to_a_thousand_items(path: str, limit: str) -> None:
    async with serving(engine_with()) as served:
        await served.execute()
        response = await served.client.get(f"{path}?limit={limit}")
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_REQUEST")


async def test_deleting_a_running_task_cancels_it_first() -> None:
    gate = anyio.Event()
    model = ScriptedModel([turn(say("So far."), hold(gate))])
    async with serving(engine_with(model)) as served:
        turn_ = served.engine.execute("Hello", task_id="t")
        await turn_.started()
        await until(lambda: model.open_streams)
        deleted = (await served.client.delete("/tasks/t")).json()
        assert deleted == {"deleted": True}
        assert model.open_streams == 0
        assert (await served.client.get("/tasks/t")).status_code == 404
        assert await served.replay("task_id=t") == []


async def test_a_body_on_a_route_that_takes_none_is_read_and_dropped() -> None:
    async with serving(engine_with()) as served:
        await served.execute()
        for _ in range(3):
            assert (await served.client.post("/tasks/t/cancel", json={"why": "x" * 1000})).status_code == 200
            assert (await served.client.request("DELETE", "/tasks/none", content=b"x" * 500_000)).status_code == 200


async def test_a_picture_is_a_reference_in_a_message_and_its_content_has_an_address_of_its_own() -> None:
    async with serving(engine_with()) as served:
        await served.execute("What is it?", task_id="a/b", media=[image(), document()])
        await served.execute(task_id="other")
        [asked, _] = (await served.client.get("/tasks/a%2Fb/messages")).json()["messages"]
        sources = [block["source"] for block in asked["content"][:2]]
        assert [source["type"] for source in sources] == ["stored", "stored"]
        picture, paper = [await served.client.get(f"/tasks/a%2Fb/media/{source['sha256']}") for source in sources]
        assert (picture.content, picture.headers["content-type"]) == (png(), "image/png")
        assert (paper.content, paper.headers["content-type"]) == (b"%PDF-1.7\n", "application/pdf")
        assert picture.headers["x-content-type-options"] == "nosniff"
        for path, code in (
            ("other/media/" + sources[0]["sha256"], "MESSAGE_NOT_FOUND"),
            ("a%2Fb/media/none", "MESSAGE_NOT_FOUND"),
            ("nobody/media/" + sources[0]["sha256"], "TASK_NOT_FOUND"),
        ):
            refused = await served.client.get(f"/tasks/{path}")
            assert (refused.status_code, refused.json()["error"]) == (404, code)


@pytest.mark.parametrize("block", UNUSABLE.values(), ids=UNUSABLE)
async def test_media_that_cannot_be_used_are_400_and_leave_nothing(block: Any) -> None:
    async with serving(engine_with()) as served:
        body = {"message": "Look", "task_id": "t", "media": [image(), block]}
        refused = await served.client.post("/execute", json=body)
        assert (refused.status_code, refused.json()["error"]) == (400, "INVALID_REQUEST")
        assert refused.json()["details"]["index"] == 1
        assert (await served.client.get("/tasks")).json()["tasks"] == []


async def test_a_path_on_the_server_is_nothing_that_a_client_can_name() -> None:
    async with serving(engine_with()) as served:
        body = {"message": "Look", "task_id": "t", "media": ["/etc/passwd"]}
        assert (await served.client.post("/execute", json=body)).status_code == 422


async def test_times_of_making_have_one_form_on_every_route() -> None:
    @tool(requires_permission=True)
    async def careful() -> None:
        """Do something that must be allowed."""

    engine = engine_with(ScriptedModel([call("careful")]), tools=[careful])
    async with serving(engine) as served:
        async for event in engine.execute("go", task_id="t"):
            if isinstance(event, HitlRequest):
                break
        found = [
            (await served.client.get("/tasks")).json()["tasks"][0],
            (task := (await served.client.get("/tasks/t")).json()),
            *task["branches"],
            *(await served.client.get("/tasks/t/messages")).json()["messages"],
            *(await served.client.get("/hitl/pending")).json()["pending"],
        ]
    times = [each[name] for each in found for name in ("created_at", "updated_at") if name in each]
    assert len(times) == 8
    assert [one for one in times if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one)] == []
