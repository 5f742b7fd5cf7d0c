from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from september_engine.memory.base import Episode, Knowledge, Person, Relation, Source, Trait
from september_engine.models.scripted import ScriptedModel, say

from .server import KEY, Served, code_of, engine_with, request, serving, status_of

SEARCHES = ("/memory/knowledge/search", "/memory/episodes/search", "/memory/social/search")
READS = ("/memory/soul", "/memory/soul/full", "/memory/export")
SOURCE = Source(origin="web", trust="untrusted", task_id="t", message_id="msg_1", detail="https://example.org")


async def search(served: Served, what: str, query: str, **fields: Any) -> list[dict[str, Any]]:
    answer = await served.client.post(f"/memory/{what}/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def test_a_fact_is_found_in_the_contracts_shape_with_where_it_came_from_and_why() -> None:
    async with serving(engine_with(memory=True)) as served:
        fact = Knowledge(subject="Ana", attribute="drink", content="green tea", valid_from=5, source=SOURCE)
        [fact] = await served.engine.memory.remember(fact)  # type: ignore[assignment]
        [found] = await search(served, "knowledge", "Who drinks tea?")
    assert (why := found.pop("why")).startswith("Recalled because")
    assert "tea" in why
    assert 0 < found.pop("score") < 3
    assert found == {
        "id": fact.id,
        "subject": "Ana",
        "content": "green tea",
        "type": "fact",
        "attribute": "drink",
        "confidence": 1.0,
        "source": "web",
        "valid_from": 5,
        "valid_until": None,
        "trust": "untrusted",
        "task_id": "t",
        "message_id": "msg_1",
        "detail": "https://example.org",
    }


async def test_what_was_said_in_a_turn_is_found_as_episodes_with_its_message() -> None:
    async with serving(engine_with(ScriptedModel([say("Green tea, then.")]), memory=True)) as served:
        started = (await served.execute("I like tea.", "breakfast"))[0].data
        found = await search(served, "episodes", "tea", limit=5)
    assert {(each["speaker"], each["text"]) for each in found} == {
        ("user", "I like tea."),
        ("assistant", "Green tea, then."),
    }
    [mine] = [each for each in found if each["speaker"] == "user"]
    assert (mine["task_id"], mine["message_id"]) == ("breakfast", started["message_id"])
    assert (mine["source"], mine["trust"]) == ("person", "stated")


async def test_people_and_relations_are_found_together_and_say_which_is_which() -> None:
    async with serving(engine_with(memory=True)) as served:
        await served.engine.memory.remember(
            Person(name="Ana", about="A painter.", aliases=("Annie",)),
            Relation(subject="Ana", relation="sister of", object="Ben"),
            Knowledge(subject="Ana", content="She paints."),
        )
        found = await search(served, "social", "Ana's sister")
        assert await search(served, "social", "nothing of the kind") == []
    assert sorted(each["kind"] for each in found) == ["person", "relation"]
    assert next(each["aliases"] for each in found if each["kind"] == "person") == ["Annie"]


async def test_the_limit_is_twenty_unless_told_from_one_to_a_hundred() -> None:
    async with serving(engine_with(memory=True)) as served:
        await served.engine.memory.remember(*[Episode(text=f"tea number {count}", at=count) for count in range(30)])
        assert len(await search(served, "episodes", "tea")) == 20
        assert len(await search(served, "episodes", "tea", limit=None, other="ignored")) == 20
        assert len(await search(served, "episodes", "tea", limit=3)) == 3
        assert len(await search(served, "episodes", "tea", limit=100)) == 30
        for body, status in (
            ({"query": "tea", "limit": 0}, 400),
            ({"query": "tea", "limit": 101}, 400),
            ({"query": "tea", "limit": "3"}, 422),
            ({"limit": 3}, 400),
            ({"query": None}, 400),
            ([], 422),
        ):
            answer = await served.client.post(SEARCHES[0], json=body)
            assert (answer.status_code, answer.json()["error"]) == (status, "INVALID_REQUEST"), body


async def test_the_soul_is_what_is_current_and_the_full_one_how_it_came_to_be() -> None:
    async with serving(engine_with(memory=True)) as served:
        await served.engine.memory.remember(
            Trait(aspect="identity", text="A cook."),
            Trait(aspect="value", text="Be kind."),
            Trait(aspect="pattern", text="Ask."),
        )
        [now] = await served.engine.memory.remember(Trait(aspect="identity", text="A baker."))
        soul = (await served.client.get("/memory/soul")).json()
        full = (await served.client.get("/memory/soul/full")).json()
    assert soul == {"identity": "A baker.", "values": ["Be kind."], "patterns": ["Ask."]}
    assert {name: full[name] for name in soul} == soul
    assert full["metadata"]["traits"] == 3
    assert full["metadata"]["updated_at"] == now.recorded_at
    assert [(each["text"], each["superseded_by"]) for each in full["history"]] == [
        ("A cook.", now.id),
        ("Be kind.", None),
        ("Ask.", None),
        ("A baker.", None),
    ]


async def test_an_export_is_imported_elsewhere_without_a_loss_and_only_once() -> None:
    async with serving(engine_with(memory=True)) as served:
        await served.execute("I like tea.")
        await served.engine.memory.remember(Knowledge(subject="Ana", attribute="town", content="Oslo", source=SOURCE))
        await served.engine.memory.remember(Knowledge(subject="Ana", attribute="town", content="Bergen"))
        exported = await served.client.get("/memory/export")
    assert exported.headers["content-type"] == "application/json"
    async with serving(engine_with(memory=True)) as served:
        first = await served.client.post("/memory/import", content=exported.content)
        again = await served.client.post("/memory/import", content=exported.content)
        assert (await served.client.get("/memory/export")).content == exported.content
        assert [each["content"] for each in await search(served, "knowledge", "Ana town")] == ["Bergen"]
    assert (first.json(), again.json()) == ({"imported": 4}, {"imported": 0})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "INVALID_REQUEST"),
        (b"[]", 422, "INVALID_REQUEST"),
        (b'{"format":"september-memory/1"}', 400, "INVALID_REQUEST"),
        (b'{"format":"other/1","memories":[]}', 400, "INVALID_REQUEST"),
        (b'{"format":"september-memory/1","memories":[{"kind":"episode","text":7,"at":1}]}', 422, "INVALID_REQUEST"),
        (b'{"format":"september-memory/1","memories":[{"kind":"episode","text":"x","at":1}]}', 400, "INVALID_REQUEST"),
        (b'{"format":"' + b"x" * 5000 + b'","memories":[]}', 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_what_is_no_export_is_refused_and_nothing_is_written(body: bytes, status: int, code: str) -> None:
    async with serving(engine_with(memory=True, max_body_bytes=4096)) as served:
        answer = await served.raw(request("POST", "/memory/import", body=body))
        assert (status_of(answer), code_of(answer)) == (status, code)
        assert json.loads(await served.engine.memory.export_bundle())["memories"] == []


async def test_without_a_memory_every_path_says_how_to_turn_it_on() -> None:
    async with serving(engine_with()) as served:
        answers = [await served.client.get(path) for path in READS]
        answers += [await served.client.post(path, json={"query": "tea"}) for path in SEARCHES]
        answers.append(await served.client.post("/memory/import", json={}))
    assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(404, "INVALID_REQUEST")}
    assert all("Engine(memory=True)" in answer.json()["message"] for answer in answers)


async def test_the_key_comes_first() -> None:
    async with serving(engine_with(memory=True)) as served:
        async with httpx2.AsyncClient(base_url=served.url) as stranger:
            answers = [await stranger.get(path) for path in READS]
            answers += [await stranger.post(path, json={"query": "tea"}) for path in (*SEARCHES, "/memory/import")]
        assert {answer.status_code for answer in answers} == {401}
        assert (await served.client.get("/memory/soul", headers={"X-Engine-Key": KEY})).status_code == 200
