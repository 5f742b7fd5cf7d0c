"""The forms in which a program may put a conversation into memory: whoever spoke, and when, should be found in each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

from september_engine.memory.base import Episode, Knowledge, Memory, Source

from .conversations import Said

__all__ = ["BARE", "FORMS", "TOLD", "Form"]

Form = Callable[[Said, str], Memory]
"""A turn, and its conversation, as a memory whose id is the turn's."""

TOLD, BARE = "told", "without speakers and tasks"
LATER = 1_790_000_000_000
"""When somebody writes down who was not there: long after."""


def _told(turn: Said, task: str) -> Episode:
    return _episode(turn, turn.text, speaker=turn.speaker, task=task)


def _episode(
    turn: Said, text: str, *, speaker: str | None = None, at: int | None = None, task: str | None = None
) -> Episode:
    source = Source(origin="person", task_id=task)
    return Episode(id=turn.id, text=text, speaker=speaker, at=turn.at if at is None else at, source=source)


def _day(turn: Said, form: str) -> str:
    return dt.datetime.fromtimestamp(turn.at / 1000, dt.UTC).strftime(form)


FORMS: Mapping[str, Form] = {
    TOLD: _told,
    "told without tasks": lambda turn, _: _episode(turn, turn.text, speaker=turn.speaker),
    "name in the text": lambda turn, _: _episode(turn, f"{turn.speaker}: {turn.text}"),
    "name said, in the text": lambda turn, _: _episode(turn, f'{turn.speaker} said, "{turn.text}"'),
    "name told and in the text": lambda turn, task: _episode(
        turn, f"{turn.speaker}: {turn.text}", speaker=turn.speaker, task=task
    ),
    "date and name in the text": lambda turn, _: _episode(
        turn, f"[{_day(turn, '%d %B %Y, %H:%M')}] {turn.speaker}: {turn.text}", at=LATER
    ),
    "date and name, as chats have them": lambda turn, _: _episode(
        turn, f"({_day(turn, '%I:%M %p on %d %B, %Y')}) {turn.speaker}: {turn.text}", at=LATER
    ),
    "facts with a time": lambda turn, task: Knowledge(
        id=turn.id,
        subject=turn.speaker,
        content=turn.text,
        valid_from=turn.at,
        source=Source(origin="person", task_id=task),
    ),
    "without times": lambda turn, task: _episode(turn, turn.text, speaker=turn.speaker, at=0, task=task),
    BARE: lambda turn, _: _episode(turn, turn.text),
}
