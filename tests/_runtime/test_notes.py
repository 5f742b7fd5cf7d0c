"""The way of a note into the log where turns begin and end at the same moment."""

from __future__ import annotations

import anyio
import pytest

from september_engine._runtime.notes import write_notes
from september_engine._turn.inputs import WriteNote
from september_engine.errors import EngineClosed
from september_engine.models.scripted import say
from tests.engines import Bench, ticks


@pytest.mark.parametrize("delay", range(12))
async def test_a_note_is_written_once_whenever_a_turn_begins_and_ends(delay: int) -> None:
    async with Bench().running(lambda request: say("Yes.")) as engine:
        async with anyio.create_task_group() as group:
            group.start_soon(write_notes, engine._running, "t", [WriteNote(key="city", value="Rome")])
            await ticks(delay)
            assert (await engine.execute("Plan my trip.", task_id="t")).text == "Yes."
        assert await engine.notes.get("t") == {"city": "Rome"}
        store = engine._running.store
        rows = [row for turn in await store.turns("t") for row in await store.turn("t", turn.turn_id)]
        assert sum(b'"type":"noted"' in row.body for row in rows) == 1


async def test_nothing_is_written_while_the_engine_shuts_down() -> None:
    async with Bench().running([]) as engine:
        engine._running.accepting = False
        with pytest.raises(EngineClosed):
            await write_notes(engine._running, "t", [WriteNote(key="city", value="Rome")])
        assert await engine.tasks() == []
