"""From an annotation to its form: the one place that knows Python's types.

What cannot be told to a model, or a constraint that cannot be kept, is refused and never left out.
"""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any, ForwardRef, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from .._plain import shown
from ..messages import JSON
from ._fields import declared_fields, description_of_class, has_fields, substituted
from ._forms import Anything, Built, Choice, Definitions, Field, Form, Items, Keys, Later, Misfit, Object, OneOf, Scalar
from ._forms import Tuple as TupleForm
from ._pydantic import PydanticForm, made_with_pydantic

__all__ = ["Forms", "Undescribable", "settled"]

_MOMENT, _LOCAL = "2026-11-30T14:30:00+01:00", "2026-11-30T14:30:00"
_SCALARS: Mapping[Any, Mapping[str, JSON]] = {
    bool: {},
    int: {},
    float: {},
    str: {},
    bytes: {},
    bytearray: {},
    datetime.datetime: {"format": "date-time", "examples": [_MOMENT, _LOCAL]},
    datetime.date: {},
    datetime.time: {"format": "time", "examples": ["14:30:00", "14:30:00+01:00"]},
    datetime.timedelta: {"examples": ["PT1H30M", "P2D"]},
    decimal.Decimal: {},
    uuid.UUID: {},
}
"""What msgspec reads by itself, and what a model should know of it beyond msgspec's own schema.

A moment or a time of day may come with or without an offset, unless `Meta(tz=…)` says which: the examples show both.
"""
_WITHOUT_OFFSET: Mapping[Any, Mapping[str, JSON]] = {
    datetime.datetime: {"pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?$", "examples": [_LOCAL]},
    datetime.time: {"pattern": r"^\d\d:\d\d:\d\d(\.\d+)?$", "examples": ["14:30:00"]},
}
_WRITTEN: Mapping[Any, tuple[str, Callable[[str], Any]]] = {
    pathlib.Path: ("path", pathlib.Path),
    pathlib.PurePath: ("path", pathlib.PurePath),
    pathlib.PurePosixPath: ("path", pathlib.PurePosixPath),
    re.Pattern: ("regex", re.compile),
    ipaddress.IPv4Address: ("ipv4", ipaddress.IPv4Address),
    ipaddress.IPv6Address: ("ipv6", ipaddress.IPv6Address),
    ipaddress.IPv4Network: ("ipv4network", ipaddress.IPv4Network),
    ipaddress.IPv6Network: ("ipv6network", ipaddress.IPv6Network),
}
"""What is written as text: its JSON Schema format, and what reads the text."""
_PLAIN = (str, bytes, bytearray)
_LISTS: Mapping[Any, Callable[[Any], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.MutableSequence: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSet: set,
    collections.abc.Set: set,
}
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_KEPT: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": ("be > {}", lambda bound, value: bool(value > bound)),
    "ge": ("be >= {}", lambda bound, value: bool(value >= bound)),
    "lt": ("be < {}", lambda bound, value: bool(value < bound)),
    "le": ("be <= {}", lambda bound, value: bool(value <= bound)),
    "multiple_of": ("be a multiple of {}", lambda bound, value: not value % bound),
    "min_length": ("have at least {} items", lambda bound, value: len(value) >= bound),
    "max_length": ("have at most {} items", lambda bound, value: len(value) <= bound),
}
"""Constraints that are kept here where msgspec cannot: of a Decimal, a date, a class of one's own."""


class Undescribable(Exception):
    """A type that a model cannot be told about, or a constraint that cannot be kept; the text says which."""


