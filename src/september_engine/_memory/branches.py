"""branches: what an edit or retry leaves is not remembered, and is again where a conversation goes back to it. Pure.

1. A memory is current while at least one of the turns that mention it is part of its conversation, or the program put
   it in.
2. A memory that was superseded is current again once everything that took its place has been left. What took the place
   of that, in turn, counts for it.
3. What was forgotten in a turn comes back once that turn is left.
4. What was retired otherwise (by the program, by deleting a task, by erasing) stays retired.

A turn comes and goes with the line of its task: the turn that the task stands at, and its ancestors. A store says which
turns came and went, in the transaction in which they do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from .records import Forgetting, Memory, Mention
from .rows import MemoryRow, body_of, memory_of, slot_of
from .rules import LEFT, believable, is_erased, may_replace

__all__ = ["Turn", "displaced_by", "is_left", "is_left_row", "moved", "said_in", "turns_of", "with_turn"]

Turn: TypeAlias = tuple[str, str]
"""A task and one of its turns."""

_NAMES_TURNS, _DISPLACED = b'"turn_id":', b'"superseded_by":'
"""What stands in the bodies that are looked for: the others need not be decoded."""

_OURS = re.compile("mem_[0-9a-f]{24}")
"""The ids of memories that turns make; those that a program puts in have others."""


def is_left(memory: Memory) -> bool:
    """Whether none of the turns that mention it is part of its conversation."""
    return bool(memory.mentions) and all(mention.left for mention in memory.mentions)


def is_left_row(row: MemoryRow) -> bool:
    """As `is_left`, of a row."""
    memory = _read(row) if _NAMES_TURNS in row.body else None
    return memory is not None and is_left(memory)


def turns_of(row: MemoryRow) -> dict[Turn, bool]:
    """The turns that mention this memory or forgot it, and whether its row takes them for left."""
    memory = _read(row) if _NAMES_TURNS in row.body else None
    marks: Iterable[Mention | Forgetting] = () if memory is None else (*memory.mentions, *memory.forgotten)
    return {(mark.task_id, mark.turn_id): mark.left for mark in marks if mark.task_id is not None}


def displaced_by(row: MemoryRow) -> str | None:
    """The id of the memory that took its place."""
    memory = _read(row) if _DISPLACED in row.body else None
    return None if memory is None else memory.superseded_by


def said_in(row: MemoryRow) -> tuple[str, str] | None:
    """The task and the message that a memory came from, where a turn made it before releases noted turns."""
    memory = _read(row)
    if memory is None or memory.mentions or not _OURS.fullmatch(memory.id):
        return None
    task_id, message_id = memory.source.task_id, memory.source.message_id
    return None if task_id is None or message_id is None else (task_id, message_id)


def with_turn(row: MemoryRow, turn: Turn) -> MemoryRow:
    """The row with this turn noted as the one that its memory came from."""
    return _row(row, replace(memory_of(row), mentions=(Mention(task_id=turn[0], turn_id=turn[1]),)))


def _read(row: MemoryRow) -> Memory | None:
    """None for what no release of ours wrote."""
    try:
        return memory_of(row)
    except msgspec.MsgspecError:
        return None


def moved(
    rows: Sequence[MemoryRow],
    left: Mapping[Turn, bool],
    *,
    at: int | None,
    beside: Callable[[str], Sequence[MemoryRow]],
    known: Callable[[Sequence[str]], Sequence[MemoryRow]],
) -> list[MemoryRow]:
    """The rows to write after turns were left or came back: these memories, and those whose place they took.

    Args:
        rows: The memories that the turns mention or forgot.
        left: Of turns, whether they are left now. The others are as the rows say.
        at: When, in unix ms; None: when each was remembered.
        beside: All memories of a slot, current or not, in the order they came.
        known: Memories by id.
    """
    stored = {row.id: row for row in rows}
    memories = {row.id: _marked(memory, left) for row in rows if (memory := _read(row)) is not None}
    slots: dict[str, None] = {}
    groups: list[list[str]] = []
    for row in rows:
        if row.id not in memories:
            continue
        if row.slot is None or is_erased(memories[row.id]):
            groups.append([row.id])
        else:
            slots[row.slot] = None
    for slot in slots:
        members = [each for each in beside(slot) if each.id in memories or _read(each) is not None]
        groups.append([each.id for each in members])
        stored |= {each.id: each for each in members if each.id not in memories}
        memories |= {each.id: memory_of(each) for each in members if each.id not in memories}
    wanted = {each.superseded_by for each in memories.values()} - {None, *memories}
    outside = [memory for row in known(sorted(filter(None, wanted))) if (memory := _read(row)) is not None]
    about, after = _About([*memories.values(), *outside]), dict(memories)
    for ids in groups:
        after |= _settled([memories[id_] for id_ in ids], about, at)
    changed = [_row(stored[id_], memory) for id_, memory in after.items()]
    return [row for row in changed if row.body != stored[row.id].body]


class _About:
    """Which memories took the place of which."""

    def __init__(self, about: Sequence[Memory]) -> None:
        self._places: dict[str, dict[str, Memory]] = {}
        memories = {memory.id: memory for memory in about}
        for memory in about:
            for old in memory.supersedes:
                self._places.setdefault(old, {})[memory.id] = memory
            if memory.superseded_by is not None and (by := memories.get(memory.superseded_by)) is not None:
                self._places.setdefault(memory.id, {})[by.id] = by

    def in_its_place(self, memory: Memory) -> Memory | None:
        """One that has taken its place and is not left, or the place of one that had and is."""
        seen, waiting = {memory.id}, [memory.id]
        for old in waiting:
            for new in self._places.get(old, {}).values():
                if new.id in seen:
                    continue
                if not is_left(new):
                    return new
                seen.add(new.id)
                waiting.append(new.id)
        return None


def _row(row: MemoryRow, memory: Memory) -> MemoryRow:
    """The row with what became of its memory: what it says, and is searched by, is the same."""
    task_id = memory.source.task_id if row.position is None else row.task_id
    return replace(row, body=body_of(memory), current=memory.retired_at is None, task_id=task_id)


def _marked(memory: Memory, left: Mapping[Turn, bool]) -> Memory:
    """The memory with its turns marked, and with the source that the first turn gives it that is not left."""
    mentions = tuple(replace(each, left=_now(each, left)) for each in memory.mentions)
    forgotten = tuple(replace(each, left=_now(each, left)) for each in memory.forgotten)
    source = next((each.source for each in mentions if not each.left), None)
    return replace(
        memory,
        mentions=mentions,
        forgotten=forgotten,
        source=memory.source if source is None else believable(source),
    )


def _now(mark: Mention | Forgetting, left: Mapping[Turn, bool]) -> bool:
    return mark.task_id is not None and left.get((mark.task_id, mark.turn_id), mark.left)


def _settled(members: Sequence[Memory], about: _About, at: int | None) -> dict[str, Memory]:
    """What becomes of the memories of one slot, or of one that has none."""
    before = {memory.id: memory for memory in members}
    after = {memory.id: _standing(memory, about, at) for memory in members}
    ids = list(after)
    for place, id_ in enumerate(ids):
        came_back = before[id_].retired_at is not None and after[id_].retired_at is None
        if came_back and slot_of(after[id_]) is not None:  # while it was away, it was not held against the others
            pairs = [(id_, older) for older in ids[:place]] + [(newer, id_) for newer in ids[place + 1 :]]
            for newer, older in pairs:
                _hold_against(after, newer, older)
    return after


def _hold_against(memories: dict[str, Memory], newer: str, older: str) -> None:
    """Let the newer memory take the place of the older one, as it would have when it came."""
    new, old = memories[newer], memories[older]
    if old.retired_at is None and not is_left(new) and may_replace(new, old):
        memories[newer] = replace(new, supersedes=(*new.supersedes, older))
        memories[older] = _superseded(old, new)


def _standing(memory: Memory, about: _About, at: int | None) -> Memory:
    """The memory with what became of it."""
    if memory.retired_at is not None and not _comes_back(memory):
        return memory
    if is_left(memory):
        if memory.retired_because == LEFT:
            return memory
        when = memory.recorded_at if at is None else at
        return replace(memory, retired_at=when, retired_because=LEFT, superseded_by=None)
    if gone := next((each for each in memory.forgotten if not each.left), None):
        return replace(memory, retired_at=gone.at, retired_because=gone.because, superseded_by=None)
    by = about.in_its_place(memory)
    if by is None:
        return replace(memory, retired_at=None, retired_because="", superseded_by=None)
    return memory if memory.superseded_by == by.id else _superseded(memory, by)


def _comes_back(memory: Memory) -> bool:
    """Whether it was retired by something that an edit can leave."""
    if memory.superseded_by is not None:
        return not is_erased(memory)
    return memory.retired_because == LEFT or any(
        (each.at, each.because) == (memory.retired_at, memory.retired_because) for each in memory.forgotten
    )


def _superseded(old: Memory, new: Memory) -> Memory:
    return replace(old, superseded_by=new.id, retired_at=new.recorded_at, retired_because="superseded")
