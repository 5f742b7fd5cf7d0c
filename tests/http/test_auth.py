from __future__ import annotations

import hashlib
import json
from typing import Any

import anyio
import pytest

from september_engine import Engine, Settings
from september_engine.errors import ConfigurationError
from september_engine.http import LOOPBACK, create_app
from september_engine.http.auth import Door, InvalidKey, KeyRotationPending, PermissionDenied
from september_engine.store.memory import MemoryStore

from .server import KEY, code_of, connections, engine_with, read_all, request, serving, status_of, until

OLD = "the-previous-key"
BODY = b'{"message":"Hello","task_id":"t"}'


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def scope(*headers: tuple[str, str], scheme: str = "http") -> dict[str, Any]:
    return {"scheme": scheme, "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}


@pytest.mark.parametrize("path", ["/execute", "/execute/replay", "/tasks", "/tasks/t", "/openapi.json", "/nowhere"])
async def test_every_path_but_health_asks_for_the_key_first_even_one_that_is_not_there(path: str) -> None:
    async with serving(engine_with(), key=None) as served:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            response = await served.client.request(method, path)
            assert (response.status_code, response.json()["error"]) == (401, "INVALID_KEY"), (method, path)


async def test_health_is_open_but_only_to_get() -> None:
    async with serving(engine_with(), key=None) as served:
        assert (await served.client.get("/health")).status_code == 200
        assert (await served.client.post("/health")).status_code == 401
        assert (await served.client.head("/health")).status_code == 401


async def test_a_missing_a_wrong_and_a_doubled_key_get_the_same_answer_and_no_echo() -> None:
    async with serving(engine_with()) as served:
        answers = {
            body_of(await served.raw(request("GET", "/tasks", *headers, key=key)))
            for key, headers in [
                (None, ()),
                ("wrong", ()),
                ("", ()),
                (KEY + "x", ()),
                (f"{KEY}, {KEY}", ()),
                (KEY, (f"X-Engine-Key: {KEY}",)),
                (KEY, ("x-engine-key: wrong",)),
                ("k\u00e9y", ()),
            ]
        }
    assert len(answers) == 1
    (answer,) = answers
    assert json.loads(answer)["error"] == "INVALID_KEY"
    assert KEY.encode() not in answer


def body_of(response: bytes) -> bytes:
    assert status_of(response) == 401
    return response.partition(b"\r\n\r\n")[2]


async def test_a_key_that_is_no_header_value_is_refused_by_the_server() -> None:
    async with serving(engine_with()) as served:
        assert status_of(await served.raw(request("GET", "/tasks", key="a\0b"))) == 400
        assert status_of(await served.raw(request("GET", "/tasks", key="k" * 1_000_000))) == 431
        assert (await served.client.get("/tasks")).status_code == 200


async def test_without_the_key_no_body_is_waited_for() -> None:
    async with serving(engine_with()) as served, await anyio.connect_tcp("127.0.0.1", served.port) as stream:
        await stream.send(request("POST", "/execute", "Content-Length: 100000", key="wrong", body=b"{"))
        answer = await read_all(stream)
    assert (status_of(answer), code_of(answer)) == (401, "INVALID_KEY")


@pytest.mark.parametrize("size", [1, 65536])
@pytest.mark.parametrize(("method", "path"), [("POST", "/execute"), ("GET", "/health"), ("GET", "/tasks")])
async def test_a_flood_of_body_without_a_key_is_cut_and_holds_nothing(method: str, path: str, size: int) -> None:
    """In tiny chunks, too: a server that queues them must not wait for somebody to read them."""
    chunks = (b"%x\r\n" % size + b"x" * size + b"\r\n") * (65536 // size)
    async with serving(engine_with()) as served:
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(request(method, path, "Transfer-Encoding: chunked", key="wrong"))
            with pytest.raises(anyio.BrokenResourceError):
                for _ in range(400):
                    await stream.send(chunks)
        await until(lambda: connections() == 0)
        assert (await served.client.get("/health")).status_code == 200


# ── rotation ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def rotating() -> Settings:
    return Settings(
        engine_api_key=KEY,
        previous_key_hash=digest(OLD),
        key_rotated_at=1000.0,
        key_rotation_min_overlap=10.0,
        key_rotation_max_overlap=20.0,
    )


@pytest.mark.parametrize(
    ("now", "new", "old"),
    [(1005.0, "KEY_ROTATION_PENDING", "ok"), (1015.0, "ok", "ok"), (1025.0, "ok", "INVALID_KEY")],
)
def test_in_the_overlap_both_keys_open_before_it_the_old_one_and_after_it_the_new_one(
    now: float, new: str, old: str
) -> None:
    door = Door(settings=rotating(), now=lambda: now)

    def verdict(key: str) -> str:
        try:
            door.admit(scope(("x-engine-key", key)))
        except (InvalidKey, KeyRotationPending) as error:
            assert error.status == 401
            return error.code
        return "ok"

    assert (verdict(KEY), verdict(OLD), verdict("neither")) == (new, old, "INVALID_KEY")


async def test_a_pending_key_is_told_so_over_http() -> None:
    engine = Engine(MemoryStore(), settings=rotating())
    async with serving(engine, now=lambda: 1005.0) as served:
        response = await served.client.get("/tasks")
    assert (response.status_code, response.json()["error"]) == (401, "KEY_ROTATION_PENDING")


async def test_a_hash_is_enough_to_know_the_key() -> None:
    async with serving(engine_with(engine_api_key=None, engine_key_hash=digest(KEY).upper())) as served:
        assert (await served.client.get("/tasks")).status_code == 200


# ── without a key ────────────────────────────────────────────────────────────────────────────────────────────────────


def open_door(**settings: Any) -> Door:
    return Door(settings=Settings(**settings), now=lambda: 0.0, keyless_hosts=LOOPBACK)


def test_an_application_without_a_key_must_say_for_whom_it_is_open() -> None:
    with pytest.raises(ConfigurationError, match="ENGINE_API_KEY"):
        create_app(engine_with(engine_api_key=None))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "[::1]"])
