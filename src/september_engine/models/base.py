"""The port every model implements.

A model makes one attempt. Retries, fallbacks, progress timers and the log are the engine's; a model only translates
one `ModelRequest` to its provider and the provider's stream back into `Chunk`s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol, TypeAlias

import msgspec

from .._context.text import clean
from .._plain import plain_items, plain_json, plain_scalar, plain_text, plain_whole, shown
from ..errors import InvalidRequest, ModelError
from ..messages import JSON, Block, Prompt, Usage

__all__ = [
    "BlockStarted",
    "BlockStopped",
    "Chunk",
    "Model",
    "ModelRequest",
    "Progress",
    "Reply",
    "TextChunk",
    "ThinkingChunk",
    "checked_chunk",
    "checked_error",
    "compacts",
    "window_of",
]


YEAR = 366 * 86400
"""No provider asks for a longer wait, in seconds."""

SUSPECTS = ("thinking", "media", "foreign")
"""What in the messages a `ModelError` may name."""


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: the prompt, and the most tokens the answer may have.

    With `output_schema`, a JSON Schema of an object, the text of a final answer must be JSON that fits it. A model that
    can hold itself to a schema does; what it answers is checked all the same.

    With `compact`, which only a model that `compacts` is asked, the answer is one block of type "compaction" that may
    stand first in a later prompt, in place of these messages.
    """

    prompt: Prompt
    max_tokens: int
    output_schema: dict[str, JSON] | None = None
    compact: bool = False


class BlockStarted(msgspec.Struct, frozen=True, gc=False):
    """A block of the answer begins. `index` counts from 0 in this attempt."""

    index: int
    block_type: Literal["text", "thinking", "tool_use"]


class TextChunk(msgspec.Struct, frozen=True, gc=False):
    """Text to show, of the block that is open. Never empty, always valid UTF-8 (no lone surrogates)."""

    text: str


class ThinkingChunk(msgspec.Struct, frozen=True, gc=False):
    """Thinking to show, of the block that is open. Never empty, always valid UTF-8."""

    text: str


class BlockStopped(msgspec.Struct, frozen=True, gc=False):
    """The block that was open ended."""

    index: int


