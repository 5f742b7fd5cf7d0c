"""What is killed: small programs that use the engine and write down what they saw."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import attrs

from september_engine import Engine, Settings, tool
from september_engine._runtime.world import World
from september_engine._seams import CrashPoint, no_crash
from september_engine.errors import ModelError
from september_engine.events import HitlRequest, TextDelta, ThreadLifecycle, encode, name_of
from september_engine.messages import tool_uses
from september_engine.models.base import Chunk, ModelRequest, TextChunk
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, fail, say, think, turn
from september_engine.store import _migrate
from september_engine.store.base import Store
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.store_writer import Writer

TASKS = ("left", "right")
TEXT = "The quick brown fox jumps over the lazy dog. "


class Notes:
    """A file that survives the process: what was written with one `write` is there."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, *words: object) -> None:
        os.write(self._file, ("\t".join(map(str, words)) + "\n").encode())

    def close(self) -> None:
        os.close(self._file)


@contextmanager
def notes(path: Path) -> Iterator[Notes]:
    book = Notes(path)
    try:
        yield book
    finally:
        book.close()


class Pace:
    """A crash point that also tells when something has become durable."""

    def __init__(self, crash: CrashPoint) -> None:
        self._crash = crash
        self.durable = anyio.Event()

    def __call__(self, name: str, /) -> None:
        self._crash(name)
        if name == "channel.append.after":
            durable, self.durable = self.durable, anyio.Event()
            durable.set()


@attrs.define(kw_only=True, eq=False)
class PacedModel(ScriptedModel):
    """Goes on only when something was written: so each piece of an answer is durable before the next is made."""

    pace: Pace

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        async with aclosing(super().stream(request)) as chunks:  # type: ignore[type-var]  # it is a generator
            async for chunk in chunks:
                yield chunk
                if isinstance(chunk, TextChunk):
                    await self.pace.durable.wait()


def model_for(folder: Path, pace: Pace) -> ScriptedModel:
    """Two tools at once, then an answer: whatever the process, the messages alone say what comes next.

    But for what `mishaps` says, each word of which has an answer of its own.
    """
    asked, failing = Notes(folder / "asked"), {"once": True}

    def answer(request: ModelRequest) -> Step | Answer:
        messages = request.prompt.messages
        asked.write(len(messages), messages[-1]["content"][0]["type"])
        if messages[-1]["content"][0]["type"] == "tool_result":
            return turn(think("So it is."), say(TEXT * 2))
        number = sum(len(tool_uses(message["content"])) for message in messages)
        said = messages[-1]["content"][-1]["text"]
        match said:
            case "ask":
                count = (folder / "asked").stat().st_size  # which no other call has
                return turn(say(TEXT), call("sign", id=f"sign_{count}", word=f"sign {count}"))
            case "fail" if failing.pop("once", False):
                return turn(say(TEXT), fail(ModelError("Overloaded.", retryable=True, retry_after=0)))
            case "cancel":
                return say(TEXT, hold=anyio.Event(), at=2)
        one = call("note", id=f"call_{number}_1", word=f"{said} one")
        two = call("note", id=f"call_{number}_2", word=f"{said} two")
        return turn(think("Let me see."), say(TEXT), one, two)

    return PacedModel(answer, piece=15, pace=pace)


def engine_on(
    folder: Path,
    crash: CrashPoint = no_crash,
    *,
    recovery: str = "abandon",
    durability: Literal["full", "relaxed"] = "full",
) -> Engine:
    """The engine all trials use. Its tool leaves a line in a ledger each time it runs."""
    ledger, pace = Notes(folder / "ledger"), Pace(crash)

    @tool
    async def note(word: str) -> str:
        """Write a word into the ledger."""
        ledger.write(word)
        await anyio.lowlevel.checkpoint()
        return f"noted {word}"

    @tool(requires_permission=True)
    async def sign(word: str) -> str:
        """Sign something, which a person must allow."""
        ledger.write(word)
        return "signed"

    return Engine(
        SQLiteStore(folder / "brain.sqlite", crash=crash, durability=durability),
        model=model_for(folder, pace),
        tools=[note, sign],
        settings=Settings(recovery="resume" if recovery == "resume" else "abandon"),
        world=World(crash=pace),
    )


