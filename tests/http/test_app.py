from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from september_engine.http import create_app
from september_engine.models.scripted import ScriptedModel, hold, say, turn

from .server import KEY, Served, answer_of, engine_with, parsed, running, serving, streams, until

ORIGIN = "https://app.example.org"
HEADERS = {"X-Engine-Key": KEY}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/execute", "POST"),
        ("POST", "/execute/replay", "GET, HEAD"),
        ("PUT", "/tasks/t", "DELETE, GET, HEAD"),
        ("DELETE", "/tasks/t/cancel", "POST"),
        ("PATCH", "/health", "GET, HEAD"),
        ("OPTIONS", "/tasks", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_take_is_a_405_that_names_those_it_takes(
    method: str, path: str, allow: str
) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)
    assert response.json()["error"] == "INVALID_REQUEST"


@pytest.mark.parametrize("path", ["/", "/nowhere", "/tasks/", "/tasks//messages", "/execute/", "/tasks/t/x"])
async def test_a_path_that_is_none_is_a_flat_404(path: str) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.get(path)
    assert response.status_code == 404
    assert set(response.json()) == {"error", "message"}


async def test_every_answer_forbids_storing_and_sniffing() -> None:
    async with serving(engine_with()) as served:
        for path in ("/health", "/tasks", "/nowhere", "/openapi.json"):
            headers = (await served.client.get(path)).headers
            assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


async def test_head_answers_like_get_without_a_body_and_starts_no_stream() -> None:
    gate = anyio.Event()
    async with serving(engine_with(ScriptedModel([turn(hold(gate), say("Hi"))]))) as served:
        started = served.engine.execute("Hello", task_id="t")
        await started.started()
        replay = await served.client.head("/execute/replay?task_id=t")
        tasks = await served.client.head("/tasks")
        gate.set()
        await started
    assert (replay.status_code, replay.headers["x-task-id"], replay.content) == (200, "t", b"")
    assert (tasks.status_code, tasks.content) == (200, b"")


async def test_a_websocket_is_refused() -> None:
    upgrade = (
        b"GET /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with serving(engine_with()) as served:
        assert b" 403 " in (await served.raw(upgrade)).partition(b"\r\n")[0]


# ── CORS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def preflight(origin: str, method: str = "POST", headers: str = "x-engine-key, content-type") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


@pytest.mark.parametrize(("method", "path"), [("POST", "/execute"), ("DELETE", "/tasks/t"), ("GET", "/execute/replay")])
async def test_a_named_origin_may_ask_what_is_allowed_without_a_key(method: str, path: str) -> None:
    async with serving(engine_with(cors_origins=(ORIGIN,)), key=None) as served:
        asking = preflight(ORIGIN, method, "x-engine-key, content-type, last-event-id")
        response = await served.client.options(path, headers=asking)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert method in response.headers["access-control-allow-methods"]
    allowed = response.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("x-engine-key", "content-type", "last-event-id"))


async def test_a_named_origin_may_read_answers_streams_and_errors() -> None:
    async with serving(engine_with(cors_origins=(ORIGIN,))) as served:
        for response in [
            await served.client.get("/tasks", headers={"Origin": ORIGIN}),
            await served.client.get("/tasks/nobody", headers={"Origin": ORIGIN}),
            await served.client.get("/tasks", headers={"Origin": ORIGIN, "X-Engine-Key": "wrong"}),
            await served.client.post("/execute", json={"message": "Hi", "task_id": "t"}, headers={"Origin": ORIGIN}),
        ]:
            assert response.headers["access-control-allow-origin"] == ORIGIN
            assert "X-Turn-Id" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ORIGIN + ".evil.example", "http://app.example.org"])
async def test_another_origin_is_a_stranger_without_a_key_and_gets_no_cors_headers_with_one(origin: str) -> None:
    async with serving(engine_with(cors_origins=(ORIGIN,)), key=None) as served:
        asked = await served.client.options("/execute", headers=preflight(origin))
        read = await served.client.get("/tasks", headers={"Origin": origin, **HEADERS})
    assert (asked.status_code, asked.json()["error"]) == (401, "INVALID_KEY")
    assert read.status_code == 200
    assert not [name for name in (*asked.headers, *read.headers) if name.startswith("access-control")]


