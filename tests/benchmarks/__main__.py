"""Benchmarks: the engine against the floor, in one go, as ratios.

    python -m tests.benchmarks            all of it, about a minute
    python -m tests.benchmarks --quick    a short run, whose figures are only good for seeing that it works

W1  a chat turn on a new task: 200 text deltas of 5 characters, everything in a real file with FULL flushes
W3  300 turns of 20 deltas on one task: the time of late turns against that of early ones, and bytes per turn
W4  200 turns of W1 on new tasks at once; the model lets others run before each delta

A figure is good only as a ratio of one run: disks and neighbours change within seconds. So both sides are measured in
turn, and the medians compared.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import mock

import attrs

from september_engine import Engine, Settings
from september_engine._runtime import effects
from september_engine._runtime.threads import Thread
from september_engine._turn.facts import Fact
from september_engine._turn.history import prompt_of
from september_engine.messages import Prompt, Usage
from september_engine.models.base import BlockStarted, BlockStopped, Chunk, ModelRequest, Reply, TextChunk
from september_engine.store.base import Store
from tests.benchmarks.floor import Floor

WARM = 3


@attrs.frozen
class Deltas:
    """A model that takes no time."""

    count: int
    polite: bool = False
    name: str = "deltas"

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        yield BlockStarted(0, "text")
        for _ in range(self.count):
            if self.polite:
                await asyncio.sleep(0)
            yield TextChunk("five ")
        yield BlockStopped(0)
        yield Reply(
            content=[{"type": "text", "text": "five " * self.count}],
            stop_reason="end_turn",
            usage=Usage(input_tokens=9, output_tokens=9),
            model=self.name,
        )

    async def aclose(self) -> None:
        pass


@contextmanager
def files() -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "floor.sqlite", Path(folder) / "ours.sqlite"


def engine(path: Path, model: Deltas) -> Engine:
    return Engine(path, model=model, settings=Settings())


async def drain(events: AsyncIterator[object]) -> float:
    """Read to the end; seconds."""
    began = time.perf_counter()
    async for _ in events:
        pass
    return time.perf_counter() - began


async def chat_turns(turns: int) -> tuple[float, float]:
    """W1: seconds per turn, the floor's and ours."""
    model = Deltas(200)
    floors: list[float] = []
    ours: list[float] = []
    with files() as (floor_path, our_path):
        async with Floor(floor_path, model) as floor, engine(our_path, model) as ours_engine:
            for number in range(turns + WARM):
                floors.append(await drain(floor.execute("hello", f"task {number}")))
                ours.append(await drain(ours_engine.execute("hello", task_id=f"task {number}").__aiter__()))
    return statistics.median(floors[WARM:]), statistics.median(ours[WARM:])


