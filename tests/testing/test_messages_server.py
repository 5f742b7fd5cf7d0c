from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine.messages import Block
from september_engine.testing._messages_rules import PromptCache, cache_marks, prompt_of, refusal
from september_engine.testing.messages_server import (
    Answer,
    MessagesServer,
    block,
    event,
    failure,
    hang,
    hold,
    overloaded,
    ping,
    rate_limited,
    raw,
    redacted,
    refuse,
    reply,
    respond,
    silence,
    text,
    thinking,
    tool_use,
)

HEADERS = {"authorization": "Bearer key", "anthropic-version": "2026-10-21"}
MARK = {"cache_control": {"type": "ephemeral"}}


ANSWER: Block = {"type": "text", "text": "Hello."}


def user(*content: Block) -> Block:
    return {"role": "user", "content": list(content) or [{"type": "text", "text": "Hello."}]}


def asked(*messages: Block, **fields: Any) -> Block:
    return {"model": "claude-x", "max_tokens": 10, "stream": True, "messages": list(messages) or [user()], **fields}


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(headers=HEADERS, trust_env=False, timeout=10) as made:
        yield made


async def post(
    client: httpx2.AsyncClient, server: MessagesServer, body: Block | None = None, **options: Any
) -> httpx2.Response:
    return await client.post(f"{server.url}/v1/messages", json=asked() if body is None else body, **options)


async def events(client: httpx2.AsyncClient, answer: Answer) -> list[Block]:
    async with MessagesServer([answer]) as server:
        response = await post(client, server)
    frames = response.text.removesuffix("\n\n").split("\n\n")
    return [json.loads(frame.partition("data: ")[2]) for frame in frames]


