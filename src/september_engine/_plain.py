"""Plain values: what a caller passes, as values of the built-in types themselves. Pure.

A subclass of `str`, an enum's member or a NumPy number looks like text or a number, but an encoder refuses it, or its
own code changes what it says on the way. So every public entrance takes its arguments through here, before anything
is done: what comes out is of the built-in types, and what cannot be is refused with the name of the argument and the
place in it, as in `media[0].source.data`. A value's own code is not asked what it says, and may raise what it likes.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import numbers
import os
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any, Final

import attrs
import msgspec

from .errors import ConfigurationError, InvalidRequest, InvalidType
from .messages import JSON

__all__ = [
    "DEPTH",
    "NO_SCALAR",
    "configuration",
    "expanded",
    "plain_bytes",
    "plain_flag",
    "plain_items",
    "plain_json",
    "plain_number",
    "plain_path",
    "plain_path_text",
    "plain_scalar",
    "plain_text",
    "plain_text_or_none",
    "plain_whole",
    "shown",
]

DEPTH = 48
"""Most levels of lists and objects in a value that is taken in."""

ROOM = 64 * 2**20
"""How large one value may be: in characters of text, of which each value in it costs `VALUE` more."""

VALUE = 512
REPR_CHARS = 1000
MOST_BITS = 4096
"""Python writes no integer of more than 4,300 digits."""

LEAST, MOST = -(2**63), 2**63 - 1


class _NoScalar:
    """The type of `NO_SCALAR`."""


NO_SCALAR: Final = _NoScalar()
"""What `plain_scalar` gives for anything else."""


@contextmanager
def configuration() -> Iterator[None]:
    """What is refused inside is an argument of a constructor: raised as `ConfigurationError`."""
    try:
        yield
    except InvalidRequest as error:
        raise ConfigurationError(error.message) from None


# ── single values ────────────────────────────────────────────────────────────────────────────────────────────────────


def plain_scalar(value: object) -> bool | int | float | str | _NoScalar | None:
    """None, a truth value, a number or a text as the built-in type that it is a kind of, else `NO_SCALAR`.

    Subclasses, members of `IntEnum` and `StrEnum`, and NumPy's scalars are of a kind; a `Decimal` is not. Never raises.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    kind = type(value)
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(kind, "item"):
        try:
            inner: Any = kind.item(value)
            return inner if type(inner) in (bool, int, float, str) else float(inner)
        except Exception:  # a date, a complex number, a record
            return NO_SCALAR
    return NO_SCALAR


def plain_text(value: object, name: str) -> str:
    """A text. Raises `InvalidType` for anything else, and `InvalidRequest` for half of a surrogate pair in it."""
    given = plain_scalar(value)
    if not isinstance(given, str):
        raise InvalidType(f"{name} must be text.")
    if _is_broken(given):
        raise InvalidRequest(f"{name} is not valid Unicode: it holds half of a surrogate pair.")
    return given


def plain_text_or_none(value: object, name: str) -> str | None:
    """As `plain_text`, or None."""
    return None if value is None else plain_text(value, name)


def plain_flag(value: object, name: str) -> bool:
    """True or False; 1 and 0, too. Raises `InvalidType` for anything else: the text "false" would count as true."""
    given = plain_scalar(value)
    if type(given) is int and given in (0, 1):
        return given == 1
    if not isinstance(given, bool):
        raise InvalidType(f"{name} must be True or False, not {_kind(value)}.")
    return given


def plain_whole(value: object, name: str, *, least: int = LEAST, most: int = MOST) -> int:
    """A whole number. Raises `InvalidType` for anything else, `InvalidRequest` for one out of bounds."""
    given = plain_scalar(value)
    if not isinstance(given, int) or isinstance(given, bool):
        raise InvalidType(f"{name} must be a whole number.")
    if not least <= given <= most:
        raise InvalidRequest(f"{name} must be from {least} to {most}.")
    return given


