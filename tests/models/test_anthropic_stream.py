from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._context.text import clean
from september_engine.messages import Block, Usage
from september_engine.models._claude_stream import BrokenStream, EventDecoder, MessageReader
from september_engine.models.base import (
    BlockStarted,
    BlockStopped,
    Chunk,
    Progress,
    Reply,
    TextChunk,
    ThinkingChunk,
)

STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\n\n'
    b": a comment\nid: 7\nretry: 5\n\n"
    b'event: ping\r\ndata: {"type":"ping"}\r\n\r\n'
    b'data: {"type":\rdata:"content_block_start","index":0,"content_block":{"type":"text","text":""}}\r\r'
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"h\xc3\xa9 "}}\n\n'
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xf0\x9f\x98\x80"}}\n\n'
    b'data: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


def decoded(pieces: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + list(decoder.end())


def start(index: int, **content_block: Any) -> Block:
    return {"type": "content_block_start", "index": index, "content_block": content_block}


def delta(index: int, kind: str, **fields: Any) -> Block:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> Block:
    return {"type": "content_block_stop", "index": index}


def ended(stop_reason: str | None = "end_turn", **usage: int | None) -> list[Block]:
    return [{"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage}, {"type": "message_stop"}]


def deep(levels: int) -> Block:
    value: Block = {}
    for _ in range(levels - 1):
        value = {"k": value}
    return value


def said(*pieces: str, index: int = 0) -> list[Block]:
    deltas = [delta(index, "text_delta", text=piece) for piece in pieces]
    return [start(index, type="text", text=""), *deltas, stop(index)]


def called(*fragments: str, index: int = 0, id: str = "toolu_1") -> list[Block]:
    deltas = [delta(index, "input_json_delta", partial_json=fragment) for fragment in fragments]
    return [start(index, type="tool_use", id=id, name="run", input={}), *deltas, stop(index)]


def thought(*pieces: str, signature: str | None = "sig", index: int = 0) -> list[Block]:
    deltas = [delta(index, "thinking_delta", thinking=piece) for piece in pieces]
    signed = [] if signature is None else [delta(index, "signature_delta", signature=signature)]
    return [start(index, type="thinking", thinking="", signature=""), *deltas, *signed, stop(index)]


def read(events: Iterable[Block]) -> tuple[list[Chunk], MessageReader]:
    reader, chunks = MessageReader(), list[Chunk]()
    for event in events:
        # escapes everything beyond ASCII, so that half of a surrogate pair can be written
        chunks += reader.take(b"message", json.dumps(event).encode())
    return chunks, reader


def shown(events: Iterable[Block]) -> list[Chunk]:
    return [chunk for chunk in read(events)[0] if not isinstance(chunk, Progress)]


def reply(*events: Block) -> Reply:
    return read(events)[1].reply("claude")


class TestEvents:
    def test_lines_may_end_in_any_of_three_ways_and_data_may_have_several(self) -> None:
        events = decoded([STREAM])
        assert [name for name, _ in events] == [
            b"message_start",
            b"ping",
            *[b""] * 4,
            b"message_delta",
            b"message_stop",
        ]
        assert json.loads(events[2][1]) == start(0, type="text", text="")

    @given(st.lists(st.integers(0, len(STREAM)), max_size=12))
    def test_where_the_bytes_are_cut_does_not_matter(self, places: list[int]) -> None:
        ends = [0, *sorted(places), len(STREAM)]
        pieces = [STREAM[begin:end] for begin, end in pairwise(ends)]
        assert decoded(pieces) == decoded([STREAM])

    def test_single_bytes_are_enough(self) -> None:
        assert decoded(STREAM[place : place + 1] for place in range(len(STREAM))) == decoded([STREAM])

    def test_the_last_event_may_lack_its_blank_line(self) -> None:
        assert decoded([STREAM.rstrip(b"\n")]) == decoded([STREAM])

    def test_characters_that_end_lines_elsewhere_do_not_end_them_here(self) -> None:
        assert decoded(["data: \u2028\x85\x0b\x1c\n\n".encode()]) == [(b"", "\u2028\x85\x0b\x1c".encode())]


class TestShowing:
    def test_text_comes_as_it_is_sent(self) -> None:
        assert shown(said("Hel", "lo")) == [
            BlockStarted(0, "text"),
            TextChunk("Hel"),
            TextChunk("lo"),
            BlockStopped(0),
        ]

    def test_text_in_the_first_event_of_a_block_is_shown_too(self) -> None:
        events = [start(0, type="text", text="He"), delta(0, "text_delta", text="y"), stop(0), *ended()]
        assert shown(events)[1:3] == [TextChunk("He"), TextChunk("y")]
        assert reply(*events).content == [{"type": "text", "text": "Hey"}]

    def test_the_input_of_a_call_is_progress_and_not_shown(self) -> None:
        chunks, _ = read(called('{"a":', "1}"))
        assert chunks == [BlockStarted(0, "tool_use"), Progress(), Progress(), BlockStopped(0)]

    def test_blocks_are_counted_without_those_that_are_not_shown(self) -> None:
        events = [
            start(0, type="redacted_thinking", data="x"),
            stop(0),
            *thought("Hm", index=1),
            start(2, type="hologram", beam={"w": 1}),
            stop(2),
            *said("Hi", index=3),
        ]
        assert [chunk for chunk in shown(events) if isinstance(chunk, BlockStarted | BlockStopped)] == [
            BlockStarted(0, "thinking"),
            BlockStopped(0),
            BlockStarted(1, "text"),
            BlockStopped(1),
        ]

    def test_nothing_empty_is_shown(self) -> None:
        assert shown([*thought("", ""), *said("", index=1)]) == [
            BlockStarted(0, "thinking"),
            BlockStopped(0),
            BlockStarted(1, "text"),
            BlockStopped(1),
        ]

    def test_deltas_and_fields_of_the_future_are_progress_and_events_are_not(self) -> None:
        future = [
            {"type": "future_event", "usage": {"input_tokens": 99}},
            stop(0),
            {"type": "message_start", "message": {"usage": None, "content": []}, "more": 1},
            start(0, type="text", text="", more=2),
            delta(0, "aura_delta", colour="blue"),
            delta(0, "thinking_delta", thinking="not in a text block"),
            stop(0),
        ]
        chunks, reader = read([*future, *ended()])
        counted = Progress(Usage())
        assert chunks == [counted, BlockStarted(0, "text"), *[Progress()] * 3, BlockStopped(0), counted]
        assert reader.reply("claude").content == [{"type": "text", "text": "", "more": 2}]
        assert reader.reply("claude").usage == Usage()

    def test_pings_are_no_progress(self) -> None:
        reader = MessageReader()
        assert list(reader.take(b"ping", b"")) == []
        assert list(reader.take(b"message", b'{"type":"ping"}')) == []


class TestKeeping:
    def test_blocks_are_kept_as_they_came(self) -> None:
        hologram = {"type": "hologram", "beam": {"w": 1.5, "s": ["x", None, {"deep": True}]}}
        found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "u", "encrypted": "="}]}
        cited = {"type": "char_location", "cited_text": "…", "start_char_index": 0}
        answer = reply(
            start(0, **hologram),
            stop(0),
            start(1, type="server_tool_use", id="s1", name="web_search", input={}),
            delta(1, "input_json_delta", partial_json='{"query": "x"}'),
            stop(1),
            start(2, **found),
            stop(2),
            start(3, type="text", text="", citations=None),
            delta(3, "citations_delta", citation=cited),
            delta(3, "text_delta", text="So."),
            delta(3, "citations_delta", citation={"n": 2}),
            stop(3),
            start(4, type="tool_use", id="t1", name="run", input={}, caller={"type": "direct"}),
            delta(4, "input_json_delta", partial_json='{"a": [1, {"b": null}]}'),
            stop(4),
            *ended("tool_use"),
        )
        assert answer.content == [
            hologram,
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
            found,
            {"type": "text", "text": "So.", "citations": [cited, {"n": 2}]},
            {
                "type": "tool_use",
                "id": "t1",
                "name": "run",
                "input": {"a": [1, {"b": None}]},
                "caller": {"type": "direct"},
            },
        ]
        assert answer.broken_inputs == {}

    def test_thinking_and_its_signature_are_kept_to_the_byte(self) -> None:
        text, signature = "Hm…\n\t 😀 \u2028", "EqQBCkgIARABGAIiQL+/=="
        answer = reply(*thought("Hm…\n", "\t 😀 \u2028", signature=signature), *said("So.", index=1), *ended())
        assert answer.content[0] == {"type": "thinking", "thinking": text, "signature": signature}

    def test_redacted_thinking_is_kept(self) -> None:
        block = {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}
        assert reply(start(0, **block), stop(0), *said("So.", index=1), *ended()).content[0] == block

    def test_thinking_without_its_text_is_kept_for_its_signature(self) -> None:
        answer = reply(*thought(signature="sig"), *said("So.", index=1), *ended())
        assert answer.content[0] == {"type": "thinking", "thinking": "", "signature": "sig"}

    @pytest.mark.parametrize("signature", [None, ""])
    def test_thinking_that_was_never_signed_cannot_go_back_and_is_left_out(self, signature: str | None) -> None:
        answer = reply(*thought("Hm", signature=signature), *said("So.", index=1), *ended())
        assert answer.content == [{"type": "text", "text": "So."}]

    def test_a_block_of_another_kind_with_an_unknown_delta_is_not_whole_and_is_left_out(self) -> None:
        answer = reply(
            *said("a"),
            start(1, type="hologram", content=None),
            delta(1, "hologram_delta", content="S"),
            stop(1),
            *ended(),
        )
        assert answer.content == [{"type": "text", "text": "a"}]

    def test_what_was_said_of_the_stop_reason_is_kept(self) -> None:
        details = {"type": "refusal", "category": "cyber", "explanation": "No."}
        stopped = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}}
        assert reply(*said("a"), stopped, {"type": "message_stop"}).stop_details == details
        assert reply(*said("a"), *ended()).stop_details is None

    def test_citations_that_are_none_give_way_to_those_that_come(self) -> None:
        begun = start(0, type="text", text="", citations=-1)
        [block] = reply(begun, delta(0, "citations_delta", citation={"at": 1}), stop(0), *ended()).content
        assert block["citations"] == [{"at": 1}]

    def test_a_number_beyond_64_bits_is_read_as_it_is_elsewhere(self) -> None:
        [plain] = reply(start(0, type="future", n=10**30), stop(0), *ended()).content
        [halved] = reply(start(0, type="future", n=10**30, m=1.5, x="\ud83d"), stop(0), *ended()).content
        assert (plain["n"], halved["n"], halved["m"]) == (10**30, 10**30, 1.5)

    def test_the_model_is_the_one_that_was_asked(self) -> None:
        first = {"type": "message_start", "message": {"model": "claude-20260101", "usage": {}}}
        assert reply(first, *ended()).model == "claude"


