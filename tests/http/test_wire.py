from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from september_engine.errors import InvalidRequest, InvalidType, PayloadTooLarge
from september_engine.http.execute import ExecuteBody
from september_engine.http.wire import (
    LARGE,
    ClientGone,
    decode_body,
    header_text,
    path_text,
    query,
    read_body,
    route_path,
    whole_number,
)

from .server import answer_of, code_of, engine_with, parsed, read_all, request, serving, status_of, until

GOOD = b'{"message":"Hello","task_id":"t"}'


def with_field(value: bytes) -> bytes:
    return GOOD[:-1] + b',"extra":' + value + b"}"


HOSTILE = {
    "nothing": b"",
    "no JSON": b"message=Hello&task_id=t",
    "cut short": GOOD[:-1],
    "trailing bytes": GOOD + b" x",
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-32": GOOD.decode().encode("utf-32-le"),
    "two byte order marks": b"\xef\xbb\xbf" * 2 + GOOD,
    "a hundred thousand brackets": b"[" * 100_000,
    "five million brackets in a field": with_field(b"[" * 5_000_000),
    "five million brackets in an object": with_field(b'{"a":' * 1_000_000),
    "bad UTF-8": GOOD.replace(b"Hello", b"\xff\xfe"),
    "bad UTF-8 in a field nobody reads": with_field(b'"\xff"'),
    "an overlong NUL": GOOD.replace(b"Hello", b"\xc0\x80"),
    "half a surrogate pair": GOOD.replace(b"Hello", b"\\ud800"),
    "half a surrogate pair in a field nobody reads": with_field(b'"\\ud800"'),
    "NaN": with_field(b"NaN"),
    "Infinity": with_field(b"-Infinity"),
    "a number of 100,000 digits": with_field(b"1" * 100_000),
    "a number of 100,000 digits in media": GOOD[:-1] + b',"media":[{"a":' + b"1" * 100_000 + b"}]}",
    "a control character": GOOD.replace(b"Hello", b"He\nllo"),
    "a name that is there twice": GOOD[:-1] + b',"task_id":"other"}',
    "a name that is there twice, written in two ways": GOOD[:-1] + b',"task\\u005fid":"other"}',
    "a name twice inside media": GOOD[:-1] + b',"media":[{"type":"image","type":"document"}]}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_body_is_a_400_and_the_next_request_is_served(body: bytes) -> None:
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", content=body)
        assert (response.status_code, response.json()["error"]) == (400, "INVALID_REQUEST")
        assert answer_of(await served.execute()) == "Hello."


async def test_a_byte_order_mark_is_passed_over() -> None:
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", content=b"\xef\xbb\xbf" + GOOD)
        assert response.status_code == 200


async def test_another_unicode_is_called_by_its_name() -> None:
    with pytest.raises(InvalidRequest, match="UTF-16 or UTF-32; send UTF-8"):
        await decode_body(GOOD.decode().encode("utf-16"), ExecuteBody)


@pytest.mark.parametrize("text", [b"\\ud800", b"\\udc00 and more"])
async def test_half_of_a_surrogate_pair_is_called_by_its_name(text: bytes) -> None:
    with pytest.raises(InvalidRequest, match="half of a surrogate pair"):
        await decode_body(GOOD.replace(b"Hello", text), ExecuteBody)
    with pytest.raises(InvalidRequest, match="truncated"):
        await decode_body(GOOD[:-5], ExecuteBody)


@pytest.mark.parametrize("body", [b"[]", b'"Hello"', b"7", b"null", b"true"])
async def test_json_that_is_no_object_is_of_the_wrong_type(body: bytes) -> None:
    with pytest.raises(InvalidType, match="must be a JSON object"):
        await decode_body(body, ExecuteBody)


async def test_a_million_unknown_names_are_only_a_large_body() -> None:
    extra = ",".join(f'"k{number}":1' for number in range(1_000_000))
    body = GOOD[:-1] + b"," + extra.encode() + b"}"
    async with serving(engine_with()) as served:
        response = await served.client.post("/execute", content=body)
    assert (len(body) > LARGE, response.status_code) == (True, 200)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=4), st.booleans())
async def test_unknown_fields_never_change_what_is_read(extra: dict[str, Any], escaped: bool) -> None:
    body = {**extra, "message": "Hi", "task_id": "\u00e9", "media": None, "direct": True, "edit_message_id": None}
    body["retry_message_id"] = None
    decoded = await decode_body(json.dumps(body, ensure_ascii=escaped).encode(), ExecuteBody)
    assert decoded == ExecuteBody(message="Hi", task_id="\u00e9", direct=True)


@given(st.binary(max_size=60))
async def test_no_bytes_crash_the_decoder(body: bytes) -> None:
    try:
        decoded = await decode_body(body, ExecuteBody)
    except InvalidRequest:
        return
    assert isinstance(decoded, ExecuteBody)


class Inner(msgspec.Struct):
    needed: str


