"""The events against the contract's table, and the bytes that carry them."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from september_engine import events
from september_engine.events import (
    Event,
    Heartbeat,
    Plan,
    PlanStep,
    TextDelta,
    ThreadLifecycle,
    ToolResult,
    ToolResultError,
    UsageEvent,
    WorkingMemoryUpdate,
    decode,
    encode,
    name_of,
    timestamp,
)
from september_engine.messages import JSON, Usage

from .strategies import awkward_text, structs

KINDS: tuple[type[Any], ...] = get_args(Event)
BLOCKS = Literal["text", "thinking", "tool_use"]

CONTRACT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # name: (fields that are always there, fields that may be missing)
    "thread_lifecycle": (
        {"phase": Literal["started", "completed", "errored"], "task_id": str, "turn_id": str, "timestamp": str},
        {
            "message_id": str | None,
            "stop_reason": str | None,
            "usage": Usage | None,
            "cost_usd": float | None,  # ours
        },
    ),
    "error": ({"error": str, "message": str}, {"details": dict[str, JSON] | None}),
    "text_delta": ({"text": str}, {}),
    "thinking_delta": ({"text": str}, {}),
    "content_block_start": ({"block_index": int, "block_type": BLOCKS}, {}),
    "content_block_stop": ({"block_index": int, "block_type": BLOCKS}, {}),
    "tool_call": ({"tool": str, "tool_call_id": str, "input": dict[str, JSON]}, {}),
    "tool_result": ({"tool_call_id": str, "tool": str, "output": JSON}, {"error": ToolResultError | None}),
    "hitl_request": (
        {
            "request_id": str,
            "task_id": str,
            "kind": Literal["permission", "question"],
            "question": str,
            "created_at": str,
        },
        {
            "tool_call_id": str | None,
            "tool": str | None,
            "input": dict[str, JSON] | None,
            "remember": list[str] | None,
        },
    ),
    "hitl_resolved": ({"request_id": str, "task_id": str, "answer": str}, {}),
    "working_memory_update": ({"key": str, "value": JSON}, {}),
    "plan": ({"steps": list[PlanStep]}, {}),
    "compaction_event": ({"before_tokens": int, "after_tokens": int, "strategy": str}, {}),
    "usage": ({"input_tokens": int, "output_tokens": int, "cache_hit_tokens": int}, {}),
    "retry": ({"attempt": int, "reason": str, "wait_ms": int}, {"retracts": list[int] | None}),
    "rewound": ({"message_id": str, "kind": Literal["edit", "retry"]}, {}),
    "replay_gap": ({"oldest": int}, {}),
    "heartbeat": ({"timestamp": str}, {}),
}


def any_event() -> st.SearchStrategy[Any]:
    return st.one_of(*[structs(kind) for kind in KINDS])


def test_the_events_are_those_of_the_contract_field_by_field() -> None:
    ours = {}
    for kind in KINDS:
        hints = get_type_hints(kind)
        needed = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
        ours[kind.__struct_config__.tag] = (
            {name: hints[name] for name in needed},
            {name: hints[name] for name in kind.__struct_fields__ if name not in needed},
        )
    assert ours == CONTRACT


def test_every_event_has_its_name_and_can_be_imported() -> None:
    assert {kind.__struct_config__.tag for kind in KINDS} == CONTRACT.keys()
    assert {kind.__name__ for kind in KINDS} | {"Event", "PlanStep", "ToolResultError"} <= set(events.__all__)
    assert name_of(TextDelta(text="a")) == "text_delta"


def test_only_the_two_deltas_have_a_text() -> None:
    assert [name for name, (needed, rest) in CONTRACT.items() if "text" in needed | rest] == [
        "text_delta",
        "thinking_delta",
    ]


@given(any_event())
def test_an_event_comes_back_from_its_bytes_as_it_was(event: Event) -> None:
    assert decode(name_of(event), encode(event)) == event


@given(any_event())
def test_an_event_is_one_line_of_utf8_for_every_parser(event: Event) -> None:
    body = encode(event)
    assert len(body.decode().splitlines()) == 1
    assert not set("\r\n\0\x85\u2028\u2029") & set(body.decode())


@given(any_event())
def test_the_bytes_are_one_json_object_with_the_fields_and_without_the_name(event: Event) -> None:
    fields = json.loads(encode(event))
    needed, rest = CONTRACT[name_of(event)]
    assert needed.keys() <= fields.keys() <= needed.keys() | rest.keys()


@pytest.mark.parametrize("end_of_line", ["\r", "\n", "\0", "\x85", "\u2028", "\u2029", "\r\ndata: {}\n\n"])
def test_what_ends_a_line_is_escaped_in_values_and_keys(end_of_line: str) -> None:
    event = WorkingMemoryUpdate(key=f"a{end_of_line}b", value={f"é{end_of_line}": [end_of_line]})
    body = encode(event)
    assert body.decode().splitlines() == [body.decode()]
    assert json.loads(body) == {"key": event.key, "value": event.value}


@settings(deadline=None)
@given(awkward_text)
def test_text_is_not_changed_on_its_way(text: str) -> None:
    assert json.loads(encode(TextDelta(text=text))) == {"text": text}


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (TextDelta(text="Hello"), '{"text":"Hello"}'),
        (
            UsageEvent(input_tokens=0, output_tokens=0, cache_hit_tokens=0),
            '{"input_tokens":0,"output_tokens":0,"cache_hit_tokens":0}',
        ),
        (WorkingMemoryUpdate(key="k", value=None), '{"key":"k","value":null}'),
        (ToolResult(tool_call_id="a", tool="look", output=None), '{"tool_call_id":"a","tool":"look","output":null}'),
        (
            ToolResult(tool_call_id="a", tool="t", output="", error=ToolResultError(reason="r", message="m")),
            '{"tool_call_id":"a","tool":"t","output":"","error":{"reason":"r","message":"m"}}',
        ),
        (
            Plan(steps=[PlanStep(id="1", title="Look", status="done")]),
            '{"steps":[{"id":"1","title":"Look","status":"done"}]}',
        ),
        (
            ThreadLifecycle(phase="started", task_id="t", turn_id="u", timestamp="now", usage=Usage()),
            (
                '{"phase":"started","task_id":"t","turn_id":"u","timestamp":"now",'
                '"usage":{"input_tokens":0,"output_tokens":0,"cache_hit_tokens":0,'
                '"cache_write_tokens":0,"cache_write_1h_tokens":0}}'
            ),
        ),
    ],
)
def test_the_bytes_are_these(event: Event, body: str) -> None:
    assert encode(event).decode() == body


def test_fields_of_a_later_release_are_ignored() -> None:
    assert decode("heartbeat", b'{"timestamp":"now","mood":"fine"}') == Heartbeat(timestamp="now")
    assert decode("heartbeat", b'{"type":"heartbeat","timestamp":"now"}') == Heartbeat(timestamp="now")


@pytest.mark.parametrize("body", [b"{}", b'{"timestamp":5}', b'{"timestamp":null}', b"[]", b"{"])
def test_a_body_that_no_release_wrote_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode("heartbeat", body)


def test_an_event_carries_its_name_where_no_frame_does() -> None:
    event = TextDelta(text="a")
    assert msgspec.to_builtins(event) == {"type": "text_delta", "text": "a"}
    assert event.type == name_of(event) == "text_delta"


@pytest.mark.parametrize(
    ("ms", "says"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_777_293_296_123, "2026-04-27T12:34:56.123Z"),
        (1_777_293_296_007, "2026-04-27T12:34:56.007Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
        (10**30, "9999-12-31T23:59:59.999Z"),
        (-1, "1970-01-01T00:00:00.000Z"),
        (-(10**30), "1970-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_iso_8601_with_milliseconds_and_z(ms: int, says: str) -> None:
    assert timestamp(ms) == says


@settings(deadline=None)
@given(st.integers(), st.integers())
def test_times_sort_as_text_in_the_order_of_time(one: int, other: int) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp(one))
    if one <= other:
        assert timestamp(one) <= timestamp(other)
