from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import math
import uuid
from collections import UserDict, namedtuple
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine import tool
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.tools import ToolError, encode_error, encode_output, output
from tests.engines import Bench


@dataclass
class Node:
    name: str
    next: Node | None = None
    tags: set[str] = field(default_factory=set)


@attrs.define
class Pair:
    left: int
    right: object


class Colour(enum.StrEnum):
    RED = "red"


class Wire(msgspec.Struct):
    when: datetime.datetime


class Model:
    """Shaped like a pydantic model."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        return {"mode": mode, "big": 2**70}


class Plain:
    pass


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class BrokenMapping(UserDict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no")


Two = namedtuple("Two", "a b")


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("text", "text"),
        ("", ""),
        (None, None),
        (True, True),
        (3, 3),
        (2.5, 2.5),
        ([1, (2, "x")], [1, [2, "x"]]),
        (Two(1, 2), [1, 2]),
        ({"a": {1}}, {"a": [1]}),
        ({1: "a", None: "b", (1, 2): "c", False: "d"}, {"1": "a", "false": "d", "null": "b", "[1,2]": "c"}),
        (b"abc", "YWJj"),
        (Colour.RED, "red"),
        (Node("a", Node("b")), {"name": "a", "next": {"name": "b", "next": None, "tags": []}, "tags": []}),
        (Pair(1, Model()), {"left": 1, "right": {"mode": "json", "big": "1180591620717411303424"}}),
        (Wire(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)), {"when": "2026-01-02T00:00:00Z"}),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.50"), "1.50"),
        (math.inf, "inf"),
        ([math.nan], ["nan"]),
        (2**64 - 1, 2**64 - 1),
        (2**64, "18446744073709551616"),
        (range(3), "range(0, 3)"),
        (Plain(), "<Plain>"),
        (Broken(), "<Broken>"),
        ([Broken()], ["<Broken>"]),
        (Pair(1, Plain()), {"left": 1, "right": "<Plain>"}),
        (UserDict({"a": 1}), {"a": 1}),
    ],
)
def test_what_a_tool_returns_as_json(value: object, output: object) -> None:
    encoded = encode_output(value)
    assert encoded == output
    assert type(encoded) is type(output)


def test_an_integer_too_long_for_decimal_digits_is_hexadecimal() -> None:
    assert encode_output(10**5000) == hex(10**5000)


def test_a_structure_that_contains_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    node = Node("a")
    node.next = node
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, node, deep, {"x": loop}):
        assert msgspec.json.decode(msgspec.json.encode(encode_output(value))) is not None


def test_where_a_structure_contains_itself_its_type_stands() -> None:
    root: dict[str, Any] = {"name": "r"}
    root["kids"] = [{"n": number, "parent": root} for number in range(4)]
    assert encode_output(root) == {"name": "r", "kids": [{"n": number, "parent": "<dict>"} for number in range(4)]}
    node = Node("a")
    node.next = Node("b", node)
    assert encode_output(node) == {
        "name": "a",
        "next": {"name": "b", "next": "<Node>", "tags": []},
        "tags": [],
    }


def test_what_is_there_twice_is_shown_twice() -> None:
    shared = [1]
    assert encode_output({"a": shared, "b": [shared, shared]}) == {"a": [1], "b": [[1], [1]]}


def doubled(make: Any) -> Any:
    value: Any = "leaf"
    for _ in range(45):
        value = make(value)
    return value


@pytest.mark.parametrize(
    "make",
    [lambda x: [x, x], lambda x: {"a": x, "b": x}, lambda x: Pair(x, x), lambda x: msgspec.defstruct("S", "ab")(x, x)],
)
def test_a_structure_that_would_grow_without_end_is_cut(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "ROOM", 1000 * output.VALUE)
    raw = msgspec.json.encode(encode_output(doubled(make)))
    assert len(raw) < 50_000
    assert "…" in raw.decode()


def test_text_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "ROOM", 1_000_000)
    assert encode_output(["x" * 400_000] * 100) == ["x" * 400_000] * 3 + ["…"]
    assert encode_output("x" * 2_000_000) == "x" * 2_000_000


def test_a_tagged_struct_keeps_its_tag_and_names() -> None:
    class Tagged(msgspec.Struct, tag="kind", rename="camel"):
        big_one: int
        left_out: int | msgspec.UnsetType = msgspec.UNSET

    assert encode_output(Tagged(1)) == {"type": "kind", "bigOne": 1}


def test_no_address_is_shown() -> None:
    async def later() -> None: ...

    coroutine, generator = later(), (x for x in "ab")
    assert encode_output([coroutine, generator, Future()]) == [
        "<coroutine object test_no_address_is_shown.<locals>.later>",
        "<generator object test_no_address_is_shown.<locals>.<genexpr>>",
        "<Future state=pending>",
    ]
    coroutine.close()


def test_a_mapping_that_fails_is_shown_as_text() -> None:
    assert encode_output(BrokenMapping({"a": 1})) == "{'a': 1}"


def test_lone_surrogates_are_repaired_everywhere() -> None:
    encoded = encode_output({"a\ud800": ["\udfff", Pair(1, "x\udc00")], "b": Plain})
    msgspec.json.encode(encoded)
    assert "\ud800" not in "".join(encoded)


def test_content_blocks_pass_through_without_blank_text() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    assert encode_output([{"type": "text", "text": "See:"}, {"type": "text", "text": " \n"}, image]) == [
        {"type": "text", "text": "See:"},
        image,
    ]
    assert encode_output([{"type": "text", "text": ""}]) == ""


def test_a_picture_the_api_would_refuse_is_left_out_with_a_note() -> None:
    broken = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    assert encode_output([{"type": "text", "text": "See:"}, broken]) == [
        {"type": "text", "text": "See:"},
        {"type": "text", "text": "[image left out: source.data is not image/png]"},
    ]


def test_records_that_only_look_like_content_are_data() -> None:
    records = [{"type": "document", "title": "Plans"}, {"type": "text", "id": 1}]
    assert encode_output(records) == '[{"type":"document","title":"Plans"},{"type":"text","id":1}]'
    assert encode_output([{"type": "text", "text": 5}]) == '[{"type":"text","text":5}]'


def test_a_long_repr_is_bounded() -> None:
    class Long:
        def __repr__(self) -> str:
            return "x" * 1_000_000

    assert len(encode_output(Long())) < 2000


anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]))
    | st.binary()
    | st.complex_numbers()
    | st.decimals()
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([Plain(), Model(), Plain, len, Colour.RED, 2**70, -(2**80), msgspec.UNSET, ...]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.floats()), inner, max_size=4)
        | st.builds(Pair, st.integers(), inner)
        | st.builds(lambda x: [{"type": "text", "text": x}], inner)
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything)
def test_whatever_is_returned_is_json(value: object) -> None:
    encoded = encode_output(value)
    assert msgspec.json.decode(msgspec.json.encode(encoded)) == encoded
    assert encode_output(encoded) == encoded


def test_a_tool_error_speaks_for_itself() -> None:
    told = encode_error(ToolError("No such city\ud800.", reason="not_found"))
    assert told.reason == "not_found"
    assert told.message.startswith("No such city")
    msgspec.json.encode(told)


@pytest.mark.parametrize(
    ("error", "message"),
    [(ValueError("bad"), "ValueError: bad"), (KeyError("k"), "KeyError: 'k'"), (TimeoutError(), "TimeoutError")],
)
def test_any_other_error_has_its_type_and_text(error: Exception, message: str) -> None:
    assert (encode_error(error).reason, encode_error(error).message) == ("tool_failed", message)


class Deadly(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


def test_a_text_that_would_end_the_program_does_not() -> None:
    assert encode_error(Deadly()).message == "Deadly"
    assert encode_error(ToolError(Deadly())).message == "<Deadly>"  # type: ignore[arg-type]
    assert encode_output([Deadly()]) == ["<Deadly>"]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything)
def test_no_exception_escapes(value: object) -> None:
    for error in (RuntimeError(value), ToolError(value), ToolError("x", reason=value), Unspeakable(value)):  # type: ignore[arg-type]
        msgspec.json.encode(encode_error(error))


def test_a_long_message_keeps_its_head() -> None:
    told = encode_error(ValueError("x" * 1_000_000))
    assert told.message.startswith("ValueError: xxx")
    assert len(told.message) < 5000


def test_a_set_is_shown_in_one_order() -> None:
    assert encode_output({"plum", "amber", "teal", "ivory"}) == ["amber", "ivory", "plum", "teal"]
    assert encode_output({"a": frozenset({(2, "b"), (1, "a")})}) == {"a": [[1, "a"], [2, "b"]]}


async def test_a_group_that_a_tool_raises_tells_the_model_its_causes() -> None:
    @tool
    async def print_all() -> str:
        """Print everything."""
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(RuntimeError("the printer is on fire")))
            group.create_task(fails(ToolError("there is no paper")))
        return "printed"

    async def fails(error: Exception) -> None:
        raise error

    model = ScriptedModel([call("print_all"), say("Oh.")])
    async with Bench().running(model, tools=[print_all]) as engine:
        await engine.execute("Print.", task_id="t")
    told = str(model.requests[1].prompt.messages[-1])
    assert "RuntimeError: the printer is on fire" in told
    assert "ToolError: there is no paper" in told
