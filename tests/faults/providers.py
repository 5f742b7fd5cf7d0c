"""Providers with moods: a model for every part it can play, and an embedder. What they said and cost is kept."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import attrs
import msgspec

from september_engine.errors import ModelError, StoreBusy
from september_engine.messages import Block, Usage
from september_engine.models.base import Chunk, ModelRequest, Progress, Reply, TextChunk
from september_engine.models.scripted import Answer, ScriptedModel, Step, fail, hold, say, think, turn
from tests.engines import FlakyStore

__all__ = ["MOODS", "PLANS", "Kept", "Meanings", "Provider", "in_mood", "tokens"]

MOODS = ("well", "busy", "gone", "silent", "odd", "rude")

PLANS = ({"worthwhile": True, "steps": ["Look", "Tell"]}, {"worthwhile": False, "steps": []})


def tokens(value: object) -> int:
    """As the scripted model counts."""
    return max(1, len(msgspec.json.encode(value)) // 4)


@attrs.define(kw_only=True, eq=False, slots=False)
class Provider(ScriptedModel):
    """A scripted model that says early what it costs, has a window, and may sum up by itself.

    `replies` are the requests with what was answered; `spent` is what each attempt cost, as far as it was told.
    """

    compacts: bool = False
    replies: list[tuple[ModelRequest, list[Block]]] = attrs.field(factory=list, init=False)
    spent: list[Usage] = attrs.field(factory=list, init=False)

    async def stream(self, request: ModelRequest, /) -> AsyncIterator[Chunk]:
        size = tokens(request.prompt)
        if self.context_window is not None and size > self.context_window:
            raise ModelError("prompt is too long", code="CONTEXT_OVERFLOW")
        place = len(self.spent)
        self.spent.append(Usage())
        if size % 3:
            self.spent[place] = Usage(input_tokens=size)
            yield Progress(usage=self.spent[place])
        chunks = self._compacted(request) if request.compact else super().stream(request)
        async with aclosing(chunks) as said:  # type: ignore[type-var]  # it is a generator
            async for chunk in said:
                if isinstance(chunk, Reply):
                    self.spent[place] = chunk.usage
                    self.replies.append((request, chunk.content))
                yield chunk

    async def _compacted(self, request: ModelRequest) -> AsyncIterator[Chunk]:
        self.requests.append(request)
        step = self._next(request)
        answer = step if isinstance(step, Answer) else turn(step)
        async with aclosing(self._play(answer, request, len(self.requests))) as said:
            async for chunk in said:
                if isinstance(chunk, Reply):
                    self._answered.pop()  # no conversation goes on from it
                if isinstance(chunk, Reply) and chunk.stop_reason == "end_turn":
                    text = "".join(block.get("text", "") for block in chunk.content)
                    yield msgspec.structs.replace(chunk, content=[{"type": "compaction", "content": text}])
                elif not isinstance(chunk, TextChunk):
                    yield chunk


def in_mood(mood: str, answer: Callable[[], Step | Answer]) -> Step | Answer:
    """The answer of a provider in this mood."""
    match mood:
        case "busy":
            return turn(think("Hm."), fail(ModelError("Overloaded.", retryable=True)))
        case "gone":
            return fail(ModelError("No.", code="LLM_AUTH"))
        case "silent":
            return turn(think("Hm."), hold(anyio.Event()))
        case "odd":
            return turn(say(" \n"), stop_reason="max_tokens")
        case "rude":
            raise RuntimeError("no manners")
        case _:
            return answer()


@attrs.define
class Meanings:
    """An embedder."""

    name: str = "meanings"
    dimensions: int = 8
    mood: str = "well"

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        match self.mood:
            case "silent":
                await anyio.Event().wait()
            case "busy" | "gone":
                raise OSError("The embedder is away.")
            case "rude":
                raise anyio.get_cancelled_exc_class()
            case _:
                pass
        return [[byte / 255 + 0.01 for byte in hashlib.sha256(text.encode()).digest()[:8]] for text in texts]


class Place:
    """A place of memories that fails where its store is in the mood."""

    def __init__(self, store: Kept) -> None:
        self._store = store
        self._inner: Any = store.inner

    def __getattr__(self, name: str) -> Any:
        match self._store.mood:
            case "busy" | "gone" if name in ("put", "match", "page", "names", "known"):
                raise StoreBusy("Told to fail.")
            case "odd" | "rude" if name in ("put", "match", "page", "names", "known"):
                raise OSError("The disk is odd.")
            case _:
                return getattr(self._inner.memories, name)


@attrs.define(slots=False)
class Kept(FlakyStore):
    """A flaky store with a place for memories."""

    mood: str = "well"

    @property
    def memories(self) -> Place:
        return Place(self)
