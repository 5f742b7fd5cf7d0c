"""The parts of the reference that are made from the code.

    python -m tests.docs.reference      write them anew

A page holds them between `<!-- generated: NAME -->` and `<!-- end -->`; a test says when they are stale.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import get_args

import attrs
import msgspec

import september_engine
from september_engine import (
    _blocking_memory,
    blocking,
    engine,
    errors,
    events,
    messages,
    notes,
    permissions,
    settings,
    streams,
    tools,
)
from september_engine.http import auth
from september_engine.memory import base as remembered
from september_engine.memory import longterm, minilm
from september_engine.models import anthropic, known_prices, offline, prices, scripted
from september_engine.sandbox import base, choice
from september_engine.store import base as store_base
from september_engine.store import memory, sqlite
from september_engine.testing import fakes
from september_engine.tools import builtin

from ..programs import ROOT

__all__ = ["FOLDER", "render"]

FOLDER = ROOT / "docs" / "reference"
LONGEST_DEFAULT = 40

_REGION = re.compile(r"(<!-- generated: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.S)
_SECTION = re.compile(r"^(Args|Attributes):\n((?:(?: {4}.*)?\n?)+)", re.M)


class _Text:
    """Text that shows as it is where a signature would show an annotation or a default."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def render(page: str) -> str:
    """The page with its generated parts made anew."""
    return _REGION.sub(lambda match: match[1] + REGIONS[match["name"]]().strip() + "\n" + match[3], page)


def _events() -> str:
    parts: list[str] = []
    for kind in get_args(events.Event):
        parts.append(f"### `{kind.__struct_config__.tag}`\n\n{_doc(kind)}\n")
        parts.append("| Field | Type | |\n|---|---|---|")
        for field in msgspec.structs.fields(kind):
            optional = "" if field.required else "may be left out"
            parts.append(f"| `{field.name}` | `{_cell(_annotation(kind, field.name))}` | {optional} |")
        parts.append("")
    return "\n".join(parts)


def _parts() -> str:
    """The structs inside of events."""
    parts: list[str] = []
    for kind in (messages.Usage, events.ToolResultError, events.PlanStep):
        fields = ", ".join(f"`{name}` {_annotation(kind, name)}" for name in kind.__struct_fields__)
        parts.append(f"- **{kind.__name__}**: {fields}. {_doc(kind)}")
    return "\n".join(parts)


def _exceptions() -> str:
    parts = ["| Exception | Code | Status | |", "|---|---|---|---|"]
    offered = [(errors, name) for name in errors.__all__] + [
        (auth, name) for name in auth.__all__ if _is_error(auth, name)
    ]
    for module, name in offered:
        kind = getattr(module, name)
        code, status = f"`{kind.code}`", str(kind.status)
        if kind is errors.ModelError:
            code, status = "one of the model's", "with its code"
        if kind is errors.TurnFailed:
            code, status = "that of the `error` event", ""
        if kind is errors.ConfigurationError:
            status = "at start-up"
        parts.append(f"| `{name}` | {code} | {status} | {_first_line(kind)} |")
    return "\n".join(parts)


def _model_codes() -> str:
    rows = [f"| `{code}` | {status} |" for code, status in errors.ModelError.STATUSES.items()]
    return "\n".join(["| Code | Status |", "|---|---|", *rows])


def _api() -> str:
    parts: list[str] = []
    for title, entries in API.items():
        parts.append(f"## {title}\n")
        for module, names in entries:
            path = module.__name__
            for name in names:
                parts += _entry(getattr(module, name), name, path)
    return "\n".join(parts)


def _entry(thing: Callable[..., object], name: str, path: str) -> Iterator[str]:
    place = "september_engine" if name in september_engine.__all__ else path
    call = "" if name in MADE_ELSEWHERE else f"```py\n{_call(name, thing)}\n```\n\n"
    yield f"### `{name}`\n\n`from {place} import {name}`\n\n{call}{_doc(thing)}\n"
    if inspect.isclass(thing):
        for method, value in _members(thing).items():
            yield from _method(method, value)


def _members(kind: type) -> dict[str, object]:
    """What the class and its private bases define."""
    found: dict[str, object] = {}
    for each in reversed(kind.__mro__):
        if each is kind or (each.__name__.startswith("_") and each.__module__ == kind.__module__):
            found |= vars(each)
    return found


def _method(name: str, value: object) -> Iterator[str]:
    """One that is for callers; what only fulfils a port has no docstring of its own and is found there."""
    if name.startswith("_") or name in INNER or not _doc(value):
        return
    if isinstance(value, property):
        kind = (value.fget.__annotations__ if value.fget else {}).get("return", "")
        yield f"#### `.{name}`: `{kind}`\n\n{_doc(value)}\n"
    elif isinstance(value, classmethod):
        yield f"#### `.{name}`\n\n```py\n{_call(name, value.__func__)}\n```\n\n{_doc(value.__func__)}\n"
    elif inspect.isfunction(value):
        yield f"#### `.{name}`\n\n```py\n{_call(name, value)}\n```\n\n{_doc(value)}\n"


