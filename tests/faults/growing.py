"""What is killed where memory is written and threads are told in brief: one program that does all of it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import anyio
import msgspec

from september_engine import Engine, Limits, Settings
from september_engine._context.tokens import prompt_tokens
from september_engine._memory.portable import bundle_of
from september_engine._runtime.world import World
from september_engine._seams import CrashPoint, no_crash
from september_engine._turn.compaction import SUMMARISE
from september_engine.events import encode, name_of
from september_engine.memory.base import Knowledge, Memory
from september_engine.messages import Usage, text_of
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, say, turn
from september_engine.store.sqlite import SQLiteStore
from tests.faults.workloads import notes

__all__ = ["BUNDLE", "IMPORTED", "SIDE", "TASK", "engine_on", "growing", "picture"]

TASK = "growing"
IMPORTED = 1_200
"""Memories; they are written in three portions."""

SIDE = 700
FACTS: dict[str, list[object]] = {"people": [], "relations": []}


def picture() -> bytes:
    """A picture of more than a megabyte, which no compression makes smaller: its rows are noise of a kind."""
    rows = b"".join(b"\0" + _noise(number) for number in range(SIDE))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 0)))
    body = b"".join(_chunk(kind, data) for kind, data in (*chunks, (b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + body


def _noise(number: int) -> bytes:
    return bytes((number * 7 + place * 13) % 251 for place in range(3 * SIDE))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bundle() -> bytes:
    memories: list[Memory] = [
        Knowledge(id=f"mem_in_{number}", subject="fox", content=f"Fact {number}.", recorded_at=1_000 + number)
        for number in range(IMPORTED)
    ]
    return bundle_of(memories)


BUNDLE = _bundle()


def engine_on(folder: Path, crash: CrashPoint = no_crash) -> Engine:
    """A small window, a model that summarises and one that distils; each is a place to be killed at."""

    def answer(request: ModelRequest) -> Answer:
        assert text_of(request.prompt.messages[-1]["content"]) != SUMMARISE
        usage = Usage(input_tokens=prompt_tokens(request.prompt), output_tokens=200)
        return turn(say("The quick brown fox jumps over the lazy dog. " * 12), usage=usage)

    def summary(request: ModelRequest) -> Step:
        crash("workload.summary")
        return say("## Facts\nA fox jumps.")

    def distilled(request: ModelRequest) -> Step:
        crash("workload.distilling")
        fact = {"line": 1, "subject": "fox", "attribute": "", "content": "It jumps.", "type": "fact", "confidence": 1}
        return say(msgspec.json.encode({**FACTS, "knowledge": [fact]}).decode())

    return Engine(
        SQLiteStore(folder / "brain.sqlite", crash=crash),
        model=ScriptedModel(answer, piece=10_000),
        light=ScriptedModel(summary, name="light"),
        memory=True,
        distil=ScriptedModel(distilled, name="distiller"),
        limits=Limits(context_tokens=2_800, max_tokens=200),
        settings=Settings(),
        world=World(crash=crash),
    )


def growing(folder: Path, crash: CrashPoint) -> None:
    """A large picture, then turns until some were told in brief and distilled, then an import."""
    path = folder / "large.png"
    path.write_bytes(picture())

    async def main() -> None:
        with notes(folder / "seen") as seen:
            async with engine_on(folder, crash) as engine:
                for number in range(9):
                    turn = engine.execute(f"Turn {number}.", task_id=TASK, media=[path] if number == 1 else [])
                    stream = turn.__aiter__()
                    async for event in stream:
                        seen.write(stream.cursor, name_of(event), encode(event).decode())
                await engine.remembered()
                crash("workload.import")
                await engine.memory.import_bundle(BUNDLE)
                (folder / "imported").touch()

    anyio.run(main)
