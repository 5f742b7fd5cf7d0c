from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import httpx2
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from september_engine.errors import EngineError
from september_engine.events import Event, ThreadLifecycle
from september_engine.http import create_app
from september_engine.http.openapi import document
from september_engine.memory.base import Episode, Knowledge, Person, Relation, Trait

from .server import Frame, Served, engine_with, serving

MEMORIES = (
    Knowledge(subject="Ana", content="She drinks tea."),
    Episode(text="Ana drinks tea.", at=0),
    Person(name="Ana", about="Drinks tea."),
    Relation(subject="Ana", relation="drinks with", object="Ben"),
    Trait(aspect="value", text="Be kind."),
)
NAMES = [kind.__struct_config__.tag for kind in get_args(Event)]


def validator(schema: dict[str, Any]) -> Any:
    return Draft202012Validator({**schema, "components": document()["components"]})


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document()["paths"].items():
        for method in item.keys() & {"get", "post", "delete"}:
            yield method.upper(), path, item[method]


def test_every_route_and_method_is_described_and_nothing_else() -> None:
    routes: set[tuple[str, str]] = set()
    for route in create_app(engine_with()).routes:
        routes |= {(method, route.path) for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]
    assert {(method, path) for method, path, _ in operations()} == routes


def test_every_operation_has_its_own_name_and_tells_its_errors() -> None:
    found = list(operations())
    assert len({operation["operationId"] for _, _, operation in found}) == len(found)
    for method, path, operation in found:
        assert operation["summary"], (method, path)
        if path != "/health":
            assert {"400", "401", "403", "413", "500", "503"} <= set(operation["responses"]), (method, path)


@pytest.mark.parametrize("path", ["/execute", "/execute/replay"])
def test_every_event_of_a_stream_is_described(path: str) -> None:
    (operation,) = [each for method, at, each in operations() if at == path]
    items = operation["responses"]["200"]["content"]["text/event-stream"]["itemSchema"]["oneOf"]
    assert [item["properties"]["event"]["const"] for item in items] == NAMES


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    references = set(json.dumps(document()).split('"#/components/schemas/')[1:])
    assert {reference.partition('"')[0] for reference in references} <= set(schemas)


def test_an_events_name_is_in_its_frame_and_not_in_its_body() -> None:
    for kind in get_args(Event):
        assert "type" not in document()["components"]["schemas"][kind.__name__]["properties"]


def test_every_example_is_what_it_is_an_example_of() -> None:
    count = 0
    for _, _, operation in operations():
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [response["content"] for response in operation["responses"].values()]
        for content in contents:
            for media in content.values():
                if "example" in media:
                    validator(media["schema"]).validate(media["example"])
                    count += 1
                for example in media.get("examples", {}).values():
                    for frame in example["value"]:
                        check(media["itemSchema"], frame)
                        count += 1
    assert count > 40


def check(item: dict[str, Any], frame: dict[str, str]) -> None:
    """`contentSchema` is not looked at by validators, so the data is held against it by hand."""
    validator(item).validate(frame)
    (kind,) = [each for each in item["oneOf"] if each["properties"]["event"]["const"] == frame["event"]]
    validator(kind["properties"]["data"]["contentSchema"]).validate(json.loads(frame["data"]))


def test_the_schemas_refuse_what_is_none() -> None:
    schemas = document()["components"]["schemas"]
    assert not validator(schemas["ThreadLifecycle"]).is_valid({"phase": "sleeping"})
    assert not validator(schemas["ExecuteBody"]).is_valid({"message": "Hi"})
    assert validator(schemas["ExecuteBody"]).is_valid({"message": "Hi", "task_id": "t", "unknown": 1})


async def test_what_the_server_says_is_what_the_document_says() -> None:
    async with serving(engine_with(memory=True)) as served:
        await served.engine.memory.remember(*MEMORIES)
        given = (await served.client.get("/openapi.json")).json()
        frames = await served.execute()
        answers = {
            ("get", "/tasks", "200"): await served.client.get("/tasks"),
            ("get", "/tasks/{task_id}", "200"): await served.client.get("/tasks/t"),
            ("get", "/tasks/{task_id}", "404"): await served.client.get("/tasks/nobody"),
            ("get", "/tasks/{task_id}/messages", "200"): await served.client.get("/tasks/t/messages"),
            ("post", "/tasks/{task_id}/cancel", "200"): await served.client.post("/tasks/t/cancel"),
            ("get", "/health", "200"): await served.client.get("/health"),
            ("post", "/execute", "400"): await served.client.post("/execute", json={"message": "Hi"}),
            ("post", "/memory/knowledge/search", "200"): await found(served, "knowledge"),
            ("post", "/memory/episodes/search", "200"): await found(served, "episodes"),
            ("post", "/memory/social/search", "200"): await found(served, "social"),
            ("get", "/memory/soul", "200"): await served.client.get("/memory/soul"),
            ("get", "/memory/soul/full", "200"): await served.client.get("/memory/soul/full"),
            ("get", "/memory/export", "200"): await served.client.get("/memory/export"),
            ("delete", "/tasks/{task_id}", "200"): await served.client.delete("/tasks/t"),
        }
    assert given == document()
    assert given["openapi"] == "3.2.0"
    for (method, path, status), answer in answers.items():
        assert str(answer.status_code) == status
        content = given["paths"][path][method]["responses"][status]["content"]["application/json"]
        validator(content["schema"]).validate(answer.json())
    items = given["paths"]["/execute"]["post"]["responses"]["200"]["content"]["text/event-stream"]["itemSchema"]
    for frame in frames:
        check(items, as_item(frame))


async def found(served: Served, what: str) -> httpx2.Response:
    answer = await served.client.post(f"/memory/{what}/search", json={"query": "Ana tea"})
    assert answer.json(), "an empty list would fit any description"
    return answer


def as_item(frame: Frame) -> dict[str, str]:
    return {"id": str(frame.id), "event": frame.event, "data": json.dumps(frame.data)}


def test_every_code_that_an_error_can_have_before_a_stream_is_in_the_document() -> None:
    told = " ".join(answer["description"] for _, _, each in operations() for answer in each["responses"].values())
    inside = {"INTERNAL_ERROR", "CONFIGURATION_ERROR", "ENGINE_CLOSED", "HITL_NOT_PENDING", "HITL_ALREADY_ANSWERED"}
    codes = {kind.code for kind in EngineError.__subclasses__()} - inside
    assert {code for code in codes if code not in told} == set()
    assert ThreadLifecycle.__doc__ is not None
