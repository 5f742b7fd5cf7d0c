from __future__ import annotations

import datetime
import math
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._plain import (
    DEPTH,
    NO_SCALAR,
    configuration,
    plain_bytes,
    plain_flag,
    plain_items,
    plain_json,
    plain_number,
    plain_path,
    plain_scalar,
    plain_text,
    plain_whole,
    shown,
)
from september_engine.errors import ConfigurationError, InvalidRequest, InvalidType

from .odd import ODD, Loud, LoudNumber, Word

odd = st.sampled_from(sorted(ODD)).filter(lambda name: name != "a wide list").map(lambda name: ODD[name]())
nested = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def test_a_scalar_is_of_the_built_in_type_itself() -> None:
    for value, plain in ((Loud("a"), "a"), (LoudNumber(3), 3), (Word.GO, "go"), (np.float32(1.5), 1.5), (True, True)):
        found = plain_scalar(value)
        assert (found, type(found)) == (plain, type(plain))
    assert plain_scalar(Decimal(1)) is NO_SCALAR
    assert plain_scalar(np.arange(3)) is NO_SCALAR


@given(nested)
def test_a_value_becomes_json_that_reads_as_it_was_written_or_is_refused_with_its_place(value: Any) -> None:
    try:
        plain = plain_json(value, "notes")
    except InvalidRequest as refused:
        assert refused.message.startswith("notes")
    else:
        assert msgspec.json.decode(msgspec.json.encode(plain)) == plain


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [{"b": object()}]}, "media.a[0].b is an object, which has no JSON form."),
        ({"a": math.nan}, "media.a is nan, which is no number in JSON."),
        ([["\ud83d"]], "media[0][0] is not valid Unicode"),
        ({(1, 2): 3}, "media (a key)"),
        ({None: 3}, "media has a key that is neither text nor a number: None."),
        (ODD["an endless list"](), f"is nested more than {DEPTH} levels deep"),
        (ODD["a wide list"](), "is too large"),
        (2**5000, "media is a number of more than 4096 bits"),
    ],
)
def test_what_has_no_json_form_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        plain_json(value, "media")
    assert message in refused.value.message


def test_the_usual_json_form_of_others() -> None:
    moment = ODD["a moment"]()
    value = OrderedDict(
        when=moment, who={Loud("b"), Loud("a")}, raw=bytearray(b"x"), sum=np.arange(2), price=Decimal(1)
    )
    assert plain_json(value, "x") == {
        "when": "2026-01-02T00:00:00Z",
        "who": ["a", "b"],
        "raw": "eA==",
        "sum": [0, 1],
        "price": "1",
    }
    assert plain_json(datetime.date(2026, 1, 2), "x") == "2026-01-02"


@pytest.mark.parametrize("value", ODD)
def test_each_argument_is_plain_or_refused_by_its_name(value: str) -> None:
    kinds: dict[Any, Any] = {plain_text: str, plain_flag: bool, plain_whole: int, plain_bytes: bytes}
    for take, kind in kinds.items():
        try:
            assert type(take(ODD[value](), "limit")) is kind
        except InvalidRequest as refused:
            assert refused.message.startswith("limit")
    for take in (plain_number, plain_path):
        try:
            take(ODD[value](), "limit")
        except InvalidRequest as refused:
            assert refused.message.startswith("limit")
    try:
        assert type(plain_items(ODD[value](), "limit", "blocks")) is list
    except InvalidType as refused:
        assert refused.message.startswith("limit")
    assert len(shown(ODD[value]())) < 2000


def test_in_a_constructor_it_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="name must be text"), configuration():
        plain_text(5, "name")