def plain_number(value: object, name: str, *, least: float = -math.inf) -> int | float:
    """A number from `least` up, infinity included; a `Decimal` or fraction becomes a float. Raises as `plain_whole`."""
    given: object = plain_scalar(value)
    if given is NO_SCALAR and isinstance(value, (numbers.Real, Decimal)):
        try:
            given = float(value)
        except Exception:  # too large, or a signalling NaN
            given = math.nan
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise InvalidType(f"{name} must be a number, not {_kind(value)}.")
    if not given >= least or (isinstance(given, int) and not LEAST <= given <= MOST):  # NaN is not above anything
        raise InvalidRequest(f"{name} must be a number from {least:g} up.")
    return given


def plain_bytes(value: object, name: str) -> bytes:
    """Bytes, from `bytes`, `bytearray` or `memoryview`. Raises `InvalidType` for anything else."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidType(f"{name} must be bytes, not {_kind(value)}.")
    return value if type(value) is bytes else memoryview(value).tobytes()


def plain_path(value: object, name: str) -> Path:
    """A path from a path-like object or a text. Raises `InvalidType` for anything else."""
    return Path(plain_path_text(value, name))


def plain_path_text(value: object, name: str) -> str:
    """As `plain_path`, as it was written."""
    try:
        return str.__str__(os.fsdecode(value))  # type: ignore[arg-type]  # it may be anything
    except Exception as error:  # its own code takes part
        raise InvalidType(f"{name} must be a path, not {_kind(value)}.") from error


def plain_items(value: object, name: str, of: str) -> list[object]:
    """The items of a list, a tuple or another sequence. Raises `InvalidType` for anything else, a text included."""
    try:
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
            return list(value)
    except Exception as error:  # its own code takes part
        raise InvalidType(f"{name} cannot be read ({type(error).__name__}).") from error
    raise InvalidType(f"{name} must be a list of {of}.")


def _kind(value: object) -> str:
    """The value's type, in words."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


def _is_broken(given: str) -> bool:
    try:
        given.encode()
    except UnicodeEncodeError:
        return True
    return False


# ── JSON values ──────────────────────────────────────────────────────────────────────────────────────────────────────


def plain_json(value: object, name: str) -> JSON:
    """A value in JSON's own types: dicts with text as keys, lists, text, numbers, truth values, None.

    Dataclasses, attrs classes, Structs, pydantic models, enums, dates, UUIDs, `Decimal`s, paths, bytes, NumPy's arrays
    and sets (in the order of their JSON) get their usual JSON form. Raises `InvalidRequest` with the place for what has
    none: another object, a number that is not finite or has thousands of digits, half of a surrogate pair, a key that
    is no text or number;
    and for a value that is nested more than `DEPTH` levels deep, contains itself, or is too large.
    """
    return _Walk().plain(value, name, 0)


