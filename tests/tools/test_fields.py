"""Classes of every kind as parameters: their fields, defaults and own checks."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, NotRequired, Required, TypedDict, TypeVar

import attrs
import msgspec
import pytest
from annotated_types import Gt, Le
from typing_extensions import ReadOnly
from typing_extensions import TypedDict as NewTypedDict

from september_engine._output import Output
from september_engine.errors import ConfigurationError
from september_engine.tools import Tool, ToolInputError, tool
from september_engine.tools._fields import shown_default

T = TypeVar("T")


@dataclasses.dataclass
class Train:
    number: int
    car: int = 0


@dataclasses.dataclass
class Plane:
    number: int
    seat: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stay:
    nights: int
    extra: dataclasses.InitVar[int]
    rooms: list[int] = dataclasses.field(default_factory=list)
    total: int = dataclasses.field(init=False, default=0)
    MOST: ClassVar[int] = 30

    def __post_init__(self, extra: int) -> None:
        if extra < 0:
            raise ValueError("extra must not be negative")
        object.__setattr__(self, "total", self.nights + extra)


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] | None = None


@dataclasses.dataclass
class IntBox(Box[int]):
    label: str = ""


class Pair(msgspec.Struct, Generic[T]):
    left: T
    right: T


def louder(name: str) -> str:
    return name.upper()


@attrs.define
class Cat:
    _age: int = attrs.field(validator=attrs.validators.le(30))
    name: str = attrs.field(default="tom", converter=louder)
    toys: list[str] = attrs.field(factory=list)


class Dish(TypedDict, total=False):
    name: Required[str]
    price: Annotated[int, Gt(0)]


class Meal(NewTypedDict):
    main: ReadOnly[str]
    side: NotRequired[Annotated[str, msgspec.Meta(max_length=5)]]


class Place(NamedTuple):
    x: int
    y: Annotated[int, Gt(0)] = 1


@dataclasses.dataclass
class Node:
    value: int
    next: Node | None = None


class Left(msgspec.Struct, tag=True, rename="camel"):
    at_most: Annotated[int, Le(4)]


class Right(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    day: dt.date


@dataclasses.dataclass
class Booking:
    start: dt.datetime
    by: Train | Plane
    seats: Annotated[int, Le(5)] = 1
    tags: frozenset[str] = frozenset("dbca")
    made: dt.datetime = dt.datetime(2026, 1, 1)


def taking(kind: Any) -> Tool[..., Any]:
    def take(x: Any) -> str:
        """Take it."""
        return ""

    take.__annotations__["x"] = kind
    return tool(take)


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (Stay, {"nights": 2, "extra": 1}, Stay(nights=2, extra=1)),
        (Box[int], {"item": 1.0, "more": [2]}, Box(1, [2])),
        (Box[Train], {"item": {"number": 1}}, Box(Train(1))),
        (IntBox, {"item": 1, "label": "a"}, IntBox(1, None, "a")),
        (Pair[int | None], {"left": 1, "right": None}, Pair(1, None)),
        (Cat, {"age": 4, "name": "tim"}, Cat(4, "tim")),
        (Dish, {"name": "soup"}, {"name": "soup"}),
        (Meal, {"main": "rice", "side": "beans"}, {"main": "rice", "side": "beans"}),
        (Place, {"x": 1}, Place(1)),
        (Node, {"value": 1, "next": {"value": 2}}, Node(1, Node(2))),
        (Train | Plane, {"number": 1, "car": 2}, Train(1, 2)),
        (Train | Plane, {"number": 1, "seat": "a"}, Plane(1, "a")),
        (Plane | Train, {"number": 1}, Plane(1)),
        (Train | None, None, None),
        (Train | str | list[Plane], [{"number": 1}], [Plane(1)]),
        (Train | str | list[Plane], "none", "none"),
        (Left | Right, {"type": "Left", "atMost": 1}, Left(at_most=1)),
        (Left | Right, {"type": "Right", "day": "2026-01-01"}, Right(day=dt.date(2026, 1, 1))),
        (
            Booking,
            {"start": "2026-01-01T00:00:00Z", "by": {"number": 1, "seat": "a"}},
            Booking(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), Plane(1, "a")),
        ),
    ],
    ids=str,
)
def test_a_class_becomes_its_object_as_a_parameter_and_as_an_output(kind: Any, value: Any, meant: Any) -> None:
    decoded = taking(kind).decode({"x": value})["x"]
    assert (decoded, type(decoded)) == (meant, type(meant))
    output = Output(kind)
    wrapped = output.schema["properties"].keys() == {"value"} and kind is not Node
    assert output.read(msgspec.json.encode({"value": value} if wrapped else value).decode()) == meant


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (Stay, {"nights": 2, "extra": -1}, "extra must not be negative - at `$.x`"),
        (Stay, {"nights": 2}, "Object missing required field `extra` - at `$.x`"),
        (Box[int], {"item": "a"}, "Expected `int`, got `str` - at `$.x.item`"),
        (IntBox, {"item": 1, "more": ["a"]}, "Expected `int`, got `str` - at `$.x.more[0]`"),
        (Cat, {"age": 31}, "must be <= 30"),
        (Dish, {"price": 1}, "Object missing required field `name` - at `$.x`"),
        (Dish, {"name": "soup", "price": 0}, "Expected `int` >= 1 - at `$.x.price`"),
        (Meal, {"main": "rice", "side": "potatoes"}, "of length <= 5 - at `$.x.side`"),
        (Place, {"x": 1, "y": 0}, "Expected `int` >= 1 - at `$.x.y`"),
        (Node, {"value": 1, "next": {"value": "a"}}, "Expected `int`, got `str` - at `$.x.next.value`"),
        (Train, [1], "Expected `object`, got `array` - at `$.x`"),
        (Train | Plane, {"car": 1}, "It is none of what it may be: Object missing required field `number` - at `$.x`"),
        (Train | Plane, 5, "Expected `object`, got `int` - at `$.x`"),
        (Left | Right, {"type": "Left", "atMost": 5}, "Expected `int` <= 4 - at `$.x.atMost`"),
        (Left | Right, {"type": "Up"}, "Invalid value 'Up' at `type` (it must be 'Left')"),
        (Right, {"type": "Right", "day": "2026-01-01", "z": 1}, "Object contains unknown field `z` - at `$.x`"),
        (list[Booking], [{"start": "2026-01-01T00:00:00Z", "by": {"number": 1}, "seats": 6}], "at `$.x[0].seats`"),
    ],
    ids=str,
)
def test_what_a_class_refuses_is_refused_with_the_place(kind: Any, value: Any, says: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        taking(kind).decode({"x": value})
    assert says in caught.value.message


def test_the_schema_has_the_keys_defaults_and_needs_of_each_class() -> None:
    def take(a: Stay, b: Box[int], c: Cat, d: Dish, e: Place, f: Left | Right, g: Booking) -> str:
        """Take it."""
        return ""

    defs = tool(take).input_schema["$defs"]
    assert list(defs) == sorted(defs)
    assert list(defs["Stay"]["properties"]) == ["nights", "extra", "rooms"]
    assert defs["Stay"]["required"] == ["nights", "extra"]
    assert defs["Stay"]["properties"]["rooms"]["default"] == []
    assert defs["Box_int"]["properties"]["item"] == {"type": "integer"}
    assert list(defs["Cat"]["properties"]) == ["age", "name", "toys"]
    assert defs["Dish"]["required"] == ["name"]
    assert defs["Place"]["properties"]["y"] == {"type": "integer", "exclusiveMinimum": 0, "default": 1}
    assert defs["Left"]["properties"]["type"] == {"enum": ["Left"]}
    assert defs["Left"]["required"] == ["type", "atMost"]
    assert defs["Right"]["additionalProperties"] is False
    assert defs["Booking"]["properties"]["tags"]["default"] == ["a", "b", "c", "d"]
    assert "default" not in defs["Booking"]["properties"]["made"]
    assert defs["Booking"]["required"] == ["start", "by"]


def test_two_classes_of_one_name_are_two_parts() -> None:
    first = dataclasses.make_dataclass("Same", [("x", int)])
    second = dataclasses.make_dataclass("Same", [("y", str)])

    def take(a: Any, b: Any, c: Any) -> str:
        """Take it."""
        return ""

    take.__annotations__.update(a=first, b=second, c=first)
    schema = tool(take).input_schema
    assert [schema["properties"][name]["$ref"] for name in "abc"] == [
        "#/$defs/Same",
        "#/$defs/Same_2",
        "#/$defs/Same",
    ]
    assert list(schema["$defs"]["Same_2"]["properties"]) == ["y"]


def test_names_local_to_the_function_around_are_found_in_classes_too() -> None:
    Mode = Literal["fast", "slow"]

    @dataclasses.dataclass
    class Ride:
        mode: Mode
        then: Ride | None = None

    @tool
    def go(ride: Ride) -> str:
        """Go."""
        return ride.mode

    assert go(**go.decode({"ride": {"mode": "fast", "then": {"mode": "slow"}}})) == "fast"  # type: ignore[arg-type]


def test_an_annotation_that_cannot_be_resolved_names_the_class() -> None:
    class Broken(msgspec.Struct):
        x: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match="an annotation of Broken cannot be resolved: name 'Nowhere'"):
        taking(Broken)


def test_a_class_that_is_written_as_a_list_is_refused() -> None:
    class Row(msgspec.Struct, array_like=True):
        x: int

    with pytest.raises(ConfigurationError, match="Row is written as a list"):
        taking(Row)


@pytest.mark.parametrize(
    ("default", "shown"),
    [
        ({"b", "a"}, ["a", "b"]),
        ({"z": {3, 1}, "a": frozenset({2})}, {"a": [2], "z": [1, 3]}),
        (Train(1), {"number": 1, "car": 0}),
        (Node(1), {"value": 1, "next": None}),
        ([1, "a", None], [1, "a", None]),
        (1e22, 1e22),
    ],
)
def test_a_default_is_shown_in_one_order(default: object, shown: object) -> None:
    assert shown_default(default) == shown


@pytest.mark.parametrize(
    "default",
    [
        object(),
        float("nan"),
        {1, "a"},
        dt.datetime(2026, 1, 1),
        [dt.date(2026, 1, 1)],
        {"a": uuid.UUID(int=1)},
        dt.time(1),
        lambda: 1,
    ],
)
def test_a_default_that_may_change_or_is_no_json_is_not_shown(default: object) -> None:
    assert shown_default(default) is msgspec.UNSET
