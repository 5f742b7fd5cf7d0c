"""What every place for memories must do. Subclass `MemoriesContract` in your tests and say how yours is made:

    class TestMyMemories(MemoriesContract):
        @asynccontextmanager
        async def opened(self) -> AsyncIterator[Memories]:
            yield MyMemories(...)

The suite needs pytest with anyio's plugin (`anyio_mode = "auto"`, or mark the class with `pytest.mark.anyio`).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from msgspec.structs import replace

from .._memory.rank import BM25
from ..memory.base import KINDS, Memories, MemoryRow

__all__ = ["MemoriesContract", "a_row"]

ODD = ("a", "a\x00b", "😀", "é", "e\u0301", "\u202eabc", 'quo"te', "it's", "x" * 512)


def a_row(id_: str, words: str = "word", **fields: object) -> MemoryRow:
    """A row to put."""
    row = MemoryRow(id=id_, kind="episode", at=1_000, body=f"body of {id_}".encode(), words=words, task_id="task")
    return replace(row, **fields)


class MemoriesContract:
    """The suite. Override `opened`: a new, empty place, ready for use."""

    def opened(self) -> AbstractAsyncContextManager[Memories]:
        raise NotImplementedError

    async def test_what_was_put_is_read_back_whole(self) -> None:
        async with self.opened() as memories:
            rows = [
                a_row("a", "some words", speaker="Ana", position=7),
                a_row("b", "", kind="knowledge", slot="knowledge\x1fana\x1fjob", task_id=None, at=-5),
                a_row("c", "más wörter 東京", body=bytes(range(256)) * 100, position=8, current=False, at=2**62),
            ]
            await memories.put(rows)
            assert await memories.get(["c", "a", "none", "b"]) == [rows[2], rows[0], rows[1]]
            assert await memories.get([]) == []

    async def test_a_row_takes_the_place_of_the_one_with_its_id(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row("a", "old", position=3), a_row("b", "other", position=4)])
            changed = a_row("a", "new", position=3, current=False, body=b"changed")
            await memories.put([changed])
            assert await memories.get(["a"]) == [changed]
            assert [row.id for row in await memories.page(kinds=KINDS, past=True)] == ["a", "b"]
            found = await memories.match(["old", "new"], kinds=KINDS, past=True, limit=9)
            assert [row.id for row in found.rows] == ["a"]
            assert found.about.holding == {"old": 0, "new": 1}
            assert (found.about.total, found.about.mean_length) == (2, 1.0)

    async def test_ids_names_and_tasks_are_opaque(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row(odd, task_id=odd, speaker=odd, slot=odd) for odd in ODD])
            assert [row.id for row in await memories.get(ODD)] == list(ODD)
            for odd in ODD:
                assert [row.id for row in await memories.filling(odd)] == [odd]
                assert [row.id for row in await memories.at([(odd, 0)])] == [odd]
            assert sorted(await memories.names()) == sorted(ODD)

    # ── words ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_name_that_no_memory_has_any_more_is_not_kept(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row("a", speaker="Ana"), a_row("b", speaker="Ana"), a_row("c", speaker="Ben")])
            await memories.put([a_row("a", speaker=None), a_row("c", speaker="Ben", current=False)])
            assert sorted(await memories.names()) == ["Ana", "Ben"]
            await memories.put([a_row("b", speaker="Eva")])
            assert sorted(await memories.names()) == ["Ben", "Eva"]

    async def test_words_are_found_the_best_match_first(self) -> None:
        async with self.opened() as memories:
            texts = {"both": "red car", "one": "red house garden", "none": "green tree", "long": "red " + "x " * 50}
            await memories.put([a_row(id_, words.strip()) for id_, words in texts.items()])
            found = await memories.match(["red", "car", "boat"], kinds=KINDS, past=False, limit=9)
            assert [row.id for row in found.rows] == ["both", "one", "long"]
            assert found.about.total == 4
            assert found.about.holding == {"red": 3, "car": 1, "boat": 0}
            score = BM25(["red", "car", "boat"], found.about)
            assert sorted(found.rows, key=lambda row: -score(row)) == list(found.rows)
            first = await memories.match(["red", "car"], kinds=KINDS, past=False, limit=1)
            assert [row.id for row in first.rows] == ["both"]

    async def test_of_equals_those_that_were_put_last_come_first(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row(f"m{number}", "red car") for number in range(30)])
            await memories.put([a_row("m3", "red car", current=True, body=b"put again")])
            for limit in (30, 4):
                found = await memories.match(["red", "car"], kinds=KINDS, past=False, limit=limit)
                assert [row.id for row in found.rows] == [f"m{number}" for number in range(29, 29 - limit, -1)]

    async def test_words_that_are_near_bring_in_a_few_more_behind_the_others(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row(f"m{number}", "doors" if number % 2 else "door") for number in range(40)])
            found = await memories.match(["door", "none"], near=["doors"], kinds=KINDS, past=False, limit=8)
            assert [row.id for row in found.rows] == [f"m{number}" for number in (*range(38, 22, -2), 39, 37)]
            assert found.about.holding == {"door": 20, "none": 0, "doors": 20}
            found = await memories.match([], near=["doors"], kinds=["knowledge"], past=False, limit=8)
            assert found.rows == []

    async def test_the_terms_that_memories_hold_are_read_page_by_page(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row("a", "red car 東京"), a_row("b", "red été 😀"), a_row("c", "gone")])
            await memories.put([a_row("c", "car")])
            terms: list[str] = []
            while page := await memories.terms(after=terms[-1] if terms else "", limit=2):
                terms += page
            assert terms == ["car", "red", "été", "東京", "😀"]

    async def test_a_row_that_is_indexed_anew_keeps_its_vector(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row("a", "old")], model="m", vectors={"a": b"aaaa"})
            await memories.index([a_row("a", "new words")])
            assert [row.id for row in await memories.vectors("m", after=0, limit=9)] == ["a"]
            found = await memories.match(["old", "new"], kinds=KINDS, past=False, limit=9)
            assert ([row.id for row in found.rows], found.about.mean_length) == (["a"], 2.0)
            assert found.about.holding == {"old": 0, "new": 1}

    async def test_any_term_can_be_asked_for(self) -> None:
        async with self.opened() as memories:
            odd = ["and", "or", "not", "near", "東京", "हिन्दी", "ß", "1984", "words"]
            await memories.put([a_row(term, f"{term} extra") for term in odd])
            for term in odd:
                found = await memories.match([term], kinds=KINDS, past=False, limit=9)
                assert [row.id for row in found.rows] == [term]
            assert (await memories.match(["episode"], kinds=KINDS, past=False, limit=9)).about.holding == {"episode": 0}
            assert (await memories.match([], kinds=KINDS, past=False, limit=9)).rows == []
            assert (await memories.match(['"', "a*", "words:x", "^b"], kinds=KINDS, past=False, limit=9)).rows == []

    async def test_kinds_and_what_is_past_are_filtered_however_few_pass(self) -> None:
        async with self.opened() as memories:
            crowd = [a_row(f"e{number}", "tea time") for number in range(40)]
            past = [a_row(f"p{number}", "tea", current=False) for number in range(40)]
            await memories.put([*crowd, a_row("fact", "tea and other plants", kind="knowledge"), *past])
            for limit in (1, 5, 30):
                found = await memories.match(["tea"], kinds=["knowledge"], past=False, limit=limit)
                assert [row.id for row in found.rows] == ["fact"]
            found = await memories.match(["tea"], kinds=["episode"], past=False, limit=100)
            assert {row.id for row in found.rows} == {row.id for row in crowd}
            found = await memories.match(["tea"], kinds=KINDS, past=True, limit=100)
            assert len(found.rows) == 81

    # ── places, times, slots ─────────────────────────────────────────────────────────────────────────────────────

    async def test_episodes_of_a_task_are_given_positions_as_they_come(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row("a"), a_row("x", task_id="other"), a_row("b")])
            await memories.put([a_row("c", position=10), a_row("d")])
            await memories.put([a_row("k", kind="knowledge"), a_row("n", task_id=None)])
            rows = await memories.get(["a", "b", "c", "d", "x", "k", "n"])
            assert [row.position for row in rows] == [0, 1, 10, 11, 0, None, None]
            await memories.put([a_row("a", current=False)])
            assert (await memories.get(["a"]))[0].position == 0
            found = await memories.at([("task", 1), ("task", 2), ("task", 11), ("other", 0), ("task", 1)])
            assert sorted(row.id for row in found) == ["b", "d", "x"]
            assert await memories.at([]) == []

    async def test_a_time_is_read_newest_first(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row(f"at {at}", at=at) for at in (5, 1, 3, 4, 2)])
            found = await memories.between(2, 5, kinds=KINDS, past=False, limit=2)
            assert [row.at for row in found] == [4, 3]
            assert len(await memories.between(-(10**30), 10**30, kinds=KINDS, past=False, limit=9)) == 5
            assert await memories.between(2, 5, kinds=["trait"], past=False, limit=9) == []

    async def test_what_is_known_of_somebody_is_read_newest_first(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row(id_, kind="knowledge", speaker="Ana", task_id=None) for id_ in ("a", "b", "c")])
            await memories.put([a_row("e", speaker="Ana"), a_row("x", kind="person", speaker="Ben", task_id=None)])
            await memories.put([a_row("b", kind="knowledge", speaker="Ana", task_id=None, current=False)])
            assert [row.id for row in await memories.about(["Ana"], past=False, limit=9)] == ["c", "a"]
            assert [row.id for row in await memories.about(["Ben", "Ana"], past=True, limit=3)] == ["x", "c", "b"]
            assert await memories.about([], past=True, limit=9) == []

    async def test_a_slot_holds_what_is_current(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row("a", slot="s"), a_row("b", slot="s"), a_row("c", slot="t")])
            assert [row.id for row in await memories.filling("s")] == ["a", "b"]
            await memories.put([a_row("a", slot="s", current=False)])
            assert [row.id for row in await memories.filling("s")] == ["b"]
            assert await memories.filling("none") == []

    async def test_pages_cover_everything_once(self) -> None:
        async with self.opened() as memories:
            rows = [a_row(f"m{number}", current=number % 3 != 0) for number in range(10)]
            await memories.put(rows)
            seen: list[str] = []
            while page := await memories.page(kinds=KINDS, past=True, after=seen[-1] if seen else None, limit=3):
                seen += [row.id for row in page]
            assert seen == [row.id for row in rows]
            current = await memories.page(kinds=KINDS, past=False)
            assert [row.id for row in current] == [row.id for row in rows if row.current]
            assert await memories.page(kinds=KINDS, past=True, after="unknown") == []

    # ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_vectors_are_read_in_the_order_they_came(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row("a"), a_row("b")], model="m", vectors={"b": b"bbbb", "a": b"aaaa"})
            await memories.put([a_row("c", kind="knowledge", current=False)])
            assert [row.id for row in await memories.without_vector("m", limit=9)] == ["c"]
            assert [row.id for row in await memories.without_vector("n", limit=2)] == ["a", "b"]
            await memories.put([], model="m", vectors={"c": b"cccc", "a": b"AAAA", "none": b"xxxx"})
            rows = await memories.vectors("m", after=0, limit=9)
            assert [(row.id, row.vector) for row in rows] == [("b", b"bbbb"), ("c", b"cccc"), ("a", b"AAAA")]
            assert [(row.kind, row.current) for row in rows][1] == ("knowledge", False)
            assert await memories.vectors("m", after=rows[0].number, limit=1) == rows[1:2]
            assert await memories.vectors("n", after=0, limit=9) == []

    async def test_other_words_lose_the_vector_that_was_made_of_the_old_ones(self) -> None:
        async with self.opened() as memories:
            await memories.put([a_row("a", "old")], model="m", vectors={"a": b"aaaa"})
            await memories.put([a_row("a", "old", current=False)])
            assert len(await memories.vectors("m", after=0, limit=9)) == 1
            await memories.put([a_row("a", "new")])
            assert await memories.vectors("m", after=0, limit=9) == []

    async def test_a_turn_that_no_task_has_is_not_left(self) -> None:
        async with self.opened() as memories:
            assert await memories.left([("task", "t1"), ("a\x00b", "😀")]) == set()
            assert await memories.left([]) == set()

    async def test_a_mark_is_kept_in_place_of_the_one_before(self) -> None:
        async with self.opened() as memories:
            assert await memories.marked("distilled") is None
            await memories.mark("distilled", "a")
            await memories.mark("distilled", "b")
            await memories.mark("other", "")
            assert [await memories.marked(name) for name in ("distilled", "other", "none")] == ["b", "", None]

    # ── erasing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_of_what_was_erased_only_the_new_row_is_left(self) -> None:
        async with self.opened() as memories:
            await memories.tidy()
            rows = [a_row("a", "rare word", speaker="Ana", slot="s"), a_row("b", "word", speaker="Ben")]
            await memories.put(rows, model="m", vectors={"a": b"aaaa", "b": b"bbbb"})
            gone = a_row("a", "rare word", body=b"gone", speaker=None, current=False, position=0)
            await memories.erase([gone])  # a vector goes though the words are the same
            assert [row.id for row in await memories.vectors("m", after=0, limit=9)] == ["b"]
            gone = replace(gone, words="eras")
            for _ in range(2):
                await memories.erase([gone])
                await memories.tidy()
            assert await memories.get(["a"]) == [gone]
            assert (await memories.names(), await memories.filling("s")) == (["Ben"], [])
            found = await memories.match(["rare", "word", "eras"], kinds=KINDS, past=True, limit=9)
            assert (sorted(row.id for row in found.rows), found.about.total) == (["a", "b"], 2)
            assert found.about.holding == {"rare": 0, "word": 1, "eras": 1}