class TestSurrogates:
    def test_a_pair_that_is_cut_in_two_comes_out_whole(self) -> None:
        events = said("a\ud83d", "\ude00b")
        assert [chunk.text for chunk in shown(events) if isinstance(chunk, TextChunk)] == ["a", "😀b"]
        assert reply(*events, *ended()).content == [{"type": "text", "text": "a😀b"}]

    def test_a_half_that_stays_alone_is_replaced(self) -> None:
        events = said("a\ud83d")
        assert [chunk.text for chunk in shown(events) if isinstance(chunk, TextChunk)] == ["a", "\ufffd"]
        assert reply(*events, *ended()).content == [{"type": "text", "text": "a\ufffd"}]

    def test_a_pair_that_is_cut_in_two_within_thinking_leaves_it_as_it_was_signed(self) -> None:
        answer = reply(*thought("\ufffd\ud83d", "\ude00"), *said("So.", index=1), *ended())
        assert answer.content[0] == {"type": "thinking", "thinking": "\ufffd😀", "signature": "sig"}

    @pytest.mark.parametrize(("text", "signature"), [("a\ud83d", "sig"), ("a", "si\udc00")])
    def test_thinking_that_is_not_valid_unicode_cannot_go_back_and_is_left_out(self, text: str, signature: str) -> None:
        events = [*thought(text, signature=signature), *said("So.", index=1), *ended()]
        assert reply(*events).content == [{"type": "text", "text": "So."}]
        assert "".join(chunk.text for chunk in shown(events) if isinstance(chunk, ThinkingChunk)) == clean(text)

    def test_a_pair_that_is_cut_in_two_within_an_input_comes_out_whole(self) -> None:
        answer = reply(*called('{"a": "\ud83d', '\ude00"}'), *ended("tool_use"))
        assert answer.content[0]["input"] == {"a": "😀"}

    def test_halves_anywhere_else_are_replaced(self) -> None:
        answer = reply(
            start(0, type="tool_use", id="t\ud83d", name="n\udc00", input={}, caller={"\ud83d": ["\udc00"]}),
            stop(0),
            start(1, type="text", text=""),
            delta(1, "citations_delta", citation={"cited_text": "\ud83d"}),
            stop(1),
            *ended("odd\ud83d"),
        )
        assert answer.content[0]["id"] == "t\ufffd"
        assert answer.content[0]["caller"] == {"\ufffd": ["\ufffd"]}
        assert answer.content[1]["citations"] == [{"cited_text": "\ufffd"}]
        assert answer.stop_reason == "odd\ufffd"

    @given(st.lists(st.text(st.characters(codec=None, categories=("Cs", "L", "So"))), max_size=6))
    def test_what_is_shown_is_what_is_kept_and_both_are_valid(self, pieces: list[str]) -> None:
        events = said(*pieces)
        text = "".join(chunk.text for chunk in shown(events) if isinstance(chunk, TextChunk))
        assert reply(*events, *ended()).content == [{"type": "text", "text": text}]
        assert text == clean("".join(pieces))
        assert text.encode().decode() == text


