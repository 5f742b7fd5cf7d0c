"""Values that look like text, numbers, lists or objects and are none, or raise when they are asked what they are."""

from __future__ import annotations

import datetime
import enum
import pathlib
import types
from collections import OrderedDict, UserDict, UserString, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np

__all__ = ["ODD", "Loud", "LoudNumber", "Word"]


def _refuse(*args: object, **kwargs: object) -> NoReturn:
    raise RuntimeError("This value's own code must not be asked.")


class Loud(str):
    """What a template engine gives, and worse."""

    __str__ = __repr__ = __format__ = encode = strip = split = isascii = _refuse


class LoudNumber(int):
    __str__ = __repr__ = __index__ = __int__ = __float__ = __format__ = _refuse


class LoudFloat(float):
    __str__ = __repr__ = __float__ = __format__ = _refuse


class LoudBytes(bytes):
    __bytes__ = __repr__ = decode = hex = _refuse


class Word(enum.StrEnum):
    GO = "go"


class Count(enum.IntEnum):
    ONE = 1


class Plain(enum.Enum):
    ONE = object()


class Moment(datetime.datetime):
    """As pandas' Timestamp is."""


class Broken:
    """Nothing about it can be asked."""

    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __hash__ = __eq__ = __fspath__ = _refuse


class BrokenList(list[Any]):
    __iter__ = __len__ = __getitem__ = _refuse


class BrokenMapping(UserDict[str, Any]):
    items = __iter__ = keys = _refuse


def _endless() -> list[Any]:
    inside: list[Any] = []
    inside.append(inside)
    return inside


def _deep() -> Any:
    value: Any = "deep"
    for _ in range(5000):
        value = [value]
    return value


def _wide() -> Any:
    """2**64 values, of which each is one of 64."""
    value: Any = "wide"
    for _ in range(40):
        value = [value, value]
    return value


ODD: dict[str, Callable[[], Any]] = {
    "a str's subclass": lambda: Loud("loud"),
    "an int's subclass": lambda: LoudNumber(3),
    "a float's subclass": lambda: LoudFloat(1.5),
    "a bytes' subclass": lambda: LoudBytes(b"loud"),
    "a StrEnum": lambda: Word.GO,
    "an IntEnum": lambda: Count.ONE,
    "an Enum": lambda: Plain.ONE,
    "True": lambda: True,
    "None": lambda: None,
    "-1": lambda: -1,
    "1.5": lambda: 1.5,
    "text": lambda: "text",
    "blank": lambda: " ",
    "empty": lambda: "",
    "NUL": lambda: "a\0b",
    "half a pair": lambda: "\ud83d",
    "long text": lambda: "x" * 70_000,
    "bytes": lambda: b"bytes",
    "bytearray": lambda: bytearray(b"bytes"),
    "memoryview": lambda: memoryview(b"bytes"),
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "2**70": lambda: 2**70,
    "10**5000": lambda: 10**5000,
    "-2**70": lambda: -(2**70),
    "complex": lambda: 1j,
    "Decimal": lambda: Decimal("1.5"),
    "Decimal nan": lambda: Decimal("sNaN"),
    "Fraction": lambda: Fraction(1, 3),
    "int64": lambda: np.int64(3),
    "float32": lambda: np.float32(1.5),
    "bool_": lambda: np.bool_(True),
    "str_": lambda: np.str_("numpy"),
    "datetime64": lambda: np.datetime64("2026-01-01"),
    "array": lambda: np.arange(3),
    "array of one": lambda: np.array(1),
    "empty array": lambda: np.array([]),
    "UserString": lambda: UserString("lazy"),
    "OrderedDict": lambda: OrderedDict(type="text", text="in order"),
    "defaultdict": lambda: defaultdict(list, type=["text"]),
    "UserDict": lambda: UserDict({"type": "text", "text": Loud("loud")}),
    "proxy": lambda: types.MappingProxyType({"type": "image", "source": {"type": "base64", "data": b"x"}}),
    "keys that are no text": lambda: {1: 2, None: 3, (1, 2): 4},
    "a generator": lambda: (each for each in ("a", "b")),
    "an iterator": lambda: iter(["a"]),
    "a range": lambda: range(3),
    "a set": lambda: {"b", "a"},
    "a deque": lambda: deque(["a"]),
    "a list": lambda: [Loud("a"), {"type": Loud("image")}],
    "a list of lists": lambda: [[["a"]]],
    "an endless list": _endless,
    "a deep list": _deep,
    "a wide list": _wide,
    "a path": lambda: pathlib.PurePosixPath("nowhere/at all"),
    "a moment": lambda: Moment(2026, 1, 2, tzinfo=datetime.UTC),
    "a day": lambda: datetime.date(2026, 1, 2),
    "a span": lambda: datetime.timedelta(seconds=1),
    "a function": lambda: len,
    "a class": lambda: dict,
    "an error": lambda: ValueError("oops"),
    "an object": object,
    "a broken object": Broken,
    "a broken list": lambda: BrokenList([1]),
    "a broken mapping": lambda: BrokenMapping({"type": "image"}),
}
"""By name, made anew each time: some can be read once."""
