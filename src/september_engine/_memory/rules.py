"""Rules: what can be remembered, what becomes of the old then, and who may say what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from .._plain import plain_json, plain_scalar, shown
from ..errors import InvalidRequest
from .records import (
    KINDS,
    TRUST,
    Episode,
    Forgetting,
    Kind,
    Knowledge,
    Memory,
    Mention,
    Person,
    Relation,
    Source,
    Trait,
    Trust,
)

__all__ = [
    "ERASED",
    "LEFT",
    "Outcome",
    "as_read",
    "believable",
    "check_kinds",
    "checked",
    "erased",
    "forgotten",
    "is_erased",
    "may_replace",
    "mentioned",
    "says",
    "settled",
]

ERASED = "Erased."
"""All that an erased memory says."""

LEFT = "its turn is no longer part of the conversation"
"""Why a memory is not current whose turns an edit or retry has left."""

MOST_MENTIONS = 100
"""A memory keeps the turns in which it was said first, and no more than this: it is written whole with each."""

_RANK: dict[Trust, int] = {"untrusted": 0, "inferred": 1, "stated": 2}


class Outcome(msgspec.Struct, frozen=True):
    """What to write, and the memory that now says what was to be remembered."""

    write: tuple[Memory, ...]
    memory: Memory


def as_read(memory: Memory) -> Memory:
    """The memory as it will be read. Raises `InvalidRequest` where it could not be: a Struct takes any value in.

    One time that is a float would otherwise be written, and fail every page, recall and export that reads it.
    """
    try:
        read: Memory = msgspec.convert(plain_json(memory, "memory"), Memory)
        return read
    except InvalidRequest as error:
        raise InvalidRequest(f"This cannot be remembered: {error.message}") from error
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(
            f"This cannot be remembered: {error}. A memory's fields must be of their types."
        ) from error


def check_kinds(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """The kinds. Raises `InvalidRequest` for what are none: of a kind that there is none, nothing would be found."""
    try:
        asked = [] if isinstance(kinds, str) else [plain_scalar(kind) for kind in kinds]
    except Exception:  # its own code takes part
        asked = [""]
    if isinstance(kinds, str) or not all(kind in KINDS for kind in asked):
        raise InvalidRequest(f"kinds={shown(kinds)} must be a list of kinds. There are {', '.join(KINDS)}.")
    return tuple(kind for kind in KINDS if kind in asked)


def checked(memory: Memory) -> Memory:
    """The memory with no more trust than its origin has. Raises `InvalidRequest` for what must not be remembered."""
    if _is_blank(memory):
        raise InvalidRequest("A memory must say something: it is blank.")
    if isinstance(memory, Knowledge | Relation) and not 0 <= memory.confidence <= 1:
        raise InvalidRequest(f"The confidence {memory.confidence} is not between 0 and 1.")
    if (source := believable(memory.source)) is not memory.source:
        memory = replace(memory, source=source)
    if isinstance(memory, Trait) and memory.source.trust == "untrusted":
        raise InvalidRequest(
            f"What came from a {memory.source.origin} cannot change who the agent is. "
            "Ask the person, and remember it as theirs."
        )
    return memory


def believable(source: Source) -> Source:
    """The source with no more trust than its origin has."""
    most = TRUST[source.origin]
    return replace(source, trust=most) if _RANK[source.trust] > _RANK[most] else source


def _is_blank(memory: Memory) -> bool:
    match memory:
        case Episode(text=text) | Trait(text=text):
            return not text.strip()
        case Knowledge(subject=subject, content=content):
            return not (subject.strip() and content.strip())
        case Relation(subject=subject, relation=relation, object=other):
            return not (subject.strip() and relation.strip() and other.strip())
        case _:
            return not memory.name.strip()


def settled(new: Memory, standing: Sequence[Memory]) -> Outcome:
    """Remember `new`, where the current memories `standing` fill its slot or are named by its `supersedes`.

    The very same fact again is no new memory, but the old one notes where else it was said. What is only read somewhere
    does not replace what somebody stated: both stand, and a recall shows both.
    """
    for old in standing:
        again = says(old) == says(new) and not isinstance(new, Episode)  # what is said again was said twice
        if again and _RANK[old.source.trust] >= _RANK[new.source.trust]:
            kept = mentioned(old, new)
            return Outcome(() if kept is old else (kept,), kept)
    replaced = [old for old in standing if old.id != new.id and may_replace(new, old)]
    new = replace(new, supersedes=tuple(old.id for old in replaced))
    retired = [
        replace(old, superseded_by=new.id, retired_at=new.recorded_at, retired_because="superseded") for old in replaced
    ]
    return Outcome((*retired, new), new)


def mentioned(old: Memory, new: Memory) -> Memory:
    """`old`, which says the same as `new`, with the turns of that one. What a program put in stays without any."""
    known = {(each.task_id, each.turn_id) for each in old.mentions}
    more = new.mentions or (Mention(),)
    more = tuple(replace(each, source=new.source) for each in more if (each.task_id, each.turn_id) not in known)
    if not old.mentions or (None, "") in known or not more or len(known) + len(more) > MOST_MENTIONS:
        return old
    first = [each if each.source is not None else replace(each, source=old.source) for each in old.mentions]
    return replace(old, mentions=(*first, *more))


def may_replace(new: Memory, old: Memory) -> bool:
    """Whether what says `new` can take the place of `old`."""
    return not (new.source.trust == "untrusted" and old.source.trust == "stated")


def says(memory: Memory) -> Memory:
    """What is left of a memory without where it came from, where it stands and what became of it."""
    if isinstance(memory, Episode):
        memory = replace(memory, position=None)
    return replace(
        memory,
        id="",
        recorded_at=0,
        source=Source(),
        supersedes=(),
        superseded_by=None,
        retired_at=None,
        retired_because="",
        mentions=(),
        forgotten=(),
    )


def forgotten(memory: Memory, *, at: int, because: str, turn: tuple[str, str] | None = None) -> Memory:
    """The memory, no longer current. One that is not current stays so; where an edit could bring it back, it notes that
    it was forgotten.

    `turn` is the task and turn in which that happened: once an edit or retry leaves it, the memory is current again.
    """
    comes_back = memory.superseded_by is not None or memory.retired_because == LEFT
    if memory.retired_at is not None and (not comes_back or is_erased(memory)):
        return memory
    if turn is not None or memory.retired_at is not None or memory.forgotten:
        task_id, turn_id = turn or (None, "")
        if any((each.task_id, each.turn_id) == (task_id, turn_id) for each in memory.forgotten):
            return memory
        new = Forgetting(at=at, because=because, task_id=task_id, turn_id=turn_id)
        memory = replace(memory, forgotten=(*memory.forgotten, new))
    if memory.retired_at is not None:
        return as_read(memory)
    return as_read(replace(memory, retired_at=at, retired_because=because))


def is_erased(memory: Memory) -> bool:
    """Whether nothing is left of it but its trail."""
    return memory.retired_at is not None and says(memory) == says(erased(memory, at=0, because=""))


def erased(memory: Memory, *, at: int, because: str) -> Memory:
    """What stays of a memory that is erased: that there was one, its trail, and when and why it went.

    Its id stays, so that neither a turn nor an older export brings it back.
    """
    kept = replace(
        memory,
        source=replace(memory.source, detail=""),
        mentions=tuple(replace(each, source=None) for each in memory.mentions),
        forgotten=(),
    )
    kept = as_read(replace(kept, retired_at=memory.retired_at or at, retired_because=because))
    match kept:
        case Episode():
            return replace(kept, text=ERASED, speaker=None)
        case Knowledge():
            return replace(kept, subject=ERASED, content=ERASED, attribute=None, type="erased")
        case Person():
            return replace(kept, name=ERASED, about="", aliases=())
        case Relation():
            return replace(kept, subject=ERASED, relation=ERASED, object=ERASED)
        case Trait():
            return replace(kept, text=ERASED)
