"""What the offline model answers where a value was asked for: JSON from the words of the question, by simple rules.

A number becomes a number, quoted words and names become text, a word that is one of the choices is chosen. What cannot
be known so is left out where it may be; else the model says what it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
import msgspec

from ..messages import JSON

__all__ = ["fill_in"]

DEPTH = 8
"""Levels of a value that are filled; a schema may refer to itself."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])")
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|`([^`]+)`|(?<!\w)\'([^\']+)\'(?!\w)')
_NAME = re.compile(r"[A-ZÄÖÜ][\w-]*(?: [A-ZÄÖÜ][\w-]*)*")
_OPENERS = frozenset("a an and at for from how i in my of on please the this to what when where which who".split())
"""Words that are written large where a sentence begins, and are no names."""

_NAMED = frozenset("name title who person city country place author company product subject animal".split())


class _Unknown(Exception):
    """This cannot be known; the text is the name of what."""


@attrs.define
class _Words:
    """What of the question has not been used yet."""

    text: str
    numbers: list[int | float] = attrs.field(init=False)
    quotes: list[str] = attrs.field(init=False)
    names: list[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        plain = _QUOTED.sub(" ", self.text)
        self.numbers = [float(each) if "." in each else int(each) for each in _NUMBER.findall(plain)]
        self.quotes = [next(filter(None, match.groups())) for match in _QUOTED.finditer(self.text)]
        self.names = [name for found in _NAME.findall(plain) if (name := _without_opener(found))]


def _without_opener(found: str) -> str:
    first, _, rest = found.partition(" ")
    return rest if first.lower() in _OPENERS else found


def fill_in(schema: Mapping[str, JSON], text: str) -> tuple[str, bool]:
    """An answer, and whether it is the value: else it says in words what of it cannot be known."""
    defs = schema.get("$defs")
    try:
        value = _value("the answer", schema, _Words(text), defs if isinstance(defs, dict) else {}, DEPTH)
    except _Unknown as unknown:
        return f"by simple rules I cannot fill in {unknown} from these words.", False
    return msgspec.json.encode(value).decode(), True


def _value(name: str, schema: JSON, words: _Words, defs: Mapping[str, JSON], depth: int) -> JSON:
    if not isinstance(schema, dict) or depth == 0:
        raise _Unknown(name)
    if isinstance(reference := schema.get("$ref"), str):
        return _value(name, defs.get(reference.removeprefix("#/$defs/")), words, defs, depth - 1)
    if isinstance(options := schema.get("anyOf") or schema.get("oneOf"), list):
        return _first(name, options, words, defs, depth)
    if "const" in schema:
        return schema["const"]
    if isinstance(choices := schema.get("enum"), list):
        said = words.text.lower()
        return next((choice for choice in choices if str(choice).lower() in said), choices[0])
    match schema.get("type"):
        case "object":
            return _object(schema, words, defs, depth)
        case "array":
            return _list(name, schema.get("items"), words, defs, depth)
        case "integer" | "number" as kind:
            return _number(name, whole=kind == "integer", words=words)
        case "boolean":
            return re.search(rf"\b{re.escape(name.replace('_', ' '))}\b", words.text, re.IGNORECASE) is not None
        case "string":
            return _text(name, words)
        case "null":
            return None
        case _:
            raise _Unknown(name)


def _first(name: str, options: list[JSON], words: _Words, defs: Mapping[str, JSON], depth: int) -> JSON:
    """The first form that can be filled; nothing rather than none."""
    for option in sorted(options, key=lambda each: isinstance(each, dict) and each.get("type") == "null"):
        try:
            return _value(name, option, words, defs, depth - 1)
        except _Unknown:
            continue
    raise _Unknown(name)


def _object(schema: Mapping[str, JSON], words: _Words, defs: Mapping[str, JSON], depth: int) -> dict[str, JSON]:
    filled: dict[str, JSON] = {}
    required, properties = schema.get("required"), schema.get("properties")
    for name, inner in (properties if isinstance(properties, dict) else {}).items():
        try:
            filled[name] = _value(name, inner, words, defs, depth - 1)
        except _Unknown:
            if isinstance(required, list) and name in required:
                raise
    return filled


def _list(name: str, items: JSON, words: _Words, defs: Mapping[str, JSON], depth: int) -> list[JSON]:
    """As many items as the words have something new for."""
    found: list[JSON] = []
    while True:
        left = (len(words.numbers), len(words.quotes), len(words.names))
        try:
            item = _value(name.removesuffix("s"), items, words, defs, depth - 1)
        except _Unknown:
            return found
        if left == (len(words.numbers), len(words.quotes), len(words.names)):
            return found or [item]  # nothing of the words was used: there would be no end of it
        found.append(item)


def _number(name: str, *, whole: bool, words: _Words) -> int | float:
    for number in words.numbers:
        if isinstance(number, int) or not whole:
            words.numbers.remove(number)
            return number
    raise _Unknown(name)


def _text(name: str, words: _Words) -> str:
    if words.quotes:
        return words.quotes.pop(0)
    if words.names and _NAMED & set(re.split(r"[_\W]+", name.lower())):
        return words.names.pop(0)
    return words.text.strip()