def turns(folder: Path, crash: CrashPoint, durability: Literal["full", "relaxed"] = "full") -> None:
    """Two tasks at once, two turns each, the second one an edit of the first; every event that is seen is noted."""

    async def follow(engine: Engine, seen: Notes, task_id: str) -> None:
        edited: str | None = None
        for said in ("first", "then"):
            turn = engine.execute(f"{task_id} {said}", task_id=task_id, edit_message_id=edited)
            stream = turn.__aiter__()
            async for event in stream:
                seen.write(task_id, stream.cursor, name_of(event), encode(event).decode())
            edited = (await turn).user_message_id

    async def main() -> None:
        with notes(folder / "seen") as seen:
            engine = engine_on(folder, crash, durability=durability)
            async with engine, anyio.create_task_group() as group:
                for task_id in TASKS:
                    group.start_soon(follow, engine, seen, task_id)

    anyio.run(main)


def recovering(folder: Path, crash: CrashPoint) -> None:
    """Only close what was left open in the folder around this one."""

    async def main() -> None:
        async with engine_on(folder.parent, crash):
            pass

    anyio.run(main)


def opening(folder: Path, crash: CrashPoint) -> None:
    """Make a database, schema and all."""

    async def main() -> None:
        store = SQLiteStore(folder / "brain.sqlite", crash=crash)
        await store.open()
        await store.aclose()

    anyio.run(main)


async def fill(store: Store) -> None:
    """Six old turns on three tasks, and one that is open."""
    for number in range(3):
        writer = Writer(store, f"old {number}")
        await writer.begin("a", texts=["one", "two"])
        await writer.end(ended_at=1_500)
        await writer.begin("b", parent="a", texts=["three"])
        await writer.end(ended_at=1_600)
    await Writer(store, "open").begin("a", texts=["still", "going"])


NEXT = "ALTER TABLE tasks ADD COLUMN note TEXT;\nCREATE INDEX tasks_by_note ON tasks (note);\n"
"""What the next migration may look like."""


def upgrade(folder: Path, crash: CrashPoint) -> None:
    """Fill a database of today's schema, then open it with a release that knows another one."""

    async def main() -> None:
        store = SQLiteStore(folder / "brain.sqlite")
        await store.open()
        await fill(store)
        await store.aclose()
        (folder / "filled").touch()
        # this process is ours alone
        _migrate.SCRIPTS, _migrate.SCHEMA = [*_migrate.SCRIPTS, NEXT], _migrate.SCHEMA + 1
        store = SQLiteStore(folder / "brain.sqlite", crash=crash)
        await store.open()
        await store.aclose()

    anyio.run(main)


def mishaps(folder: Path, crash: CrashPoint) -> None:
    """One task on which a person is asked, a model fails half-way, a turn is cancelled, and the first is retried."""

    async def follow(engine: Engine, seen: Notes, said: str, *, retried: str | None = None) -> str:
        turn = engine.execute(said, task_id="left", retry_message_id=retried)
        stream = turn.__aiter__()
        message_id = ""
        async for event in stream:
            seen.write("left", stream.cursor, name_of(event), encode(event).decode())
            if isinstance(event, ThreadLifecycle) and event.phase == "started":
                message_id = event.message_id or ""
            elif isinstance(event, HitlRequest):
                await engine.respond("left", "yes", request_id=event.request_id)
            elif isinstance(event, TextDelta) and said == "cancel":
                await engine.cancel("left")
        return message_id

    async def main() -> None:
        with notes(folder / "seen") as seen:
            async with engine_on(folder, crash) as engine:
                first = await follow(engine, seen, "ask")
                await follow(engine, seen, "fail")
                await follow(engine, seen, "cancel")
                await follow(engine, seen, "again", retried=first)

    anyio.run(main)


def relaxed(folder: Path, crash: CrashPoint) -> None:
    """The turns of `turns`, on a store that does not flush every delta."""
    turns(folder, crash, durability="relaxed")


def housekeeping(folder: Path, crash: CrashPoint) -> None:
    """Trim what is old, then delete a task."""

    async def main() -> None:
        store = SQLiteStore(folder / "brain.sqlite", crash=crash)
        await store.open()
        await fill(store)
        (folder / "filled").touch()
        while await store.trim(ended_before=2_000, limit=2) == 2:
            pass
        await store.delete("old 1")
        await store.aclose()

    anyio.run(main)
