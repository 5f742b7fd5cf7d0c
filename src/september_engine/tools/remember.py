"""`remember` and `forget`: the agent writes long-term memory.

Where a memory came from is said by the engine, never by the model. What stands word for word in what the person said in
this turn is the person's, the rest is the agent's own. Once another tool was called in the turn nobody can say who
speaks: then all of it is untrusted, and no trait is taken. What a tool brought in stays in the thread, and so does an
untrusted memory that was recalled: in later turns what is not in the person's words is untrusted, too. So no page that
is read can make itself believed, neither at once nor when it is long forgotten, and none can say who the agent is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal, cast, get_args

import attrs
import msgspec
from msgspec import Meta

from .._memory.records import Knowledge, Memory, Person, Relation, Source, Trait
from .._memory.rows import text_of
from ..errors import InvalidRequest
from ..memory.base import LongTerm
from .output import ToolError
from .tool import Called, Tool, tool

__all__ = ["memory_tools"]

MOST_CHARS = 2_000
_BESIDE = (
    " It is marked untrusted, because tools or untrusted memories came before it, and replaces nothing that the person "
    "said. What the person says in a message of their own can be remembered word for word."
)

Kind = Literal["knowledge", "person", "relation", "trait"]
Aspect = Literal["identity", "value", "pattern"]
Name = Annotated[str, Meta(max_length=200)]
Share = Annotated[float, Meta(ge=0, le=1)]


@tool(name="remember", safe_to_repeat=True)
async def _remember(
    kind: Annotated[Kind, Meta(description="What kind of memory it is; see above.")],
    content: Annotated[
        str, Meta(description="What to remember, in one sentence.", min_length=1, max_length=MOST_CHARS)
    ],
    subject: Annotated[Name | None, Meta(description="Whom or what it is about, by name; left out: the user.")] = None,
    attribute: Annotated[Name | None, Meta(description="What of the subject it says, such as 'home town'.")] = None,
    type: Annotated[
        Name | None, Meta(description="Of knowledge: fact, preference, event, procedure or another.")
    ] = None,
    confidence: Annotated[Share | None, Meta(description="How sure it is, from 0 to 1.")] = None,
) -> str:
    """Remember something for good, for later conversations. You are shown what fits with a person's message.

    knowledge: a fact `content` about a `subject`. With an `attribute` that can have only one value, a new value takes
    the place of the old one. person: who `subject` is. relation: `subject` stands in the relation `attribute` to
    `content`, such as Ana, sister of, Ben. trait: who you are to be, only in the person's own words of this turn, word
    for word; `attribute` is 'identity', 'value' or 'pattern'.
    Remember what will still matter, one fact a call. What is said is remembered anyway; never keep secrets.
    """
    raise AssertionError("the engine puts the function that writes in its place")


@tool(name="forget", safe_to_repeat=True)
async def _forget(
    memory_id: Annotated[str, Meta(description="The memory's id, as you were shown it.", min_length=1, max_length=200)],
    reason: Annotated[str, Meta(description="Why, in one line.", min_length=1, max_length=500)],
) -> str:
    """Forget one memory that is wrong or that the person does not want kept. It stays readable for people.

    A fact that has only changed needs no forgetting: remember the new value with the same subject and attribute.
    """
    raise AssertionError("the engine puts the function that writes in its place")


def memory_tools(memory: Callable[[], LongTerm]) -> list[Tool[..., Any]]:
    """The two tools, on the memory that is there when they are called."""

    async def remember(*, called: Called, kind: Kind, content: str, **more: Any) -> str:
        wanted = _memory(kind, content, called, **more)
        try:
            [kept] = await memory().remember(wanted, repeat=True)
        except InvalidRequest as error:
            raise ToolError(error.message, reason="invalid_input") from error
        if kept.id != wanted.id:
            return f"That is remembered already, as {kept.id}."
        instead = f", in place of {', '.join(kept.supersedes)}" if kept.supersedes else ""
        return f"Remembered as {kept.id}{instead}.{_BESIDE if kept.source.trust == 'untrusted' else ''}"

    async def forget(*, called: Called, memory_id: str, reason: str) -> str:
        because = f"{reason.strip()} (forgotten by the agent in task {called.task_id!r}, message {called.message_id})"
        try:
            forgotten = await memory().forget(memory_id, because=because)
        except InvalidRequest as error:
            raise ToolError(error.message, reason="invalid_input") from error
        return "Forgotten." if forgotten.retired_because == because else f"It was forgotten: {_why(forgotten)}."

    ours: list[tuple[Tool[..., Any], Callable[..., Any]]] = [(_remember, remember), (_forget, forget)]
    return [attrs.evolve(described, function=function, told=True) for described, function in ours]


def _memory(
    kind: Kind,
    content: str,
    called: Called,
    *,
    subject: str | None = None,
    attribute: str | None = None,
    type: str | None = None,
    confidence: float | None = None,
) -> Memory:
    """What a call wants remembered. Raises `ToolError` where something is missing."""
    digest = hashlib.sha256(msgspec.json.encode([called.task_id, called.turn_id, called.tool_call_id])).hexdigest()
    common: dict[str, Any] = {"id": f"mem_{digest[:24]}", "source": _source(content, called)}
    if kind == "trait":
        if attribute not in get_args(Aspect):
            raise ToolError("A trait needs attribute='identity', 'value' or 'pattern'.", reason="invalid_input")
        if common["source"].origin != "person":
            raise ToolError(
                "A trait is only remembered in the person's own words, word for word as they stand in this turn's "
                "message, and before any other tool is called in the turn. Otherwise ask the person to say it again.",
                reason="invalid_input",
            )
        return Trait(aspect=cast("Aspect", attribute), text=content, **common)
    if kind == "person" and subject is None:
        raise ToolError("A person needs a subject: the name.", reason="invalid_input")
    subject = "user" if subject is None or not subject.strip() else subject
    if confidence is not None and kind != "person":
        common["confidence"] = confidence
    if kind == "person":
        return Person(name=subject, about=content, **common)
    if kind == "relation":
        if attribute is None or not attribute.strip():
            raise ToolError("A relation needs an attribute, such as 'sister of'.", reason="invalid_input")
        return Relation(subject=subject, relation=attribute, object=content, **common)
    return Knowledge(subject=subject, content=content, attribute=attribute, type=type or "fact", **common)


def _source(content: str, called: Called) -> Source:
    """Who says so, as far as the engine itself can tell."""
    here = {"task_id": called.task_id, "message_id": called.message_id}
    if called.outside:
        return Source(origin="agent", trust="untrusted", detail=f"after {', '.join(called.outside[:5])}", **here)
    if _plain(content) in _plain(called.said):
        return Source(origin="person", trust="stated", **here)
    if called.outside_before:
        return Source(origin="agent", trust="untrusted", detail=f"after {', '.join(called.outside_before[:5])}", **here)
    return Source(origin="agent", trust="inferred", **here)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _why(memory: Memory) -> str:
    return memory.retired_because or text_of(memory)