def test_without_a_key_the_machines_own_names_are_answered(host: str) -> None:
    open_door().admit(scope(("host", host)))
    open_door().admit(scope(("host", host), ("origin", f"http://{host.lower()}")))


@pytest.mark.parametrize("hosts", [["evil.example"], ["localhost.evil.example"], ["127.0.0.1@evil.example"], [], [""]])
def test_without_a_key_another_name_for_this_machine_is_refused(hosts: list[str]) -> None:
    with pytest.raises(PermissionDenied):
        open_door().admit(scope(*(("host", host) for host in hosts)))
    with pytest.raises(PermissionDenied):
        open_door().admit(scope(("host", "localhost"), *(("host", host) for host in hosts or ["localhost"])))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999", "https://localhost:8000"])
def test_without_a_key_a_web_page_is_refused_unless_its_origin_is_named(origin: str) -> None:
    headers = (("host", "localhost:8000"), ("origin", origin))
    with pytest.raises(PermissionDenied):
        open_door().admit(scope(*headers))
    if origin != "null":
        open_door(cors_origins=(origin,)).admit(scope(*headers))


async def test_without_a_key_a_page_cannot_start_a_turn_by_a_simple_post() -> None:
    async with serving(engine_with(engine_api_key=None), key=None, keyless_hosts=LOOPBACK) as served:
        headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
        refused = await served.client.post("/execute", content=BODY, headers=headers)
        allowed = await served.client.post("/execute", content=BODY)
        doubled = await served.raw(request("GET", "/tasks", "X-Engine-Key: a", key="b"))
    assert (refused.status_code, refused.json()["error"]) == (403, "PERMISSION_DENIED")
    assert allowed.status_code == 200
    assert status_of(doubled) == 401