class RequestBuilding:
    """Times the one thing that must follow the thread's length: building the model's request."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._kept: Prompt | None = None

    @contextmanager
    def measured(self, ours: Engine) -> Iterator[None]:
        recent = ours._running.resources.recent
        take = recent.take

        async def timed_take(store: Store, task_id: str, turn_id: str | None, *, since: str | None = None) -> Thread:
            began = time.perf_counter()
            thread = await take(store, task_id, turn_id, since=since)
            self.seconds += time.perf_counter() - began
            return thread

        with mock.patch.object(recent, "take", timed_take), mock.patch.object(effects, "prompt_of", self.prompt_of):
            yield

    def prompt_of(self, facts: Sequence[Fact], *, prefix: str, model: str) -> Prompt:
        began = time.perf_counter()
        self._kept = None  # to take a prompt apart is a part of building one
        prompt = self._kept = prompt_of(facts, prefix=prefix, model=model)
        self.seconds += time.perf_counter() - began
        return prompt


@attrs.define
class Turns:
    """Of turns at one place of their threads: the seconds without building the request, and the seconds of that."""

    rest: list[float] = attrs.field(factory=list)
    built: list[float] = attrs.field(factory=list)


async def long_thread(turns: int, samples: int) -> tuple[Turns, Turns, list[int]]:
    """W3: turn 10 of short threads and the last turns of a long one, one after the other in turn; and the bytes that
    the file has after each turn of the long one.
    """
    model, building = Deltas(20), RequestBuilding()
    early, late, size = Turns(), Turns(), list[int]()

    async def turn(ours: Engine, task_id: str, into: Turns) -> None:
        building.seconds = 0.0
        took = await drain(ours.execute("hello", task_id=task_id).__aiter__())
        into.rest.append(took - building.seconds)
        into.built.append(building.seconds)

    with files() as (_, path):
        async with engine(path, model) as ours:
            with building.measured(ours):
                for _ in range(turns - samples):
                    await ours.execute("hello", task_id="long")
                    size.append(pages(path))
                for sample in range(samples):
                    for _ in range(9):
                        await ours.execute("hello", task_id=f"short {sample}")
                    pair = [(f"short {sample}", early), ("long", late)]
                    for task_id, into in pair if sample % 2 else reversed(pair):
                        await turn(ours, task_id, into)
    return early, late, size


def pages(path: Path) -> int:
    """Bytes of the database as SQLite counts them, those in its write-ahead log included."""
    with closing(sqlite3.connect(path)) as db:
        [(count,)], [(each,)] = db.execute("PRAGMA page_count"), db.execute("PRAGMA page_size")
    return int(count * each)


async def at_once(turns: int, rounds: int) -> tuple[float, float]:
    """W4: turns per second, the floor's and ours."""
    model = Deltas(200, polite=True)
    floors: list[float] = []
    ours: list[float] = []
    for _ in range(rounds):
        with files() as (floor_path, our_path):
            async with Floor(floor_path, model) as floor:
                began = time.perf_counter()
                await asyncio.gather(*(drain(floor.execute("hello", f"task {n}")) for n in range(turns)))
                floors.append(turns / (time.perf_counter() - began))
            async with engine(our_path, model) as ours_engine:
                began = time.perf_counter()
                each = [ours_engine.execute("hello", task_id=f"task {n}").__aiter__() for n in range(turns)]
                await asyncio.gather(*map(drain, each))
                ours.append(turns / (time.perf_counter() - began))
    return statistics.median(floors), statistics.median(ours)


def line(name: str, floor: str, ours: str, ratio: float, target: str, met: bool) -> None:
    print(f"{name:<34}{floor:>14}{ours:>14}{ratio:>8.2f}   {target} {'met' if met else 'NOT MET'}", flush=True)


async def main(*, quick: bool) -> None:
    print(f"{'':<34}{'floor':>14}{'ours':>14}{'ratio':>8}   target")
    floor, ours = await chat_turns(5 if quick else 60)
    ratio = ours / floor
    line("W1 chat turn", f"{floor * 1000:.2f} ms", f"{ours * 1000:.2f} ms", ratio, "<= 2.0", ratio <= 2.0)

    turns, samples = (60, 5) if quick else (300, 30)
    early, late, size = await long_thread(turns, samples)
    tenth, last = statistics.median(early.rest), statistics.median(late.rest)
    ratio = last / tenth
    name = f"W3 turn 10, turn {turns}"
    line(name, f"{tenth * 1000:.2f} ms", f"{last * 1000:.2f} ms", ratio, "<= 1.2", ratio <= 1.2)
    tenth, last = statistics.median(early.built), statistics.median(late.built)
    print(f"   building the request, beside it{tenth * 1000:>14.2f} ms{last * 1000:>11.2f} ms")
    half = len(size) // 2
    tenth, last = (size[half] - size[9]) / (half - 9), (size[-1] - size[half]) / (len(size) - 1 - half)
    print(f"   bytes per turn, early and late {tenth:>14.0f}{last:>14.0f}")

    floor, ours = await at_once(*((40, 1) if quick else (200, 5)))
    ratio = ours / floor
    line("W4 turns at once", f"{floor:.0f} /s", f"{ours:.0f} /s", ratio, ">= 0.5", ratio >= 0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="The engine against the floor.")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it works")
    asyncio.run(main(quick=parser.parse_args(sys.argv[1:]).quick))
