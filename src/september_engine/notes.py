"""Notes: a task's working memory, as the program that holds the engine reads and writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

import anyio

from ._plain import plain_json, plain_number, plain_text, shown
from ._runtime.listing import facts_now
from ._runtime.notes import write_notes
from ._runtime.supervisor import Supervisor
from ._turn.inputs import WriteNote
from ._turn.notes import current, note_problem, notes_of
from ._turn.request import check_task_id
from .errors import InvalidRequest, TaskNotFound
from .messages import JSON
from .tools.note import NoteKeys

__all__ = ["Notes"]


class Notes:
    """Working memory by task: `engine.notes`.

    What is noted belongs to the place where the thread stands: an edit or retry from before it takes it back. While a
    turn runs it belongs to that turn, is shown in its stream, and goes with it should the turn not count. The model is
    shown the whole memory at the start of a turn, where it has changed.
    """

    def __init__(self, running: Callable[[], Supervisor], keys: NoteKeys) -> None:
        self._running = running
        self._keys = keys
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def get(self, task_id: str) -> dict[str, JSON]:
        """Everything that is noted now, by key; {} for a task without notes. Raises `TaskNotFound`."""
        task_id = check_task_id(task_id)
        supervisor = self._running()
        facts = await facts_now(supervisor.store, task_id)
        return current(notes_of(facts), supervisor.resources.world.clock.now_ms())

    async def set(self, task_id: str, key: str, value: JSON, *, minutes: float | None = None) -> None:
        """Note one value, in place of what was there, for so many minutes or for good. As `update`."""
        await self.update(task_id, {plain_text(key, "key"): value}, minutes=minutes)

    async def update(self, task_id: str, values: Mapping[str, JSON], *, minutes: float | None = None) -> None:
        """Note several values at once; one of None removes its key. A task that does not exist yet begins with them.

        Durable when it returns. A value is what has a JSON form; one that the engine was told the type of
        (`Engine(notes=…)`) must fit. Raises `InvalidRequest` for what cannot be noted, `EngineClosed`, and what the
        store raises; nothing is written then. Cancelling stops the wait; it may be noted all the same.
        """
        task_id = check_task_id(task_id)
        self._running()  # before a lock is waited for, which may be another event loop's
        if not isinstance(values, Mapping):
            raise InvalidRequest(f"notes are values by key, as in {{'city': 'Rome'}}; {shown(values)} is not.")
        async with self._locks.setdefault(task_id, anyio.Lock()):  # what there is room for is seen by one at a time
            await self._update(task_id, values, minutes)

    async def _update(self, task_id: str, values: Mapping[str, JSON], minutes: float | None) -> None:
        try:
            notes = await self.get(task_id)
        except TaskNotFound:
            notes = {}
        written: list[WriteNote] = []
        minutes = None if minutes is None else plain_number(minutes, "minutes")
        try:
            items = [*values.items()]
        except Exception as error:  # its own code takes part
            raise InvalidRequest(f"notes cannot be read ({type(error).__name__}).") from error
        for given_key, given in items:
            key = plain_text(given_key, "A key of notes")
            note = WriteNote(key=key, value=plain_json(given, f"the value of {key!r}"), minutes=minutes)
            problem = note_problem(note, notes) or self._keys.problem(key, note.value)
            if problem is not None:
                raise InvalidRequest(problem)
            notes[key] = note.value
            written.append(note)
        if written:
            await write_notes(self._running(), task_id, written)

    async def delete(self, task_id: str, key: str) -> bool:
        """Remove one key; False where it was not there. Raises `TaskNotFound`, and as `update`."""
        task_id, key = check_task_id(task_id), plain_text(key, "key")
        if key not in await self.get(task_id):
            return False
        await write_notes(self._running(), task_id, [WriteNote(key=key, value=None)])
        return True