class Forms:
    """Makes the forms of annotations. `scope` has names that annotations of classes may use beside their module's."""

    def __init__(self, scope: Mapping[str, object] | None = None) -> None:
        self._scope = scope or {}
        self._objects: dict[Any, Object] = {}
        self._aliases: dict[Any, Later] = {}

    def of(self, kind: Any) -> Form:
        """The form of a type. Raises `Undescribable`."""
        if kind is Any or kind is object:
            return Anything()
        if kind is None or kind is type(None):
            return Scalar(None)
        if isinstance(kind, str | ForwardRef):
            raise Undescribable(f"{shown(kind)} is the name of a type and not a type")
        if isinstance(kind, TypeVar):
            return self._union(kind.__constraints__) if kind.__constraints__ else self.of(kind.__bound__ or Any)
        if isinstance(kind, NewType):
            return self.of(kind.__supertype__)
        origin, args = get_origin(kind) or kind, get_args(kind)
        if origin is Annotated:
            return self._annotated(args[0], kind.__metadata__)
        if type(origin).__name__ == "TypeAliasType":
            return self._alias(kind, origin, args)
        if origin is Union or origin is types.UnionType:
            return self._union(args)
        if origin is Literal:
            return _literal(args)
        return self._class(kind, origin, args)

    def _class(self, kind: Any, origin: Any, args: tuple[Any, ...], metas: Sequence[msgspec.Meta] = ()) -> Form:
        if origin is tuple and args and args[-1] is not Ellipsis:
            if metas:
                raise TypeError("a tuple of so many values has no bounds")
            return TupleForm([self.of(each) for each in args if each != ()])
        if origin in _LISTS:
            item = self.of(args[0]) if args else Anything()
            base = set if _LISTS[origin] in (set, frozenset) else list
            return Items(_with(base, metas), item, _LISTS[origin])
        if origin in _DICTS:
            key, value = args or (Any, Any)
            inner = key.__supertype__ if isinstance(key, NewType) else key
            number = isinstance(inner, type) and issubclass(inner, int | float)
            return Keys(_with(dict, metas), self.of(key), self.of(value), number)
        if origin in _SCALARS:
            return _scalar(origin, metas)
        if metas:
            raise TypeError(f"constraints of {_name(kind)} are not known")
        if origin in _WRITTEN:
            format, build = _WRITTEN[origin]
            return Built(Scalar(str, plain=format == "path"), build, says={"format": format})
        if not isinstance(origin, type):
            raise Undescribable(f"{_name(kind)} has no form in JSON")
        if made_with_pydantic(origin):
            return _by_pydantic(kind)
        if issubclass(origin, enum.Enum):
            return _enum(origin)
        return self._object(origin, args)

    def _object(self, cls: Any, args: tuple[Any, ...]) -> Form:
        if not has_fields(cls):
            raise Undescribable(f"{_name(cls)} is not supported")
        if (cls, args) in self._objects:
            return self._objects[cls, args]
        config = getattr(cls, "__struct_config__", None)
        if config is not None and config.array_like:
            raise Undescribable(f"{cls.__name__} is written as a list (array_like), which does not name its fields")
        name = cls.__name__ if not args else f"{cls.__name__}_{'_'.join(map(_name, args))}"
        made = self._objects[cls, args] = Object(name, cls, description=description_of_class(cls))
        try:
            declared = declared_fields(cls, args, self._scope)
        except Exception as error:  # an annotation is an expression, and may raise anything
            raise Undescribable(f"an annotation of {cls.__name__} cannot be resolved: {error}") from error
        if config is not None:
            made.closed = config.forbid_unknown_fields
            made.tag = (config.tag_field, config.tag) if config.tag_field is not None else None
        made.fields = [
            Field(each.name, each.takes, self._field(cls, each.name, each.kind), each.required, each.shown)
            for each in declared
        ]
        return made

    def _field(self, cls: type, name: str, kind: Any) -> Form:
        try:
            return self.of(kind)
        except Undescribable as error:
            raise Undescribable(f"{cls.__name__}.{name}: {error}") from error

    def _alias(self, kind: Any, origin: Any, args: tuple[Any, ...]) -> Form:
        """A `type` statement's name, which may stand for something with itself inside."""
        if (later := self._aliases.get(kind)) is not None:
            later.holds_itself = later.holds_itself or later.target is None
            return later.target or later
        later = self._aliases[kind] = Later(origin.__name__)
        names = vars(sys.modules[origin.__module__]) if origin.__module__ in sys.modules else {}
        holder = SimpleNamespace(__annotations__={"value": origin.__value__})
        value = get_type_hints(holder, names, dict(self._scope), include_extras=True)["value"]
        target = self.of(substituted(value, dict(zip(origin.__type_params__, args, strict=False))))
        later.target = target
        return later if later.holds_itself else target

    def _union(self, kinds: Iterable[Any], metas: Sequence[msgspec.Meta] = ()) -> Form:
        """Constraints count for each of the types that can have them."""
        options: list[Form] = []
        kept = not metas
        for kind in kinds:
            if kind is msgspec.UnsetType:
                continue
            option = self.of(kind)
            if metas and kind is not type(None):
                try:
                    option = self._annotated(kind, metas)
                    kept = True
                except Undescribable:
                    pass
            options.append(option)
        if not kept:
            raise Undescribable("none of these types can have these constraints")
        return options[0] if len(options) == 1 else OneOf(options)

    # ── Annotated ────────────────────────────────────────────────────────────────────────────────────────────────

    def _annotated(self, kind: Any, metadata: Iterable[Any]) -> Form:
        items = list(_flat(metadata))
        theirs = [item for item in items if made_with_pydantic(item)]
        if theirs:
            return _described(self._pydantics(kind, items), [_said(item) for item in items if item not in theirs])
        says: list[msgspec.Meta] = []
        metas: list[msgspec.Meta] = []
        checks: list[tuple[str, Callable[[Any], bool]]] = []
        for item in items:
            if (said := _said(item)) is not None:
                says.append(said)
            elif isinstance(item, msgspec.Meta):
                metas.append(item)
            elif (meta := _meta_of(item)) is not None and self._takes(kind, meta):
                metas.append(meta)
            else:
                checks += _checks(item)
        form = self._constrained(kind, metas) if metas else self.of(kind)
        return _described(_checked(form, checks), says)

    def _constrained(self, kind: Any, metas: Sequence[msgspec.Meta]) -> Form:
        """A type with msgspec's own constraints."""
        bare = kind
        while isinstance(bare, NewType):
            bare = bare.__supertype__
        origin, args = get_origin(bare) or bare, get_args(bare)
        bounds, says = [_bounds_of(meta) for meta in metas], [_words_of(meta) for meta in metas]
        given = [meta for meta in bounds if meta is not None]
        if not given:
            return _described(self.of(kind), says)
        try:
            if origin is Union or origin is types.UnionType:
                form = self._union(args, given)
            else:
                form = self._class(bare, origin, args, given)
            form.schema(Definitions())  # msgspec says here what it cannot keep
        except TypeError as error:
            raise Undescribable(str(error).splitlines()[0]) from error
        return _described(form, says)

    def _takes(self, kind: Any, meta: msgspec.Meta) -> bool:
        """Whether this constraint can be left to msgspec."""
        try:
            self._constrained(kind, [meta])
        except Undescribable:
            return False
        return True

    def _pydantics(self, kind: Any, items: Sequence[Any]) -> Form:
        if wrong := [item for item in items if isinstance(item, msgspec.Meta) and _bounds_of(item) is not None]:
            raise Undescribable(f"{shown(wrong[0])} cannot stand beside pydantic's metadata; write all as one of them")
        try:
            return _by_pydantic(Annotated[(kind, *[item for item in items if _said(item) is None])])
        except Undescribable:
            plain = [each for item in items for each in _plain(item)]
            if any(made_with_pydantic(item) for item in plain):
                raise
            return self._annotated(kind, plain)  # a type that pydantic does not know, with nothing that only it can do


