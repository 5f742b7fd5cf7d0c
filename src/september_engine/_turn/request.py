"""request: what a caller may ask for. Pure; everything here is refused before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..errors import HitlAlreadyAnswered, HitlNotPending, InvalidRequest
from ..messages import Block
from .state import Request, TurnState

__all__ = ["MOST_TASK_ID_BYTES", "aim_of", "check_limit", "check_task_id", "content_of", "open_request"]

MOST_TASK_ID_BYTES = 512
MOST_PER_PAGE = 1000


def check_task_id(task_id: object) -> None:
    """A task id is any text of 1 to 512 bytes in UTF-8. Raises `InvalidRequest`."""
    if not isinstance(task_id, str) or not task_id:
        raise InvalidRequest("task_id is required: any text that names the conversation.")
    if not _is_utf8(task_id):
        raise InvalidRequest("task_id is not valid Unicode: it holds half of a surrogate pair.")
    if len(task_id.encode()) > MOST_TASK_ID_BYTES:
        raise InvalidRequest(f"task_id is longer than {MOST_TASK_ID_BYTES} bytes.")


def content_of(message: object, media: Sequence[Block]) -> list[Block]:
    """The user message: media first, then the text. `media` has been checked. Raises `InvalidRequest`."""
    if not isinstance(message, str) or not message.strip():
        raise InvalidRequest("message is required and must not be blank.")
    if not _is_utf8(message):
        raise InvalidRequest("message is not valid Unicode: it holds half of a surrogate pair.")
    return [*media, {"type": "text", "text": message}]


def aim_of(edit: str | None, retry: str | None) -> tuple[Literal["new", "edit", "retry"], str | None]:
    """What kind of turn is meant, and the message it aims at. Raises `InvalidRequest`."""
    if edit is not None and retry is not None:
        raise InvalidRequest("edit_message_id and retry_message_id exclude each other; send one of them.")
    for name, value in (("edit_message_id", edit), ("retry_message_id", retry)):
        if value is not None and (not isinstance(value, str) or not _is_utf8(value)):
            raise InvalidRequest(f"{name} is not a message id.")
    if edit is not None:
        return "edit", edit
    return ("new", None) if retry is None else ("retry", retry)


def check_limit(limit: int) -> None:
    """A page has 1 to 1000 items. Raises `InvalidRequest`."""
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


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