class TestReplies:
    async def test_a_reply_is_a_message_as_the_api_streams_it(self, client: httpx2.AsyncClient) -> None:
        made = reply(text("Hel", "lo"), usage={"input_tokens": 3}, output_tokens=2)
        async with MessagesServer([made]) as server:
            response = await post(client, server)
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["request-id"] == "req_1"
        assert response.text == (
            'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
            '"role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,'
            '"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
            "event: content_block_start\n"
            'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
            "event: content_block_delta\n"
            'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}\n\n'
            "event: content_block_delta\n"
            'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}\n\n'
            'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
            "event: message_delta\n"
            'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
            '"usage":{"output_tokens":2}}\n\n'
            'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        )

    async def test_parts_become_blocks_with_ids_and_signatures_of_their_own(self, client: httpx2.AsyncClient) -> None:
        sent = await events(
            client,
            reply(
                thinking("Hm"),
                thinking("So", signature="mine"),
                redacted("x"),
                tool_use("add", {"a": 1}),
                tool_use("add", id="t", raw=["{"]),
                block({"type": "hologram"}, {"type": "hologram_delta"}),
                text("é", citations=[{"n": 1}]),
            ),
        )
        starts = [each["content_block"] for each in sent if each["type"] == "content_block_start"]
        assert [each["type"] for each in starts] == [
            *("thinking", "thinking", "redacted_thinking", "tool_use", "tool_use", "hologram", "text")
        ]
        assert [each["id"] for each in starts if each["type"] == "tool_use"] == ["toolu_1_3", "t"]
        deltas = [each["delta"] for each in sent if each["type"] == "content_block_delta"]
        assert [each["signature"] for each in deltas if each["type"] == "signature_delta"] == ["signed/1/0==", "mine"]
        fragments = [each["partial_json"] for each in deltas if each["type"] == "input_json_delta"]
        assert fragments == ["", '{"a', '":1}', "{"]
        assert deltas[-3:] == [
            {"type": "hologram_delta"},
            {"type": "text_delta", "text": "é"},
            {"type": "citations_delta", "citation": {"n": 1}},
        ]
        assert sent[-2]["delta"]["stop_reason"] == "tool_use"

    async def test_anything_can_stand_between_the_blocks(self, client: httpx2.AsyncClient) -> None:
        sent = await events(client, reply(ping(), event("aura", {"n": 1}), raw(b"data: 5\n\n"), failure(), text("Hi")))
        assert sent[1:5] == [
            {"type": "ping"},
            {"type": "aura", "n": 1},
            5,
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        ]

    async def test_half_of_a_surrogate_pair_is_sent_as_an_escape(self, client: httpx2.AsyncClient) -> None:
        async with MessagesServer([reply(text("é\ud83d"))]) as server:
            response = await post(client, server)
        assert '"text":"\\u00e9\\ud83d"' in response.text

    async def test_the_body_may_come_in_pieces_of_any_size(self, client: httpx2.AsyncClient) -> None:
        made = reply(text("Häl", "lo"), hold(_opened()), raw(b""))
        async with MessagesServer([made, made.in_pieces(1), made.in_pieces(50)]) as server:
            whole = await post(client, server)
            sizes = []
            for _ in range(2):
                async with client.stream("POST", f"{server.url}/v1/messages", json=asked()) as response:
                    pieces = [piece async for piece in response.aiter_raw()]
                assert b"".join(pieces).replace(b"msg_2", b"msg_1").replace(b"msg_3", b"msg_1") == whole.content
                sizes.append(max(map(len, pieces)))
        assert sizes == [1, 50]

    @pytest.mark.parametrize(("cut", "length"), [({"bytes": 0}, 0), ({"bytes": 40}, 40), ({"events": 0}, 0)])
    async def test_a_cut_stream_ends_politely_or_not(
        self, client: httpx2.AsyncClient, cut: dict[str, Any], length: int
    ) -> None:
        async with MessagesServer([reply(text("Hi")).cut(**cut, abrupt=False), reply(text("Hi")).cut(**cut)]) as server:
            assert len((await post(client, server)).content) == length
            with pytest.raises(httpx2.RemoteProtocolError):
                await post(client, server)
            assert server.disconnects == 0

    async def test_events_are_cut_whole(self, client: httpx2.AsyncClient) -> None:
        sent = await events(client, reply(ping(), text("Hi")).cut(events=3, abrupt=False))
        assert [each["type"] for each in sent] == ["message_start", "ping", "content_block_start"]


class TestErrors:
    async def test_errors_have_the_api_s_shape(self, client: httpx2.AsyncClient) -> None:
        async with MessagesServer(
            [overloaded(), rate_limited("7"), rate_limited(), refuse(400, "k", "m", code="c"), respond(502, b"<p>")]
        ) as server:
            responses = [await post(client, server) for _ in range(5)]
        assert [each.status_code for each in responses] == [529, 429, 429, 400, 502]
        assert responses[0].json() == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        assert [each.headers.get("retry-after") for each in responses[1:3]] == ["7", None]
        assert responses[3].json()["error"]["details"] == {"error_code": "c"}
        assert responses[4].content == b"<p>"

    async def test_a_script_that_is_used_up_says_so_and_can_be_added_to(self, client: httpx2.AsyncClient) -> None:
        async with MessagesServer([overloaded()]) as server:
            await post(client, server)
            response = await post(client, server)
            assert "all 1 were given" in response.text
            assert response.headers["x-should-retry"] == "false"
            server.add(reply(text("Hi")))
            assert (await post(client, server)).status_code == 200

    async def test_only_the_key_is_taken_and_only_the_messages_api_is_there(self, client: httpx2.AsyncClient) -> None:
        async with MessagesServer([reply(text("Hi"))] * 3, api_key="key") as server:
            url = f"{server.url}/v1/messages"
            assert (await client.post(url, json=asked())).status_code == 200
            assert (await client.post(f"{url}?beta=true", json=asked())).status_code == 200
            by_other_header = {"authorization": "", "x-api-key": "key"}
            assert (await client.post(url, json=asked(), headers=by_other_header)).status_code == 200
            assert (await client.post(url, json=asked(), headers={"authorization": "Bearer no"})).status_code == 401
            assert (await client.post(url, json=asked(), headers={"authorization": ""})).status_code == 401
            assert (await client.post(f"{server.url}/v1/models", json=asked())).status_code == 404
            assert len(server.refusals) == 3

    @pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"null", b"\xff", b'{"a":' * 100_000])
    @pytest.mark.parametrize("strict", [True, False])
    async def test_a_body_that_is_no_json_object_is_refused(
        self, client: httpx2.AsyncClient, body: bytes, strict: bool
    ) -> None:
        async with MessagesServer([reply(text("Hi"))], strict=strict) as server:
            response = await client.post(f"{server.url}/v1/messages", content=body)
            assert response.status_code == 400
            assert server.refusals == ["the body is not a JSON object"]

    async def test_what_the_api_would_refuse_is_refused_only_where_strict(self, client: httpx2.AsyncClient) -> None:
        body = asked({"role": "assistant", "content": [{"type": "text", "text": "I begin"}]}, temperature=1)
        async with MessagesServer([reply(text("Hi"))]) as server:
            response = await post(client, server, body)
            assert response.json()["error"]["type"] == "invalid_request_error"
            assert (await post(client, server)).status_code == 200
        async with MessagesServer([reply(text("Hi"))], strict=False) as server:
            assert (await post(client, server, body)).status_code == 200
            assert server.refusals == []


