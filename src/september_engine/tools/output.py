"""What a tool returns or raises, as JSON that can be stored, shown and sent to a model.

Nothing a tool returns may break a turn, so `encode_output` and `encode_error` are total: whatever has no JSON form is
shown as text. Text that is not valid UTF-8 is repaired here, before anything is stored.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Set

import msgspec

from .._context.check import media_problems
from .._context.depth import DEPTH
from .._context.text import clean
from .._turn.limits import is_blocks
from ..events import ToolResultError
from ..messages import JSON, Block

__all__ = ["ToolError", "encode_error", "encode_output"]

REPR_CHARS = 1000
"""A longer `repr` keeps its head."""

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


def encode_output(value: object) -> JSON:
    """Any return value as JSON; never raises.

    Text stays text. A list of content blocks (`text`, `image`, `document`) stays that, for the model to see, but for
    blank text and unusable pictures, which the API would refuse. Dataclasses, attrs classes, Structs, pydantic models,
    enums, dates and sets get their usual JSON form, bytes become base64. NaN, infinities and integers beyond 64 bits
    become text, because not every JSON reader keeps them. Anything else, and what is nested deeper than `DEPTH` or
    contains itself, is shown by its `repr`.
    """
    plain = _plain(value, 0)
    return _usable(plain) if is_blocks(plain) else plain


def encode_error(error: BaseException) -> ToolResultError:
    """What a tool raised, as the model and the client are told it; never raises.

    A `ToolError` speaks for itself; anything else has the reason "tool_failed" and its type and text, no traceback.
    """
    if isinstance(error, ToolError):
        return ToolResultError(reason=_text(error.reason), message=_text(error.message))
    try:
        text = str(error)
    except Exception:  # a broken __str__ is no reason to lose the error's type
        text = ""
    name = type(error).__name__
    return ToolResultError(reason="tool_failed", message=_text(f"{name}: {text}" if text else name))


def _text(value: object) -> str:
    text = clean(value) if isinstance(value, str) else _shown(value)
    return text if len(text) <= MESSAGE_CHARS else f"{text[:MESSAGE_CHARS]}…"


def _plain(value: object, depth: int) -> JSON:
    if depth > DEPTH:
        return _shown(value)
    match value:
        case None | bool():
            return value
        case str():
            return clean(str.__str__(value))
        case int():
            return _integer(int.__int__(value))
        case float():
            number = float.__float__(value)
            return number if math.isfinite(number) else str(number)
    try:
        match value:
            case Mapping():
                return {_key(key, depth): _plain(item, depth + 1) for key, item in value.items()}
            case list() | tuple() | Set():
                return [_plain(item, depth + 1) for item in value]
            case _:
                return _plain(msgspec.to_builtins(value, str_keys=True, enc_hook=_json_form), depth + 1)
    except Exception:  # the value's own code takes part, and may raise anything
        return _shown(value)


def _integer(number: int) -> int | str:
    if -(2**63) <= number < 2**64:
        return number
    # str() refuses integers of thousands of digits; hex() takes any
    return str(number) if number.bit_length() < 4096 else hex(number)


def _key(key: object, depth: int) -> str:
    plain = _plain(key, depth + 1)
    name: str = plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
    return name


def _json_form(value: object) -> object:
    """For what msgspec does not know: pydantic's own JSON form, else the `repr`."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else _shown(value)


class _Repr(reprlib.Repr):
    """Bounded, without the address of a default `repr`, which means nothing to a model."""

    def repr_instance(self, x: object, level: int) -> str:
        name = f"<{type(x).__name__}>"
        if type(x).__repr__ is object.__repr__:
            return name
        try:
            text = repr(x)
        except Exception:  # a broken __repr__
            return name
        return text if len(text) <= REPR_CHARS else f"{text[:REPR_CHARS]}…"


_repr = _Repr().repr


def _shown(value: object) -> str:
    try:
        text = _repr(value)
    except Exception:  # a container whose own code fails
        text = f"<{type(value).__name__}>"
    shown: str = clean(text)
    return shown


def _usable(blocks: list[Block]) -> JSON:
    """Content blocks the API takes: no blank text, and a note where a picture cannot be used.

    A list that only looks like content (records that happen to have a `type`) is data, and becomes its JSON text.
    """
    if not all(_is_content(block) for block in blocks):
        return msgspec.json.encode(blocks).decode()
    kept = [block for block in blocks if block["type"] != "text" or block["text"].strip()]
    for index, problem in media_problems(kept):
        kept[index] = {"type": "text", "text": f"[{kept[index]['type']} left out: {problem}]"}
    return kept or ""


def _is_content(block: Block) -> bool:
    if block["type"] == "text":
        return block.keys() == {"type", "text"} and isinstance(block["text"], str)
    return isinstance(block.get("source"), dict)