def settled(schema: JSON) -> Any:
    """The schema in one order, whatever the order of sets it was made from: choices and alternatives are sorted."""
    if isinstance(schema, list):
        return [settled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: settled(each) for name, each in inner.items()}
        if key in ("properties", "$defs") and isinstance(inner, dict)
        else inner
        if key in ("default", "examples", "enum", "const", "discriminator")
        else settled(inner)
        for key, inner in schema.items()
    }
    for key in ("anyOf", "oneOf"):
        if isinstance(made.get(key), list):
            made[key] = sorted(made[key], key=lambda each: (each == {"type": "null"}, _text(each)))
    if isinstance(made.get("enum"), list):
        made["enum"] = sorted(made["enum"], key=_rank_of_choice)
    if isinstance(made.get("$defs"), dict):
        made["$defs"] = dict(sorted(made["$defs"].items()))
    return made


def _text(value: JSON) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _rank_of_choice(choice: JSON) -> tuple[int, float, bytes]:
    """null, truth values, numbers, then text."""
    number = isinstance(choice, int | float) and not isinstance(choice, bool)
    kind = 0 if choice is None else 1 if isinstance(choice, bool) else 2 if number else 3
    return kind, float(choice) if number else 0.0, _text(choice)


def _scalar(origin: Any, metas: Sequence[msgspec.Meta]) -> Scalar:
    zones = [meta.tz for meta in metas if meta.tz is not None]
    says = _SCALARS[origin]
    if zones and not zones[-1]:
        says = _WITHOUT_OFFSET.get(origin, says)
    elif zones:
        says = {"examples": [example for example in says["examples"] if "+" in example]}
    plain = origin in _PLAIN and not any(meta.pattern for meta in metas)
    return Scalar(_with(origin, metas), whole=origin is int, plain=plain, says=says)