class _Walk:
    """One value on its way, and how much more of it may come."""

    def __init__(self) -> None:
        self._room = ROOM

    def plain(self, value: object, place: str, depth: int) -> JSON:
        self._spend(VALUE, place)
        given = plain_scalar(value)
        if isinstance(given, _NoScalar):
            if depth >= DEPTH:
                raise InvalidRequest(f"{place} is nested more than {DEPTH} levels deep.")
            return self._walked(value, place, depth + 1)
        if isinstance(given, str):
            self._spend(len(given), place)
            if _is_broken(given):
                raise InvalidRequest(f"{place} is not valid Unicode: it holds half of a surrogate pair.")
        elif isinstance(given, float) and not math.isfinite(given):
            raise InvalidRequest(f"{place} is {given}, which is no number in JSON.")
        elif isinstance(given, int) and given.bit_length() > MOST_BITS:
            raise InvalidRequest(f"{place} is a number of more than {MOST_BITS} bits. Pass it as text.")
        return given

    def _walked(self, value: object, place: str, depth: int) -> JSON:
        try:
            if isinstance(value, (Mapping, list, tuple)):
                inner: object = value
            elif isinstance(value, Set):
                return sorted((self.plain(item, place, depth) for item in value), key=msgspec.json.encode)
            elif (inner := expanded(value)) is NO_SCALAR:
                return self.plain(msgspec.to_builtins(value), place, depth)
            if isinstance(inner, Mapping):
                named = ((self._key(key, place), one) for key, one in inner.items())
                return {key: self.plain(one, f"{place}.{key}", depth) for key, one in named}
            if isinstance(inner, (list, tuple)):
                return [self.plain(one, f"{place}[{index}]", depth) for index, one in enumerate(inner)]
            return self.plain(inner, place, depth)
        except InvalidRequest:
            raise
        except Exception as error:  # the value's own code takes part, and may raise anything
            raise InvalidRequest(f"{place} is {_kind(value)}, which has no JSON form.") from error

    def _key(self, key: object, place: str) -> str:
        given = self.plain(key, f"{place} (a key)", DEPTH)
        if isinstance(given, str):
            return given
        if given is None or isinstance(given, bool):
            raise InvalidRequest(f"{place} has a key that is neither text nor a number: {given}.")
        return str(given)

    def _spend(self, size: int, place: str) -> None:
        self._room -= size
        if self._room < 0:
            raise InvalidRequest(f"{place} is too large: the value has more than {ROOM // 2**20} MiB, or no end.")


def expanded(value: object) -> object:
    """One level of an object that has fields, or of an array; `NO_SCALAR` for what is neither.

    Only one level: msgspec's own walk goes through all of it, and nothing could stop it on the way.
    """
    kind = type(value)
    fields: dict[str, object] = {}
    names: list[tuple[str, str]]
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        if config.tag_field is not None:
            fields[config.tag_field] = config.tag
        names = list(zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True))
    elif attrs.has(kind):
        names = [(field.name, field.name) for field in attrs.fields(kind) if not field.name.startswith("_")]
    elif dataclasses.is_dataclass(kind):
        names = [(field.name, field.name) for field in dataclasses.fields(kind)]
    elif isinstance(value, PurePath):
        return str(value)
    elif callable(dump := getattr(kind, "model_dump", None)):  # pydantic's own JSON form
        return dump(value, mode="json")
    elif kind.__module__ == "numpy" and hasattr(kind, "tolist"):
        return kind.tolist(value)
    elif isinstance(value, bytes):
        return base64_of(value)
    elif isinstance(value, datetime.datetime) and kind is not datetime.datetime:
        return msgspec.to_builtins(datetime.datetime.fromisoformat(datetime.datetime.isoformat(value)))
    else:
        return NO_SCALAR
    for shown_as, name in names:
        if (item := getattr(value, name, msgspec.UNSET)) is not msgspec.UNSET:
            fields[shown_as] = item
    return fields


def base64_of(value: bytes) -> JSON:
    """As msgspec writes bytes, whatever subclass they are of."""
    return msgspec.to_builtins(memoryview(value).tobytes())


# ── in words ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def shown(value: object) -> str:
    """A value's `repr` for a person, bounded and without addresses; its type where it has none. Never raises."""
    try:
        return _repr(value)
    except BaseException:  # a container whose own code fails
        return f"<{type(value).__name__}>"


class _Repr(reprlib.Repr):
    """Bounded, and without addresses, which mean nothing to a model."""

    def repr_instance(self, x: object, level: int) -> str:
        name = f"<{type(x).__name__}>"
        if type(x).__repr__ is object.__repr__:
            return name
        try:
            text = _ADDRESS.sub("", repr(x))
        except BaseException:  # a broken __repr__
            return name
        return text if len(text) <= REPR_CHARS else f"{text[:REPR_CHARS]}…"


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_repr = _Repr().repr
