from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import attrs
import msgspec
import pytest

from september_engine.errors import ConfigurationError
from september_engine.tools import Tool, tool


class Unit(enum.Enum):
    KM = "km"
    MILES = "miles"


@dataclass
class Place:
    name: str
    title: str = "Mayor"


class Leg(msgspec.Struct):
    """One leg of a journey."""

    start: Place
    then: Leg | None = None


class Crossing(msgspec.Struct):
    roads: list[dict[str, Road]]


class Road(msgspec.Struct):
    name: str = msgspec.field(name="straße")


@attrs.frozen
class Point:
    x: int


def run(made: Tool[..., Any], input: dict[str, Any]) -> Any:
    return made(**made.decode(input))


def schema(function: Callable[..., object]) -> dict[str, Any]:
    return tool(function).input_schema


def test_the_schema_is_one_object_that_takes_no_other_keys() -> None:
    def forecast(city: str, days: int = 3, *, units: Literal["c", "f"] = "c") -> str:
        return ""

    assert schema(forecast) == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "default": 3},
            "units": {"enum": ["c", "f"], "default": "c"},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters_has_an_empty_object() -> None:
    def now() -> str:
        return ""

    assert schema(now) == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def test_nested_types_are_in_defs_without_made_up_titles_and_descriptions() -> None:
    def travel(leg: Leg, unit: Unit, at: Point, when: datetime.date) -> str:
        return ""

    made = schema(travel)
    assert made["properties"]["leg"] == {"$ref": "#/$defs/Leg"}
    assert made["$defs"]["Leg"]["description"] == "One leg of a journey."
    assert made["$defs"]["Place"] == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "title": {"type": "string", "default": "Mayor"}},
        "required": ["name"],
    }
    assert made["$defs"]["Unit"]["enum"] == ["km", "miles"]
    assert made["properties"]["when"] == {"type": "string", "format": "date"}


def test_a_parameter_called_title_is_kept() -> None:
    def rename(title: str) -> str:
        return title

    assert schema(rename)["properties"] == {"title": {"type": "string"}}


GOOGLE = """Look it up.

    More about it.

    Args:
        query: What to look
            for.
        limit (int): How many.

    Returns:
        The rows.
    """
NUMPY = """Look it up.

    More about it.

    Parameters
    ----------
    query : str
        What to look
        for.
    limit : int
        How many.
    """
