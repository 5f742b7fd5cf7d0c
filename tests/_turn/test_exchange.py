"""What a turn asks of long-term memory, and what it leaves there."""

from __future__ import annotations

from september_engine._memory.records import Mention
from september_engine._turn.exchange import (
    EPISODE_BYTES,
    QUESTION_CHARS,
    episode_id,
    exchange_of,
    outside_before,
    outside_tools,
    question_of_turn,
    said_by_person,
)
from september_engine._turn.facts import RecalledItem
from september_engine._turn.inputs import Cancelled, Interrupted, MemoriesRecalled
from september_engine._turn.state import FILES, MEMORIES

from .build import NOW, Turn, answered, asking, replied, returned, start, starting, text, use


def test_memory_is_asked_with_what_the_person_said_and_not_after_a_greeting() -> None:
    assert question_of_turn([{"type": "image", "source": {}}, text(" Where is Ana? ")]) == "Where is Ana?"
    assert question_of_turn([text("Good morning!")]) is None
    assert question_of_turn([{"type": "image", "source": {}}]) is None
    assert question_of_turn([text("x" * 10_000)]) == "x" * QUESTION_CHARS


def test_a_turn_leaves_what_was_said_and_the_last_answer() -> None:
    turn = Turn(replied(text("Let me see."), use("a")), starting("a"), returned("a"), replied(text("There."), step=1))
    exchange = exchange_of(turn.facts, inside={"look"})
    assert exchange is not None
    mine, answer = exchange.episodes
    assert (mine.text, mine.speaker, mine.source.origin, mine.source.trust) == ("Hi", "user", "person", "stated")
    assert (answer.text, answer.speaker, answer.source.trust) == ("There.", "assistant", "inferred")
    assert (mine.source.task_id, mine.source.message_id) == ("task", "msg_1")
    assert answer.source.message_id == "msg_3"
    assert mine.id == episode_id("task", "turn_1", "user") != answer.id


def test_an_answer_after_a_tool_that_brought_something_in_is_untrusted_and_says_which() -> None:
    turn = Turn(replied(use("a")), starting("a"), returned("a"), replied(text("There."), step=1))
    exchange = exchange_of(turn.facts, inside={"note"})
    assert exchange is not None
    mine, answer = exchange.episodes
    assert mine.source.trust == "stated"
    assert (answer.source.trust, answer.source.detail) == ("untrusted", "after look")
    assert outside_tools(turn.facts, {"look"}) == []


def test_what_a_tool_brought_in_stays_in_the_thread_and_an_answer_after_it_is_untrusted() -> None:
    first = Turn(replied(use("a")), starting("a"), returned("a"), replied(text("There."), step=1))
    assert first.state.called == ("look",)
    turn = Turn(replied(text("As I said.")), called=first.state.called)
    assert (turn.state.called, outside_tools(turn.facts, ())) == (("look",), [])
    assert (outside_before(turn.facts, ()), outside_before(turn.facts, {"look"})) == (["look"], [])
    exchange = exchange_of(turn.facts, inside=())
    assert exchange is not None
    mine, answer = exchange.episodes
    assert mine.source.trust == "stated"
    assert (answer.source.trust, answer.source.detail) == ("untrusted", "after look")


def test_an_answer_after_an_untrusted_memory_is_untrusted() -> None:
    for trust, expected in (("untrusted", "untrusted"), ("inferred", "inferred"), ("stated", "inferred")):
        item = RecalledItem(id="mem_1", text="{}", why="", score=1, trust=trust)
        turn = Turn(MemoriesRecalled(now=NOW, items=[item]), replied(text("So it is.")))
        exchange = exchange_of(turn.facts, inside=())
        assert exchange is not None
        assert exchange.episodes[1].source.trust == expected
        assert outside_before(turn.facts, ()) == ([MEMORIES] if trust == "untrusted" else [])