@pytest.mark.parametrize("asking", [preflight(ORIGIN, headers="x-other"), preflight(ORIGIN, method="PUT")])
async def test_what_no_origin_may_do_is_refused_in_the_shape_of_every_error(asking: dict[str, str]) -> None:
    async with serving(engine_with(cors_origins=(ORIGIN,)), key=None) as served:
        response = await served.client.options("/execute", headers=asking)
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_REQUEST")


# ── lifespan, mounting, another server ───────────────────────────────────────────────────────────────────────────────


async def test_served_alone_it_opens_and_closes_its_engine() -> None:
    engine = engine_with()
    async with running(create_app(engine)) as port:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HEADERS) as client:
            served = Served(engine=engine, client=client, port=port)
            assert answer_of(await served.execute()) == "Hello."
    assert (await engine.health()).status == "closed"


async def test_an_engine_that_was_open_stays_open() -> None:
    engine = engine_with()
    async with engine:
        async with running(create_app(engine)):
            pass
        assert (await engine.health()).status == "ok"


@pytest.mark.parametrize("root", ["/agent", "/a b/\u00e9", "/agent/v1"])
async def test_mounted_into_another_application_every_path_works(root: str) -> None:
    engine = engine_with()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with engine:
            yield

    around = Starlette(routes=[Mount(root, app=create_app(engine))], lifespan=lifespan)
    async with running(around) as port:
        base = f"http://127.0.0.1:{port}{root}"
        async with httpx2.AsyncClient(base_url=base, headers=HEADERS) as client:
            assert (await client.get("/health", headers={"X-Engine-Key": ""})).status_code == 200
            body = {"message": "Hello", "task_id": "a/b"}
            assert answer_of(parsed((await client.post("/execute", json=body)).text)) == "Hello."
            assert (await client.get("/tasks/a%2Fb")).json()["task_id"] == "a/b"
            assert (await client.get("/nowhere")).json()["error"] == "INVALID_REQUEST"
            assert (await client.delete("/tasks/a%2Fb")).json() == {"deleted": True}


async def test_an_engine_that_nobody_opened_is_a_503() -> None:
    engine = engine_with()
    around = Starlette(routes=[Mount("/agent", app=create_app(engine))])
    async with running(around) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}/agent") as client:
        health = await client.get("/health")
        tasks = await client.get("/tasks", headers=HEADERS)
    assert (health.status_code, health.json()["status"]) == (503, "closed")
    assert (tasks.status_code, tasks.json()["error"]) == (503, "SHUTTING_DOWN")


async def test_an_app_in_another_loop_than_its_engine_says_so_and_not_that_it_shuts_down() -> None:
    async with engine_with() as engine:
        app = create_app(engine)

        async def ask() -> httpx2.Response:
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=HEADERS) as client:
                return await client.get("/tasks")

        refused = await asyncio.to_thread(asyncio.run, ask())
    assert (refused.status_code, refused.json()["error"]) == (400, "INVALID_REQUEST")
    assert "another event loop" in refused.json()["message"]


async def test_it_runs_unchanged_under_uvicorn() -> None:
    gate = anyio.Event()
    engine = engine_with(ScriptedModel([turn(say("Before."), hold(gate), say("After."))]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(engine), log_config=None, ws="none"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        port = listener.getsockname()[1]
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HEADERS) as client:
            served = Served(engine=engine, client=client, port=port)
            body = {"message": "Hello", "task_id": "a/b"}
            async with client.stream("POST", "/execute", json=body) as response:
                reading = response.aiter_raw()
                await anext(reading)
            await until(lambda: streams() == 0)
            gate.set()
            assert answer_of(await served.replay("task_id=a%2Fb")) == "Before.After."
            assert (await client.get("/tasks/a%2Fb")).json()["task_id"] == "a/b"
            assert (await client.get("/tasks/a%2Fb", headers={"X-Engine-Key": "wrong"})).status_code == 401
            assert (await client.post("/execute", content=b"{")).status_code == 400
        server.should_exit = True
        await task
    assert (await engine.health()).status == "closed"
