"""What a tool returns or raises, as JSON that can be stored, shown and sent to a model.

Nothing a tool returns may break a turn, so `encode_output` and `encode_error` are total: whatever has no JSON form is
shown as text. Text that is not valid UTF-8 is repaired here, before anything is stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Set

import msgspec

from .._context.causes import reason_of
from .._context.check import media_problems
from .._context.media import Unusable
from .._context.text import clean
from .._context.tidying import tidied
from .._plain import DEPTH, NO_SCALAR, expanded, plain_scalar, shown
from .._turn.limits import is_blocks
from ..events import ToolResultError
from ..messages import JSON, Block

__all__ = ["ToolError", "encode_error", "encode_output"]

ROOM = 64 * 2**20
"""How large one output may become: in characters of text, of which each value costs `VALUE` more."""

VALUE = 256

MESSAGE_CHARS = 4000
"""A longer error message keeps its head."""


class ToolError(Exception):
    """Raise this inside a tool to tell the model something on purpose.

    Attributes:
        message: What went wrong and what to try instead, for the model and a person.
        reason: The same for a program, such as "not_found".
    """

    def __init__(self, message: str, /, *, reason: str = "tool_error") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


def encode_output(value: object, *, prepare: Callable[[Block], Block] | None = None) -> JSON:
    """Any return value as JSON; never raises. It may take a while: call it in a thread.

    Text stays text. A list of content blocks (`text`, `image`, `document`) stays that, for the model to see, but for
    blank text and unusable pictures, which the API would refuse. Dataclasses, attrs classes, Structs, pydantic models,
    enums, dates and sets get their usual JSON form, bytes become base64. NaN, infinities and integers beyond 64 bits
    become text, because not every JSON reader keeps them. Where a value contains itself or is nested too deeply, the
    name of its type stands, and "…" for the rest of one that is too large. Anything else is shown by its `repr`.

    `prepare` is what is done to each image and document before it is looked at; it raises `Unusable`.
    """
    plain = _Encoder().plain(value)
    return _usable(plain, prepare) if is_blocks(plain) else plain


def encode_error(error: BaseException) -> ToolResultError:
    """What a tool raised, as the model and the client are told it; never raises.

    A `ToolError` speaks for itself; anything else has the reason "tool_failed", its type and text and those of its
    causes (of a group, of `raise … from …`); no traceback.
    """
    if isinstance(error, ToolError):
        return ToolResultError(reason=_text(error.reason), message=_text(error.message))
    return ToolResultError(reason="tool_failed", message=_text(reason_of(error)))


def _text(value: object) -> str:
    text = clean(str.__str__(value)) if isinstance(value, str) else _shown(value)
    return text if len(text) <= MESSAGE_CHARS else f"{text[:MESSAGE_CHARS]}…"


class _Encoder:
    """One output on its way to JSON: what it is inside of, and how much more may come.

    Both are needed. Few objects that know each other make a tree without end, and fifty that each hold the next one
    twice make one of 2**50 values.
    """

    def __init__(self) -> None:
        self._inside: set[int] = set()
        self._room = ROOM

    def plain(self, value: object) -> JSON:
        self._room -= VALUE
        match given := plain_scalar(value):
            case None | bool():
                return given
            case str():
                text = clean(given)
                self._room -= len(text)
                return text
            case int():
                return _integer(given)
            case float():
                return given if math.isfinite(given) else str(given)
        if id(value) in self._inside or len(self._inside) > DEPTH:
            return f"<{type(value).__name__}>"
        self._inside.add(id(value))
        try:
            return self._walked(value)
        except BaseException:  # the value's own code takes part, and may raise anything
            return _shown(value)
        finally:
            self._inside.discard(id(value))

    def _walked(self, value: object) -> JSON:
        match value:
            case Mapping():
                return self._object(value.items())
            case set() | frozenset():  # in one order, so that the same result is the same text in every process
                made = self._array(value)
                return made if self._room <= 0 else sorted(made, key=msgspec.json.encode)
            case list() | tuple() | Set():
                return self._array(value)
        if (inner := expanded(value)) is not NO_SCALAR:
            return self.plain(inner)
        return self.plain(msgspec.to_builtins(value, str_keys=True, enc_hook=_shown))

    def _object(self, items: Iterable[tuple[object, object]]) -> JSON:
        made: dict[str, JSON] = {}
        for key, item in items:
            if self._room <= 0:
                made["…"] = "…"
                break
            made[self._key(key)] = self.plain(item)
        return made

    def _array(self, items: Iterable[object]) -> JSON:
        made: list[JSON] = []
        for item in items:
            if self._room <= 0:
                made.append("…")
                break
            made.append(self.plain(item))
        return made

    def _key(self, key: object) -> str:
        plain = self.plain(key)
        name: str = plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
        return name


def _integer(number: int) -> int | str:
    if -(2**63) <= number < 2**64:
        return number
    # str() refuses integers of thousands of digits; hex() takes any
    return str(number) if number.bit_length() < 4096 else hex(number)


def _shown(value: object) -> str:
    return clean(shown(value))


def _usable(blocks: list[Block], prepare: Callable[[Block], Block] | None) -> JSON:
    """Content blocks the API takes: no blank text, and a note where a picture cannot be used.

    A list that only looks like content (records that happen to have a `type`) is data, and becomes its JSON text.
    """
    if not all(_is_content(block) for block in blocks):
        return msgspec.json.encode(blocks).decode()
    kept = [tidied(block) for block in blocks if block["type"] != "text" or block["text"].strip()]
    if prepare is not None:
        kept = [_prepared(block, prepare) for block in kept]
    for index, problem in media_problems(kept):
        kept[index] = _left_out(kept[index], problem)
    return kept or ""


def _prepared(block: Block, prepare: Callable[[Block], Block]) -> Block:
    try:
        return block if block["type"] == "text" else prepare(block)
    except Unusable as problem:
        return _left_out(block, f"it {problem}")


def _left_out(block: Block, problem: str) -> Block:
    return {"type": "text", "text": f"[{block['type']} left out: {problem}]"}


def _is_content(block: Block) -> bool:
    if block["type"] == "text":
        return block.keys() == {"type", "text"} and isinstance(block["text"], str)
    return isinstance(block.get("source"), dict)