def marked(ttl: str) -> list[Block]:
    return [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": ttl}}]


def held(schema: Block) -> Block:
    return {"format": {"type": "json_schema", "schema": schema}}


class TestRules:
    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"temperature": 0.5}, "temperature"),
            ({"top_p": 0.5}, "top_p"),
            ({"top_k": 5}, "top_k"),
            ({"tool_choice": {"type": "any"}}, "tool_choice"),
            ({"tool_choice": {"type": "tool", "name": "add"}}, "tool_choice"),
            ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
            ({"model": None}, "model"),
            ({"output_config": {"format": {"type": "json"}}}, "output_config.format: must be a json_schema"),
            ({"output_config": held({"type": "object"})}, "additionalProperties must be explicitly set to false"),
            ({"output_config": held({"type": "array", "items": {}})}, "schema.items: must have a type"),
            ({"output_config": held({"type": "integer", "minimum": 1})}, "schema.minimum: is not supported"),
            (
                {"output_config": held({"anyOf": [{"type": "string", "pattern": "a"}]})},
                "anyOf.0.pattern: is not",
            ),
            ({"max_tokens": "many"}, "max_tokens"),
            ({"messages": {}}, "messages"),
            ({"messages": []}, "at least one"),
            ({"system": [{"type": "text", "text": " ", **MARK}]}, "cache_control cannot be set"),
            ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools.0.name"),
            ({"model": "claude-sonnet-4.5", "thinking": {"type": "adaptive"}}, "adaptive thinking is not supported"),
            ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum"),
            ({"model": "claude-haiku-4-5", "max_tokens": 64_001}, "max_tokens: 64001 > 64000"),
            ({"output_config": {"format": {"type": "json"}}}, "output_config.format"),
            (
                {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
                "additionalProperties must be",
            ),
            ({"system": marked("5m"), "messages": [user(*marked("1h"))]}, "1h must not come after a ttl of 5m"),
            ({"system": marked("2h")}, "system.0.cache_control: must be ephemeral, with a ttl of 5m or 1h"),
            ({"system": [{"type": "text", "text": "x", "cache_control": "yes"}]}, "must be ephemeral"),
            (
                {"messages": [user(*({"type": "text", "text": "x", **MARK} for _ in range(5)))]},
                "A maximum of 4 blocks",
            ),
        ],
    )
    def test_what_current_models_refuse_is_refused(self, fields: dict[str, Any], why: str) -> None:
        found = refusal(asked(**fields), HEADERS, [])
        assert found is not None
        assert why in found

    def test_a_good_request_is_not(self) -> None:
        body = asked(
            {"role": "user", "content": "Hello."},
            tools=[{"name": "add", "input_schema": {"type": "object"}, **MARK}],
            system=[{"type": "text", "text": "Be kind.", **MARK}],
            tool_choice={"type": "auto"},
            thinking={"type": "adaptive"},
        )
        assert refusal(body, HEADERS, []) is None
        assert refusal(body | {"system": "Be kind."}, HEADERS, []) is None
        assert prompt_of(body).messages == [user()]
        assert cache_marks(body) == ["tools.0", "system.0"]
        longer = asked(user(*marked("5m")), system=marked("1h"))
        assert refusal(longer, HEADERS, []) is None
        closed = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
        assert refusal(body | {"output_config": held(closed)}, HEADERS, []) is None
        older = asked(user(), model="claude-sonnet-4-5", thinking={"type": "enabled", "budget_tokens": 1024})
        assert refusal(older, HEADERS, []) is None

    def test_compactions_are_a_beta_that_must_be_named(self) -> None:
        named = {**HEADERS, "anthropic-beta": "compact-2026-09-04"}
        said = asked(user({"type": "text", "text": "Hi"}), {"role": "assistant", "content": [ANSWER]})
        order = {"compaction": {"type": "summarize"}}
        assert refusal(said | order, named, []) is None
        assert "Extra inputs" in str(refusal(said | order, HEADERS, []))
        assert "the last message must be the user's" in str(refusal(said, named, []))
        assert "must be summarize" in str(refusal(said | {"compaction": {"type": "erase"}}, named, []))
        block = {"type": "compaction", "content": "In short.", "signature": "c2ln"}
        later = asked({"role": "assistant", "content": [block]}, user({"type": "text", "text": "Hi"}))
        assert refusal(later, named, []) is None
        assert "does not match any of the expected tags" in str(refusal(later, HEADERS, []))

    def test_what_a_mark_is_called_may_be_a_key_of_an_input(self) -> None:
        use = {"type": "tool_use", "id": "a", "name": "x", "input": {"cache_control": 1}}
        [message] = prompt_of(asked({"role": "assistant", "content": [{**use, **MARK}]})).messages
        assert message["content"] == [use]

    def test_the_version_is_required(self) -> None:
        assert refusal(asked(), {}, []) == "anthropic-version: header is required"

    async def test_thinking_goes_back_as_it_was_and_to_the_conversation_that_it_was_made_in(
        self, client: httpx2.AsyncClient
    ) -> None:
        thought = {"type": "thinking", "thinking": "Hm", "signature": "signed/1/0=="}
        hidden = {"type": "redacted_thinking", "data": "x"}
        said = {"type": "text", "text": "Hi"}
        marked = user({"type": "text", "text": "Hello.", **MARK})

        def follow_up(*content: Block, first: Block = marked, **fields: Any) -> Block:
            return asked(first, {"role": "assistant", "content": list(content)}, user(), **fields)

        async with MessagesServer([reply(thinking("H", "m"), redacted("x"), text("Hi"))] + [reply()] * 9) as server:
            await post(client, server)
            for body in (follow_up(thought, hidden, said), follow_up(said)):
                assert (await post(client, server, body)).status_code == 200
            for body in (
                follow_up({**thought, "thinking": "hm"}, said),
                follow_up({**thought, "signature": "other"}, said),
                follow_up(thought, said, first=user({"type": "text", "text": "Bye."})),
                follow_up(thought, said, system="Be unkind."),
                follow_up(hidden, said, tools=[{"name": "add", "input_schema": {"type": "object"}}]),
            ):
                assert (await post(client, server, body)).status_code == 400
        assert ["signature" in why for why in server.refusals] == [True, True, False, False, False]
        assert all("different conversation" in why for why in server.refusals[2:])

    @given(
        st.dictionaries(
            st.sampled_from(["model", "max_tokens", "messages", "system", "tools", "tool_choice", "thinking"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=3),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["role", "content", "type", "text", "cache_control", "name", "id"]), inner
                    )
                ),
                max_leaves=8,
            ),
        )
    )
    def test_any_body_is_judged_without_an_exception(self, body: dict[str, Any]) -> None:
        assert refusal(body, HEADERS, []) is not None
        assert sum(PromptCache().usage(body).values()) >= 0
        assert prompt_of(body)


