from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from september_engine._turn.facts import StoredResult
from september_engine._turn.inputs import Ask
from september_engine._turn.limits import Limits
from september_engine._turn.results import MOST_STORED, in_part, page_of, pieces_of, whole_of

from .._context.pictures import image
from .build import Turn, answered, replied, returned, starting, text, use

LONG = "0123456789" * 30


def test_what_fits_is_given_whole() -> None:
    for output in ("short", None, {"rows": [1]}, [text("found"), image()]):
        assert in_part(output, 100) == (output, None)


def test_what_does_not_fit_is_given_in_part_and_names_the_whole() -> None:
    output, stored = in_part(LONG, 40)
    digest = hashlib.sha256(LONG.encode()).hexdigest()
    assert stored == StoredResult(sha256=digest, bytes=300)
    assert output.startswith(LONG[:30] + "\n[… 260 bytes left out …]\n" + LONG[-10:])
    assert output.endswith(f'Read on with read_result(result_id="{digest}", offset=30).]')


def test_of_blocks_the_text_is_cut_and_the_pictures_stay() -> None:
    output, stored = in_part([text(LONG), image(), text("end")], 80)
    assert [block["type"] for block in output] == ["text", "image", "text", "text"]
    assert "read_result" in output[-1]["text"]
    assert stored is not None
    assert whole_of([text(LONG), image(), text("end")]) == f"{LONG}\nend".encode()


def test_texts_that_fit_together_are_given_whole_however_uneven() -> None:
    for output in ([text("x" * 90), text("y"), image()], [text("x" * 90), text("\n" * 9)]):
        assert in_part(output, 100) == (output, None)


OUTPUTS = st.one_of(
    st.text(min_size=30),
    st.text(alphabet='é\n"', min_size=30),
    st.lists(st.text(min_size=1).map(text), min_size=1),
    st.lists(st.text(alphabet='é\n"', min_size=5).map(text), min_size=1).map(lambda blocks: [*blocks, image()]),
)


@given(OUTPUTS, st.integers(4, 200))
def test_between_what_was_shown_and_where_it_is_read_on_nothing_is_missing(output: Any, limit: int) -> None:
    given_part, stored = in_part(output, limit)
    if stored is None:
        assert given_part == output
        return
    shown = (
        given_part if isinstance(given_part, str) else "\n".join(each["text"] for each in given_part if "text" in each)
    )
    before, _, _ = shown.partition("\n[… ")
    at = int(shown.rpartition("offset=")[2].removesuffix(").]"))
    page, _, _ = page_of(whole_of(output), at, 4).rpartition("\n[Bytes ")
    whole = whole_of(output).decode()
    assert whole.startswith(before)
    assert whole[len(before) :].startswith(page)


def test_of_what_is_larger_than_can_be_stored_the_beginning_is() -> None:
    _, stored = in_part("x" * (MOST_STORED + 5), 100)
    assert stored is not None
    assert stored.bytes == MOST_STORED


def test_the_whole_goes_with_the_fact_that_names_it() -> None:
    turn = Turn(replied(use("a")), starting("a"), limits=Limits(output_bytes=20))
    came = returned("a", LONG)
    facts = turn.tell(came)
    [(digest, body)] = pieces_of(came, facts).items()
    assert body == LONG.encode()
    assert digest == hashlib.sha256(body).hexdigest()
    assert pieces_of(came, []) == {}
    assert pieces_of(starting("a"), facts) == {}


def test_what_a_person_answered_is_stored_whole_too() -> None:
    asked = replied(use("a"), asks={"a": "What do you know?"})
    question = [replace(ask, kind="question") for ask in asked.asks if isinstance(ask, Ask)]
    turn = Turn(replace(asked, asks=question), limits=Limits(output_bytes=20))
    said = answered(LONG)
    assert [*pieces_of(said, turn.tell(said)).values()] == [LONG.encode()]


@given(st.text(min_size=1), st.integers(-3, 40), st.integers(1, 9))
def test_pages_follow_each_other_to_the_end_and_lose_nothing(whole: str, offset: int, size: int) -> None:
    body = whole.encode()
    page = page_of(body, offset, size)
    assert page.encode().decode() == page
    read, at = "", 0
    for _ in range(len(body) + 1):
        page = page_of(body, at, size)
        said, _, note = page.rpartition("\n[Bytes ")
        read += said
        if "This is the end." in note:
            break
        at = int(note.rpartition("offset=")[2].rstrip(".]"))
    assert read == whole


@pytest.mark.parametrize("offset", [3, 99, 10**9])
def test_behind_the_end_there_is_nothing_more(offset: int) -> None:
    assert page_of(b"abc", offset, 10) == "\n[Bytes 3 to 3 of 3. This is the end.]"