class TestInputs:
    @pytest.mark.parametrize(
        ("fragments", "input"),
        [
            (["{", '"a"', ": 1}"], {"a": 1}),
            (["", "{}"], {}),
            ([""], {}),
            ([], {}),
            ([' {"n": 1000000000000000000000} '], {"n": 10**21}),
        ],
    )
    def test_a_whole_object_is_an_input_and_nothing_is_an_empty_one(self, fragments: list[str], input: Block) -> None:
        answer = reply(*called(*fragments), *ended("tool_use"))
        assert (answer.content[0]["input"], answer.broken_inputs) == (input, {})

    @pytest.mark.parametrize(
        ("raw", "told"),
        [
            ('{"command":"ls" oops', "not valid JSON"),
            ('{"command":"ls"', "not valid JSON"),
            ('{"a": 1} {"a": 2}', "not valid JSON"),
            ('{"a": NaN}', "not valid JSON"),
            ('{"a": "\\ud83d"}', "not valid JSON"),
            ('{"a":' * 5000, "not valid JSON"),
            ('{"a": 1e999}', "not valid JSON"),
            ('{"a":' + "[" * 48 + "]" * 48 + "}", "nested deeper than 48 levels"),
            ("[1]", "not a JSON object"),
            ("null", "not a JSON object"),
            ('"ls"', "not a JSON object"),
        ],
    )
    def test_what_is_not_exactly_one_object_is_never_an_input(self, raw: str, told: str) -> None:
        answer = reply(*called(raw[:4], raw[4:]), *ended("tool_use"))
        assert answer.content[0]["input"] == {}
        assert told in answer.broken_inputs["toolu_1"]
        assert answer.broken_inputs["toolu_1"].startswith("Not run: ")

    def test_an_input_in_the_first_event_counts_where_no_fragments_follow(self) -> None:
        answer = reply(start(0, type="tool_use", id="t", name="n", input={"a": 1}), stop(0), *ended("tool_use"))
        assert answer.content[0]["input"] == {"a": 1}

    @pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded"])
    @pytest.mark.parametrize("raw", ["", '{"a": ', '{"a": "b'])
    @pytest.mark.parametrize("stopped", [True, False])
    def test_a_call_that_a_limit_cut_is_told_so(self, stop_reason: str, raw: str, stopped: bool) -> None:
        events = [*called('{"x": 1}', id="whole"), *called(raw, index=1, id="cut")]
        chunks, reader = read([*events[: None if stopped else -1], *ended(stop_reason)])
        answer = reader.reply("claude")
        assert [block["input"] for block in answer.content] == [{"x": 1}, {}]
        assert list(answer.broken_inputs) == ["cut"]
        assert "limit" in answer.broken_inputs["cut"] or "context window" in answer.broken_inputs["cut"]
        assert [chunk for chunk in chunks if isinstance(chunk, BlockStopped)] == [BlockStopped(0), BlockStopped(1)]

    def test_a_call_that_was_whole_when_the_limit_came_is_good(self) -> None:
        answer = reply(*called('{"x": 1}'), *ended("max_tokens"))
        assert (answer.content[0]["input"], answer.broken_inputs) == ({"x": 1}, {})

    def test_a_call_without_input_before_text_that_a_limit_cut_is_good(self) -> None:
        answer = reply(*called(""), *said("and th", index=1), *ended("max_tokens"))
        assert answer.broken_inputs == {}

    def test_fragments_for_a_block_that_is_left_out_are_no_input(self) -> None:
        unsigned = start(0, type="redacted_thinking", data="")
        answer = reply(unsigned, delta(0, "input_json_delta", partial_json="{"), stop(0), *ended("max_tokens"))
        assert (answer.content, answer.broken_inputs) == ([], {})

    def test_a_broken_input_of_a_provider_s_own_tool_is_emptied_and_not_reported(self) -> None:
        answer = reply(
            start(0, type="server_tool_use", id="s", name="web_search", input={}),
            delta(0, "input_json_delta", partial_json='{"qu'),
            stop(0),
            *ended("pause_turn"),
        )
        assert (answer.content[0]["input"], answer.broken_inputs) == ({}, {})