REST = """Look it up.

    More about it.

    :param query: What to look
        for.
    :param limit: How many.
    :returns: The rows.
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST])
def test_docstrings_of_three_styles_describe_the_tool_and_its_parameters(text: str) -> None:
    def lookup(query: str, limit: int = 5) -> str:
        return query

    lookup.__doc__ = text
    made = tool(lookup)
    assert made.description == "Look it up.\n\nMore about it."
    assert made.input_schema["properties"]["query"]["description"] == "What to look\nfor."
    assert made.input_schema["properties"]["limit"]["description"] == "How many."


def test_meta_wins_over_the_docstring() -> None:
    def lookup(limit: Annotated[int, msgspec.Meta(description="From Meta.", ge=1)] = 5) -> str:
        """Look.

        Args:
            limit: From the docstring.
        """
        return ""

    assert schema(lookup)["properties"]["limit"] == {
        "description": "From Meta.",
        "type": "integer",
        "minimum": 1,
        "default": 5,
    }


@pytest.mark.parametrize("text", ["Odd.\n\n:param a b c d: too many", "Odd.\n\nArgs:\nnothing", "Odd.\n\nArgs:\n"])
def test_a_docstring_of_no_style_is_the_description(text: str) -> None:
    def odd(x: int) -> int:
        return x

    odd.__doc__ = text
    assert tool(odd).description.startswith("Odd.")


def test_a_name_that_is_bound_only_later_does_not_matter() -> None:
    def use(a: int) -> int:
        return later + a

    made = tool(use)
    later = 1
    assert run(made, {"a": 2}) == 3


def test_a_default_that_is_not_json_is_left_to_the_function() -> None:
    missing = object()

    def lookup(
        a: object = missing,
        b: int = cast("int", None),
        c: float = float("inf"),
        d: Any = float("nan"),
    ) -> object:
        return (a is missing, b)

    made = tool(lookup)
    assert all("default" not in each for each in made.input_schema["properties"].values())
    assert run(made, {}) == (True, None)


def test_what_a_partial_binds_is_hidden_from_the_model() -> None:
    def query(connection: object, sql: str, limit: int = 10) -> str:
        """Ask the database."""
        return f"{connection} {sql} {limit}"

    made = tool(functools.partial(functools.partial(query, limit=2), "db"))
    assert list(made.input_schema["properties"]) == ["sql"]
    assert (made.name, made.description) == ("query", "Ask the database.")
    assert run(made, {"sql": "x"}) == "db x 2"


def test_bound_methods_objects_and_wrappers() -> None:
    class Shop:
        """A shop."""

        def price(self, item: str) -> int:
            """What it costs."""
            return len(item)

        @classmethod
        def opening(cls, day: str) -> str:
            """When it opens."""
            return f"{cls.__name__} {day}"

        async def __call__(self, item: str) -> int:
            return 1

    def logged(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> int:
            return function(*args, **kwargs) + 100

        return run

    shop = Shop()
    method: Tool[..., Any] = tool(shop.price)
    assert (method.name, method.description, run(method, {"item": "pear"})) == (
        "price",
        "What it costs.",
        4,
    )
    assert tool(Shop.opening)(day="Monday") == "Shop Monday"
    called: Tool[..., Any] = tool(shop)
    assert (called.name, called.description, called.is_async) == ("Shop", "A shop.", True)
    wrapped: Tool[..., Any] = tool(logged(shop.price), name="costs")
    assert list(wrapped.input_schema["properties"]) == ["item"]
    assert wrapped(item="pear") == 104


def test_names_local_to_the_function_around_are_resolved() -> None:
    class Local(msgspec.Struct):
        x: int

    Alias = Annotated[list[Local], msgspec.Meta(max_length=2)]

    @tool
    def plain(a: Alias) -> int:
        return a[0].x

    @tool(name="other")
    def configured(a: Local) -> int:
        return a.x

    assert run(plain, {"a": [{"x": 7}]}) == 7
    assert run(configured, {"a": {"x": 8}}) == 8


def test_names_from_a_closure_are_resolved_where_the_tool_is_made_elsewhere() -> None:
    def factory() -> Callable[..., int]:
        class Inner(msgspec.Struct):
            x: int

        def use(a: Inner) -> int:
            return Inner(x=a.x).x

        return use

    made = tool(factory())
    assert run(made, {"a": {"x": 1}}) == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def f(x): ...", "Parameter 'x' of tool 'f' has no annotation: write its type, as in 'x: str'."),
        ("def f(self, x: int): ...", "decorate the bound method instead, as in tool(instance.method)"),
        ("def f(*rest: int): ...", "Tool 'f' takes *rest; name each parameter instead"),
        ("def f(**rest: int): ...", "Tool 'f' takes **rest; name each parameter instead"),
        ("def f(x: int, /): ...", "has the positional-only parameter 'x'"),
        ("def f(x: 'Missing'): ...", "annotation of parameter 'x' of tool 'f' cannot be resolved (name 'Missing'"),
        ("def f(x: complex): ...", "Parameter 'x' of tool 'f' has a type that a model cannot be told about"),
        ("def f(x: 'list[complex]' = []): ...", "Parameter 'x' of tool 'f'"),
        ("def f(größe: int): ...", "Tool 'f' has the parameter or field 'größe', a name that models do not take"),
        (f"def f({'x' * 65}: int): ...", "use 1 to 64 letters from a to z"),
    ],
)
def test_what_cannot_be_described_is_refused_with_the_name_of_the_parameter(source: str, says: str) -> None:
    names: dict[str, Any] = {}
    exec(source, names)
    with pytest.raises(ConfigurationError) as caught:
        tool(names["f"])
    assert says in str(caught.value)


def test_a_field_at_any_depth_must_have_a_name_that_models_take() -> None:
    def go(leg: Crossing) -> None:
        """Go."""

    with pytest.raises(ConfigurationError, match="field 'straße'"):
        tool(go)


def test_what_has_no_signature_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Tool 'type' has no signature|Tool 'type' is a class"):
        tool(type)
    with pytest.raises(ConfigurationError, match="Tool 'iter' has no signature that can be read"):
        tool(iter)