class Progress(msgspec.Struct, frozen=True, gc=False):
    """The provider sent something real that is not shown, such as a fragment of a tool's input. Pings are not.

    `usage` is what this attempt has used so far, where the provider just said so: should the attempt fail or be
    cancelled, that is what it cost.
    """

    usage: Usage | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer; the last chunk, and the only one without which an attempt has failed.

    `content` holds the provider's blocks verbatim, ready to be sent back. A tool_use block whose input was cut or is
    not a JSON object has `input` {} and its id in `broken_inputs` with what was wrong; such a call is never run.
    `stop_reason` is the provider's word, never None; `stop_details` is what it said beyond that, as of a refusal.
    """

    content: list[Block]
    stop_reason: str
    usage: Usage
    model: str
    broken_inputs: dict[str, str] = {}
    stop_details: Block | None = None


Chunk: TypeAlias = BlockStarted | TextChunk | ThinkingChunk | BlockStopped | Progress | Reply


def checked_chunk(chunk: Chunk) -> Chunk:
    """The chunk with plain values of the types that the port says: a model may be anybody's.

    A log that has taken in something else cannot be written or read again. Raises `ModelError`, which says what is
    wrong and where.
    """
    if type(chunk) is TextChunk and type(chunk.text) is str and chunk.text.isascii():
        return chunk  # nearly every one
    try:
        match chunk:
            case TextChunk(text=text):
                return TextChunk(_shown(text))
            case ThinkingChunk(text=text):
                return ThinkingChunk(_shown(text))
            case BlockStarted(index=index, block_type=kind):
                if plain_text(kind, "block_type") not in ("text", "thinking", "tool_use"):
                    raise InvalidRequest(f"block_type must be text, thinking or tool_use, not {kind!r}.")
                return BlockStarted(plain_whole(index, "index", least=0), kind)
            case BlockStopped(index=index):
                return BlockStopped(plain_whole(index, "index", least=0))
            case Progress(usage=usage):
                return Progress(None if usage is None else _usage(usage))
            case Reply():
                return _reply(chunk)
    except InvalidRequest as error:
        raise ModelError(f"The model adapter failed: in its {type(chunk).__name__}, {error.message}") from None
    raise ModelError(f"The model adapter failed: it gave a {type(chunk).__name__}, which is no chunk.")


def checked_error(error: ModelError) -> ModelError:
    """The error with plain values and a code of the contract, for the same reason. Raises nothing."""
    code, message, wait = map(plain_scalar, (error.code, error.message, error.retry_after))
    facts = {str(key): _fact(value) for key, value in error.details.items() if key != "retry_after"}
    return ModelError(
        clean(message) if isinstance(message, str) else shown(error.message),
        code=code if isinstance(code, str) and code in ModelError.STATUSES else ModelError("").code,
        retryable=error.retryable is True,
        retry_after=wait if isinstance(wait, int | float) and 0 <= wait <= YEAR else None,
        bad_history=error.bad_history is True,
        suspect=error.suspect if type(error.suspect) is str and error.suspect in SUSPECTS else None,
        **facts,
    )


def _fact(value: object) -> JSON:
    try:
        return plain_json(value, "details")
    except InvalidRequest:
        return clean(shown(value))


def _shown(text: object) -> str:
    given = plain_scalar(text)
    if not isinstance(given, str):
        raise InvalidRequest("text must be text.")
    return clean(given)


def _usage(usage: Usage) -> Usage:
    if not isinstance(usage, Usage):
        raise InvalidRequest("usage must be Usage(…).")
    counts = {name: plain_whole(getattr(usage, name), f"usage.{name}", least=0) for name in Usage.__struct_fields__}
    return Usage(**counts)


def _reply(reply: Reply) -> Reply:
    given = plain_items(reply.content, "content", "blocks")
    content = [_block(plain_json(one, f"content[{index}]"), f"content[{index}]") for index, one in enumerate(given)]
    details = None if reply.stop_details is None else plain_json(reply.stop_details, "stop_details")
    if not isinstance(details, dict | None):
        raise InvalidRequest("stop_details must be an object.")
    return Reply(
        content=content,
        stop_reason=plain_text(reply.stop_reason, "stop_reason"),
        usage=_usage(reply.usage),
        model=plain_text(reply.model, "model"),
        broken_inputs={
            plain_text(key, "broken_inputs (a key)"): plain_text(why, "broken_inputs (a value)")
            for key, why in dict(reply.broken_inputs).items()
        },
        stop_details=details,
    )


_MUST_HAVE = {"text": ("text",), "thinking": ("thinking",), "tool_use": ("id", "name")}
"""What of a block the engine reads itself, and is text."""


def _block(block: JSON, place: str) -> Block:
    if not isinstance(block, dict) or not isinstance(kind := block.get("type"), str):
        raise InvalidRequest(f"{place} must be an object with a type.")
    for key in _MUST_HAVE.get(kind, ()):
        if not isinstance(block.get(key), str):
            raise InvalidRequest(f"{place}.{key} must be text.")
    if kind == "tool_use" and not isinstance(block.get("input"), dict):
        raise InvalidRequest(f"{place}.input must be an object.")
    return block


def window_of(model: Model) -> int | None:
    """The model's context window in tokens, where it says so."""
    window = getattr(model, "context_window", None)
    return window if isinstance(window, int) else None


def compacts(model: Model) -> bool:
    """Whether the model's provider summarises what came before."""
    return getattr(model, "compacts", False) is True


class Model(Protocol):
    """A language model.

    `name` goes into the log and is compared when old thinking is sent back: thinking of another model is dropped.

    Two attributes may be left out (`window_of` and `compacts` read them): `context_window`, the most tokens of a prompt
    and its answer together, or None where that is not known; and `compacts`, whether `ModelRequest.compact` is taken.
    """

    @property
    def name(self) -> str: ...

    def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        """Make one attempt and yield its chunks, a `Reply` last.

        Implemented as an async generator; the engine always closes it. Cancelling ends the provider's stream and
        leaves nothing open. Raises `ModelError` and nothing else: whatever the provider or its SDK throws is mapped.
        A stream that ends without a stop reason raises `ModelError(retryable=True)`.
        """
        ...

    async def aclose(self) -> None:
        """Free what the model holds. Called once by the engine that owns it; must not raise."""
        ...