class TestUsage:
    def test_input_is_all_that_was_read_written_and_neither(self) -> None:
        usage = {
            "input_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "cache_creation": {"ephemeral_5m_input_tokens": 14, "ephemeral_1h_input_tokens": 6},
            "output_tokens": 1,
        }
        first = {"type": "message_start", "message": {"usage": usage}}
        assert reply(first, *ended(output_tokens=9)).usage == Usage(
            input_tokens=125,
            output_tokens=9,
            cache_hit_tokens=100,
            cache_write_tokens=20,
            cache_write_1h_tokens=6,
        )

    def test_what_is_used_so_far_is_told_while_it_is_used(self) -> None:
        first = {"type": "message_start", "message": {"usage": {"input_tokens": 90_000, "output_tokens": 1}}}
        chunks, _ = read([first, *said("a"), *ended(output_tokens=7)])
        assert [chunk.usage for chunk in chunks if isinstance(chunk, Progress) and chunk.usage] == [
            Usage(input_tokens=90_000, output_tokens=1),
            Usage(input_tokens=90_000, output_tokens=7),
        ]

    def test_later_counts_replace_earlier_ones_and_null_says_nothing(self) -> None:
        first = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": None}}}
        assert reply(first, *ended(input_tokens=None, cache_read_input_tokens=3, output_tokens=4)).usage == Usage(
            input_tokens=8, output_tokens=4, cache_hit_tokens=3
        )

    def test_what_is_no_count_is_ignored(self) -> None:
        first = {"type": "message_start", "message": {"usage": {"input_tokens": -1, "output_tokens": "many"}}}
        assert (
            reply(first, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, ended()[1]).usage == Usage()
        )