def test_what_a_person_attached_was_written_by_nobody_here() -> None:
    for kind in ("image", "document"):
        turn = Turn(replied(text("It says so.")), content=[{"type": kind, "source": {}}, text("Sum it up.")])
        exchange = exchange_of(turn.facts, inside=())
        assert exchange is not None
        mine, answer = exchange.episodes
        assert (mine.source.trust, answer.source.trust) == ("stated", "untrusted")
        assert answer.source.detail == "after attached files"
        assert turn.state.called == (FILES,), "it stays in the thread"
    shown = Turn(asking("a"), answered("yes", content_blocks=[{"type": "image", "source": {}}]))
    assert (outside_before(shown.facts, ()), shown.state.called[-1]) == ([FILES], FILES)


def test_a_turn_that_was_stopped_leaves_what_was_seen_of_its_answer() -> None:
    turn = Turn(Cancelled(now=NOW, message_id="msg_2", text="Hel"))
    exchange = exchange_of(turn.facts, inside=())
    assert exchange is not None
    assert [episode.text for episode in exchange.episodes] == ["Hi", "Hel"]
    unseen = exchange_of(Turn(Cancelled(now=NOW, message_id="msg_2", text="")).facts, inside=())
    assert unseen is not None
    assert [episode.text for episode in unseen.episodes] == ["Hi"]


def test_what_does_not_count_or_says_nothing_leaves_nothing() -> None:
    for turn in (
        Turn(replied(text("No."), stop_reason="refusal")),
        Turn(Interrupted(now=NOW)),
        Turn(kind="note", content=[], message_id=""),
        Turn(),
    ):
        exchange = exchange_of(turn.facts, inside=())
        assert exchange is not None
        assert exchange.episodes == ()
    assert exchange_of([], inside=()) is None
    wordless = Turn(replied(text("A cat.")), content=[{"type": "image", "source": {}}])
    exchange = exchange_of(wordless.facts, inside=())
    assert exchange is not None
    assert [episode.speaker for episode in exchange.episodes] == ["assistant"]


def test_both_sides_name_the_turn_that_they_came_from() -> None:
    exchange = exchange_of(Turn(replied(text("Hello."))).facts, inside=())
    assert exchange is not None
    assert {each.mentions for each in exchange.episodes} == {(Mention(task_id="task", turn_id=exchange.turn_id),)}


def test_a_long_message_is_remembered_by_its_beginning_and_end() -> None:
    exchange = exchange_of(Turn(replied(text("x" * 100_000)), **{"content": [text("Hi")]}).facts, inside=())
    assert exchange is not None
    assert len(exchange.episodes[1].text.encode()) < EPISODE_BYTES + 100


def test_what_a_person_said_is_the_message_and_every_answer_to_a_question() -> None:
    turn = Turn(asking("a"), answered("no", feedback="Rather the garden."))
    assert said_by_person(turn.facts) == "Hi\nno\nRather the garden.\n"
    assert start().content == [text("Hi")]


def test_what_was_said_before_a_call_is_not_the_answer() -> None:
    turn = Turn(replied(text("Let me see."), use("a")), starting("a"), returned("a"))
    turn.tell(Cancelled(now=NOW, message_id="msg_9", text=""))
    exchange = exchange_of(turn.facts, inside=())
    assert exchange is not None
    assert [episode.text for episode in exchange.episodes] == ["Hi"]


def test_an_episode_is_of_its_task_turn_side_and_coming_back() -> None:
    ids = {
        episode_id("t", "u", "user"),
        episode_id("x", "u", "user"),
        episode_id("t", "x", "user"),
        episode_id("t", "u", "assistant"),
        episode_id("t", "u", "user", again=1),
    }
    assert len(ids) == 5


def test_of_many_tools_five_are_named() -> None:
    turn = Turn(replied(text("So.")), called=tuple("abcdefg"))
    exchange = exchange_of(turn.facts, inside=())
    assert exchange is not None
    assert exchange.episodes[1].source.detail == "after a, b, c, d, e"
