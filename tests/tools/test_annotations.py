"""Every kind of annotation: what the model is told, what is taken, and what is refused, with words."""

from __future__ import annotations

import collections.abc
import datetime as dt
import decimal
import enum
import ipaddress
import json
import pathlib
import re
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, NewType, TypeVar

import annotated_types as at
import attrs
import jsonschema  # type: ignore[import-untyped]
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Doc, TypeAliasType

from september_engine._output import Output
from september_engine.errors import ConfigurationError
from september_engine.tools import Tool, ToolInputError, tool
from september_engine.tools._annotations import settled

T = TypeVar("T")
UserId = NewType("UserId", int)
Nested = TypeAliasType("Nested", "list[Nested] | int")
Several = TypeAliasType("Several", list[T], type_params=(T,))


class Mixed(enum.Enum):
    TEXT = "a"
    NUMBER = 1
    NOTHING = None


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Plain:
    x: int


def taking(kind: Any) -> Tool[..., Any]:
    def take(x: Any) -> str:
        """Take it."""
        return ""

    take.__annotations__["x"] = kind
    return tool(take)


UTC = dt.UTC
TAKEN: list[tuple[Any, Any, Any]] = [
    (int, 3.0, 3),
    (int | None, 3.0, 3),
    (int | float, 3.0, 3.0),
    (list[int], [1.0, 2], [1, 2]),
    (dict[str, int], {"a": 1.0}, {"a": 1}),
    (str, "", ""),
    (bytes, "YQ==", b"a"),
    (dt.datetime, "2026-01-01T10:00:00", dt.datetime(2026, 1, 1, 10)),
    (dt.datetime, "2026-01-01T10:00:00Z", dt.datetime(2026, 1, 1, 10, tzinfo=UTC)),
    (Annotated[dt.datetime, msgspec.Meta(tz=False)], "2026-01-01T10:00:00", dt.datetime(2026, 1, 1, 10)),
    (Annotated[dt.datetime, at.Timezone(...)], "2026-01-01T10:00:00Z", dt.datetime(2026, 1, 1, 10, tzinfo=UTC)),
    (dt.time, "10:00:00", dt.time(10)),
    (dt.date, "2026-01-01", dt.date(2026, 1, 1)),
    (dt.timedelta, "PT5M", dt.timedelta(minutes=5)),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (uuid.UUID, "12345678123456781234567812345678", uuid.UUID(int=0x12345678123456781234567812345678)),
    (pathlib.Path, "a/b", pathlib.Path("a/b")),
    (re.Pattern[str], "a+", re.compile("a+")),
    (ipaddress.IPv4Address, "10.0.0.1", ipaddress.IPv4Address("10.0.0.1")),
    (dt.date | str, "2026-01-01", dt.date(2026, 1, 1)),
    (str | dt.date, "soon", "soon"),
    (Literal["auto"] | int, 3.0, 3),
    (Literal["b", "a", 1, None, True], True, True),
    (Mixed, None, Mixed.NOTHING),
    (Mixed, 1.0, Mixed.NUMBER),
    (Access, 3, Access.READ | Access.WRITE),
    (Colour, "red", Colour.RED),
    (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
    (dict[Level, str], {"1": "a"}, {Level.LOW: "a"}),
    (dict[int, str], {"1": "a"}, {1: "a"}),
    (set[str], ["a", "a"], {"a"}),
    (frozenset[int], [1], frozenset({1})),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (collections.abc.Sequence[int], [1], [1]),
    (collections.abc.Mapping[str, int], {"a": 1}, {"a": 1}),
    (UserId, 3, 3),
    (Nested, [1, [2, []]], [1, [2, []]]),
    (Several[int], [1], [1]),
    (Any, {"a": [None]}, {"a": [None]}),
    (None, None, None),
    (Annotated[int, at.Interval(ge=1, lt=3)], 2, 2),
    (Annotated[int | None, at.Le(5)], None, None),
    (Annotated[list[int], at.Len(1, 2)], [1], [1]),
    (Annotated[set[int], at.MinLen(2)], [1, 2], {1, 2}),
    (Annotated[decimal.Decimal, at.Ge(2)], "2.5", decimal.Decimal("2.5")),
    (Annotated[dt.date, at.Gt(dt.date(2026, 1, 1))], "2026-01-02", dt.date(2026, 1, 2)),
    (Annotated[str, at.Predicate(str.islower)], "a", "a"),
    (Annotated[int, "how many"], 1, 1),
    (Annotated[Plain, pydantic.Field(description="It.")], {"x": 1}, Plain(1)),
    (Annotated[list[Plain], pydantic.Field(min_length=1)], [{"x": 1}], [Plain(1)]),
]


@pytest.mark.parametrize(("kind", "value", "meant"), TAKEN, ids=lambda each: str(each)[:40])
def test_what_is_taken_becomes_the_value_and_fits_the_schema(kind: Any, value: Any, meant: Any) -> None:
    made = taking(kind)
    jsonschema.Draft202012Validator.check_schema(made.input_schema)
    jsonschema.validate({"x": value}, made.input_schema) if value != ["a", "a"] else None
    decoded = made.decode({"x": value})["x"]
    assert (decoded, type(decoded)) == (meant, type(meant))


REFUSED: list[tuple[Any, Any, str]] = [
    (int, "3", "Expected `int`, got `str` - at `$.x`"),
    (int, 3.5, "Expected `int`, got `float` - at `$.x`"),
    (int, True, "Expected `int`, got `bool` - at `$.x`"),
    (str, 3, "Expected `str`, got `int` - at `$.x`"),
    (list[list[int]], [[1], ["a"]], "Expected `int`, got `str` - at `$.x[1][0]`"),
    (dict[str, int], {"a": "b"}, "Expected `int`, got `str` - at `$.x.a`"),
    (dict[int, str], {"a": "b"}, "Expected `int`, got `str` - at `$.x['a']`"),
    (dt.datetime, "2026-01-01", "Invalid RFC3339 encoded datetime - at `$.x` (as in 2026-11-30T14:30:00+01:00)"),
    (dt.time, "10:00", "Invalid RFC3339 encoded time - at `$.x` (as in 14:30:00)"),
    (Annotated[dt.datetime, msgspec.Meta(tz=True)], "2026-01-01T10:00:00", "with a timezone component - at `$.x`"),
    (Annotated[dt.datetime, at.Timezone(None)], "2026-01-01T10:00:00Z", "with no timezone component - at `$.x`"),
    (re.Pattern, "a(", "unterminated subpattern"),
    (ipaddress.IPv4Address, "10.0", "Expected 4 octets"),
    (Colour, "green", 'Invalid enum value \'green\' - at `$.x` (it must be one of "red", "blue")'),
    (Literal["a", 1], "b", "Invalid enum value 'b' - at `$.x` (it must be one of \"a\", 1)"),
    (Literal["auto"] | int, "x", '(it must be one of "auto", or `int`)'),
    (list[Mixed], ["z"], 'at `$.x[0]` (it must be one of "a", 1, null)'),
    (Literal[1], True, "Invalid enum value True"),
    (Access, 4, "Expected `int` <= 3 - at `$.x`"),
    (dict[Colour, int], {"green": 1}, "Invalid enum value 'green' - at `$.x['green']`"),
    (int | list[int] | None, "a", "Expected `int | array | null`, got `str` - at `$.x`"),
    (tuple[int, str], [1], "Expected `array` of length 2, got 1 - at `$.x`"),
    (Nested, ["a"], "Expected `array | int`, got `str` - at `$.x[0]`"),
    (Annotated[int, at.Interval(ge=1, lt=3)], 3, "Expected `int` <= 2 - at `$.x`"),
    (Annotated[int | None, at.Le(5)], 6, "Expected `int` <= 5 - at `$.x`"),
    (Annotated[list[int], at.Len(1, 2)], [], "of length >= 1 - at `$.x`"),
    (Annotated[set[int], at.MinLen(2)], [1, 1], "of length >= 2 - at `$.x`"),
    (Annotated[decimal.Decimal, at.Ge(2)], "1.5", "must be >= 2 - at `$.x`"),
    (Annotated[dt.date, at.Gt(dt.date(2026, 1, 1))], "2026-01-01", "must be > 2026-01-01 - at `$.x`"),
    (Annotated[str, at.Predicate(str.islower)], "A", "must pass the check str.islower - at `$.x`"),
    (Annotated[int, at.MultipleOf(2)], 3, "multiple of 2"),
    (Annotated[list[Plain], pydantic.Field(min_length=1)], [], "of length >= 1 - at `$.x`"),
]


@pytest.mark.parametrize(("kind", "value", "says"), REFUSED, ids=lambda each: str(each)[:40])
def test_what_does_not_fit_is_refused_with_where_and_what_would(kind: Any, value: Any, says: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        taking(kind).decode({"x": value})
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (dt.datetime, {"format": "date-time"}),
        (list[dt.datetime | None], {"items": {"anyOf": [{"format": "date-time"}, {"type": "null"}]}}),
        (dt.time, {"format": "time"}),
        (dt.date, {"format": "date"}),
        (dt.timedelta, {"format": "duration", "examples": ["PT1H30M", "P2D"]}),
        (Annotated[dt.datetime, at.Timezone(...)], {"format": "date-time", "examples": ["2026-11-30T14:30:00+01:00"]}),
        (Annotated[dt.datetime, msgspec.Meta(tz=False)], {"examples": ["2026-11-30T14:30:00"]}),
        (uuid.UUID, {"format": "uuid"}),
        (decimal.Decimal, {"format": "decimal"}),
        (bytes, {"contentEncoding": "base64"}),
        (pathlib.Path, {"format": "path"}),
        (re.Pattern, {"format": "regex"}),
        (Annotated[int, at.Interval(ge=1, lt=3)], {"minimum": 1, "exclusiveMaximum": 3}),
        (Annotated[int, at.Gt(0), at.MultipleOf(2)], {"exclusiveMinimum": 0, "multipleOf": 2}),
        (Annotated[int | None, at.Le(5)], {"anyOf": [{"maximum": 5}, {"type": "null"}]}),
        (Annotated[str, at.Len(1, 2)], {"minLength": 1, "maxLength": 2}),
        (Annotated[dict[str, int], at.MinLen(1)], {"minProperties": 1}),
        (Annotated[decimal.Decimal, at.Ge(2)], {"description": "Must be >= 2."}),
        (Annotated[str, at.Predicate(str.islower)], {"description": "Must pass the check str.islower."}),
        (Annotated[int, "how many"], {"description": "how many"}),
        (Annotated[int, Doc("how many")], {"description": "how many"}),
        (Annotated[int, at.Unit("m"), "The width."], {"description": "The width."}),
        (Annotated[list[Plain], pydantic.Field(min_length=1)], {"minItems": 1}),
        (Annotated[Plain, pydantic.Field(description="It.")], {"description": "It."}),
    ],
    ids=str,
)
def test_what_is_checked_is_told(kind: Any, told: dict[str, Any]) -> None:
    def holds(all: Any, some: Any) -> bool:
        if isinstance(some, dict):
            return all is not None and all.keys() >= some.keys() and all_hold(all, some)
        if isinstance(some, list) and some and isinstance(some[0], dict):
            return len(all) == len(some) and any(holds(each, one) for one in some for each in all)
        return bool(all == some)

    def all_hold(all: Any, some: Any) -> bool:
        return next((False for key in some if not holds(all[key], some[key])), True)

    schema = taking(kind).input_schema["properties"]["x"]
    assert holds(schema, told), schema