class Outer(msgspec.Struct):
    inner: Inner


async def test_what_is_missing_deeper_is_told_by_its_path() -> None:
    with pytest.raises(InvalidType, match="needed"):
        await decode_body(b'{"inner":{}}', Outer)


# ── size and pace ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_body_beyond_the_limit_is_refused_by_its_length_before_it_comes() -> None:
    async with serving(engine_with(max_body_bytes=2048)) as served:
        answer = await served.raw(request("POST", "/execute", "Content-Length: 314572800"))
        huge = await served.raw(request("POST", "/execute", "Content-Length: " + "9" * 100))
        assert answer_of(await served.execute("x" * 1500)) == "Hello."
    assert (status_of(answer), code_of(answer)) == (413, "PAYLOAD_TOO_LARGE")
    assert b'"limit":2048' in answer
    assert status_of(huge) in (400, 413)


async def test_an_endless_body_is_refused_at_the_limit() -> None:
    async with serving(engine_with(max_body_bytes=2048)) as served:
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(request("POST", "/execute", "Transfer-Encoding: chunked"))
            for _ in range(5):
                await stream.send(b"200\r\n" + b" " * 0x200 + b"\r\n")
            answer = await read_all(stream)
        assert (status_of(answer), code_of(answer)) == (413, "PAYLOAD_TOO_LARGE")
        assert answer_of(await served.execute()) == "Hello."


@pytest.mark.parametrize("begun", [b"", b"{"])
async def test_a_body_that_drips_is_ended(begun: bytes) -> None:
    async with serving(engine_with(), body_seconds=0.05) as served:
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(request("POST", "/execute", "Content-Length: 1000", body=begun))
            answer = await read_all(stream)
        assert (status_of(answer), code_of(answer)) == (400, "INVALID_REQUEST")
        assert b"in time" in answer
        assert answer_of(await served.execute()) == "Hello."


def receiving(*messages: Message) -> Receive:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return receive


async def test_a_body_is_joined_from_its_parts_and_bounded_by_their_sum() -> None:
    parts: list[Message] = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c"},
    ]
    assert await read_body(receiving(*parts), limit=3, seconds=1.0) == b"abc"
    with pytest.raises(PayloadTooLarge):
        await read_body(receiving(*parts), limit=2, seconds=1.0)


async def test_a_client_that_leaves_in_its_body_gets_no_answer() -> None:
    with pytest.raises(ClientGone):
        await read_body(receiving({"type": "http.disconnect"}), limit=3, seconds=1.0)
    async with serving(engine_with()) as served:
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(request("POST", "/execute", "Content-Length: 1000", body=b"{"))
        assert answer_of(await served.execute()) == "Hello."


async def test_a_length_beside_an_encoding_is_refused_and_nothing_behind_it_is_read() -> None:
    smuggled = request("GET", "/tasks")
    headers = (f"Content-Length: {5 + len(smuggled)}", "Transfer-Encoding: chunked", "Connection: keep-alive")
    async with serving(engine_with()) as served:
        answer = await served.raw(
            request("POST", "/execute", *headers, body=b"0\r\n\r\n" + smuggled).replace(
                b"Connection: close\r\n", b"", 1
            )
        )
    assert (status_of(answer), code_of(answer)) == (400, "INVALID_REQUEST")
    assert answer.count(b"HTTP/1.1") == 1


async def test_headers_that_drip_are_the_servers_to_end() -> None:
    serves = serving(engine_with(), idle_seconds=0.1)
    async with serves as served, await anyio.connect_tcp("127.0.0.1", served.port) as stream:
        await stream.send(b"GET /tasks HTTP/1.1\r\nHost: 127")
        assert await read_all(stream) == b""


async def test_a_body_that_comes_fast_enough_may_take_longer_than_its_first_moments() -> None:
    parts: list[Message] = [{"type": "http.request", "body": b"x" * 65536, "more_body": more} for more in (True, False)]
    ends = [anyio.current_time(), anyio.current_time() + 0.2]

    async def receive() -> Message:
        end = ends.pop(0)
        await until(lambda: anyio.current_time() >= end)
        return parts.pop(0)

    assert len(await read_body(receive, limit=10**9, seconds=0.1)) == 2 * 65536


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

ODD_IDS = [
    "../../etc/passwd",
    "/",
    "//a//",
    "a/messages",
    "a/cancel",
    "nul\0byte",
    "\u202eright to left",
    "\U0001f600\U0001f468\u200d\U0001f469",
    "e\u0301",
    "\u00e9",
    "100%",
    "%2F",
    "a?b#c&d=e;f+g",
    "line\r\nbreak",
    " ",
    "\\",
    "x" * 512,
    "\u00e9" * 256,
]