class TestCache:
    def test_what_was_marked_is_read_and_the_rest_is_not(self) -> None:
        cache = PromptCache()
        first = cache.usage(asked(user({"type": "text", "text": "x" * 400, **MARK})))
        assert (first["cache_read_input_tokens"], first["input_tokens"]) == (0, 0)
        written = first["cache_creation_input_tokens"]
        assert written > 100
        again = cache.usage(asked(user({"type": "text", "text": "x" * 400}, {"type": "text", "text": "y", **MARK})))
        assert again["cache_read_input_tokens"] == written
        assert again["cache_creation_input_tokens"] > 0
        other = cache.usage(asked(user({"type": "text", "text": "x" * 400, **MARK}), model="claude-y"))
        assert other["cache_read_input_tokens"] == 0

    def test_without_a_mark_nothing_is_read_or_written(self) -> None:
        cache = PromptCache()
        cache.usage(asked(user({"type": "text", "text": "x" * 400, **MARK})))
        usage = cache.usage(asked(user({"type": "text", "text": "x" * 400})))
        assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (0, 0)
        assert usage["input_tokens"] > 100

    @pytest.mark.parametrize(("blocks", "found"), [(19, True), (20, False)])
    def test_it_looks_back_twenty_blocks_from_a_mark(self, blocks: int, found: bool) -> None:
        cache = PromptCache()
        begun = {"type": "text", "text": "begin"}
        cache.usage(asked(user({**begun, **MARK})))
        more = [{"type": "text", "text": str(number)} for number in range(blocks)]
        usage = cache.usage(asked(user(begun, *more[:-1], {**more[-1], **MARK})))
        assert (usage["cache_read_input_tokens"] > 0) == found

    async def test_it_is_what_usage_says_unless_the_script_does(self, client: httpx2.AsyncClient) -> None:
        body = asked(user({"type": "text", "text": "Hello.", **MARK}))
        async with MessagesServer([reply(), reply(), reply(usage={"input_tokens": 5})]) as server:
            usages = []
            for _ in range(3):
                start = (await post(client, server, body)).text.splitlines()[1].removeprefix("data: ")
                usages.append(json.loads(start)["message"]["usage"])
        assert usages[1]["cache_read_input_tokens"] == usages[0]["cache_creation_input_tokens"] > 0
        assert usages[2] == {"input_tokens": 5, "output_tokens": 1}


