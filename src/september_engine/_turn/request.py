"""request: what a caller may ask for. Pure; everything here is refused before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from .._context.check import media_problems
from .._context.tidying import tidied
from .._plain import (
    plain_bytes,
    plain_items,
    plain_json,
    plain_path,
    plain_scalar,
    plain_text,
    plain_text_or_none,
    plain_whole,
)
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


def check_task_id(task_id: object) -> str:
    """The task id as plain text: any of 1 to 512 bytes in UTF-8.

    Raises `InvalidRequest`, `InvalidType` where it is not text.
    """
    if task_id is None or (given := plain_text(task_id, "task_id")) == "":
        raise InvalidRequest("task_id is required: any text that names the conversation.")
    if len(given.encode()) > MOST_TASK_ID_BYTES:
        raise InvalidRequest(f"task_id is longer than {MOST_TASK_ID_BYTES} bytes.")
    return given


def content_of(message: object) -> list[Block]:
    """The text of a user message; its media stand before it. Raises as `check_task_id` does."""
    if message is None or not (given := plain_text(message, "message")).strip():
        raise InvalidRequest("message is required and must not be blank.")
    return [{"type": "text", "text": given}]


def aim_of(edit: object, retry: object) -> tuple[Literal["new", "edit", "retry"], str | None]:
    """What kind of turn is meant, and the message it aims at. Raises as `check_task_id` does."""
    if edit is not None and retry is not None:
        raise InvalidRequest("edit_message_id and retry_message_id exclude each other; send one of them.")
    if edit is not None:
        return "edit", plain_text(edit, "edit_message_id")
    return ("new", None) if retry is None else ("retry", plain_text(retry, "retry_message_id"))


def check_answer(answer: object, feedback: object) -> tuple[str, str | None]:
    """What a person answers, as plain text. Raises as `check_task_id` does."""
    if answer is None:
        raise InvalidRequest("answer is required.")
    return plain_text(answer, "answer"), plain_text_or_none(feedback, "feedback")


def is_answer(request: Request, answer: str) -> bool:
    """Whether this answers the request: "yes" or "no" a permission, any text that is not blank a question."""
    return answer in ("yes", "no") if request.kind == "permission" else bool(answer.strip())


def check_media(media: object, name: str, *, text: bool = False, shrinks: bool = False) -> list[Media]:
    """Image and document blocks that can be used, and text only where it is meant: nothing else enters the log.

    Blocks become plain and `tidied`. Paths and contents become a `Path` and `bytes`: they are looked at when they are
    read. With `shrinks`, so are images that are too large.
    Raises `InvalidRequest` with the block's index, `InvalidType` where this is no list.
    """
    taken = [_taken(one, name, index) for index, one in enumerate(plain_items(media, name, "blocks"))]
    blocks = {index: one for index, one in enumerate(taken) if not is_file(one)}
    strange = ((index, _text_block_problem(block, text)) for index, block in blocks.items())
    unusable = media_problems(list(blocks.values()), shrinks=shrinks)
    for index, problem in (*strange, *((list(blocks)[place], why) for place, why in unusable)):
        if problem is not None:
            raise InvalidRequest(f"{name}[{index}]: {problem}", index=index)
    return taken


def _taken(one: object, name: str, index: int) -> Media:
    place = f"{name}[{index}]"
    if isinstance(one, bytes | bytearray | memoryview):
        return plain_bytes(one, place)
    if isinstance(one, str):
        raise InvalidRequest(f'{place}: is text; for a file, pass its path as in Path("chart.png")', index=index)
    if isinstance(one, Mapping):
        block: Block = tidied(plain_json(one, place))
        return block
    if hasattr(type(one), "__fspath__"):
        return plain_path(one, place)
    raise InvalidRequest(f"{place}: must be an image or document block", index=index)


def is_file(one: object) -> bool:
    """Whether this is a content or the path of one, and no block yet."""
    return isinstance(one, bytes) or hasattr(one, "__fspath__")


def _text_block_problem(block: object, allowed: bool) -> str | None:
    if not isinstance(block, dict) or block.get("type") != "text":
        return None
    if not allowed:
        return "must be an image or document block"
    unknown = sorted(map(str, block.keys() - {"type", "text"}))
    return f"has unknown keys: {', '.join(unknown)}" if unknown else None


def check_cursor(after: object) -> int:
    """A cursor of replay is a whole number, unix ms, however far ahead or back. Raises `InvalidType`."""
    given = plain_scalar(after)
    if not isinstance(given, int) or isinstance(given, bool):
        raise InvalidType("after must be a whole number: unix milliseconds, or 0 for all that is kept.")
    return min(max(given, 0), 2**63 - 1)


def check_limit(limit: object) -> int:
    """A page has 1 to 1001 items. Raises `InvalidRequest`, `InvalidType` where it is no whole number."""
    return plain_whole(limit, "limit", least=1, most=MOST_PER_PAGE)


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
