"""Forms: what a JSON value must be to become a Python value. Each form says its JSON Schema and reads values.

1. A form says what it takes: the schema and the check are made from the same form, so they cannot disagree.
2. Reading is strict: text is no number, and a number is no text. Only 3.0 is an integer, as JSON Schema has it.
3. msgspec checks single values; what it cannot do (unions of classes, other libraries' constraints) is done here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Annotated, Any, Protocol

import msgspec

from ..messages import JSON

__all__ = ["Anything", "Built", "Choice", "Definitions", "Field", "Form", "Items", "Keys", "Later", "Misfit", "Object"]
__all__ += ["OneOf", "Scalar", "Tuple"]

ONE_OF = "it must be one of"
MOST_CHOICES = 50
"""Choices that an error lists."""

MOST_TRIES = 16
"""Forms that are tried on average for each part of a value, over all its unions."""

_this_thread = threading.local()

_WRONG_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")


class Misfit(Exception):
    """A value does not fit. `at` is where, as in `.stops[2].name`; `hint` is what would fit."""

    def __init__(self, why: str, *, at: str = "", hint: str = "") -> None:
        super().__init__(why, at, hint)
        self.why, self.at, self.hint = why, at, hint

    def below(self, place: str) -> Misfit:
        """The same, seen from the value that holds this one."""
        return Misfit(self.why, at=place + self.at, hint=self.hint)

    def __str__(self) -> str:
        where = f" - at `${self.at}`" if self.at else ""
        return f"{self.why}{where}{self.hint and f' ({self.hint})'}"


class Definitions:
    """The named parts of one schema: `$defs`."""

    def __init__(self) -> None:
        self.schemas: dict[str, JSON] = {}
        self._names: dict[object, str] = {}

    def reference(self, key: object, name: str, schema: Callable[[], JSON]) -> dict[str, JSON]:
        """A reference to the part that `key` stands for. Its schema is made at the first call, and may refer to it."""
        if key not in self._names:
            name = self._names[key] = self._free(name)
            self.schemas[name] = {}
            self.schemas[name] = schema()
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def take_in(self, schema: dict[str, JSON]) -> dict[str, JSON]:
        """A schema of another library with its own `$defs` moved to ours; one of a name that is taken is renamed."""
        names: dict[str, str] = {}
        parts = schema.get("$defs", {})
        for name, part in parts.items():
            key = msgspec.json.encode((name, part), order="deterministic")
            names[name] = self._names.get(key) or self._free(name)
            self._names[key] = names[name]
            self.schemas.setdefault(names[name], {})
        for name, part in parts.items():
            self.schemas[names[name]] = _renamed(part, names)
        return dict(_renamed({key: each for key, each in schema.items() if key != "$defs"}, names))

    def _free(self, name: str) -> str:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_") or "Part"
        tries = (name if number == 1 else f"{name}_{number}" for number in range(1, len(self.schemas) + 2))
        return next(each for each in tries if each not in self.schemas)


def _renamed(schema: JSON, names: Mapping[str, str]) -> JSON:
    if isinstance(schema, list):
        return [_renamed(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _renamed(each, names) for key, each in schema.items()}
    if isinstance(reference := schema.get("$ref"), str):
        name = reference.removeprefix("#/$defs/")
        renamed["$ref"] = f"#/$defs/{names.get(name, name)}"
    return renamed


class Form(Protocol):
    """What a value must be."""

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        """Its JSON Schema; what has a name goes into `parts`."""
        ...

    def read(self, value: JSON) -> Any:
        """The Python value. Raises `Misfit`."""
        ...


def rank(form: Form, value: JSON) -> tuple[int, int]:
    """How well a form of a union suits a value, before it is read; less is better.

    What is plainest comes last (a date before any text), and of classes the one that knows most of the value's keys.
    """
    form = form.target if isinstance(form, Later) else form
    if isinstance(value, Mapping) and (keys := getattr(form, "keys", None)):
        return 0, len(value.keys() - keys)
    match form:
        case Anything():
            return 3, 0
        case Scalar(plain=True):
            return 2, 0
        case Scalar(whole=True) if isinstance(value, float):
            return 1, 0
        case _:
            return 0, 0


class Anything(msgspec.Struct, frozen=True):
    """Any JSON value, as it is."""

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        return {}

    def read(self, value: JSON) -> Any:
        return value


class Scalar(msgspec.Struct, frozen=True):
    """One value of a type that msgspec knows, with its constraints as `Meta`. `plain`: any text will do."""

    kind: Any
    whole: bool = False
    plain: bool = False
    says: Mapping[str, JSON] = {}

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        made = msgspec.json.schema(self.kind)
        return {**made, **{key: said for key, said in self.says.items() if key not in made}}

    def read(self, value: JSON) -> Any:
        if self.whole and isinstance(value, float) and value.is_integer():
            value = int(value)
        try:
            return msgspec.convert(value, self.kind, strict=True)
        except msgspec.ValidationError as error:
            examples = self.says.get("examples")
            raise Misfit(str(error), hint=f"as in {examples[0]}" if examples else "") from error


class Choice(msgspec.Struct, frozen=True):
    """One of some values, each with what it stands for. An `enum` is a part with a name, and may know more values."""

    choices: Sequence[tuple[JSON, Any]]
    enum: type[Enum] | None = None
    description: str | None = None

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        made: dict[str, JSON] = {"enum": [value for value, _ in self.choices]}
        if self.description:
            made["description"] = self.description
        return made if self.enum is None else parts.reference(self.enum, self.enum.__name__, lambda: made)

    def read(self, value: JSON) -> Any:
        for choice, meant in self.choices:
            if isinstance(value, bool) is isinstance(choice, bool) and value == choice:
                return meant
        if self.enum is not None:
            try:
                return self.enum(value)
            except Exception as error:  # an enum's own `_missing_`
                raise self._misfit(value) from error
        raise self._misfit(value)

    def _misfit(self, value: JSON) -> Misfit:
        shown = [msgspec.json.encode(choice).decode() for choice, _ in self.choices]
        more = ", …" if len(shown) > MOST_CHOICES else ""
        hint = f"{ONE_OF} {', '.join(shown[:MOST_CHOICES])}{more}"
        return Misfit(f"Invalid enum value {value!r:.200}", hint=hint)


class Built(msgspec.Struct, frozen=True):
    """A value that is read by another form and then made into something, or checked, by code of others.

    `keys` are those of an object, where that is known. What `build` raises is told to the model.
    """

    inner: Form
    build: Callable[[Any], Any]
    says: Mapping[str, JSON] = {}
    also: str = ""
    keys: frozenset[str] = frozenset()

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        made = {**self.says, **{key: said for key, said in self.inner.schema(parts).items() if key not in self.says}}
        if self.also:
            made["description"] = f"{made['description']} {self.also}" if made.get("description") else self.also
        return made

    def read(self, value: JSON) -> Any:
        return made_by(self.build, self.inner.read(value))


class Items(msgspec.Struct, frozen=True):
    """A list of values of one form. `kind` has the bounds of its length, `build` makes the collection."""

    kind: Any
    item: Form
    build: Callable[[Any], Any]

    @property
    def _list(self) -> Any:
        metas = getattr(self.kind, "__metadata__", ())
        return Annotated[(list, *metas)] if metas else list

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        item = self.item.schema(parts)
        return {"type": "array", **({"items": item} if item else {}), **msgspec.json.schema(self.kind)}

    def read(self, value: JSON) -> Any:
        given = _converted(value, self._list)
        read = [_at(f"[{index}]", self.item, item) for index, item in enumerate(given)]
        built = made_by(self.build, read)
        if len(built) < len(read):
            _converted(list(built), self._list)  # a set may have become too short
        return built


class Tuple(msgspec.Struct, frozen=True):
    """A list of so many values, each of its own form."""

    items: Sequence[Form]

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        items = [item.schema(parts) for item in self.items]
        made: dict[str, JSON] = {"type": "array", "minItems": len(items), "maxItems": len(items)}
        return {**made, **({"prefixItems": items} if items else {}), "items": False}

    def read(self, value: JSON) -> Any:
        given = _converted(value, list)
        if len(given) != len(self.items):
            raise Misfit(f"Expected `array` of length {len(self.items)}, got {len(given)}")
        return tuple(
            _at(f"[{index}]", form, item) for index, (form, item) in enumerate(zip(self.items, given, strict=True))
        )


class Keys(msgspec.Struct, frozen=True):
    """An object with any keys. Keys are text in JSON; `number` makes numbers of them first."""

    kind: Any
    key: Form
    value: Form
    number: bool

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        made = dict(msgspec.json.schema(self.kind))
        values = self.value.schema(parts)
        if self.number:
            made["propertyNames"] = {"pattern": r"^-?\d+(\.\d+)?$"}
        elif (names := self.key.schema(parts)) not in ({}, {"type": "string"}):
            made["propertyNames"] = names
        return {**made, "additionalProperties": values} if values else made

    def read(self, value: JSON) -> Any:
        given = _converted(value, self.kind)
        return {
            _at(f"[{key!r:.100}]", self.key, self._of(key)): _at(f".{key}", self.value, each)
            for key, each in given.items()
        }

    def _of(self, key: str) -> JSON:
        if not self.number:
            return key
        try:
            return msgspec.convert(key, int | float, strict=False)
        except msgspec.ValidationError:
            return key


class Field(msgspec.Struct, frozen=True):
    """One field of an object. `takes` is the name that its maker takes it by; `shown` its default, where it is JSON."""

    name: str
    takes: str
    form: Form
    required: bool
    shown: JSON | msgspec.UnsetType = msgspec.UNSET

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        """Its schema, with the default where the form takes that."""
        made = self.form.schema(parts)
        if self.shown is not msgspec.UNSET and "default" not in made:
            try:
                self.form.read(self.shown)
            except Exception:  # the default of a type that says otherwise, or code of others
                return made
            made["default"] = self.shown
        return made


class Object(msgspec.Struct, eq=False):
    """An object with fields, which `build` takes by keyword. `closed`: it has no other keys.

    `tag` is a key and what must stand there, to tell classes of a union apart. `fields` may be filled in later: a class
    may refer to itself.
    """

    name: str
    build: Callable[..., Any]
    fields: Sequence[Field] = ()
    description: str | None = None
    closed: bool = False
    tag: tuple[str, JSON] | None = None

    @property
    def keys(self) -> frozenset[str]:
        return frozenset([*(field.name for field in self.fields), *([self.tag[0]] if self.tag else ())])

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        return parts.reference(self, self.name, lambda: self.inline(parts))

    def inline(self, parts: Definitions) -> dict[str, JSON]:
        """Its schema where it stands, and not as a reference."""
        tag = {self.tag[0]: {"enum": [self.tag[1]]}} if self.tag else {}
        made: dict[str, JSON] = {"description": self.description} if self.description else {}
        made |= {
            "type": "object",
            "properties": tag | {field.name: field.schema(parts) for field in self.fields},
            "required": [*tag, *(field.name for field in self.fields if field.required)],
        }
        return {**made, "additionalProperties": False} if self.closed else made

    def read(self, value: JSON) -> Any:
        given = _converted(value, dict)
        if self.tag is not None and given.get(self.tag[0], self.tag[1]) != self.tag[1]:
            raise Misfit(
                f"Invalid value {given[self.tag[0]]!r:.200}", at=f".{self.tag[0]}", hint=f"it must be {self.tag[1]!r}"
            )
        values: dict[str, Any] = {}
        for field in self.fields:
            if field.name in given:
                values[field.takes] = _at(f".{field.name}", field.form, given[field.name])
            elif field.required:
                raise Misfit(f"Object missing required field `{field.name}`")
        if self.closed and (unknown := sorted(given.keys() - self.keys)):
            raise Misfit(f"Object contains unknown field `{unknown[0]}`")
        return made_by(lambda given: self.build(**given), values)


class OneOf(msgspec.Struct, frozen=True):
    """Any of some forms: the first that takes the value, in the order of `rank`."""

    options: Sequence[Form]

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        return {"anyOf": [option.schema(parts) for option in self.options]}

    def read(self, value: JSON) -> Any:
        misfits: list[Misfit] = []
        with _tries_for(value) as tries:
            for option in sorted(self._named_by(value), key=lambda option: rank(option, value)):
                if next(tries, None) is None:
                    raise Misfit("It could be too many things; no more are tried")
                try:
                    return option.read(value)
                except Misfit as misfit:
                    misfits.append(misfit)
        wrong = [None if each.at else _WRONG_TYPE.fullmatch(each.why) for each in misfits]
        near = [each for each, match in zip(misfits, wrong, strict=True) if match is None]
        expected = " | ".join(dict.fromkeys(match[1] for match in wrong if match))
        if len(near) == 1:
            more = f", or `{expected}`" if expected and near[0].hint.startswith(ONE_OF) else ""
            raise Misfit(near[0].why, at=near[0].at, hint=near[0].hint + more)
        if near:
            told = dict.fromkeys(str(each).replace(" - at `$.", " at `") for each in near)
            raise Misfit(f"It is none of what it may be: {'; or '.join(told)}")
        raise Misfit(f"Expected `{expected}`, got `{next(match[2] for match in wrong if match)}`")

    def _named_by(self, value: JSON) -> Sequence[Form]:
        """The class that a tag in the value names, or all options."""
        tagged = [
            option
            for option in self.options
            if isinstance(option, Object) and option.tag and isinstance(value, Mapping)
            if option.tag[0] in value and value[option.tag[0]] == option.tag[1]
        ]
        return tagged or self.options


@contextmanager
def _tries_for(value: JSON) -> Iterator[Iterator[int]]:
    """The tries that are left for the whole value: unions in unions could take 2 to the power of their depth."""
    outer = getattr(_this_thread, "tries", None)
    _this_thread.tries = outer or iter(range(MOST_TRIES * (_parts_of(value) + MOST_TRIES)))
    try:
        yield _this_thread.tries
    finally:
        _this_thread.tries = outer


def _parts_of(value: JSON) -> int:
    """How many values there are in it, itself included."""
    waiting, count = [value], 0
    while waiting:
        each = waiting.pop()
        count += 1
        waiting += each if isinstance(each, list) else each.values() if isinstance(each, dict) else ()
    return count


class Later(msgspec.Struct, eq=False):
    """A form that is made while something refers to it: a type that holds itself by a name."""

    name: str
    target: Any = None
    holds_itself: bool = False

    def schema(self, parts: Definitions) -> dict[str, JSON]:
        return parts.reference(self, self.name, lambda: self.target.schema(parts))

    def read(self, value: JSON) -> Any:
        return self.target.read(value)


def made_by(build: Callable[[Any], Any], value: Any) -> Any:
    """What `build` makes. Raises `Misfit` with what it raises: it may be anybody's code."""
    try:
        return build(value)
    except Misfit:
        raise
    except ValueError as error:
        raise Misfit(str(error) or "ValueError") from error
    except Exception as error:
        said = str(error)
        raise Misfit(f"{type(error).__name__}: {said}" if said else type(error).__name__) from error


def _at(place: str, form: Form, value: JSON) -> Any:
    try:
        return form.read(value)
    except Misfit as misfit:
        raise misfit.below(place) from misfit.__cause__


def _converted(value: JSON, kind: Any) -> Any:
    """A list or an object as such, within the bounds of its length; what is in it is not looked at."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise Misfit(str(error)) from error
