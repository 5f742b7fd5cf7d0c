"""The fields of a class: of a msgspec Struct, dataclass, attrs class, TypedDict or NamedTuple.

Values are made by calling the class, so whatever its own `__init__`, validators and `__post_init__` refuse is refused.
"""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec

from ..messages import JSON

__all__ = ["Declared", "declared_fields", "description_of_class", "has_fields", "shown_default", "substituted"]

_MAY_CHANGE = (datetime.datetime, datetime.date, datetime.time, uuid.UUID)
"""Types of values that programs often make when they start: `date.today()`, `uuid4()`."""


@attrs.frozen
class Declared:
    """One field as its class declares it: its key in JSON, the name its class takes it by, its type and default."""

    name: str
    takes: str
    kind: Any
    required: bool
    shown: JSON | msgspec.UnsetType = msgspec.UNSET


def declared_fields(cls: type, args: tuple[Any, ...], scope: Mapping[str, object]) -> list[Declared]:
    """The fields in the order of the class, which `has_fields`. `args` are those of a generic.

    Raises whatever an annotation raises that cannot be resolved.
    """
    read = _reader(cls)
    assert read is not None, "the caller asks has_fields first"
    hints = _hints(cls, scope)
    variables = _variables(cls, args)
    return list(read(cls, {name: substituted(hint, variables) for name, hint in hints.items()}))


def has_fields(cls: type) -> bool:
    """Whether the class declares its fields in a way that is known here."""
    return _reader(cls) is not None


def _reader(cls: Any) -> Callable[[Any, Mapping[str, Any]], Iterator[Declared]] | None:
    if issubclass(cls, msgspec.Struct):
        return _of_struct
    if dataclasses.is_dataclass(cls):
        return _of_dataclass
    if attrs.has(cls):
        return _of_attrs
    if issubclass(cls, dict) and hasattr(cls, "__required_keys__"):
        return _of_typed_dict
    return _of_named_tuple if issubclass(cls, tuple) and hasattr(cls, "_fields") else None


def description_of_class(cls: type) -> str | None:
    """What its docstring says, unless that was made up from its signature."""
    text = cls.__dict__.get("__doc__")
    if not isinstance(text, str) or text.startswith(f"{cls.__name__}("):
        return None
    return inspect.cleandoc(text) or None


def shown_default(default: object) -> JSON | msgspec.UnsetType:
    """A default as JSON, the same in every process, or UNSET for one that is not to be shown.

    Sets are sorted. A moment, a date or a UUID is left out: it may have been made when the program started.
    """
    try:
        shown = msgspec.to_builtins(default, str_keys=True, order="deterministic", builtin_types=_MAY_CHANGE)
        json.dumps(shown, allow_nan=False)
    except Exception:  # a default may be any object
        return msgspec.UNSET
    return shown


def substituted(kind: Any, variables: Mapping[Any, Any]) -> Any:
    """A type with its type variables replaced, as far as they are known."""
    if isinstance(kind, TypeVar):
        return variables.get(kind, kind)
    if isinstance(kind, dataclasses.InitVar):
        return substituted(kind.type, variables)
    parameters = () if isinstance(kind, type) and get_origin(kind) is None else getattr(kind, "__parameters__", ())
    return kind[tuple(variables.get(each, each) for each in parameters)] if parameters and variables else kind


def _hints(cls: type, scope: Mapping[str, object]) -> dict[str, Any]:
    """Its annotations. Names that its module lacks are looked up where the tool is made."""
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError:
        module = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
        around = {**scope, **module, cls.__name__: cls}
        return get_type_hints(cls, localns=around, include_extras=True)


def _variables(cls: type, args: tuple[Any, ...]) -> dict[Any, Any]:
    """What each type variable stands for, in the class and in those it inherits from."""
    known: dict[Any, Any] = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if isinstance(origin, type) and origin is not object:
            inner = tuple(substituted(each, known) for each in get_args(base))
            known = {**_variables(origin, inner), **known}
    return known


def _qualified(hint: Any) -> tuple[Any, set[str]]:
    """The type below `Required`, `NotRequired`, `ReadOnly` and `Final`, and which of these there were."""
    names: set[str] = set()
    while (name := getattr(get_origin(hint), "_name", None)) in ("Required", "NotRequired", "ReadOnly", "Final"):
        names.add(str(name))
        (hint,) = get_args(hint)
    return hint, names


def _of_struct(cls: Any, hints: Mapping[str, Any]) -> Iterator[Declared]:
    for field in msgspec.structs.fields(cls):
        shown = _shown(field.default, field.default_factory, msgspec.NODEFAULT)
        kind, _ = _qualified(hints[field.name])
        yield Declared(field.encode_name, field.name, kind, field.required, shown)


def _of_dataclass(cls: Any, hints: Mapping[str, Any]) -> Iterator[Declared]:
    for field in cls.__dataclass_fields__.values():
        kind, _ = _qualified(hints[field.name])
        if not field.init or kind is ClassVar or get_origin(kind) is ClassVar:
            continue
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        shown = _shown(field.default, field.default_factory, dataclasses.MISSING)
        yield Declared(field.name, field.name, kind, required, shown)


def _of_attrs(cls: Any, hints: Mapping[str, Any]) -> Iterator[Declared]:
    for field in attrs.fields(cls):
        if not field.init:
            continue
        kind, _ = _qualified(hints.get(field.name, Any))
        made = isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
        factory = field.default.factory if made and not field.default.takes_self else attrs.NOTHING
        shown = _shown(attrs.NOTHING if made else field.default, factory, attrs.NOTHING)
        yield Declared(field.alias, field.alias, kind, field.default is attrs.NOTHING, shown)


def _of_typed_dict(cls: Any, hints: Mapping[str, Any]) -> Iterator[Declared]:
    for name, hint in hints.items():
        kind, names = _qualified(hint)
        required = "Required" in names or ("NotRequired" not in names and name in cls.__required_keys__)
        yield Declared(name, name, kind, required)


def _of_named_tuple(cls: Any, hints: Mapping[str, Any]) -> Iterator[Declared]:
    for name in cls._fields:
        required = name not in cls._field_defaults
        shown = msgspec.UNSET if required else shown_default(cls._field_defaults[name])
        yield Declared(name, name, hints.get(name, Any), required, shown)


def _shown(default: object, factory: object, nothing: object) -> JSON | msgspec.UnsetType:
    if default is not nothing:
        return shown_default(default)
    return shown_default(factory()) if factory in (list, dict, set, tuple, frozenset) else msgspec.UNSET
