"""Rank: each signal moves an answer up on its own, and the hit says so."""

from __future__ import annotations

from typing import Any

import pytest

from september_engine._memory.question import Names, question_of
from september_engine._memory.rank import BM25, WEIGHTS, Candidate, Ranked, Ranking, Statistics
from september_engine._memory.records import Episode, Source
from september_engine._memory.rows import MemoryRow, row_of

NOW = 1_710_343_800_000
HOUR, DAY = 3_600_000, 86_400_000
ABOUT = Statistics(total=100, mean_length=4.0, holding={"paint": 5, "sunris": 1})


def row(id_: str, text: str, *, speaker: str = "Ana", at: int = NOW - 100 * DAY) -> MemoryRow:
    return row_of(Episode(id=id_, text=text, speaker=speaker, at=at, source=Source(task_id="t")))


def best(query: str, *candidates: tuple[MemoryRow, str, dict[str, Any]]) -> list[Ranked]:
    question = question_of(query, now=NOW, names=Names(["Ana", "Ben"]))
    given = [Candidate(row=row_, text=text, **more) for row_, text, more in candidates]
    return Ranking(question, ABOUT).best(given, limit=10)


def of(id_: str, text: str, *, speaker: str = "Ana", at: int = NOW - 100 * DAY, **more: Any) -> Any:
    return row(id_, text, speaker=speaker, at=at), text, more


def test_bm25_is_a_part_of_what_a_text_could_reach() -> None:
    score = BM25(["paint", "sunris"], ABOUT)
    assert score(None) == 0
    assert score(row("a", "nothing of it")) == 0
    both, one = score(row("b", "a painted sunrise")), score(row("c", "a painted house"))
    assert 0 < one < both < 1
    assert score(row("d", "sunrise")) > score(row("e", "sunrise " + "over green hills " * 20))
    assert BM25([], ABOUT)(row("f", "x")) == 0
    weak = BM25(["paint", "sunris"], ABOUT, weak={"sunris"})
    assert weak(row("d", "sunrise")) < score(row("d", "sunrise"))


def test_words_come_first_and_are_named() -> None:
    [found] = best("Who painted a sunrise?", of("a", "I like tea"), of("b", "I painted the sunrise"))
    assert found.row.id == "b"
    assert found.why == "Recalled because it holds 'paint', 'sunris'."


def test_what_nothing_speaks_for_is_left_out_and_what_hardly_does_is_said_to() -> None:
    assert best("Who painted?", of("a", "I like tea"), of("b", "Do you like tea?")) == []
    [found] = best("Who painted?", of("a", "I like tea", cosine=0.1))
    assert "not near" in found.why


def test_the_score_is_the_weighted_sum_of_the_signals_it_shows() -> None:
    found = best("When did Ana paint?", of("a", "I painted yesterday, did you?", cosine=0.5))[0]
    assert set(found.signals) == {"words", "meaning", "speaker", "says_when", "asks"}
    total = sum(getattr(WEIGHTS, name) * value for name, value in found.signals.items())
    assert found.score == pytest.approx(total, abs=1e-3)
    assert all(0 < value <= 1 for value in found.signals.values())


def test_a_reply_is_found_by_the_words_before_it_if_they_are_of_the_same_talk() -> None:
    reply = row("a", "Yes, in Porto!")
    asks = row("q", "Did you paint the sunrise?", at=reply.at - HOUR)
    long_ago = row("o", "Did you paint the sunrise?", at=reply.at - 2 * DAY)
    [near] = best("Who painted a sunrise?", (reply, "Yes", {"before": asks}))
    assert "next to it" in near.why
    assert best("Who painted a sunrise?", (reply, "Yes", {"before": long_ago})) == []


def test_meaning_counts_where_no_word_is_shared() -> None:
    [found] = best("Which pet?", of("a", "tea"), of("b", "My dog barks", cosine=0.6))
    assert found.row.id == "b"
    assert "means something close (cosine 0.60)" in found.why


def test_who_is_named_counts_as_speaker_not_as_word() -> None:
    [found] = best("What did Ana paint?", of("a", "Ana, lovely!", speaker="Ben"), of("b", "A boat"))
    assert found.row.id == "b"
    assert "it is Ana's" in found.why


def test_a_time_counts_whole_inside_and_less_soon_after() -> None:
    inside = of("a", "tea", at=NOW - 7 * DAY)
    after = of("b", "tea", at=NOW - 2 * DAY)
    before = of("c", "tea", at=NOW - 60 * DAY)
    found = best("What happened last week?", after, before, inside)
    assert [each.row.id for each in found] == ["a", "b"]
    assert "it is from 'last week'" in found[0].why
    assert "soon after 'last week'" in found[1].why
    year = best("What happened in 2024?", of("a", "tea", at=NOW))
    assert year[0].signals["time"] < 0.2


def test_a_time_that_a_text_speaks_of_counts_as_its_own() -> None:
    day_after = of("a", "I sold it yesterday", at=NOW - 19 * DAY)
    same_day_last_year = of("b", "I sold it yesterday", at=NOW - 385 * DAY)
    [found] = best("What happened on 22 February 2024?", same_day_last_year, day_after)
    assert found.row.id == "a"
    assert "it speaks of '22 February 2024'" in found.why


def test_a_turn_that_only_asks_steps_back() -> None:
    found = best("tea?", of("a", "Do you like tea?"), of("b", "Do like a tea."))
    assert [each.row.id for each in found] == ["b", "a"]


def test_equals_are_newest_first_then_by_id() -> None:
    found = best("What of Ana?", of("b", "tea"), of("a", "tea"), of("c", "tea", at=NOW))
    assert [each.row.id for each in found] == ["c", "a", "b"]


def test_the_promising_are_the_best_by_their_own_words_and_meaning() -> None:
    question = question_of("Who painted?", now=NOW, names=Names())
    rows = [row("a", "tea"), row("b", "painted"), row("c", "coffee")]
    found = Ranking(question, ABOUT).promising(rows, lambda id_: 0.4 if id_ == "c" else 0.0, most=2)
    assert {each.id for each in found} == {"b", "c"}
