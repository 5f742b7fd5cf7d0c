"""Causes: an exception as text that says what went wrong, for a model, a client or a log line.

An ExceptionGroup says only how many causes it has, and `raise … from …` hides the first one: both are told in full,
within bounds. Total: whatever an exception's own code does, there is a text.
"""

from __future__ import annotations

from collections.abc import Iterator

from .._plain import NO_SCALAR, plain_scalar, shown
from .text import clean

__all__ = ["kind_of", "reason_of"]

MOST = 10
"""Causes that are told; of more, their number."""

DEEPEST = 8
"""Groups in groups, and causes of causes."""

REASON_CHARS = 2000
"""Of one cause's own text."""


def reason_of(error: BaseException) -> str:
    """Its type and text, its notes, the causes that it groups, and what it was raised from."""
    return _told(error, [MOST], 0)


def kind_of(error: BaseException) -> str:
    """The name of its type; for a group those of its causes, too. Nothing of their texts, which may be private."""
    names = list(dict.fromkeys(type(cause).__name__ for cause in _leaves(error, 0)))
    if names == [type(error).__name__] or not names:
        return type(error).__name__
    return f"{type(error).__name__} of {', '.join(names[:MOST])}{', …' if len(names) > MOST else ''}"


def _told(error: BaseException, room: list[int], depth: int) -> str:
    room[0] -= 1
    name, text = type(error).__name__, _text(error)
    told = f"{name}: {text}" if text else name
    told = " ".join([told, *_notes(error)])
    if depth >= DEEPEST:
        return told
    if isinstance(error, BaseExceptionGroup):
        told += f" ({_listed(error.exceptions, room, depth)})"
    cause = error.__cause__
    if cause is not None and room[0] > 0 and not (_text(cause) and _text(cause) in text):
        told += f" (caused by {_told(cause, room, depth + 1)})"
    return told


def _listed(causes: tuple[BaseException, ...], room: list[int], depth: int) -> str:
    told: list[str] = []
    for cause in causes:
        if room[0] <= 0:
            break
        told.append(_told(cause, room, depth + 1))
    if len(told) < len(causes):
        told.append(f"and {len(causes) - len(told)} more")
    return "; ".join(told)


def _said(error: BaseException) -> str:
    """What it says; of values in it, which may be large without end, as much as is shown of any."""
    if type(error).__str__ is BaseException.__str__ and any(plain_scalar(each) is NO_SCALAR for each in error.args):
        return shown(error.args[0] if len(error.args) == 1 else error.args)
    return str(error)


def _text(error: BaseException) -> str:
    try:
        text = error.message if isinstance(error, BaseExceptionGroup) else _said(error)
        text = clean(str.__str__(text))
    except BaseException:  # a broken __str__ is no reason to lose the error's type, or the program
        return ""
    return text if len(text) <= REASON_CHARS else f"{text[:REASON_CHARS]}…"


def _notes(error: BaseException) -> list[str]:
    try:
        notes = [clean(note)[:REASON_CHARS] for note in error.__notes__ if isinstance(note, str)]
    except BaseException:  # there are none, or something else was put in their place
        return []
    return notes[:MOST]


def _leaves(error: BaseException, depth: int) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup) or depth >= DEEPEST:
        yield error
        return
    for cause in error.exceptions:
        yield from _leaves(cause, depth + 1)
