"""Long-term memory: remember, recall, and never lose the trail.

`LongTermMemory` joins a place where memories are kept, an embedder if there is one, and the rules of the core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

import anyio
import anyio.to_thread
from msgspec.structs import replace

from .._context.causes import reason_of
from .._home import Home, at_home
from .._memory.distilling import drawn_from
from .._memory.lexicon import Lexicon
from .._memory.parts import parts_of
from .._memory.portable import bundle_of, memories_of, merged
from .._memory.question import Names, Question, question_of
from .._memory.rank import Ranking
from .._memory.records import KINDS, Episode, Kind, Memory, Trait
from .._memory.rows import MemoryRow, memory_of, row_of, slot_of, text_of
from .._memory.rules import as_read, check_kinds, checked, erased, forgotten, is_erased, settled
from .._memory.words import RULES
from .._plain import plain_flag, plain_items, plain_text, plain_text_or_none, plain_whole
from .._seams import Clock, Ids
from ..errors import EngineError, InvalidRequest, InvalidType
from ._candidates import brought_in, candidate_of, hit_of, neighbours
from ._vectors import Cosines, VectorIndex
from .base import WEIGHTS, Embedder, Hit, Memories, Soul, Weights

__all__ = ["LongTermMemory"]

CANDIDATES = 100
"""How many memories words and meaning each bring in to be ranked."""

MOST_NEIGHBOURED = 50
"""For how many of these the turns before and after are looked at, too."""

DISTILLED_KINDS: Sequence[Kind] = ("knowledge", "person", "relation")

PAGE = 2_000
ANEW = 500
"""How many memories are indexed by new rules at once: some tens of milliseconds, while others wait."""

INDEXED = "indexed by"
"""The mark that says by which rules memories are indexed, and how far that is."""

BATCH = 64
AT_ONCE = 500
"""How many imported memories are written together: turns that end meanwhile do not wait for all of them."""


@at_home
class LongTermMemory:
    """What an agent knows across tasks.

    One object may own a place at a time: it decides what a new memory supersedes, one after the other.

    Args:
        memories: Where they are kept, such as `SQLiteStore(...).memories`.
        clock, ids: Time and new ids.
        embedder: Gives meaning to texts. Without, or where it fails, a recall goes by words, names and times.
        weights: What each signal counts for.
        home: The event loop that it is for; None for the first one that uses it.

    In another event loop every method raises `WrongLoop`; after the engine that it is of was closed, `EngineClosed`.

    Attributes:
        unquote: Called with memories that are about to be erased, to take copies of them out of other places; no recall
            gives them any more. What it raises, `erase` raises, and they are forgotten but not erased. An engine sets
            it for the logs of its tasks.
    """

    def __init__(
        self,
        memories: Memories,
        *,
        clock: Clock,
        ids: Ids,
        embedder: Embedder | None = None,
        weights: Weights = WEIGHTS,
        home: Home | None = None,
    ) -> None:
        self._home = home or Home()
        self._memories = memories
        self._clock = clock
        self._ids = ids
        self._embedder = embedder
        self._weights = weights
        self._index = None if embedder is None else VectorIndex(embedder.dimensions)
        self._names: Names | None = None
        self._lexicon: Lexicon | None = None
        self._up_to_date = False
        self._deciding = anyio.Lock()
        self._loading = anyio.Lock()
        self.trouble: str | None = None
        """Why the last recall or the last remembering went without vectors though there is an embedder, or None."""
        self.unquote: Callable[[Sequence[Memory]], Awaitable[None]] | None = None
        self.wants_vectors = embedder is not None
        """Whether there may be memories without a vector, for `embed_missing`."""

    def __repr__(self) -> str:
        return f"LongTermMemory({self._memories!r}, embedder={self._embedder!r})"

    # ── remembering ──────────────────────────────────────────────────────────────────────────────────────────────

    async def remember(self, *memories: Memory, repeat: bool = False) -> list[Memory]:
        """Remember these, in order, and return what now says each: itself, or the one that said the same before.

        A new value of what can have only one supersedes the old one, which stays readable. All become durable together.
        What comes of a turn (`mentions`) that an edit or retry has left is kept, but is not current.
        With `repeat`, a memory whose id is there already is returned as it is: doing it twice does no harm. Raises
        `InvalidRequest` for what must not be remembered; then nothing is.
        """
        repeat = plain_flag(repeat, "repeat")
        new = [checked(self._named(as_read(memory))) for memory in memories]
        await self._keep_up()
        async with self._deciding:
            there = {memory.id: memory for memory in await self.known([memory.id for memory in new])} if repeat else {}
            await self._must_be_new([memory.id for memory in new if memory.id not in there])
            written: dict[str, Memory] = {}
            results = [there.get(memory.id) or await self._decide(memory, written) for memory in new]
            await self._write(list(written.values()))
            return results

    def _named(self, memory: Memory) -> Memory:
        return replace(
            memory, id=memory.id or self._ids("mem_"), recorded_at=memory.recorded_at or self._clock.now_ms()
        )

    async def _must_be_new(self, ids: Sequence[str]) -> None:
        known = [row.id for row in await self._memories.get(ids)]
        known += [id_ for place, id_ in enumerate(ids) if id_ in ids[:place]] if len(set(ids)) < len(ids) else []
        if known:
            raise InvalidRequest(f"There is a memory {known[0]!r} already. What is remembered is not rewritten.")

    async def _decide(self, new: Memory, written: dict[str, Memory]) -> Memory:
        """Settle one memory against what is stored, and what this call is about to write."""
        standing = {id_: await self._known(id_, written) for id_ in new.supersedes}
        slot = slot_of(new)
        if slot is not None:
            stored = [memory_of(row) for row in await self._memories.filling(slot)]
            standing |= {memory.id: written.get(memory.id, memory) for memory in stored}
            standing |= {memory.id: memory for memory in written.values() if slot_of(memory) == slot}
        outcome = settled(new, [memory for memory in standing.values() if memory.retired_at is None])
        written |= {memory.id: memory for memory in outcome.write}
        return outcome.memory

    async def _known(self, id_: str, written: dict[str, Memory]) -> Memory:
        return written[id_] if id_ in written else await self.get(id_)

    async def forget(self, memory_id: str, *, because: str, turn: tuple[str, str] | None = None) -> Memory:
        """Retire a memory: it is no longer recalled, and stays readable with the reason. Harmless when repeated.

        `turn` is the task and turn in which an agent forgets it: where an edit or retry leaves that turn, the memory is
        there again. What a program forgets stays forgotten.
        """
        async with self._deciding:
            memory = await self.get(memory_id)
            retired = forgotten(memory, at=self._clock.now_ms(), because=because, turn=turn)
            if retired is not memory:
                await self._write([retired])
            return retired

    async def forget_all(self, ids: Sequence[str], /, *, because: str) -> None:
        """Retire several memories at once. Ids that are not known, or retired already, are left alone."""
        async with self._deciding:
            now = self._clock.now_ms()
            current = [memory for memory in await self.known(ids) if memory.retired_at is None]
            await self._write([forgotten(memory, at=now, because=because) for memory in current])

    async def erase(self, *ids: str, because: str) -> list[Memory]:
        """Take what these memories say out of memory for good, and return what stays: that, when and why they went.

        For a person who has a right to it; what is only wrong or old is better forgotten or superseded. With an episode
        goes what the engine distilled from it; that is returned behind the others.

        When this returns, no memory, index, vector or export holds it, and in an engine no thread that was told it: the
        recalled lines are taken out of the log, and its words out of summaries that can have them from there alone.
        What people and the agent said to each other stays in the thread where they said it, until its task is deleted.
        Of the file, unused space may hold bytes of it until `Engine.compact`.

        Raises `InvalidRequest` for an id that is not known; then nothing is erased. After another error, or where it
        was cancelled, call it again: doing it twice does no harm.
        """
        ids, because = tuple(plain_text(each, "ids") for each in ids), plain_text(because, "because")
        memories = [await self.get(id_) for id_ in dict.fromkeys(ids)]
        memories += await self._drawn_from(memories)
        gone = await self._erase(memories, because=because)
        await self._tidy()
        return gone

    async def erase_all(self, ids: Sequence[str], /, *, because: str) -> None:
        """Erase these memories, without what was distilled from them, and leave the indexes to `tidy`.

        Ids that are not known are left alone; the reason why something was superseded stays.
        """
        because = plain_text(because, "because")
        await self._erase(await self.known(ids), because=because, supersedes=True)

    async def tidy(self) -> None:
        """Take what was erased out of the store's indexes and logs. Harmless when repeated."""
        await self._tidy()

    async def _erase(self, memories: Sequence[Memory], *, because: str, supersedes: bool = False) -> list[Memory]:
        if not memories:
            return []
        ids = [memory.id for memory in memories]
        await self.forget_all(ids, because=because)  # from here on nobody is told them any more
        await self._take_out_quotes({memory.id: memory for memory in memories})
        async with self._deciding:
            now = self._clock.now_ms()
            gone = [
                erased(
                    memory,
                    at=now,
                    because=memory.retired_because if supersedes and memory.superseded_by else because,
                )
                for memory in await self.known(ids)
            ]
            rows = [row_of(memory) for memory in gone]
            await self._memories.erase(rows)
            await self._let_go(ids)
            return gone

    async def _drawn_from(self, memories: Sequence[Memory]) -> list[Memory]:
        """What was distilled from these and is not among them. All memories but the episodes are read for it."""
        found: list[Memory] = []
        after: str | None = None
        while any(isinstance(memory, Episode) for memory in memories):
            page = await self.page(kinds=DISTILLED_KINDS, past=True, after=after, limit=PAGE)
            if not page:
                break
            found += drawn_from(page, memories)
            after = page[-1].id
        given = {memory.id for memory in memories}
        return [memory for memory in found if memory.id not in given]

    async def of_task(self, task_id: str) -> list[Memory]:
        """Everything that came from a task, current or not. All memories are read for it."""
        task_id = plain_text(task_id, "task_id")
        found: list[Memory] = []
        after: str | None = None
        while page := await self.page(past=True, after=after, limit=PAGE):
            found += [memory for memory in page if memory.source.task_id == task_id]
            after = page[-1].id
        return found

    async def _write(self, memories: Sequence[Memory]) -> None:
        rows = [row_of(memory) for memory in memories]
        if not rows:
            return
        turns = [(each.task_id, each.turn_id) for memory in memories for each in memory.mentions if each.task_id]
        left = await self._memories.left(turns) if turns and self._embedder is not None else set()
        vectors = await self._embedded([memory for memory in memories if _is_shown(memory, left)])
        await self._memories.put(rows, model=self._model, vectors=vectors)
        await self._written(rows)

    async def _written(self, rows: Sequence[MemoryRow]) -> None:
        """Keep names and index in step with what was written: after a reading under way, which may not have seen it."""
        async with self._loading:
            if self._names is not None:
                self._names.add(row.speaker for row in rows if row.speaker)
            if self._lexicon is not None:
                self._lexicon.add(word for row in rows for word in row.words.split())
            if self._index is not None:
                self._index.retire(row.id for row in rows if not row.current)

    # ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _model(self) -> str:
        return "" if self._embedder is None else self._embedder.name

    async def _embedded(self, memories: Sequence[Memory]) -> dict[str, bytes]:
        """The vectors of these; none where the embedder fails: a memory is worth keeping without."""
        if self._embedder is None or self._index is None or not memories:
            return {}
        try:
            found = await self._meanings_of(memories)
        except Exception as error:
            self.trouble, self.wants_vectors = f"The embedder failed: {reason_of(error)}", True
            return {}
        self.trouble = None
        return dict(zip((memory.id for memory in memories), found, strict=True))

    async def _meanings_of(self, memories: Sequence[Memory]) -> list[bytes]:
        """For each memory the vectors of its parts."""
        parts = [parts_of(text_of(memory)) for memory in memories]
        vectors = iter(await self._vectors_of([text for texts in parts for text in texts]))
        return [b"".join(next(vectors) for _ in texts) for texts in parts]

    async def _vectors_of(self, texts: Sequence[str]) -> list[bytes]:
        assert self._embedder is not None
        assert self._index is not None
        found: list[bytes] = []
        for start in range(0, len(texts), BATCH):
            found += self._index.encoded(await self._embedder.embed(texts[start : start + BATCH]))
        return found

    async def embed_missing(self, *, limit: int = 10_000) -> int:
        """Give memories that have none a vector: those of before there was this embedder, or while it failed.

        Returns how many; call it until it is 0. Raises what the embedder raises.
        """
        limit = plain_whole(limit, "limit", least=1)
        if self._embedder is None:
            return 0
        done = 0
        while done < limit:
            self.wants_vectors = False
            rows = await self._memories.without_vector(self._model, limit=min(BATCH, limit - done))
            if not rows:
                break
            self.wants_vectors = True
            found = await self._meanings_of([memory_of(row) for row in rows])
            async with self._deciding:  # what was erased meanwhile must not come back as a vector
                there = {row.id: row.words for row in await self._memories.get([row.id for row in rows])}
                vectors = {
                    row.id: vector for row, vector in zip(rows, found, strict=True) if there.get(row.id) == row.words
                }
                await self._memories.put((), model=self._model, vectors=vectors)
            done += len(rows)
        return done

    async def mark(self, name: str, value: str, /) -> None:
        """Keep how far some work on memories has come."""
        await self._memories.mark(plain_text(name, "name"), plain_text(value, "value"))

    async def marked(self, name: str, /) -> str | None:
        """What `mark` kept under this name."""
        return await self._memories.marked(plain_text(name, "name"))

    async def warm(self) -> None:
        """Read names, words and vectors, so that the first recall need not. Harmless when repeated.

        Memories of a release with other rules for words are indexed by those of this one: some 10,000 a second.
        """
        while not self._up_to_date:
            await self._keep_up()
        await self._known_names()
        await self._known_words()
        if self._index is not None:
            await self._refresh(self._index)

    async def _refresh(self, index: VectorIndex) -> None:
        """Take in the vectors that were stored since the last time."""
        async with self._loading:
            while rows := await self._memories.vectors(self._model, after=index.last, limit=PAGE):
                await anyio.to_thread.run_sync(index.add, rows)
                if len(rows) < PAGE:
                    break

    # ── recalling ────────────────────────────────────────────────────────────────────────────────────────────────

    async def recall(
        self,
        query: str,
        *,
        limit: int = 10,
        kinds: Sequence[Kind] = KINDS,
        past: bool = False,
        without_task: str | None = None,
        now: int | None = None,
        weights: Weights | None = None,
    ) -> list[Hit]:
        """The memories that answer best, best first; each says why, and which task and message it came from.

        Args:
            query: A question, or any text, such as what a person just wrote.
            limit: From 1 to 100.
            kinds: Only memories of these kinds.
            past: Also those that are no longer current: what was superseded or forgotten.
            without_task: Leave out what came from this task, which its thread holds anyway.
            now: What "last week" is relative to, in unix ms; None is the clock's now.
            weights: What each signal counts for this time, such as `WORDS_ALONE`; None is this memory's.

        Raises `InvalidRequest` for another limit, and for kinds that there are not. Cancelling is harmless.
        """
        query, limit = plain_text(query, "query"), plain_whole(limit, "limit", least=1, most=100)
        kinds = check_kinds(kinds)
        past, without_task = plain_flag(past, "past"), plain_text_or_none(without_task, "without_task")
        if not isinstance(weights, Weights | None):
            raise InvalidType("weights must be Weights(…), or None for those of this memory.")
        # as far as dates go
        now = self._clock.now_ms() if now is None else plain_whole(now, "now", least=0, most=253_402_300_799_999)
        with suppress(EngineError):  # it may be found all the same, and the next recall tries again
            await self._keep_up()
        question = question_of(query, now=now, names=await self._known_names(), lexicon=await self._known_words())
        wanted = max(CANDIDATES, 2 * limit)
        matches, cosines = await asyncio.gather(
            self._memories.match(question.terms, near=question.others, kinds=kinds, past=past, limit=wanted),
            self._cosines(question, kinds=kinds, past=past, limit=wanted),
        )
        rows = await brought_in(self._memories, question, matches, cosines, kinds=kinds, past=past)
        ranking = Ranking(question, matches.about, weights=weights or self._weights)
        near = await neighbours(self._memories, rows, ranking, cosines, past=past, most=max(MOST_NEIGHBOURED, limit))
        rows |= {row.id: row for row in near.values() if row.kind in kinds}
        chosen = [row for row in rows.values() if without_task is None or row.task_id != without_task]
        candidates = [candidate_of(row, near, cosines) for row in chosen]
        best = ranking.best(candidates, limit=limit)
        return [hit_of(one, question, cosines) for one in best]

    async def _known_names(self) -> Names:
        async with self._loading:
            if self._names is None:
                self._names = Names(await self._memories.names())
            return self._names

    async def _known_words(self) -> Lexicon:
        async with self._loading:
            if self._lexicon is None:
                lexicon, after = Lexicon(), ""
                while words := await self._memories.terms(after=after, limit=PAGE):
                    lexicon.add(words)
                    after = words[-1]
                self._lexicon = lexicon
            return self._lexicon

    async def _keep_up(self) -> None:
        """Index some memories, `ANEW` at most, by the rules of this release, if they were by those of another.

        A mark keeps the place: what was interrupted goes on there, in another process, too.
        """
        if self._up_to_date:
            return
        async with self._deciding:
            rules, _, after = (await self._memories.marked(INDEXED) or "").partition(" ")
            if rules == RULES and not after:
                self._up_to_date = True
                return
            rows = await self._memories.page(
                kinds=KINDS, past=True, after=after if rules == RULES and after else None, limit=ANEW
            )
            changed = _indexed_anew(rows)
            if changed:
                await self._memories.index(changed)
                await self._written(changed)
            self._up_to_date = len(rows) < ANEW
            await self._memories.mark(INDEXED, RULES if self._up_to_date else f"{RULES} {rows[-1].id}")

    async def _cosines(self, question: Question, *, kinds: Sequence[Kind], past: bool, limit: int) -> Cosines | None:
        """How close every memory is in meaning, to the question as it is put and without its names and times."""
        index = self._index
        if index is None or self._embedder is None or not question.text.strip():
            return None
        await self._refresh(index)
        try:
            vectors = await self._vectors_of(list(dict.fromkeys((question.text, question.anonymous or question.text))))
        except Exception as error:
            self.trouble = f"The embedder failed: {reason_of(error)}"
            return None
        self.trouble = None
        return await anyio.to_thread.run_sync(lambda: index.cosines(vectors, kinds=kinds, past=past, limit=limit))

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, memory_id: str) -> Memory:
        """One memory, current or not. Raises `InvalidRequest` where there is none."""
        memory_id = plain_text(memory_id, "memory_id")
        rows = await self._memories.get([memory_id])
        if not rows:
            raise InvalidRequest(f"There is no memory {memory_id!r}.")
        return memory_of(rows[0])

    async def known(self, ids: Sequence[str], /) -> list[Memory]:
        """Those of these memories that there are, in this order."""
        return [
            memory_of(row)
            for row in await self._memories.get([plain_text(each, "ids") for each in plain_items(ids, "ids", "ids")])
        ]

    async def history(self, memory_id: str) -> list[Memory]:
        """The trail through this memory, oldest first: what it superseded, and what superseded it.

        What an import left out of the trail is not in it.
        """
        found: dict[str, Memory] = {}
        waiting: list[Memory] = [await self.get(memory_id)]
        while waiting:
            memory = waiting.pop()
            if memory.id not in found:
                found[memory.id] = memory
                beside = [*memory.supersedes, *([memory.superseded_by] if memory.superseded_by else [])]
                waiting += await self.known(beside)
        return sorted(found.values(), key=lambda memory: (memory.recorded_at, memory.superseded_by is None, memory.id))

    async def page(
        self, *, kinds: Sequence[Kind] = KINDS, past: bool = False, after: str | None = None, limit: int = 100
    ) -> list[Memory]:
        """Memories in the order they were remembered, beginning behind the id `after`."""
        kinds = check_kinds(kinds)
        past, after = plain_flag(past, "past"), plain_text_or_none(after, "after")
        limit = plain_whole(limit, "limit", least=1)
        rows = await self._memories.page(kinds=kinds, past=past, after=after, limit=limit)
        return [memory_of(row) for row in rows]

    async def soul(self) -> Soul:
        """Who the agent is now."""
        traits: list[Trait] = []
        after: str | None = None
        while page := await self.page(kinds=["trait"], after=after, limit=PAGE):
            traits += [memory for memory in page if isinstance(memory, Trait)]
            after = page[-1].id
        return Soul.of(traits)

    # ── moving ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def export_bundle(self) -> bytes:
        """Everything, current or not, as one JSON document that `import_bundle` takes."""
        memories: list[Memory] = []
        async with self._deciding:  # no trail may be cut between two pages
            while page := await self.page(past=True, after=memories[-1].id if memories else None, limit=PAGE):
                memories += page
        return await anyio.to_thread.run_sync(bundle_of, memories)

    async def import_bundle(self, bundle: bytes) -> int:
        """Take an export in, trails included, and return how many memories were written.

        What is here already stays, unless the export knows that it is no longer current; what was erased there is
        erased here. Where both have another value of the same attribute, both stand until a new one takes their place.
        Vectors are not in an export: `embed_missing` makes them. An import that was cut short is made again. Raises
        `InvalidRequest` for what is no export; then nothing is written.
        """
        imported = await anyio.to_thread.run_sync(memories_of, bundle)
        await self._keep_up()
        _, gone = await self._merge(imported)
        await self._take_out_quotes(gone)
        async with self._deciding:
            write, gone = await self._merge(imported)
            await self._memories.erase([row_of(memory) for memory in write if memory.id in gone])
            kept = [memory for memory in write if memory.id not in gone]
            for start in range(0, len(kept), AT_ONCE):
                rows = await anyio.to_thread.run_sync(_rows_of, kept[start : start + AT_ONCE])
                await self._memories.put(rows)
                await self._written(rows)
            await self._let_go(gone)
            self.wants_vectors = self._embedder is not None
        await self._take_out_quotes(gone)  # a recall may have found one before it was erased
        await self._tidy()
        return len(write)

    async def _merge(self, imported: Sequence[Memory]) -> tuple[list[Memory], dict[str, Memory]]:
        """What an import is to write, and what is here, by its id, of that which was erased there."""
        stored = {row.id: memory_of(row) for row in await self._memories.get([memory.id for memory in imported])}
        write = [memory for each in imported if (memory := merged(stored.get(each.id), each)) is not None]
        return write, {memory.id: stored[memory.id] for memory in write if memory.id in stored and is_erased(memory)}

    async def _take_out_quotes(self, memories: Mapping[str, Memory]) -> None:
        if memories and self.unquote is not None:
            await self.unquote(list(memories.values()))

    async def _tidy(self) -> None:
        await self._memories.tidy()
        async with self._loading:  # it may have been read before the index was merged
            self._lexicon = None

    async def _let_go(self, ids: Iterable[str]) -> None:
        """Keep nothing of these in the process."""
        async with self._loading:
            self._names = self._lexicon = None
            if self._index is not None:
                self._index.take_out(ids)


def _is_shown(memory: Memory, left: Collection[tuple[str, str]]) -> bool:
    """Whether it may be recalled, so that the embedder may see it."""
    in_turns = [(each.task_id, each.turn_id) in left for each in memory.mentions]
    return memory.retired_at is None and not (in_turns and all(in_turns))


def _indexed_anew(rows: Sequence[MemoryRow]) -> list[MemoryRow]:
    """Those of these rows whose words are others by today's rules."""
    new = [replace(row, words=row_of(memory_of(row)).words) for row in rows]
    return [row for row, before in zip(new, rows, strict=True) if row.words != before.words]


def _rows_of(memories: Sequence[Memory]) -> list[MemoryRow]:
    return [row_of(memory) for memory in memories]