class TestWaiting:
    async def test_a_stream_is_held_until_its_gate_opens(self, client: httpx2.AsyncClient) -> None:
        gate = anyio.Event()
        async with MessagesServer([reply(text("Hi"), hold(gate), text("there"))]) as server:
            async with client.stream("POST", f"{server.url}/v1/messages", json=asked()) as response:
                body = ""
                async for piece in response.aiter_text():
                    body += piece
                    if '"Hi"' in body and not gate.is_set():
                        assert "there" not in body
                        assert server.open_streams == 1
                        gate.set()
            assert "there" in body
            await server.until_idle()
            assert server.disconnects == 0

    async def test_an_answer_may_wait_as_a_whole(self, client: httpx2.AsyncClient) -> None:
        gate = asyncio.Event()
        async with MessagesServer([overloaded().after(gate)]) as server, anyio.create_task_group() as group:
            group.start_soon(post, client, server)
            await server.until_requests(1)
            assert server.open_streams == 1
            gate.set()
            await server.until_idle()

    @pytest.mark.parametrize("answer", [silence(), reply(hang()), reply(text("Hi"), hang())])
    async def test_who_leaves_before_the_end_is_noticed(self, client: httpx2.AsyncClient, answer: Answer) -> None:
        async with MessagesServer([answer]) as server:
            async with anyio.create_task_group() as group:
                group.start_soon(post, client, server)
                await server.until_requests(1)
                group.cancel_scope.cancel()
            await server.until_idle()
            assert server.disconnects == 1

    async def test_who_leaves_between_two_events_is_noticed(self, client: httpx2.AsyncClient) -> None:
        async with MessagesServer([reply(text(*["x" * 1000] * 5000))]) as server:
            async with client.stream("POST", f"{server.url}/v1/messages", json=asked()) as response:
                await anext(response.aiter_raw())
            await server.until_idle()
            assert server.disconnects == 1

    async def test_leaving_the_server_ends_its_streams(self, client: httpx2.AsyncClient) -> None:
        async with MessagesServer([reply(text("Hi"), hang())]) as server:
            response = await client.send(
                client.build_request("POST", f"{server.url}/v1/messages", json=asked()), stream=True
            )
        with pytest.raises(httpx2.RemoteProtocolError):
            await response.aread()
        await response.aclose()
        assert server.open_streams == 0

    async def test_a_request_that_is_cut_is_none(self) -> None:
        async with MessagesServer([reply()]) as server:
            host, port = server.url.removeprefix("http://").split(":")
            for half in (b"POST /v1/mess", b"POST /v1/messages HTTP/1.1\r\ncontent-length: 10\r\n\r\n{"):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(half)
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
            assert server.requests == []

    async def test_a_server_that_does_not_run_has_no_address(self) -> None:
        with pytest.raises(AssertionError, match="async with"):
            _ = MessagesServer().url


async def test_requests_are_recorded_as_they_came(client: httpx2.AsyncClient) -> None:
    marked = asked(user({"type": "text", "text": "Hello.", **MARK}), system="Be kind.")
    async with MessagesServer([reply(), reply()]) as server:
        await post(client, server, marked, headers={"X-Team": "engine"})
        await post(client, server)
        first, second = server.requests
    assert (first.path, first.headers["x-team"], first.body) == ("/v1/messages", "engine", marked)
    assert (first.prompt.system, first.prompt.messages) == ("Be kind.", [user()])
    assert (first.cache_marks, second.cache_marks) == (["messages.0.content.0"], [])
    assert server.connections == 1


def _opened() -> anyio.Event:
    gate = anyio.Event()
    gate.set()
    return gate
