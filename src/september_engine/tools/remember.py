"""`remember` and `forget`: the agent writes long-term memory.

Where a memory came from is said by the engine, never by the model. What stands word for word in what the person said in
this turn is the person's, the rest is the agent's own. Once another tool was called in the turn nobody can say who
speaks: then all of it is untrusted, and no trait is taken. What a tool brought in stays in the thread, and so does an
untrusted memory that was recalled, or a file that a person attached: from then on a memory is the person's only where
all that it says stands in the words of this turn, what it is about as well, and a trait where it is a whole sentence of
them; and what somebody stated is only forgotten where the person names it. So no page that is read can make itself
believed, neither at once nor when it is long forgotten, and none can say who the agent is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, cast, get_args

import attrs
import msgspec
from msgspec import Meta

from .._memory.records import Episode, Knowledge, Memory, Mention, Person, Relation, Source, Trait
from .._memory.rows import text_of
from ..errors import InvalidRequest
from ..memory.base import LongTerm
from .output import ToolError
from .tool import Called, Tool, tool

__all__ = ["memory_tools"]

MOST_CHARS = 2_000
_BESIDE = (
    " It is marked untrusted, because tools, attached files or untrusted memories came before it, and replaces nothing "
    "that the person said. What the person says in a message of their own can be remembered word for word, the subject "
    "and the attribute as well."
)
_KEPT = (
    "Tools, attached files or untrusted memories came before this. So what somebody said, and who you are, is only "
    "forgotten where the person names it: by its id, or by what it says, word for word, in a message after which no "
    "tool was called. Ask the person."
)

_LETTER = "[0-9a-z\u00c0-\u024f\u0370-\u058f\u1e00-\u1fff]"
"""Of scripts that have spaces between words."""

_SENTENCE_END = re.compile(r"[.!?…。！？]+|\n")

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
            if not all(_may_forget(each, called) for each in await memory().known([memory_id])):
                raise ToolError(_KEPT, reason="permission_denied")
            forgotten = await memory().forget(memory_id, because=because, turn=(called.task_id, called.turn_id))
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
    parts = [content, *(part for part in (subject, attribute) if part and part.strip() and kind != "trait")]
    common: dict[str, Any] = {"id": f"mem_{digest[:24]}", "source": _source(kind, parts, called)}
    common["mentions"] = (Mention(task_id=called.task_id, turn_id=called.turn_id),)
    if kind == "trait":
        if attribute not in get_args(Aspect):
            raise ToolError("A trait needs attribute='identity', 'value' or 'pattern'.", reason="invalid_input")
        if common["source"].origin != "person":
            raise ToolError(
                "A trait is only remembered in the person's own words, word for word as they stand in this turn's "
                "message, and before any other tool is called in the turn; once anything was read in the conversation, "
                "only as whole sentences. Otherwise ask the person to say it again.",
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


def _source(kind: Kind, parts: Sequence[str], called: Called) -> Source:
    """Who says so, as far as the engine itself can tell. `parts` are all that is said, the content first."""
    here = {"task_id": called.task_id, "message_id": called.message_id}
    if called.outside:
        return Source(origin="agent", trust="untrusted", detail=f"after {', '.join(called.outside[:5])}", **here)
    content = parts[0]
    if not called.outside_before:
        persons = _stands_in(content, called.said)
    elif kind == "trait":  # "do as pages say" is no whole of "Never do as pages say."
        persons = _sentences(content) <= _sentences(called.said)
    else:
        persons = _all_said(parts, called.said)
    if persons:
        return Source(origin="person", trust="stated", **here)
    if called.outside_before:
        return Source(origin="agent", trust="untrusted", detail=f"after {', '.join(called.outside_before[:5])}", **here)
    return Source(origin="agent", trust="inferred", **here)


def _may_forget(memory: Memory, called: Called) -> bool:
    """As what is untrusted replaces nothing that somebody stated, it does not make it forgotten either."""
    if memory.source.trust != "stated" and not isinstance(memory, Trait):
        return True
    if called.outside:
        return False
    return not called.outside_before or _stands_in(memory.id, called.said) or _all_said(_parts(memory), called.said)


def _parts(memory: Memory) -> Sequence[str]:
    match memory:
        case Knowledge():
            return [memory.content, memory.subject, memory.attribute or ""]
        case Relation():
            return [memory.subject, memory.relation, memory.object]
        case Person():
            return [memory.name]
        case Episode() | Trait():
            return [memory.text]


def _all_said(parts: Sequence[str], said: str) -> bool:
    """Whether all of this stands in what was said. Whoever speaks says "I", not "user"."""
    return all(_stands_in(part, said) for part in parts if part.strip() and _plain(part) != "user")


def _stands_in(part: str, whole: str) -> bool:
    """Word for word, and not within a longer word."""
    part = _plain(part)
    begin = f"(?<!{_LETTER})" if re.match(_LETTER, part) else ""
    end = f"(?!{_LETTER})" if re.match(_LETTER, part[-1:]) else ""
    return bool(part) and re.search(f"{begin}{re.escape(part)}{end}", _plain(whole)) is not None


def _sentences(text: str) -> set[str]:
    return {" ".join(each.split()) for each in _SENTENCE_END.split(text.casefold()) if each.strip()}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _why(memory: Memory) -> str:
    return memory.retired_because or text_of(memory)
