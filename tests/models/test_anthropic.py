"""The real SDK against a Messages API on a real socket."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from september_engine.errors import ConfigurationError, ModelError
from september_engine.messages import Block, Prompt, Usage, text_of
from september_engine.models.anthropic import DEFAULT_MODEL, AnthropicModel
from september_engine.models.base import BlockStopped, Chunk, Model, ModelRequest, Reply, TextChunk
from september_engine.testing.messages_server import (
    Answer,
    MessagesServer,
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
from september_engine.testing.model_contract import ModelContract

KEY = "sk-ant-very-secret"
TOOL: Block = {"name": "count", "description": "Counts.", "input_schema": {"type": "object"}}


def request(*messages: Block, **prompt: Any) -> ModelRequest:
    asked = messages or ({"role": "user", "content": [{"type": "text", "text": "Count."}]},)
    given: dict[str, Any] = {"system": "Be brief.", "tools": [TOOL], **prompt}
    return ModelRequest(prompt=Prompt(messages=list(asked), **given), max_tokens=100)


async def chunks_of(model: Model, asked: ModelRequest | None = None) -> list[Chunk]:
    return [chunk async for chunk in model.stream(asked or request())]


async def ask(model: Model, asked: ModelRequest | None = None) -> Reply:
    last = (await chunks_of(model, asked))[-1]
    assert isinstance(last, Reply)
    return last


async def answered(*script: Answer) -> list[Chunk]:
    """The chunks of the first request to a server with this script."""
    async with MessagesServer(script) as server:
        model = AnthropicModel(api_key=KEY, base_url=server.url)
        chunks = await chunks_of(model)
        await model.aclose()
    return chunks


async def failed(*script: Answer, **options: Any) -> ModelError:
    """How the first request to a server with this script fails."""
    async with MessagesServer(script) as server:
        model = AnthropicModel(api_key=KEY, base_url=server.url, **options)
        with pytest.raises(ModelError) as raised:
            await chunks_of(model)
        await model.aclose()
        assert len(server.requests) == 1
    return raised.value


async def failed_unsent() -> ModelError:
    """How a request fails that never reaches its server."""
    async with MessagesServer() as server:
        model = AnthropicModel(api_key=KEY, base_url=server.url)
        with pytest.raises(ModelError, match="could not be made") as raised:
            await ask(model)
        await model.aclose()
        assert server.requests == []
    return raised.value


class TestContract(ModelContract):
    @pytest.fixture(autouse=True)
    async def _server(self) -> AsyncIterator[None]:
        async with MessagesServer([self.answer()] * 3) as self.server:
            yield

    def answer(self) -> Answer:
        return reply(
            thinking("Hm", ", three."),
            redacted("opaque"),
            text("One, ", "two, ", "three."),
            tool_use("count", {"to": 3}),
            tool_use("count", raw=['{"to"', ": "]),
        )

    def make_model(self) -> Model:
        return AnthropicModel(api_key=KEY, base_url=self.server.url)

    def make_request(self) -> ModelRequest:
        return request()


class TestMaking:
    def test_importing_the_engine_does_not_import_the_sdk(self) -> None:
        code = "import september_engine, sys; print('anthropic' in sys.modules, 'httpx2' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["False", "False"]

    def test_the_model_is_the_recommended_one_unless_named(self) -> None:
        assert AnthropicModel(api_key=KEY).name == DEFAULT_MODEL == "claude-opus-5-5"
        assert AnthropicModel("claude-haiku-5-5", api_key=KEY).name == "claude-haiku-5-5"

    def test_the_key_is_not_shown(self) -> None:
        assert repr(AnthropicModel(api_key=KEY)) == "AnthropicModel('claude-opus-5-5')"

    @pytest.mark.parametrize("key", ["", " ", "sk ant", "sk-ant\n", "sk-änt"])
    def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(self, key: str) -> None:
        with pytest.raises(ConfigurationError) as raised:
            AnthropicModel(api_key=key)
        assert not key.strip() or key.strip() not in str(raised.value)

    @pytest.mark.parametrize("url", ["api.example.org", "ftp://api.example.org", "http://"])
    def test_an_address_that_is_none_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="http or https"):
            AnthropicModel(api_key=KEY, base_url=url)

    async def test_the_address_may_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with MessagesServer([reply(text("Hi"))]) as server:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
            model = AnthropicModel(api_key=KEY)
            assert (await ask(model)).stop_reason == "end_turn"
            await model.aclose()

    async def test_an_address_that_is_given_counts_before_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
        async with MessagesServer([reply(text("Hi"))]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            assert (await ask(model)).stop_reason == "end_turn"
            await model.aclose()

    def test_an_empty_address_in_the_environment_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", "")
        client = AnthropicModel(api_key=KEY)._unused
        assert client is not None
        assert str(client.base_url) == "https://api.anthropic.com"

    async def test_the_key_that_is_given_is_the_one_that_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "a-token")
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Team: engine")
        async with MessagesServer([reply(text("Hi"))], api_key=KEY) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            await ask(model)
            await model.aclose()
            assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
            assert server.requests[0].headers["x-team"] == "engine"

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("ALL_PROXY", "socks5://127.0.0.1:9"),
            ("HTTPS_PROXY", "ftp://x"),
            ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
            ("ANTHROPIC_BASE_URL", "http://[::1"),
        ],
    )
    def test_what_keeps_the_sdk_from_a_connection_is_told_when_it_is_made(
        self, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(ConfigurationError, match=variable):
            AnthropicModel(api_key=KEY)
        gc.collect()  # nothing half made is left to complain

    def test_a_model_works_in_one_event_loop_after_the_other(self) -> None:
        model = AnthropicModel(api_key=KEY, base_url="http://127.0.0.1:1")

        async def one() -> str:
            async with MessagesServer([reply(text("Hi"))] * 2) as server:
                there = model._client()
                there.base_url = server.url
                assert model._client() is there
                replies = [await ask(model), await ask(model)]
                await there.close()
            return text_of(replies[1].content)

        assert [asyncio.run(one()) for _ in range(3)] == ["Hi"] * 3


class TestLearning:
    async def test_the_most_tokens_that_a_model_takes_are_kept_to(self) -> None:
        told = "max_tokens: 100 > 64, which is the maximum allowed number of output tokens for claude-opus-5-5"
        async with MessagesServer([refuse(400, "invalid_request_error", told), reply(text("Hi"))]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            with pytest.raises(ModelError, match="100 > 64") as raised:
                await ask(model)
            assert (raised.value.retryable, raised.value.retry_after, raised.value.bad_history) == (True, 0.0, False)
            await ask(model)
            await model.aclose()
            assert [each.body["max_tokens"] for each in server.requests] == [100, 64]

    async def test_a_maximum_that_was_kept_to_is_not_learned_again(self) -> None:
        told = "max_tokens: 500 > 100, which is the maximum allowed number of output tokens for claude-opus-5-5"
        assert not (await failed(refuse(400, "invalid_request_error", told))).retryable

    async def test_a_model_that_refuses_adaptive_thinking_is_asked_without(self) -> None:
        told = refuse(400, "invalid_request_error", "adaptive thinking is not supported on this model")
        async with MessagesServer([told, reply(text("Hi")), told]) as server:
            model = AnthropicModel("my-claude", api_key=KEY, base_url=server.url, thinking=True)
            with pytest.raises(ModelError, match="adaptive thinking") as raised:
                await ask(model)
            assert raised.value.retryable
            await ask(model)
            with pytest.raises(ModelError) as raised:
                await ask(model)
            assert not raised.value.retryable
            await model.aclose()
            assert ["thinking" in each.body for each in server.requests] == [True, False, False]


class TestRequest:
    async def test_what_goes_over_the_wire_is_the_prompt_with_cache_marks(self) -> None:
        asked = request(system="Sé breve. 😀")
        async with MessagesServer([reply(text("Hi")), reply(text("Hi"))]) as server:
            for model in (
                AnthropicModel(api_key=KEY, base_url=server.url),
                AnthropicModel("claude-haiku-4-5", api_key=KEY, base_url=server.url, cache=None),
            ):
                await ask(model, asked)
                await model.aclose()
            first, second = server.requests
            assert first.prompt == second.prompt == asked.prompt
            assert first.cache_marks == ["system.0", "messages.0.content.0"]
            assert second.cache_marks == []
            assert first.body["thinking"] == {"type": "adaptive", "display": "summarized"}
            assert "thinking" not in second.body
            assert (first.body["max_tokens"], first.body["stream"]) == (100, True)
            assert "anthropic-beta" not in first.headers

    async def test_thinking_can_be_asked_for_or_not_whatever_the_name(self) -> None:
        async with MessagesServer([reply(text("Hi")), reply(text("Hi"))]) as server:
            for name, wanted in (("my-proxy", True), (DEFAULT_MODEL, False)):
                model = AnthropicModel(name, api_key=KEY, base_url=server.url, thinking=wanted)
                await ask(model)
                await model.aclose()
            assert ["thinking" in each.body for each in server.requests] == [True, False]

    async def test_a_header_that_cannot_be_written_is_not_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "Bad Name: 1")
        assert not (await failed_unsent()).retryable

    async def test_a_prompt_that_is_no_json_cannot_be_sent_and_is_not_tried_again(self) -> None:
        model = AnthropicModel(api_key=KEY, base_url="http://127.0.0.1:1")
        for content in ({"type": "text", "text": {1, 2}, "x": object()}, {"type": "text", "text": "\ud83d"}):
            with pytest.raises(ModelError, match="could not be made") as raised:
                await ask(model, request({"role": "user", "content": [content]}))
            assert not raised.value.retryable
        await model.aclose()


class TestReply:
    @pytest.mark.parametrize(
        "stop_reason",
        [
            "end_turn",
            "tool_use",
            "max_tokens",
            "stop_sequence",
            "pause_turn",
            "refusal",
            "model_context_window_exceeded",
            "a_reason_of_the_future",
        ],
    )
    async def test_the_stop_reason_is_the_provider_s_word(self, stop_reason: str) -> None:
        chunks = await answered(reply(text("Hi"), stop_reason=stop_reason))
        assert isinstance(chunks[-1], Reply)
        assert chunks[-1].stop_reason == stop_reason

    async def test_everything_the_provider_wrote_is_in_the_reply(self) -> None:
        chunks = await answered(TestContract().answer())
        assert chunks[-1] == Reply(
            content=[
                {"type": "thinking", "thinking": "Hm, three.", "signature": "signed/1/0=="},
                {"type": "redacted_thinking", "data": "opaque"},
                {"type": "text", "text": "One, two, three."},
                {"type": "tool_use", "id": "toolu_1_3", "name": "count", "input": {"to": 3}},
                {"type": "tool_use", "id": "toolu_1_4", "name": "count", "input": {}},
            ],
            stop_reason="tool_use",
            usage=chunks[-1].usage if isinstance(chunks[-1], Reply) else Usage(),
            model=DEFAULT_MODEL,
            broken_inputs={
                "toolu_1_4": "Not run: the input of this call is not valid JSON (Input data was truncated). "
                "Call again with a valid input."
            },
        )

    async def test_usage_counts_what_was_read_from_the_cache_as_input(self) -> None:
        usage = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": None}
        chunks = await answered(reply(text("Hi"), usage=usage, output_tokens=12))
        assert isinstance(chunks[-1], Reply)
        assert chunks[-1].usage == Usage(input_tokens=105, output_tokens=12, cache_hit_tokens=100)

    async def test_bytes_may_come_one_by_one(self) -> None:
        words = text("Häl", "lo \ud83d", "\ude00", "…")
        whole, torn = await answered(reply(words)), await answered(reply(words).in_pieces(1))
        assert whole == torn
        assert "".join(chunk.text for chunk in torn if isinstance(chunk, TextChunk)) == "Hällo 😀…"

    async def test_pings_and_events_of_the_future_are_no_progress(self) -> None:
        plain = await answered(reply(text("Hi")))
        assert await answered(reply(ping(), ping(), text("Hi"), ping())) == plain
        future = event("aura", {"colour": "blue"})
        assert await answered(reply(future, text("Hi"), future)) == plain

    async def test_the_connection_is_used_again_for_the_next_request(self) -> None:
        async with MessagesServer([reply(text("One")), overloaded(), reply(text("Two"))]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            await ask(model)
            with pytest.raises(ModelError):
                await ask(model)
            await ask(model)
            await model.aclose()
            assert (len(server.requests), server.connections) == (3, 1)

    async def test_a_whole_message_counts_even_if_the_stream_is_never_ended(self) -> None:
        stopping = (
            event("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
            event("message_stop", {}),
        )
        for after in (hang(), raw(b"data: no json\n\n"), failure()):
            chunks = await answered(reply(text("Hi"), *stopping, after))
            assert isinstance(chunks[-1], Reply)
            assert chunks[-1].content == [{"type": "text", "text": "Hi"}]

    async def test_the_last_event_may_lack_its_blank_line(self) -> None:
        ended = event("message_delta", {"delta": {"stop_reason": "end_turn"}})
        last = raw(b'event: message_stop\ndata: {"type":"message_stop"}')
        chunks = await answered(reply(text("Hi"), ended, last).cut(events=6, abrupt=False))
        assert isinstance(chunks[-1], Reply)
        opening = event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": "Hi"}})
        chunks = await answered(reply(opening, ended, last).cut(events=4, abrupt=False))
        assert isinstance(chunks[-1], Reply)
        assert chunks[-2] == BlockStopped(0)

    async def test_many_streams_at_once_do_not_mix(self) -> None:
        async with MessagesServer([reply(text(*["word "] * 20)) for _ in range(20)]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            replies: list[Reply] = []

            async def one() -> None:
                replies.append(await ask(model))

            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(one)
            await model.aclose()
        assert [each.content for each in replies] == [[{"type": "text", "text": "word " * 20}]] * 20


class TestRefused:
    @pytest.mark.parametrize(
        ("answer", "code", "retryable", "bad_history"),
        [
            (rate_limited("7"), "LLM_RATE_LIMITED", True, False),
            (overloaded(), "LLM_PROVIDER_ERROR", True, False),
            (refuse(500, "api_error", "Internal"), "LLM_PROVIDER_ERROR", True, False),
            (respond(502, b"<html>Bad Gateway", content_type="text/html"), "LLM_PROVIDER_ERROR", True, False),
            (respond(503, b"\xff\xfe\x00", content_type="text/plain"), "LLM_PROVIDER_ERROR", True, False),
            (refuse(504, "timeout_error", "Too slow"), "LLM_TIMEOUT", True, False),
            (refuse(401, "authentication_error", "invalid x-api-key"), "LLM_AUTH", False, False),
            (refuse(403, "permission_error", "No."), "LLM_AUTH", False, False),
            (refuse(404, "not_found_error", "model: claude-x"), "LLM_PROVIDER_ERROR", False, False),
            (refuse(400, "invalid_request_error", "messages.1: no"), "LLM_PROVIDER_ERROR", False, True),
            (refuse(413, "request_too_large", "Request exceeds the maximum size"), "LLM_PROVIDER_ERROR", False, True),
            (refuse(400, "invalid_request_error", "prompt is too long: 9 > 8"), "CONTEXT_OVERFLOW", False, False),
            (
                refuse(400, "invalid_request_error", "Your credit balance is too low"),
                "LLM_PROVIDER_ERROR",
                False,
                False,
            ),
        ],
    )
    async def test_an_error_by_status_is_mapped_and_never_tried_again_by_the_sdk(
        self, answer: Answer, code: str, retryable: bool, bad_history: bool
    ) -> None:
        error = await failed(answer)
        assert (error.code, error.retryable, error.bad_history) == (code, retryable, bad_history)
        assert error.details["provider_status"] == answer.status
        assert error.details["request_id"] == "req_1"

    async def test_how_long_to_wait_is_passed_on(self) -> None:
        assert (await failed(rate_limited("7"))).retry_after == 7.0
        assert (await failed(rate_limited("whenever"))).retry_after is None

    async def test_a_key_that_the_provider_does_not_know_is_the_key_s_fault(self) -> None:
        async with MessagesServer(api_key="another") as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            with pytest.raises(ModelError, match="LLM_API_KEY") as raised:
                await ask(model)
            await model.aclose()
        assert raised.value.code == "LLM_AUTH"

    async def test_an_address_with_a_path_too_many_is_told(self) -> None:
        async with MessagesServer() as server:
            model = AnthropicModel(api_key=KEY, base_url=f"{server.url}/v1")
            with pytest.raises(ModelError, match="ANTHROPIC_BASE_URL"):
                await ask(model)
            await model.aclose()

    @pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/json"])
    async def test_a_success_that_is_no_stream_is_not_the_messages_api(self, content_type: str) -> None:
        error = await failed(respond(200, b"{}", content_type=content_type))
        assert not error.retryable
        assert "ANTHROPIC_BASE_URL" in error.message

    async def test_the_key_is_in_no_error_whoever_quotes_it(self) -> None:
        for answer in (
            refuse(401, KEY, f"Bearer {KEY} is unknown", code=KEY, headers={"request-id": KEY}),
            respond(500, f"Bearer {KEY}".encode(), content_type="text/plain"),
            reply(failure("api_error", f"Bearer {KEY}")),
            respond(200, b"", content_type=KEY),
        ):
            error = await failed(answer)
            assert KEY not in json.dumps([error.message, dict(error.details)])
            assert KEY not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
            assert error.retry_after is None

    async def test_taking_the_key_out_leaves_the_rest_of_an_error(self) -> None:
        answer = refuse(429, "rate_limit_error", f"{KEY} is too fast", headers={"retry-after": "3"})
        error = await failed(answer)
        assert error.message.endswith("[key] is too fast")
        assert (error.code, error.retryable, error.retry_after) == ("LLM_RATE_LIMITED", True, 3.0)
        assert error.details["retry_after"] == 3.0


class TestCut:
    async def test_an_error_within_the_stream_is_mapped_by_its_type(self) -> None:
        chunks: list[Chunk] = []
        async with MessagesServer([reply(text("Hel"), failure("overloaded_error"))]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            with pytest.raises(ModelError) as raised:
                async for chunk in model.stream(request()):
                    chunks.append(chunk)  # noqa: PERF401 (they are wanted although it fails)
            await model.aclose()
        assert TextChunk("Hel") in chunks
        assert (raised.value.code, raised.value.retryable) == ("LLM_PROVIDER_ERROR", True)
        assert raised.value.details["provider_status"] == 529
        assert raised.value.details["request_id"] == "req_1"
        assert not (await failed(reply(failure("authentication_error", "expired")))).retryable

    @pytest.mark.parametrize("abrupt", [True, False])
    @pytest.mark.parametrize("events", range(7))
    async def test_a_stream_that_ends_before_its_message_is_cut(self, events: int, abrupt: bool) -> None:
        error = await failed(reply(text("Hel", "lo")).cut(events=events, abrupt=abrupt))
        assert (error.code, error.retryable, error.bad_history) == ("LLM_PROVIDER_ERROR", True, False)
        assert error.details["request_id"] == "req_1"

    @pytest.mark.parametrize("abrupt", [True, False])
    async def test_it_is_cut_at_whatever_byte_it_ends(self, abrupt: bool) -> None:
        whole = reply(thinking("Hm"), tool_use("count", {"to": 3}))
        cuts = [whole.cut(bytes=size, abrupt=abrupt) for size in range(0, 1400, 37)]
        async with MessagesServer(cuts) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            for _ in cuts:
                with pytest.raises(ModelError) as raised:
                    await ask(model)
                assert raised.value.retryable
            await model.aclose()

    @pytest.mark.parametrize(
        "part",
        [
            raw(b"data: {no json\n\n"),
            raw(b"data: [1]\n\n"),
            raw(b"data: \xff\xfe\n\n"),
            event("content_block_delta", {"index": 9, "delta": {"type": "text_delta", "text": "x"}}),
            event("content_block_start", {"index": 5, "content_block": {"type": "text", "text": ""}}),
        ],
    )
    async def test_bytes_that_make_no_message_are_a_cut_stream(self, part: Any) -> None:
        error = await failed(reply(text("Hi"), part, text("there")))
        assert (error.code, error.retryable) == ("LLM_PROVIDER_ERROR", True)
        assert "not whole" in error.message

    async def test_a_provider_that_never_answers_is_a_timeout(self) -> None:
        error = await failed(silence(), read_timeout=0.1)
        assert (error.code, error.retryable) == ("LLM_TIMEOUT", True)
        assert "before it answered" in error.message

    async def test_a_stream_that_falls_silent_is_a_timeout(self) -> None:
        error = await failed(reply(text("Hel"), hang()), read_timeout=0.1)
        assert (error.code, error.retryable) == ("LLM_TIMEOUT", True)
        assert "within its answer" in error.message

    async def test_a_provider_that_is_not_there_may_be_tried_again(self) -> None:
        async with MessagesServer() as server:
            url = server.url
        model = AnthropicModel(api_key=KEY, base_url=url)
        with pytest.raises(ModelError, match="could not be reached") as raised:
            await ask(model)
        await model.aclose()
        assert (raised.value.code, raised.value.retryable) == ("LLM_PROVIDER_ERROR", True)


class TestLeaving:
    async def test_closing_the_stream_ends_the_connection(self) -> None:
        async with MessagesServer([reply(text("Hel"), hang()), reply(text("Hi"))]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            stream = model.stream(request())
            async for chunk in stream:
                if chunk == TextChunk("Hel"):
                    break
            assert server.open_streams == 1
            await stream.aclose()  # type: ignore[attr-defined]  # the port asks for a generator
            await server.until_idle()
            assert server.disconnects == 1
            assert (await ask(model)).content == [{"type": "text", "text": "Hi"}]
            await model.aclose()

    @pytest.mark.parametrize("answer", [silence(), reply(hang()), reply(text("Hel"), hang())])
    async def test_cancelling_ends_the_connection_wherever_it_waits(self, answer: Answer) -> None:
        async with MessagesServer([answer]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            async with anyio.create_task_group() as group:
                group.start_soon(chunks_of, model)
                await server.until_requests(1)
                group.cancel_scope.cancel()
            await server.until_idle()
            assert server.disconnects == 1
            await model.aclose()

    async def test_nothing_is_left_open_for_the_garbage_collector(self) -> None:
        # warnings are errors here, so a connection or a generator that is collected while open fails the test
        async with MessagesServer([reply(text("Hel"), hang())] * 3) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            for _ in range(3):
                stream = model.stream(request())
                await anext(stream)
                await stream.aclose()  # type: ignore[attr-defined]  # the port asks for a generator
                del stream
                gc.collect()
                await anyio.lowlevel.checkpoint()
            await model.aclose()
            await server.until_idle()
        gc.collect()

    async def test_a_stream_goes_on_when_the_provider_does(self) -> None:
        gate = anyio.Event()
        async with MessagesServer([reply(text("Hel"), hold(gate), text("lo"))]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            words: list[str] = []
            async for chunk in model.stream(request()):
                if isinstance(chunk, TextChunk):
                    words.append(chunk.text)
                    gate.set()
            await model.aclose()
        assert words == ["Hel", "lo"]

    async def test_closing_the_model_is_harmless_when_repeated_and_ends_its_use(self) -> None:
        async with MessagesServer([reply(text("Hi"))]) as server:
            model = AnthropicModel(api_key=KEY, base_url=server.url)
            await ask(model)
            await model.aclose()
            await model.aclose()
            with pytest.raises(ModelError):
                await ask(model)
