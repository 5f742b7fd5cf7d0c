from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine.errors import ConfigurationError
from september_engine.tools import ToolError, ToolInputError, tool


@tool
async def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@tool(name="convert-length", timeout=None, safe_to_repeat=True, requires_permission=True, description="Converts.")
def convert(
    value: Annotated[float, msgspec.Meta(ge=0)], units: Literal["km", "miles"] = "km", *, exact: bool = False
) -> str:
    return f"{value} {units} {exact}"


async def test_a_tool_is_still_its_function() -> None:
    assert await word_count("to be or not") == 4
    assert convert(1.5, units="miles") == "1.5 miles False"
    assert list(inspect.signature(word_count).parameters) == ["text"]


def test_what_the_decorator_says_is_on_the_tool() -> None:
    assert (word_count.name, word_count.is_async, word_count.timeout) == ("word_count", True, 30.0)
    assert not word_count.safe_to_repeat
    assert not word_count.requires_permission
    assert (convert.name, convert.is_async, convert.timeout) == ("convert-length", False, None)
    assert convert.safe_to_repeat
    assert convert.requires_permission
    assert convert.description == "Converts."
    assert repr(convert) == "<Tool convert-length>"


def test_what_a_host_adds_is_not_said_by_the_decorator() -> None:
    assert (word_count.roots, word_count.hide, word_count.confined) == ((), None, True)
    hidden: list[str] = []
    changed = attrs.evolve(word_count, hide=hidden.extend, confined=False)
    assert changed.hide is not None
    changed.hide(["/data/brain.sqlite"])
    assert (hidden, changed.confined) == (["/data/brain.sqlite"], False)


def test_the_definition_is_what_the_api_takes() -> None:
    assert word_count.definition() == {
        "name": "word_count",
        "description": "Count the words of a text.",
        "input_schema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        },
    }


def test_decode_gives_what_the_model_sent_and_leaves_defaults_to_the_function() -> None:
    assert convert.decode({"value": 2}) == {"value": 2.0}
    assert convert.decode({"value": 2, "exact": True}) == {"value": 2.0, "exact": True}


def test_decode_gives_the_annotated_types() -> None:
    class Place(msgspec.Struct):
        name: str

    @tool
    def visit(place: Place, stars: dict[int, str]) -> str:
        return place.name + stars[1]

    assert visit(**visit.decode({"place": {"name": "Rome"}, "stars": {"1": "*"}})) == "Rome*"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("input", "says"),
    [
        ({}, "missing required field `value`"),
        ({"value": "2"}, "Expected `float`, got `str` - at `$.value`"),
        ({"value": -1}, "Expected `float` >= 0.0 - at `$.value`"),
        (
            {"value": 1, "units": "yards"},
            'Invalid enum value \'yards\' - at `$.units` (it must be one of "km", "miles")',
        ),
        ({"value": 1, "unit": "km"}, "unknown field `unit` (its parameters: value, units, exact)"),
        ({"value": 1, "exact": None}, "Expected `bool`, got `null` - at `$.exact`"),
        ({"value": 1, "exact": 1}, "Expected `bool`, got `int` - at `$.exact`"),
    ],
)
def test_input_that_does_not_fit_is_refused_with_where_and_why(input: dict[str, Any], says: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        convert.decode(input)
    assert says in caught.value.message
    assert caught.value.message.startswith("Invalid input for convert-length: ")
    assert caught.value.reason == "invalid_input"


def test_a_check_of_the_users_own_type_is_invalid_input_too() -> None:
    class Even(msgspec.Struct):
        number: int

        def __post_init__(self) -> None:
            if self.number == 13:
                raise LookupError("unlucky")

    @tool
    def half(even: Even) -> int:
        return even.number // 2

    with pytest.raises(ToolInputError, match="unlucky"):
        half.decode({"even": {"number": 13}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["value", "units", "exact", "other"]), json_values))
def test_decode_gives_arguments_or_a_tool_input_error(input: dict[str, Any]) -> None:
    try:
        arguments = convert.decode(input)
    except ToolInputError:
        return
    anyhow: Callable[..., str] = convert.function
    assert anyhow(**arguments).startswith(str(arguments["value"]))


def test_async_is_what_is_called_not_what_is_below_a_wrapper() -> None:
    class Lookup:
        async def __call__(self, key: str) -> str:
            return key

    @functools.wraps(convert.function)
    async def later(*args: Any, **kwargs: Any) -> str:
        return convert(*args, **kwargs)

    @functools.wraps(word_count.function)
    def now(text: str) -> int:
        return 0

    assert tool(Lookup()).is_async
    assert tool(Lookup().__call__, name="bound").is_async
    assert tool(functools.partial(word_count.function, text="a")).is_async
    assert tool(later).is_async
    assert not tool(now).is_async


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "dot.ted", "naïve", "new\n"])
def test_a_name_the_api_refuses_is_refused_when_the_tool_is_made(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a tool's name"):
        tool(convert.function, name=name)


def test_a_tool_without_a_docstring_is_told_where_it_is_made() -> None:
    def bare(x: int) -> int:
        return x

    with pytest.warns(UserWarning, match="Tool 'bare' has no docstring") as told:
        tool(bare)
        tool(name="bare")(bare)
    assert {each.filename for each in told} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tool(bare, description="").description == ""
        assert tool(bare, description="It is told.").description == "It is told."
        assert tool(word_count.function).description


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ConfigurationError, match="'<lambda>' cannot be a tool's name"):
        tool(lambda: 1)
    assert tool(lambda: 1, name="one").name == "one"


@pytest.mark.parametrize("timeout", [0, -1.0, float("inf"), float("nan")])
def test_a_timeout_must_be_seconds(timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout of tool 'word_count' must be seconds above 0, or None"):
        tool(word_count.function, timeout=timeout)


def test_a_generator_is_not_a_tool() -> None:
    def lines(path: str) -> Iterator[str]:
        yield path

    async def more(path: str) -> AsyncIterator[str]:
        yield path

    for function in (lines, more):
        with pytest.raises(ConfigurationError, match="is a generator"):
            tool(function)


def test_a_tool_error_says_what_the_model_should_know() -> None:
    error = ToolError("There is no such city; try its English name.", reason="not_found")
    assert (str(error), error.reason) == ("There is no such city; try its English name.", "not_found")
    assert ToolError("x").reason == "tool_error"