class TestBroken:
    @pytest.mark.parametrize(
        "events",
        [
            [*said("a"), {"type": "message_stop"}],
            [*said("a"), *ended(None)],
            [*said("a"), *ended("")],
            [*said("a"), ended()[0]],
            said("a"),
            [],
        ],
    )
    def test_without_a_stop_reason_and_its_end_a_message_is_not_whole(self, events: list[Block]) -> None:
        with pytest.raises(BrokenStream):
            reply(*events)

    @pytest.mark.parametrize(
        "events",
        [
            [delta(0, "text_delta", text="a")],
            [start(1, type="text", text="")],
            [start(0, type="text", text=""), start(1, type="text", text="")],
            [start(0, type="text", text=""), delta(1, "text_delta", text="a")],
            [start(0, type="text", text=""), delta(-1, "text_delta", text="a")],
            [start(0, type="text", text=""), stop(1)],
            [start(0, type="text")],
            [start(0, type="text", text=5)],
            [start(0, type="text", text=""), delta(0, "text_delta")],
            [start(0, type="tool_use", id="", name="n", input={})],
            [start(0, type="tool_use", id="t", input={})],
            [start(0, type="tool_use", id="t", name="n", input={}), delta(0, "input_json_delta", partial_json={})],
            [{"type": "content_block_start", "index": 0}],
            [start(0, type="text", text=""), {"type": "content_block_delta", "index": 0, "delta": "x"}],
            [{"type": "message_start", "message": None}],
            [{"type": "message_delta"}],
            [start(0, type="future", x=float("nan"))],
            [start(0, type="future", x=float("-inf"))],
            [start(0, type="future", x="\ud83d", y=float("inf"))],
            [start(0, type="future", x=deep(48))],
            [*said("a")[:1], delta(0, "citations_delta", citation=deep(49))],
            [{"type": "message_delta", "delta": {"stop_details": deep(49)}}],
        ],
    )
    def test_what_makes_no_message_is_a_broken_stream(self, events: list[Block]) -> None:
        with pytest.raises(BrokenStream):
            read(events)

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"a":"\xff"}', b"[" * 100_000, b'{"a":1e999}']
    )
    def test_an_event_that_is_no_json_object_is_a_broken_stream(self, data: bytes) -> None:
        with pytest.raises(BrokenStream):
            list(MessageReader().take(b"message_start", data))

    def test_what_comes_after_the_end_is_not_looked_at(self) -> None:
        _, reader = read([*said("a"), *ended()])
        assert list(reader.take(b"message", b"no json")) == []
        assert reader.reply("claude").content == [{"type": "text", "text": "a"}]
        _, reader = read([{"type": "error", "error": {"type": "api_error"}}])
        assert list(reader.take(b"message", b"no json")) == []
        assert reader.error == {"type": "api_error"}

    def test_an_error_event_is_kept_for_the_caller(self) -> None:
        error = {"type": "overloaded_error", "message": "Overloaded"}
        _, reader = read([{"type": "error", "error": error, "request_id": "req_1"}])
        assert (reader.error, reader.request_id) == (error, "req_1")
        assert read([{"type": "error"}])[1].error == {}

    @given(
        st.lists(st.sampled_from([b"data: ", b"event: error\n", b"\n\n", b"\xf0", b"{", b'"', STREAM]) | st.binary())
    )
    def test_no_bytes_raise_anything_else(self, pieces: list[bytes]) -> None:
        decoder, reader = EventDecoder(), MessageReader()
        try:
            for piece in pieces:
                for name, data in decoder.feed(piece):
                    list(reader.take(name, data))
            msgspec.json.encode(reader.reply("claude"))
        except BrokenStream as broken:
            assert str(broken)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["type", "index", "delta", "content_block", "text", "message", "usage", "error"]),
                    inner
                    | st.sampled_from(
                        [
                            *("content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
                            *("message_start", "message_stop", "text", "text_delta", "tool_use", "thinking"),
                        ]
                    ),
                )
            ),
            max_leaves=20,
        )
    )
    def test_no_json_raises_anything_else(self, value: Any) -> None:
        reader = MessageReader()
        for event in (value, start(0, type="text", text=""), value):
            try:
                list(reader.take(b"", json.dumps(event).encode()))
            except BrokenStream as broken:
                assert str(broken)