@pytest.mark.parametrize("task_id", ODD_IDS)
async def test_any_id_can_be_executed_read_replayed_cancelled_and_deleted(task_id: str) -> None:
    path = f"/tasks/{quote(task_id, safe='')}"
    async with serving(engine_with()) as served:
        await served.execute(task_id="another")
        started = (await served.execute(task_id=task_id))[0].data
        one = await served.client.get(path)
        listed = (await served.client.get("/tasks?limit=1")).json()["tasks"][0]["task_id"]
        messages = (await served.client.get(f"{path}/messages")).json()["messages"]
        replayed = await served.client.get("/execute/replay", params={"task_id": task_id})
        cancelled = (await served.client.post(f"{path}/cancel")).json()
        deleted = [(await served.client.delete(path)).json() for _ in range(2)]
        gone = await served.client.get(path)
        others = (await served.client.get("/tasks")).json()["tasks"]
    assert one.json()["task_id"] == started["task_id"] == listed == task_id
    assert len(messages) == 2
    assert parsed(replayed.text)[0].data == started
    assert unquote(replayed.headers["x-task-id"]) == task_id
    assert cancelled == {"cancelled": False}
    assert deleted == [{"deleted": True}, {"deleted": False}]
    assert (gone.status_code, gone.json()["error"]) == (404, "TASK_NOT_FOUND")
    assert [task["task_id"] for task in others] == ["another"]


async def test_two_unicode_forms_of_one_word_are_two_tasks() -> None:
    async with serving(engine_with()) as served:
        await served.execute("A", task_id="\u00e9")
        await served.execute("B", task_id="e\u0301")
        assert len((await served.client.get("/tasks")).json()["tasks"]) == 2


@pytest.mark.parametrize("task_id", [".", ".."])
async def test_an_id_of_dots_is_reached_by_who_sends_it_as_it_is(task_id: str) -> None:
    async with serving(engine_with()) as served:
        await served.execute(task_id=task_id)
        answer = await served.raw(request("GET", f"/tasks/{task_id}".replace(".", "%2E")))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["task_id"] == task_id


async def test_a_huge_id_is_refused_and_one_that_is_no_text_too() -> None:
    async with serving(engine_with()) as served:
        huge = await served.client.post("/execute", json={"message": "Hi", "task_id": "x" * 10_000_000})
        bad = await served.raw(request("GET", "/tasks/%FF"))
        bad_query = await served.raw(request("GET", "/execute/replay?task_id=%FF"))
    assert (huge.status_code, huge.json()["error"]) == (400, "INVALID_REQUEST")
    assert len(huge.text) < 1000
    assert (status_of(bad), status_of(bad_query)) == (400, 400)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(["", "/mounted", "/a b"]))
def test_a_path_gives_back_the_id_that_went_into_it(task_id: str, root: str) -> None:
    raw = f"{quote(root)}/tasks/{quote(task_id, safe='')}/messages"
    path = route_path({"raw_path": raw.encode(), "root_path": root, "path": unquote(raw)})
    empty, tasks, segment, messages = path.split("/")
    assert (empty, tasks, path_text(segment), messages) == ("", "tasks", task_id, "messages")


def test_a_server_that_hands_on_no_raw_path_still_finds_plain_ids() -> None:
    assert route_path({"path": "/mounted/tasks/a b", "root_path": "/mounted"}) == "/tasks/a%20b"
    assert route_path({"path": "/tasks/a", "root_path": ""}) == "/tasks/a"
    assert route_path({"path": "/tasks", "raw_path": b"/tasks?x=/y", "root_path": "/elsewhere"}) == "/tasks"


def test_a_whole_url_is_the_path_in_it() -> None:
    assert route_path({"path": "x", "raw_path": b"http://a.b:80/health", "root_path": ""}) == "/health"
    assert route_path({"path": "x", "raw_path": b"HTTP://a/m/tasks/http%3A%2F%2Fb", "root_path": "/m"}) == (
        "/tasks/http%3A%2F%2Fb"
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_header_and_comes_back_from_it(text: str) -> None:
    value = header_text(text)
    assert value.isascii()
    assert all(0x21 <= ord(char) <= 0x7E for char in value)
    assert unquote(value) == text


# ── queries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_query_gives_what_is_asked_for_and_ignores_the_rest() -> None:
    scope = {"query_string": b"after=5&task_id=a%2Fb+c&other=1&empty="}
    assert query(scope, "after", "task_id", "missing") == {"after": "5", "task_id": "a/b c"}


@pytest.mark.parametrize("text", [b"after=1&after=2", b"task_id=%C3", b"\xff=1", b"&".join([b"a=1"] * 200)])
def test_a_query_that_could_be_read_in_two_ways_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        query({"query_string": text}, "after")


@pytest.mark.parametrize("text", ["-1", "1e308", "NaN", "12345678901234567890", "", " 1", "1.0", "\u0661", "+1", "0x1"])
def test_a_number_is_digits_or_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="after"):
        whole_number({"after": text}, "after", default=0)
    assert whole_number({"after": "0017"}, "after", default=0) == 17
    assert whole_number({}, "after", default=3) == 3
