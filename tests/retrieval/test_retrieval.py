"""The floor under retrieval: a recall is never more than a point below what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("numpy", reason="the extra `embeddings` is not installed")

from september_engine.errors import ConfigurationError
from september_engine.memory.base import Embedder
from september_engine.memory.inprocess import InProcessMemories
from september_engine.memory.minilm import MiniLMEmbedder

from .conversations import Conversation, Question, Said, diluted, hand_made, read, wordy
from .forms import BARE, FORMS, TOLD
from .generator import generated
from .scorer import CUTS, Cached, Hashed, Table, score
from .sets import QUICK

WAYS = ("BM25", "vectors", "recall, no vectors", "recall")
ONE_POINT = 0.01


@cache
def minilm() -> Embedder:
    """One for all tests, so that no text is embedded twice."""
    return Cached(MiniLMEmbedder())


@pytest.fixture(params=["letters", "MiniLM"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "letters":
        return Cached(Hashed())
    try:
        return minilm()
    except ConfigurationError as missing:
        pytest.skip(missing.message)


@pytest.mark.parametrize("form", [TOLD, BARE])
@pytest.mark.parametrize("make", QUICK.values(), ids=QUICK)
async def test_a_recall_is_not_below_words_or_vectors_alone(
    make: Callable[[], Sequence[Conversation]], form: str, embedder: Embedder
) -> None:
    table = await score(make(), make=InProcessMemories, embedder=embedder, form=form, only=WAYS)
    for cut, *recalled in zip(CUTS, *(table[way]["all"] for way in WAYS), strict=True):
        words, vectors, without, fused = recalled
        assert without >= words - ONE_POINT, f"at {cut}, without vectors"
        assert fused >= max(words, vectors) - ONE_POINT, f"at {cut}"


@pytest.mark.parametrize(
    "form", [name for name in FORMS if name not in (TOLD, BARE, "facts with a time", "without times")]
)
async def test_who_spoke_and_when_is_found_in_every_form(form: str) -> None:
    """A program that writes it into the text has the same recall as one that tells it."""
    ways = ["recall, no vectors", "recall"]
    told, other = [
        await score([hand_made("lena")], make=InProcessMemories, embedder=Hashed(), form=each, only=ways)
        for each in (TOLD, form)
    ]
    assert other == told


async def test_questions_written_by_hand_are_answered() -> None:
    """Numbers to fall from: what these conversations reach with MiniLM, less some points."""
    try:
        known = minilm()
    except ConfigurationError as missing:
        pytest.skip(missing.message)
    both = [hand_made("nadia_and_tom"), hand_made("lena")]
    table: Table = await score(both, make=InProcessMemories, embedder=known, only=["recall"])
    at_5, at_10, at_25 = table["recall"]["all"]
    assert (at_5 > 0.84, at_10 > 0.93, at_25 > 0.97) == (True, True, True), table["recall"]["all"]


def test_there_are_questions_enough_of_every_kind() -> None:
    both = [hand_made("nadia_and_tom"), hand_made("lena")]
    questions = [question for conversation in both for question in conversation.questions]
    kinds = {question.kind for question in questions}
    assert len(questions) >= 100
    assert kinds >= {"fact", "name", "date", "changed", "old", "paraphrase", "multi", "time"}


def test_conversations_are_the_same_each_time_and_as_long_as_was_asked() -> None:
    assert generated(3) == generated(3)
    assert generated(3) != generated(4)
    assert len(generated(3).turns) > 300
    one = hand_made("lena")
    long = diluted(one, to=400, seed=1)
    assert len(long.turns) == 400
    assert [turn for turn in long.turns if not turn.id.startswith("small")] == list(one.turns)
    assert sorted(long.turns, key=lambda turn: turn.at) == list(long.turns)
    for turn, padded in zip(one.turns, wordy(one, words=100, seed=1).turns, strict=True):
        assert turn.text in padded.text
        assert len(padded.text.split()) >= 100


def test_conversations_of_your_own_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(msgspec.json.encode([hand_made("lena")]))
    [read_again] = read(file)
    assert read_again.questions == hand_made("lena").questions
    assert list(read_again.turns) == list(hand_made("lena").turns)


async def test_the_scorer_counts_the_evidence_that_is_found() -> None:
    turns = [Said("1", "Ana", "red boat", 0), Said("2", "Ana", "red house", 1), Said("3", "Ben", "tea", 2)]
    questions = [
        Question("red", "fact", frozenset(["1", "2"]), 10),
        Question("coffee", "fact", frozenset(["3"]), 10),
        Question("tea and red", "multi", frozenset(["1", "3"]), 10),
    ]
    table = await score([Conversation("c", turns, questions)], make=InProcessMemories, embedder=Hashed(), only=["BM25"])
    assert table["BM25"]["fact"] == (0.5, 0.5, 0.5)
    assert table["BM25"]["multi"] == (1, 1, 1)
