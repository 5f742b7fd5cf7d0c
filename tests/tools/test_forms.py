"""Forms: errors with places, parts with names, and how one of several forms is chosen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine.tools._forms import (
    Anything,
    Choice,
    Definitions,
    Field,
    Form,
    Items,
    Misfit,
    Object,
    OneOf,
    Scalar,
)

NUMBER = Scalar(int, whole=True)
TEXT = Scalar(str, plain=True)


def test_a_misfit_says_where_it_is_seen_from_the_top() -> None:
    misfit = Misfit("It is odd", at=".c", hint="as in 2").below("[3]").below(".a")
    assert str(misfit) == "It is odd - at `$.a[3].c` (as in 2)"
    assert str(Misfit("It is odd")) == "It is odd"


def test_an_error_is_raised_where_the_value_is() -> None:
    form = Object("Trip", dict, [Field("days", "days", Items(list[int], NUMBER, list), required=True)])
    assert form.read({"days": [1, 2.0], "more": None}) == {"days": [1, 2]}
    with pytest.raises(Misfit, match=r"Expected `int`, got `str` - at `\$\.days\[1\]`"):
        form.read({"days": [1, "a"]})


def test_a_choice_that_is_long_is_listed_in_part() -> None:
    with pytest.raises(Misfit) as caught:
        Choice([(number, number) for number in range(1000)]).read(-1)
    assert str(caught.value).endswith("48, 49, …)")


def test_parts_of_one_name_are_told_apart_and_what_was_named_keeps_its_name() -> None:
    parts = Definitions()
    assert parts.reference("a", "Box[int]", lambda: {"type": "object"}) == {"$ref": "#/$defs/Box_int"}
    assert parts.reference("b", "Box[int]", lambda: {"type": "array"}) == {"$ref": "#/$defs/Box_int_2"}
    assert parts.reference("a", "Box[int]", lambda: {"type": "null"}) == {"$ref": "#/$defs/Box_int"}
    foreign = {"$ref": "#/$defs/Box_int", "$defs": {"Box_int": {"items": {"$ref": "#/$defs/Box_int"}}}}
    assert parts.take_in(foreign) == {"$ref": "#/$defs/Box_int_3"}
    assert parts.take_in(foreign) == {"$ref": "#/$defs/Box_int_3"}
    assert parts.schemas == {
        "Box_int": {"type": "object"},
        "Box_int_2": {"type": "array"},
        "Box_int_3": {"items": {"$ref": "#/$defs/Box_int_3"}},
    }


def small(*names: str) -> Object:
    return Object("+".join(names), lambda **given: names, [Field(name, name, NUMBER, required=False) for name in names])


def test_of_several_objects_the_one_that_knows_most_of_the_keys_is_meant() -> None:
    union = OneOf([small("x"), small("x", "y"), small("z")])
    assert union.read({"x": 1}) == ("x",)
    assert union.read({"x": 1, "y": 1}) == ("x", "y")
    assert union.read({"z": 1, "other": 1}) == ("z",)


@pytest.mark.parametrize("options", [[TEXT, NUMBER, Anything()], [Anything(), NUMBER, TEXT]])
def test_what_is_plainest_is_tried_last(options: list[Form]) -> None:
    union = OneOf([*options, Items(list[Any], Anything(), tuple)])
    assert union.read([1]) == (1,)
    assert union.read(2.0) == 2
    assert union.read({"a": 1}) == {"a": 1}


def test_unions_in_unions_are_tried_within_bounds_and_then_given_up() -> None:
    one, other = small("n"), small("n")
    union = OneOf([one, other])
    for each in (one, other):
        each.fields = [Field("n", "n", union, required=True)]
    value: Any = 5
    for _ in range(100):
        value = {"n": value}
    for _ in range(2):  # the tries of one value are its own
        with pytest.raises(Misfit):
            union.read(value)
    long = Items(list[Any], OneOf([small("n"), NUMBER, TEXT]), list)
    assert OneOf([NUMBER, long]).read(["a"] * 5_000) == ["a"] * 5_000


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@given(json)
def test_reading_gives_a_value_or_a_misfit(value: Any) -> None:
    form = OneOf([small("x", "y"), Items(set[Any], OneOf([NUMBER, TEXT]), set), Choice([(None, None), (True, True)])])
    try:
        form.read(value)
    except Misfit as misfit:
        assert str(misfit)