class Forgotten:
    """A marker that is nobody's."""


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (complex, "complex is not supported"),
        (Callable[[int], int], "Callable is not supported"),
        (type[int], "type is not supported"),
        (Forgotten, "Forgotten is not supported"),
        (Annotated[int, Forgotten()], "in Annotated asks for is not known"),
        (Annotated[int, Forgotten], "in Annotated asks for is not known"),
        (Annotated[dt.datetime, at.Timezone("Europe/Rome")], "in Annotated asks for is not known"),
        (Annotated[str, msgspec.Meta(ge=1)], "Can only set `ge` on a numeric type"),
        (Annotated[str | bool, msgspec.Meta(ge=1)], "none of these types can have these constraints"),
        (Annotated[int, msgspec.Meta(ge=1), pydantic.Field(le=5)], "cannot stand beside pydantic's metadata"),
        (Literal[b"a"], "has no form in JSON"),
        (enum.Enum("Odd", {"A": object()}), "which is neither text nor a number"),
    ],
    ids=str,
)
def test_what_cannot_be_told_or_kept_is_refused_at_the_decorator(kind: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        taking(kind)
    assert "Parameter 'x' of tool 'take'" in caught.value.message


def test_a_function_with_pydantics_field_as_a_default_is_told_to_annotate() -> None:
    def seats(count: int = pydantic.Field(default=3, le=5)) -> str:
        """Reserve."""
        return ""

    with pytest.raises(ConfigurationError, match=r"write 'count: Annotated\[int, Field\(…\)\]"):
        tool(seats)


@pytest.mark.parametrize("kind", [int | None, Literal["a", "b"], list[dt.date], Plain | None, Colour, Mixed, Nested])
def test_what_a_tool_takes_can_be_asked_for_as_an_output(kind: Any) -> None:
    schema = Output(kind).schema
    assert schema["properties"].keys() == {"value"}
    jsonschema.Draft202012Validator.check_schema(schema)


choices = st.lists(st.none() | st.booleans() | st.integers() | st.text(max_size=3), max_size=6)


@given(choices, st.randoms(use_true_random=False))
def test_the_order_of_choices_and_alternatives_does_not_matter(values: list[Any], random: Any) -> None:
    mixed = [*values]
    random.shuffle(mixed)
    one = {"x": {"enum": values, "anyOf": [{"const": each} for each in values]}}
    other = {"x": {"enum": mixed, "anyOf": [{"const": each} for each in mixed]}}
    assert json.dumps(settled(one)) == json.dumps(settled(other))
    assert settled({"default": mixed, "examples": mixed}) == {"default": mixed, "examples": mixed}


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(numbers)
def test_an_integer_is_what_json_schema_takes_for_one(number: int | float) -> None:
    made = taking(int)
    valid = jsonschema.Draft202012Validator(made.input_schema).is_valid({"x": number})
    try:
        assert made.decode({"x": number}) == {"x": int(number)}
        assert valid
    except ToolInputError:
        assert not valid