def _with(kind: Any, metas: Sequence[msgspec.Meta]) -> Any:
    return Annotated[(kind, *metas)] if metas else kind


def _literal(values: tuple[Any, ...]) -> Form:
    choices: list[tuple[JSON, Any]] = []
    for each in values:
        value = each.value if isinstance(each, enum.Enum) else each
        if value is not None and not isinstance(value, str | int | float | bool):
            raise Undescribable(f"Literal[{shown(each)}] has no form in JSON")
        choices.append((value, each))
    return Choice(choices)


def _enum(cls: type[enum.Enum]) -> Form:
    description = description_of_class(cls)
    if issubclass(cls, enum.Flag):
        names = ", ".join(f"{member.value}: {name}" for name, member in cls.__members__.items())
        most = sum(member.value for member in cls)
        form = Built(Scalar(Annotated[int, msgspec.Meta(ge=0, le=most)], whole=True), cls)
        return _described(form, [msgspec.Meta(description=f"{description or ''} The sum of {names}.".strip())])
    choices = [(member.value, member) for member in cls]
    if not choices:
        raise Undescribable(f"{cls.__name__} has no members")
    if wrong := [value for value, _ in choices if not isinstance(value, str | int | float | None)]:
        raise Undescribable(f"{cls.__name__} has the value {shown(wrong[0])}, which is neither text nor a number")
    return Choice(choices, enum=cls, description=description)


def _by_pydantic(kind: Any) -> Form:
    try:
        return PydanticForm(kind)
    except TypeError as error:
        raise Undescribable(str(error)) from error


def _described(form: Form, says: Iterable[msgspec.Meta | None]) -> Form:
    """The form with what it says beside its type: description, examples, more of its schema."""
    said: dict[str, JSON] = {}
    for meta in says:
        if meta is not None:
            said |= {key: value for key in ("description", "examples") if (value := getattr(meta, key)) is not None}
            said |= meta.extra_json_schema or {}
    if not said:
        return form
    return Built(form, lambda value: value, says=said, keys=getattr(form, "keys", frozenset()))