def _call(name: str, thing: Callable[..., object]) -> str:
    """The signature as one would write it, a parameter a line where it is long."""
    signature = inspect.signature(thing, follow_wrapped=False)  # `Tool.__wrapped__` is for its instances
    given = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    shown = [_shown(each) for each in given]
    returns = signature.return_annotation
    if inspect.isclass(thing) or returns is inspect.Signature.empty:
        returns = inspect.Signature.empty
    else:
        returns = _Text(str(returns))
    word = "async def " if inspect.iscoroutinefunction(thing) else "" if inspect.isclass(thing) else "def "
    text = word + name + str(inspect.Signature(shown, return_annotation=returns))
    if len(text) <= 100:
        return text
    inner: list[str] = []
    for parameter in shown:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in inner:
            inner.append("*")
        inner.append(str(parameter))
    after = "" if returns is inspect.Signature.empty else f" -> {returns!r}"
    return f"{word}{name}(\n" + "".join(f"    {each},\n" for each in inner) + f"){after}"


def _shown(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.annotation is not parameter.empty:
        parameter = parameter.replace(annotation=_Text(_plain(parameter.annotation)))
    if parameter.default is not parameter.empty:
        text = "…" if _is_made(parameter.default) else repr(parameter.default).replace("PosixPath", "Path")
        parameter = parameter.replace(default=_Text(text if len(text) <= LONGEST_DEFAULT else "…"))
    return parameter


def _is_made(default: object) -> bool:
    """A default that is a fresh object each time, or has no text of its own."""
    return isinstance(default, attrs.NOTHING.__class__ | msgspec.UnsetType) or " at 0x" in repr(default)


def _plain(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:september_engine|typing|collections\.abc|pathlib)\.(?:\w+\.)*", "", text).strip("'")


def _annotation(kind: type, field: str) -> str:
    for each in kind.__mro__:
        if field in (annotations := inspect.get_annotations(each)):
            return str(annotations[field])
    raise AssertionError(f"{kind.__name__}.{field} has no annotation")


def _doc(thing: object) -> str:
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    return _SECTION.sub(lambda match: f"{_items(match[2])}\n\n", text).strip()


def _items(section: str) -> str:
    """`name: text` a line, as a list."""
    lines = inspect.cleandoc(section).splitlines()
    named = (
        re.sub(r"^(\w+): ", r"- `\1`: ", line) if not line.startswith(" ") else f"  {line.strip()}" for line in lines
    )
    return "\n".join(named)


def _first_line(thing: object) -> str:
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "").splitlines()[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _is_error(module: ModuleType, name: str) -> bool:
    kind = getattr(module, name)
    return inspect.isclass(kind) and issubclass(kind, errors.EngineError)


REGIONS: Mapping[str, Callable[[], str]] = {
    "events": _events,
    "parts": _parts,
    "exceptions": _exceptions,
    "model_codes": _model_codes,
    "api": _api,
}

MADE_ELSEWHERE = ("Turn", "Replay", "EventStream", "BlockingTurn", "Tool", "Notes", "BlockingNotes", "BlockingMemory")
"""What programs are given and never make: their constructors are not for use."""

INNER = ("pages", "stop_streams")
"""For servers; a program has no use for them."""

API: Mapping[str, list[tuple[ModuleType, list[str]]]] = {
    "The engine": [
        (engine, ["Engine", "Health"]),
        (notes, ["Notes"]),
        (september_engine, ["Limits"]),
        (settings, ["Settings", "KeyRing"]),
    ],
    "Reading": [(streams, ["Turn", "Replay", "EventStream", "TurnResult"])],
    "Without await": [
        (blocking, ["BlockingEngine", "BlockingNotes", "BlockingTurn"]),
        (_blocking_memory, ["BlockingMemory"]),
    ],
    "Tools": [(tools, ["tool", "Tool"]), (september_engine, ["ToolError"]), (builtin, ["builtin_tools"])],
    "Permissions": [
        (permissions, ["Policy", "Rule", "Run", "Read", "Write", "Network", "Unknown", "Allow", "Ask", "Deny"]),
    ],
    "Sandboxes": [
        (choice, ["choose_sandbox", "report", "Availability"]),
        (base, ["Sandbox", "OpeningSandbox", "Job", "Outcome"]),
    ],
    "Messages": [
        (messages, ["Message", "Content", "Usage", "Task", "TaskDetail", "Branch", "text_of", "tool_uses"]),
    ],
    "Models": [
        (anthropic, ["AnthropicModel"]),
        (offline, ["OfflineModel"]),
        (prices, ["Prices", "Price", "PriceList"]),
        (known_prices, ["KnownPrices"]),
        (scripted, ["ScriptedModel", "say", "think", "call", "fail", "hold", "turn"]),
    ],
    "Stores": [
        (sqlite, ["SQLiteStore"]),
        (memory, ["MemoryStore"]),
        (store_base, ["CompactProgress", "CompactReport"]),
    ],
    "Memory": [
        (longterm, ["LongTermMemory"]),
        (
            remembered,
            [
                "Episode",
                "Knowledge",
                "Person",
                "Relation",
                "Trait",
                "Source",
                "Mention",
                "Forgetting",
                "Hit",
                "Soul",
                "Embedder",
            ],
        ),
        (minilm, ["MiniLMEmbedder"]),
    ],
    "For tests": [(fakes, ["FakeClock", "FakeIds", "SequenceRandom", "World"])],
}


def main() -> None:
    for path in sorted(Path(FOLDER).glob("*.md")):
        old = path.read_text(encoding="utf-8")
        if (new := render(old)) != old:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
