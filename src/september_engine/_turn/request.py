"""request: what a caller may ask for. Pure; everything here is refused before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .._context.check import media_problems
from ..errors import HitlAlreadyAnswered, HitlNotPending, InvalidRequest, InvalidType
from ..messages import Block, Media
from .state import Request, TurnState

__all__ = [
    "MOST_TASK_ID_BYTES",
    "aim_of",
    "check_answer",
    "check_cursor",
    "check_limit",
    "check_media",
    "check_task_id",
    "content_of",
    "is_answer",
    "is_file",
    "open_request",
]

MOST_TASK_ID_BYTES = 512
MOST_PER_PAGE = 1001
"""One more than a page over HTTP has: asking for it tells whether there is a next page."""


def check_task_id(task_id: object) -> None:
    """A task id is any text of 1 to 512 bytes in UTF-8. Raises `InvalidRequest`, `InvalidType` where it is not text."""
    if task_id is None or task_id == "":
        raise InvalidRequest("task_id is required: any text that names the conversation.")
    if len(_text("task_id", task_id).encode()) > MOST_TASK_ID_BYTES:
        raise InvalidRequest(f"task_id is longer than {MOST_TASK_ID_BYTES} bytes.")


def content_of(message: object) -> list[Block]:
    """The text of a user message; its media stand before it. Raises as `check_task_id` does."""
    if message is None or not _text("message", message).strip():
        raise InvalidRequest("message is required and must not be blank.")
    return [{"type": "text", "text": message}]


def aim_of(edit: str | None, retry: str | None) -> tuple[Literal["new", "edit", "retry"], str | None]:
    """What kind of turn is meant, and the message it aims at. Raises as `check_task_id` does."""
    if edit is not None and retry is not None:
        raise InvalidRequest("edit_message_id and retry_message_id exclude each other; send one of them.")
    if edit is not None:
        return "edit", _text("edit_message_id", edit)
    return ("new", None) if retry is None else ("retry", _text("retry_message_id", retry))


def check_answer(answer: object, feedback: object) -> None:
    """What a person answers is text. Raises as `check_task_id` does."""
    if answer is None:
        raise InvalidRequest("answer is required.")
    _text("answer", answer)
    if feedback is not None:
        _text("feedback", feedback)


def is_answer(request: Request, answer: str) -> bool:
    """Whether this answers the request: "yes" or "no" a permission, any text that is not blank a question."""
    return answer in ("yes", "no") if request.kind == "permission" else bool(answer.strip())


def check_media(media: object, name: str, *, text: bool = False, shrinks: bool = False) -> list[Media]:
    """Image and document blocks that can be used, and text only where it is meant: nothing else enters the log.

    Paths and contents pass: they are looked at when they are read. With `shrinks`, so do images that are too large.
    Raises `InvalidRequest` with the block's index, `InvalidType` where this is no list.
    """
    if not isinstance(media, Sequence) or isinstance(media, str | bytes):
        raise InvalidType(f"{name} must be a list of blocks.")
    blocks = {index: one for index, one in enumerate(media) if not is_file(one)}
    strange = ((index, _strange(block, text)) for index, block in blocks.items())
    unusable = media_problems(list(blocks.values()), shrinks=shrinks)
    for index, problem in (*strange, *((list(blocks)[place], why) for place, why in unusable)):
        if problem is not None:
            raise InvalidRequest(f"{name}[{index}]: {problem}", index=index)
    return list(media)


def is_file(one: object) -> bool:
    """Whether this is a content or the path of one, and no block yet."""
    return isinstance(one, bytes) or hasattr(one, "__fspath__")


def _strange(block: object, text: bool) -> str | None:
    if isinstance(block, str):
        return 'is text; for a file, pass its path as in Path("chart.png")'
    return _text_block_problem(block, text)


def _text_block_problem(block: object, allowed: bool) -> str | None:
    if not isinstance(block, dict) or block.get("type") != "text":
        return None
    if not allowed:
        return "must be an image or document block"
    unknown = sorted(map(str, block.keys() - {"type", "text"}))
    return f"has unknown keys: {', '.join(unknown)}" if unknown else None


def check_cursor(after: object) -> None:
    """A cursor of replay is a whole number, unix ms. Raises `InvalidType`."""
    if not isinstance(after, int) or isinstance(after, bool):
        raise InvalidType("after must be a whole number: unix milliseconds, or 0 for all that is kept.")


def check_limit(limit: object) -> None:
    """A page has 1 to 1001 items. Raises `InvalidRequest`, `InvalidType` where it is no whole number."""
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise InvalidType("limit must be a whole number.")
    if not 1 <= limit <= MOST_PER_PAGE:
        raise InvalidRequest(f"limit must be from 1 to {MOST_PER_PAGE}.")


def open_request(state: TurnState, request_id: str | None) -> Request:
    """The request that an answer is for: the one named, else the oldest open one.

    Raises `HitlNotPending` and `HitlAlreadyAnswered`.
    """
    for request in state.requests:
        if request.id == request_id and request.answer is not None:
            raise HitlAlreadyAnswered("Somebody answered first.", request_id=request.id, answer=request.answer)
        if request.answer is None and request_id in (None, request.id):
            return request
    raise HitlNotPending("No request waits for an answer here.")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidType(f"{name} must be text.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name} is not valid Unicode: it holds half of a surrogate pair.") from None
    return value
