"""The port every model implements.

A model makes one attempt. Retries, fallbacks, progress timers and the log are the engine's; a model only translates
one `ModelRequest` to its provider and the provider's stream back into `Chunk`s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol, TypeAlias

import msgspec

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
    "compacts",
    "window_of",
]


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