def _checked(form: Form, checks: Sequence[tuple[str, Callable[[Any], bool]]]) -> Form:
    """The form with checks of its own behind it, which the model is told in words."""
    if not checks:
        return form

    def check(value: Any) -> Any:
        for words, holds in checks:
            if not holds(value):
                raise Misfit(f"{value!r:.200} {words.replace('Must', 'must', 1).rstrip('.')}")
        return value

    return Built(form, check, also=" ".join(words for words, _ in checks), keys=getattr(form, "keys", frozenset()))


# ── metadata ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _package(item: Any) -> str:
    return type(item).__module__.partition(".")[0]


def _flat(metadata: Iterable[Any]) -> Iterable[Any]:
    """Metadata with what `annotated_types` groups (`Interval`, `Len`) taken apart."""
    for item in metadata:
        if _package(item) == "annotated_types" and isinstance(item, Iterable):
            yield from _flat(item)
        elif item is not None:
            yield item


def _said(item: Any) -> msgspec.Meta | None:
    """What only describes: text, and the `Doc` of others."""
    said = item if isinstance(item, str) else getattr(item, "documentation", None)
    return msgspec.Meta(description=said) if isinstance(said, str) else None


def _plain(item: Any) -> list[Any]:
    """A `Field` of pydantic's as what it is made of, where that is all; anything else as it is."""
    special = ("alias", "validation_alias", "discriminator", "default_factory")
    if type(item).__name__ != "FieldInfo" or any(getattr(item, name, None) is not None for name in special):
        return [item]
    return [*item.metadata, msgspec.Meta(description=item.description, examples=item.examples)]


def _words_of(meta: msgspec.Meta) -> msgspec.Meta:
    return msgspec.Meta(description=meta.description, examples=meta.examples, extra_json_schema=meta.extra_json_schema)


def _bounds_of(meta: msgspec.Meta) -> msgspec.Meta | None:
    names = (*_KEPT, "pattern", "tz")
    given = {name: value for name in names if (value := getattr(meta, name)) is not None}
    return msgspec.Meta(**given) if given else None


def _constraints(item: Any) -> dict[str, Any]:
    """The constraints in a piece of metadata of `annotated_types`."""
    if _package(item) != "annotated_types":
        return {}
    found = {name: value for name in _KEPT if (value := getattr(item, name, None)) is not None}
    if type(item).__name__ == "Timezone" and (item.tz is None or item.tz is Ellipsis):
        found["tz"] = item.tz is Ellipsis
    return found


def _meta_of(item: Any) -> msgspec.Meta | None:
    """The same constraint as msgspec has it, where it has it."""
    try:
        return msgspec.Meta(**found) if (found := _constraints(item)) else None
    except (TypeError, ValueError):  # a bound that is no number
        return None


def _checks(item: Any) -> Iterable[tuple[str, Callable[[Any], bool]]]:
    """A constraint that Python must check. Raises `Undescribable` for what is not known to be one."""
    found = _constraints(item)
    for name, bound in found.items():
        if name in _KEPT and (name != "min_length" or bound):  # `Len` always has a least length, be it 0
            words, holds = _KEPT[name]
            yield f"Must {words.format(bound)}.", partial(holds, bound)
    kind = type(item).__name__
    if found:
        return
    if _package(item) == "annotated_types" and kind in ("Predicate", "Not"):
        negated = kind == "Not"
        words = f"Must {'not ' * negated}pass the check {_name(item.func)}."
        yield words, lambda value: bool(item.func(value)) is not negated
    elif _package(item) == "annotated_types" and kind == "Unit":
        yield f"In {item.unit}.", lambda value: True
    elif not (_package(item) == "annotated_types" and kind in ("MinLen", "BaseMetadata")):
        raise Undescribable(
            f"what {shown(item)} in Annotated asks for is not known; write msgspec.Meta(…) or pydantic.Field(…)"
        )


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", None) or thing).replace("typing.", "")
