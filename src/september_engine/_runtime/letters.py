"""Letters: what a turn's inbox holds, and what is in flight for it."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import attrs

from .._turn.facts import Fact
from .._turn.inputs import Input

__all__ = ["Cancel", "Flight", "Leave", "Letter", "Stop"]


class Stop:
    """Leave the turn as it is: the process is about to end."""


class Leave:
    """Stop as soon as the turn waits for nothing but a person, which may be now."""


class Cancel:
    """Somebody asked for the end of the turn."""


@attrs.define(eq=False)
class Letter:
    """Something in the inbox, and what became of it."""

    item: Input | Stop | Leave | Cancel
    facts: Sequence[Fact] = ()
    read: anyio.Event = attrs.field(factory=anyio.Event)


@attrs.define
class Flight:
    """An effect that is under way."""

    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    landed: anyio.Event = attrs.field(factory=anyio.Event)
