"""What is remembered: five kinds of memory, each with where it came from and what became of it.

A memory is never rewritten, but for its trail: when it stops being current, `retired_at`, `retired_because` and, where
another one took its place, `superseded_by` say so, and it stays readable. Times are unix ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

__all__ = [
    "KINDS",
    "TRUST",
    "Episode",
    "Forgetting",
    "Kind",
    "Knowledge",
    "Memory",
    "Mention",
    "Origin",
    "Person",
    "Relation",
    "Source",
    "Trait",
    "Trust",
]

Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""A number that every store can keep, and count on from; checked where a memory is read from outside."""

Origin: TypeAlias = Literal["person", "host", "agent", "tool", "web", "file", "import"]
"""Who said it: a person in the conversation, the program around the engine, the agent itself, or what it read."""

Trust: TypeAlias = Literal["stated", "inferred", "untrusted"]
"""How far it can be believed: somebody said so, the agent thinks so, or it was read somewhere."""

Kind: TypeAlias = Literal["episode", "knowledge", "person", "relation", "trait"]

TRUST: Mapping[Origin, Trust] = {
    "person": "stated",
    "host": "stated",
    "agent": "inferred",
    "tool": "untrusted",
    "web": "untrusted",
    "file": "untrusted",
    "import": "untrusted",
}
"""The most that each origin can be trusted."""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a memory came from. `detail` is the tool's name, the page's address, the file's path."""

    origin: Origin = "host"
    trust: Trust = "stated"
    task_id: str | None = None
    message_id: str | None = None
    detail: str = ""


class Mention(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn in which a memory was said. Without a task it is the program around the engine that said it.

    `source` is what this turn would give it as its source; None is the memory's own. `left` says that the turn is not
    part of its conversation now: an edit or retry went another way, or the turn did not count.
    """

    task_id: str | None = None
    turn_id: str = ""
    source: Source | None = None
    left: bool = False


class Forgetting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That a memory was forgotten, when (unix ms), why, and in which turn; without a task, by the program.

    While its turn is `left`, it does not count.
    """

    at: Whole
    because: str
    task_id: str | None = None
    turn_id: str = ""
    left: bool = False


class _Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """What every memory has. Without an id or a time of recording it is given both when it is remembered.

    `supersedes` names the memories whose place it took. `mentions` are the turns in which it was said: once none of
    them is part of its conversation any more, it is not current; () is for what a program put in, which stays.
    `forgotten` are the times when it was forgotten in a turn.
    """

    id: str = ""
    recorded_at: Whole = 0
    source: Source = Source()
    supersedes: tuple[str, ...] = ()
    superseded_by: str | None = None
    retired_at: Whole | None = None
    retired_because: str = ""
    mentions: tuple[Mention, ...] = ()
    forgotten: tuple[Forgetting, ...] = ()


class Episode(_Memory, frozen=True, kw_only=True, tag="episode"):
    """Something said or that happened, at a time. A turn of a conversation is one.

    `position` is its place in its task: its neighbours are the turns before and after. None is given the next one.
    """

    text: str
    at: Whole
    speaker: str | None = None
    position: Whole | None = None


class Knowledge(_Memory, frozen=True, kw_only=True, tag="knowledge"):
    """A fact about a subject.

    With an `attribute` ("employer", "home town") it is the only one of its subject that is current: a new value takes
    the place of the old one. Without, facts about a subject stand side by side. `confidence` is from 0 to 1; outside
    of `valid_from` to `valid_until` it is known not to hold.
    """

    subject: str
    content: str
    type: str = "fact"
    attribute: str | None = None
    confidence: float = 1.0
    valid_from: Whole | None = None
    valid_until: Whole | None = None


class Person(_Memory, frozen=True, kw_only=True, tag="person"):
    """Somebody: one current memory per name. `aliases` are other names for the same person."""

    name: str
    about: str = ""
    aliases: tuple[str, ...] = ()


class Relation(_Memory, frozen=True, kw_only=True, tag="relation"):
    """How two people or things stand to each other: `subject` `relation` `object`, such as Ana, sister of, Ben."""

    subject: str
    relation: str
    object: str
    confidence: float = 1.0
    valid_from: Whole | None = None
    valid_until: Whole | None = None


class Trait(_Memory, frozen=True, kw_only=True, tag="trait"):
    """A part of the soul: who the agent is. There is one current identity; values and patterns are many."""

    aspect: Literal["identity", "value", "pattern"]
    text: str


Memory: TypeAlias = Episode | Knowledge | Person | Relation | Trait
KINDS: tuple[Kind, ...] = get_args(Kind)
