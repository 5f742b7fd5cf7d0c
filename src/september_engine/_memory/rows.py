"""Rows: a memory as a store keeps it, which knows none of our structs, and back."""

from __future__ import annotations

import msgspec

from .dates import DAY
from .heads import head_of
from .records import Episode, Knowledge, Memory, Person, Relation, Trait
from .words import spoken, terms_of

__all__ = ["MemoryRow", "body_of", "memory_of", "row_of", "said_at", "slot_of", "speaker_of", "text_of"]


class MemoryRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One memory in a store.

    `words` are the stems to search it by, with spaces between. `slot` is what at most one, or the same, current memory
    stands in. `task_id` is "" for an episode without a task: such ones are neighbours of each other, too. `body` is the
    whole memory, byte for byte what is exported.
    """

    id: str
    kind: str
    at: int
    body: bytes
    words: str = ""
    speaker: str | None = None
    task_id: str | None = None
    position: int | None = None
    slot: str | None = None
    current: bool = True


_decoder: msgspec.json.Decoder[Memory] = msgspec.json.Decoder(Memory)
_encoder = msgspec.json.Encoder()


def row_of(memory: Memory) -> MemoryRow:
    """The row of a memory."""
    episode = memory if isinstance(memory, Episode) else None
    return MemoryRow(
        id=memory.id,
        kind=type(memory).__struct_config__.tag,  # type: ignore[arg-type]  # a str in all five
        at=said_at(memory),
        body=body_of(memory),
        words=" ".join(terms_of(text_of(memory))),
        speaker=speaker_of(memory),
        task_id="" if episode is not None and memory.source.task_id is None else memory.source.task_id,
        position=None if episode is None else episode.position,
        slot=slot_of(memory),
        current=memory.retired_at is None,
    )


def body_of(memory: Memory) -> bytes:
    """The whole memory, byte for byte what is exported."""
    return _encoder.encode(memory)


def memory_of(row: MemoryRow) -> Memory:
    """The memory of a row, with the place that the store gave it."""
    memory = _decoder.decode(row.body)
    if isinstance(memory, Episode) and memory.position != row.position:
        return msgspec.structs.replace(memory, position=row.position)
    return memory


def text_of(memory: Memory) -> str:
    """What a memory says: what is searched, embedded and shown. A speaker is not part of what is said."""
    match memory:
        case Episode(text=text, speaker=speaker):
            return head_of(text, speaker=speaker).text
        case Trait(text=text):
            return text
        case Knowledge(subject=subject, content=content, attribute=attribute):
            return f"{subject}, {attribute}: {content}" if attribute else f"{subject}: {content}"
        case Person(name=name, about=about, aliases=aliases):
            full = f"{name} ({', '.join(aliases)})" if aliases else name
            return f"{full}: {about}" if about else full
        case Relation(subject=subject, relation=relation, object=other):
            return f"{subject} {relation} {other}"


def speaker_of(memory: Memory) -> str | None:
    """Whom a memory is by or about: a question that names them means it. "Ana: hello" is by Ana."""
    match memory:
        case Episode(text=text, speaker=None):
            return head_of(text).speaker
        case Episode(speaker=speaker):
            return speaker
        case Knowledge(subject=subject) | Relation(subject=subject):
            return subject
        case Person(name=name):
            return name
        case _:
            return None


def said_at(memory: Memory) -> int:
    """When it was said, or has been so since; a day at the beginning of a line is believed before the given time."""
    match memory:
        case Episode(text=text, speaker=speaker, at=at):
            told = head_of(text, speaker=speaker).at
            return at if told is None or 0 <= at - told < DAY else told
        case Knowledge(valid_from=int(since)) | Relation(valid_from=int(since)):
            return since
        case _:
            return memory.recorded_at


def slot_of(memory: Memory) -> str | None:
    """What at most one current memory fills, or else what the very same fact would fill again; None for episodes."""
    match memory:
        case Knowledge(subject=subject, attribute=str(attribute)):
            return _joined("knowledge", subject, attribute)
        case Knowledge(subject=subject, type=type_, content=content):
            return _joined("fact", subject, type_, content)
        case Person(name=name):
            return _joined("person", name)
        case Relation(subject=subject, relation=relation, object=other):
            return _joined("relation", subject, relation, other)
        case Trait(aspect="identity"):
            return "identity"
        case Trait(aspect=aspect, text=text):
            return _joined(aspect, text)
        case _:
            return None


def _joined(*parts: str) -> str:
    return "\x1f".join(" ".join(spoken(part)) or part for part in parts)
