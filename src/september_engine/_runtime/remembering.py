"""Remembering: what turns leave in long-term memory, written in the background.

Nobody waits for it, and nothing is lost or written twice: each side of a turn has an id that follows from the turn, so
whatever a crash or a failing store has left out is found missing and written later, at the task's next turn or at the
next start. Which of it an edit or retry has left is the store's to say: see `Memories`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from msgspec.structs import replace

from .._context.causes import reason_of
from .._memory.records import Episode, Memory
from .._memory.rules import is_erased
from .._seams import Clock
from .._turn.exchange import SPEAKERS, Exchange, episode_id, exchange_of
from ..memory.base import LongTerm
from ..store.base import Store, stands_at
from .distilling import Distilling
from .threads import read_turn

__all__ = ["Remembering", "forgetting"]

logger = logging.getLogger(__name__)

LEFT = "an edit or retry left it behind"
"""What 0.1 wrote, which retired what was left and wrote it anew where a thread went back to it."""

DELETED = "its task was deleted"
PAGE = 100
LOOK_SECONDS = 60.0
"""How often memories that have no vector yet are looked for."""

EMBEDDED_AT_ONCE = 64
MOST_WRITTEN = 10_000
"""Of so many tasks it is known up to which turn they are written: turns that left nothing are not read every time."""


class Remembering:
    """Long-term memory, and what is still to be written into it.

    Args:
        memory: Where it goes.
        store: Where the turns are.
        inside: The names of tools that bring nothing in from outside.
        distilling: What draws facts from it, if anything does.
    """

    def __init__(
        self,
        memory: LongTerm,
        *,
        store: Store,
        clock: Clock,
        inside: Collection[str],
        distilling: Distilling | None = None,
    ) -> None:
        self.memory = memory
        self._distilling = distilling
        self.inside = inside
        self._store = store
        self._clock = clock
        self._asked: dict[str, None] = {}
        self._written: dict[str, str] = {}
        self._arrived = anyio.Event()
        self._quiet = anyio.Event()
        self._quiet.set()
        self._one_at_a_time = anyio.Lock()
        self._recalls: set[anyio.Event] = set()

    def went_on(self, task_id: str) -> None:
        """A turn of this task has ended."""
        self._asked[task_id] = None
        self._arrived.set()
        if self._quiet.is_set():
            self._quiet = anyio.Event()

    async def settled(self) -> None:
        """Wait until every turn that has ended is remembered, or could not be."""
        await self._quiet.wait()

    @contextmanager
    def recalling(self) -> Iterator[Callable[[], None]]:
        """While a turn looks memories up and writes them into its log. It calls what this gives when it begins."""
        done = anyio.Event()

        def begin() -> None:
            if not done.is_set():  # whoever was left behind by a time limit tells nobody any more
                self._recalls.add(done)

        try:
            yield begin
        finally:
            self._recalls.discard(done)
            done.set()

    async def recalled(self) -> None:
        """Wait for the recalls that are under way: they may have found what was forgotten since."""
        for recall in list(self._recalls):
            await recall.wait()

    async def run(self) -> None:
        """Until cancelled: write down what ends, what was left out before, and vectors that are missing."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._embed)
                group.start_soon(self._look_back)
                if self._distilling is not None:
                    group.start_soon(self._distilling.run)
                await self._write_down()
        finally:
            self._quiet.set()  # nobody may wait for what nobody does any more

    async def _write_down(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while self._asked:
                task_id = next(iter(self._asked))
                del self._asked[task_id]
                await self._record(task_id)
                if self._distilling is not None:
                    self._distilling.went_on()
            self._quiet.set()

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _record(self, task_id: str) -> None:
        """Write what is missing of the thread that the task stands on; what cannot be written now is missing later.

        From the open turn on, where there is one: an edit that runs has left what the thread stood at before.
        """
        try:
            async with self._one_at_a_time:
                row = await self._store.task(task_id)
                turn_id = None if row is None else stands_at(row)
                missing: list[Exchange] = []
                written = self._written.pop(task_id, None)
                while turn_id is not None and turn_id != written and not await self._is_remembered(task_id, turn_id):
                    exchange = exchange_of(await read_turn(self._store, task_id, turn_id), inside=self.inside)
                    if exchange is None:
                        break
                    missing.append(exchange)
                    turn_id = exchange.parent
                for exchange in reversed(missing):
                    await self._write(task_id, exchange)
                if row is not None and row.head is not None and row.open_turn is None:
                    self._written[task_id] = row.head
                    if len(self._written) > MOST_WRITTEN:
                        del self._written[next(iter(self._written))]
        except Exception as error:
            logger.warning("Task %r is not remembered for now. %s", task_id, reason_of(error))

    async def _is_remembered(self, task_id: str, turn_id: str) -> bool:
        """Whether the turn's sides are there, as part of the thread. One that left nothing cannot be told from none."""
        return any([(await self._side(task_id, turn_id, speaker))[1] is not None for speaker in SPEAKERS])

    async def _side(self, task_id: str, turn_id: str, speaker: str) -> tuple[str, Memory | None]:
        """One side of a turn, where it is there, and the id that it has or shall have."""
        again = 0
        while True:
            id_ = episode_id(task_id, turn_id, speaker, again=again)
            found = await self.memory.known([id_])
            if not found or not _was_left(found[0]):
                return id_, found[0] if found else None
            again += 1

    async def _write(self, task_id: str, exchange: Exchange) -> None:
        new: list[Episode] = []
        for episode in exchange.episodes:
            id_, there = await self._side(task_id, exchange.turn_id, str(episode.speaker))
            if there is None and not (exchange.again and await self._was_erased(task_id, exchange, episode)):
                new.append(replace(episode, id=id_))
        if new:
            await self.memory.remember(*new)

    async def _was_erased(self, task_id: str, retry: Exchange, episode: Episode) -> bool:
        """Whether it says what an earlier try did, and that was erased: who only tries again does not say it anew."""
        if episode.speaker != "user":
            return False
        turns = [turn.turn_id for turn in await self._store.turns(task_id) if turn.parent == retry.parent]
        ids = {episode_id(task_id, turn_id, "user"): turn_id for turn_id in turns}
        for memory in await self.memory.known(list(ids)):
            if is_erased(memory):
                tried = exchange_of(await read_turn(self._store, task_id, ids[memory.id]), inside=self.inside)
                if tried is not None and episode.text in [each.text for each in tried.episodes]:
                    return True
        return False

    async def forget_task(self, task_id: str) -> None:
        """Erase what the turns of a task left, which is what its messages say. What was learned from them stays."""
        ids = [
            id_
            for turn in await self._store.turns(task_id)
            for speaker in SPEAKERS
            for id_ in await self._all_of_side(task_id, turn.turn_id, speaker)
        ]
        await self.memory.erase_all(ids, because=DELETED)

    async def _all_of_side(self, task_id: str, turn_id: str, speaker: str) -> list[str]:
        """The ids of one side of a turn, those of before an edit left it behind included."""
        ids: list[str] = []
        while await self.memory.known([id_ := episode_id(task_id, turn_id, speaker, again=len(ids))]):
            ids.append(id_)
        return ids

    @property
    def writing(self) -> anyio.Lock:
        """Held while a task's episodes are written."""
        return self._one_at_a_time

    # ── looking after ────────────────────────────────────────────────────────────────────────────────────────────

    async def _look_back(self) -> None:
        """What earlier processes left out: of every task, whether the turn that it stands at is remembered."""
        before: str | None = None
        try:
            while rows := await self._store.tasks(before=before, limit=PAGE):
                heads = {row.task_id: row.head for row in rows if row.head is not None}
                ids = {task: [episode_id(task, head, side) for side in SPEAKERS] for task, head in heads.items()}
                there = {
                    memory.id for memory in await self.memory.known([id_ for pair in ids.values() for id_ in pair])
                }
                for task_id, pair in reversed(ids.items()):
                    if not there.intersection(pair):
                        await self._record(task_id)
                before = rows[-1].task_id
        except Exception as error:  # whatever a store raises, the turns of this engine go on
            logger.warning("What was left out before is not looked for. %s", reason_of(error))

    async def _embed(self) -> None:
        """Vectors for what has none. What the embedder cannot do now is tried again."""
        while True:
            try:
                await self.memory.warm()
                await self.memory.tidy()
                while self.memory.wants_vectors and await self.memory.embed_missing(limit=EMBEDDED_AT_ONCE):
                    pass
            except Exception as error:
                logger.warning("Memories have no vectors for now. %s", reason_of(error))
            await self._clock.sleep(LOOK_SECONDS)


@asynccontextmanager
async def forgetting(remembering: Remembering | None, task_id: str) -> AsyncIterator[None]:
    """Erase what a task's turns left, and write no more of it while it is being deleted.

    A memory that fails is no reason to keep the task.
    """
    if remembering is None:
        yield
        return
    async with remembering.writing:
        try:
            await remembering.forget_task(task_id)
        except Exception as error:
            logger.warning("What task %r left in memory is not erased. %s", task_id, reason_of(error))
        yield


def _was_left(memory: Memory) -> bool:
    return memory.superseded_by is not None or memory.retired_because == LEFT
