from __future__ import annotations

from pathlib import Path

import pytest

from september_engine._turn.request import (
    aim_of,
    check_answer,
    check_cursor,
    check_limit,
    check_media,
    check_task_id,
    content_of,
    open_request,
)
from september_engine._turn.state import TurnState
from september_engine.errors import HitlAlreadyAnswered, HitlNotPending, InvalidRequest, InvalidType

from .._context.pictures import image, png
from .build import Turn, answered, asking, replied, text

IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
HALF = "\ud83d"


@pytest.mark.parametrize("task_id", ["a", "x" * 512, "é" * 256, "../../etc/passwd", "nul\0", "🦊\u2028", " "])
def test_any_text_of_up_to_512_bytes_is_a_task_id(task_id: str) -> None:
    check_task_id(task_id)


@pytest.mark.parametrize(
    ("task_id", "status", "says"),
    [
        (None, 400, "task_id is required: any text that names the conversation."),
        ("", 400, "task_id is required: any text that names the conversation."),
        (5, 422, "task_id must be text."),
        (b"task", 422, "task_id must be text."),
        ("x" * 513, 400, "task_id is longer than 512 bytes."),
        ("é" * 257, 400, "task_id is longer than 512 bytes."),
        (HALF, 400, "task_id is not valid Unicode: it holds half of a surrogate pair."),
    ],
)
def test_any_other_task_id_is_refused(task_id: object, status: int, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_task_id(task_id)
    assert (caught.value.status, caught.value.message) == (status, says)


def test_a_message_is_its_text_as_it_was_typed() -> None:
    assert content_of("  Look!\n") == [text("  Look!\n")]


@pytest.mark.parametrize(
    ("message", "status", "says"),
    [
        (None, 400, "message is required and must not be blank."),
        ("", 400, "message is required and must not be blank."),
        (" \t\n\u3000", 400, "message is required and must not be blank."),
        (["Hi"], 422, "message must be text."),
        (f"Hi {HALF}", 400, "message is not valid Unicode: it holds half of a surrogate pair."),
    ],
)
def test_a_message_that_says_nothing_is_refused(message: object, status: int, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        content_of(message)
    assert (caught.value.status, caught.value.message) == (status, says)


@pytest.mark.parametrize("wrong", ["5", 1.5, None, True])
def test_a_limit_and_a_cursor_are_whole_numbers(wrong: object) -> None:
    for check in (check_limit, check_cursor):
        with pytest.raises(InvalidType, match="must be a whole number"):
            check(wrong)
    check_cursor(0)


def test_media_are_images_and_documents_and_text_is_only_where_it_is_meant() -> None:
    assert check_media((IMAGE,), "media") == [IMAGE]
    assert check_media([text("Hi"), IMAGE], "blocks", text=True) == [text("Hi"), IMAGE]
    assert check_media([Path("a.png"), b"", IMAGE], "media") == [Path("a.png"), b"", IMAGE]


def test_what_is_made_smaller_may_be_too_large_at_first() -> None:
    large = [image(png(8001, 1))] * 21
    assert check_media(large, "media", shrinks=True) == large
    with pytest.raises(InvalidRequest, match="8001 x 1 pixels; at most 8000"):
        check_media(large, "media")
    with pytest.raises(InvalidRequest, match="64,000,000 in all"):
        check_media([image(png(50_000, 50_000))], "media", shrinks=True)


@pytest.mark.parametrize(
    ("blocks", "allowed", "status", "says"),
    [
        (5, False, 422, "media must be a list of blocks."),
        (IMAGE, False, 422, "media must be a list of blocks."),
        ("image", False, 422, "media must be a list of blocks."),
        ([IMAGE, text("Hi")], False, 400, "media[1]: must be an image or document block"),
        ([{**text("Hi"), "foo": 1}], True, 400, "media[0]: has unknown keys: foo"),
        ([text(" ")], True, 400, "media[0]: text must not be blank"),
        ([5], True, 400, "media[0]: must be an image or document block"),
        ([b"", 5], True, 400, "media[1]: must be an image or document block"),
        (["a.png"], False, 400, 'media[0]: is text; for a file, pass its path as in Path("chart.png")'),
        ([{**IMAGE, "source": {"type": "stored"}}], False, 400, "media[0]: source.type must be base64 or url"),
    ],
)
def test_media_that_cannot_be_used_are_refused_by_their_index(
    blocks: object, allowed: bool, status: int, says: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_media(blocks, "media", text=allowed)
    assert (caught.value.status, caught.value.message) == (status, says)
    assert caught.value.details.get("index") == (None if status == 422 else int(says[6]))


def test_what_a_turn_aims_at() -> None:
    assert aim_of(None, None) == ("new", None)
    assert aim_of("msg_1", None) == ("edit", "msg_1")
    assert aim_of(None, "msg_1") == ("retry", "msg_1")


@pytest.mark.parametrize(
    ("edit", "retry", "status", "says"),
    [
        ("a", "b", 400, "edit_message_id and retry_message_id exclude each other; send one of them."),
        (5, None, 422, "edit_message_id must be text."),
        (None, [], 422, "retry_message_id must be text."),
        (HALF, None, 400, "edit_message_id is not valid Unicode: it holds half of a surrogate pair."),
    ],
)
def test_an_aim_that_cannot_be_meant_is_refused(edit: str | None, retry: str | None, status: int, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        aim_of(edit, retry)
    assert (caught.value.status, caught.value.message) == (status, says)
    assert isinstance(caught.value, InvalidType) is (status == 422)


def test_an_answer_is_any_text_and_feedback_may_come_with_it() -> None:
    for answer in ("yes", "", "🦊"):
        check_answer(answer, None)
        check_answer(answer, "Only this once.")


@pytest.mark.parametrize(
    ("answer", "feedback", "status", "says"),
    [
        (None, None, 400, "answer is required."),
        (True, None, 422, "answer must be text."),
        ("no", ["why"], 422, "feedback must be text."),
        (HALF, None, 400, "answer is not valid Unicode: it holds half of a surrogate pair."),
        ("no", HALF, 400, "feedback is not valid Unicode: it holds half of a surrogate pair."),
    ],
)
def test_an_answer_that_is_not_text_is_refused(answer: object, feedback: object, status: int, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_answer(answer, feedback)
    assert (caught.value.status, caught.value.message) == (status, says)


def test_a_page_has_1_to_1000_items() -> None:
    check_limit(1)
    check_limit(1001)
    for limit in (0, -1, 1002):
        with pytest.raises(InvalidRequest, match=r"limit must be from 1 to 1001\."):
            check_limit(limit)


class TestOpenRequest:
    def test_without_a_name_the_oldest_open_one_is_meant(self) -> None:
        turn = Turn(asking("a", "b", "c"))
        assert open_request(turn.state, None).id == "hitl_1"
        turn.tell(answered("no", "hitl_1"))
        assert open_request(turn.state, None).id == "hitl_2"

    def test_a_name_means_that_one(self) -> None:
        assert open_request(Turn(asking("a", "b")).state, "hitl_2").id == "hitl_2"
        assert open_request(Turn(asking("a", "b"), answered("no", "hitl_1")).state, "hitl_2").id == "hitl_2"

    def test_one_that_was_answered_tells_the_answer(self) -> None:
        with pytest.raises(HitlAlreadyAnswered) as caught:
            open_request(Turn(asking("a", "b"), answered("no", "hitl_1")).state, "hitl_1")
        assert caught.value.details == {"request_id": "hitl_1", "answer": "no"}

    @pytest.mark.parametrize("request_id", [None, "unknown"])
    def test_where_nothing_waits_there_is_nothing_to_answer(self, request_id: str | None) -> None:
        turn = Turn(asking("a"), answered("no")) if request_id is None else Turn(asking("a"))
        for state in (TurnState(), Turn(replied(text())).state, turn.state):
            with pytest.raises(HitlNotPending, match=r"No request waits for an answer here\."):
                open_request(state, request_id)
