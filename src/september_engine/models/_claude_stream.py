"""A stream of the Messages API, from its bytes to chunks and the reply. Pure.

1. Blocks are kept as the JSON they came as: fields and types that nobody here knows are stored and sent back.
2. Text, thinking and calls are shown. Everything else (redacted thinking, the provider's own tools, new kinds) is kept
   without being shown, and counts as progress. An event outside of blocks that nobody here knows does not.
3. What cannot be a whole message is a `BrokenStream`: an event that is no JSON, a delta for a block that is not open,
   no `message_stop`. Unknown events and deltas are none of that; nor is a block without its stop, which is how the
   API ends one that reached a limit.
4. Every value that leaves here can be sent back: strings are valid Unicode, numbers are numbers, and nothing is nested
   deeper than the encoders on the way take.
5. A block goes back whole or not at all. Thinking without its signature, or that is not valid Unicode, and a block of
   another kind with a delta that is not known here, are left out of the reply: they would be refused for ever.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Literal, cast

import attrs
import msgspec

from .._context.depth import DEPTH, too_deep
from .._context.text import SurrogateJoiner, clean
from ..messages import JSON, Block, Usage
from .base import BlockStarted, BlockStopped, Chunk, Progress, Reply, TextChunk, ThinkingChunk

__all__ = ["BrokenStream", "EventDecoder", "MessageReader"]

SHOWN = ("text", "thinking", "tool_use")
SIGNED = ("thinking", "redacted_thinking")
REPLACEMENT = "\ufffd"
LIMITS = {
    "max_tokens": "the answer reached its limit of tokens (max_tokens)",
    "model_context_window_exceeded": "the conversation reached the end of the context window",
}
"""Stop reasons that cut an answer wherever it stands, and how they are told."""


class BrokenStream(Exception):
    """The bytes are not a whole message of the Messages API; the text says why."""


class EventDecoder:
    """Server-sent events from bytes that may be cut anywhere, a character in two as well."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._after_cr = False
        self._event = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The events that are whole now, as (event name, data)."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        if not piece:
            return
        if b"\n" not in piece and b"\r" not in piece:
            self._pieces.append(piece)
            self._after_cr = False
            return
        self._after_cr = piece.endswith(b"\r")
        lines = b"".join((*self._pieces, piece)).splitlines(keepends=True)
        self._pieces = [] if lines[-1].endswith((b"\n", b"\r")) else [lines.pop()]
        for line in lines:
            yield from self._line(line.rstrip(b"\r\n"))

    def end(self) -> Iterator[tuple[bytes, bytes]]:
        """The event that no blank line follows, because the stream ended first. It may be cut."""
        yield from self.feed(b"\n\n")

    def _line(self, line: bytes) -> Iterator[tuple[bytes, bytes]]:
        if not line:
            if self._data:
                yield self._event, b"\n".join(self._data)
            self._event, self._data = b"", []
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value


@attrs.define
class _Open:
    """The block that is open. `shown` is its index among the shown ones."""

    index: int
    block: Block
    shown: int | None
    whole: bool = True
    parts: list[str] = attrs.field(factory=list)
    joiner: SurrogateJoiner = attrs.field(factory=SurrogateJoiner)


class MessageReader:
    """One message, event by event. `error` is the provider's `error` event, which ends everything."""

    def __init__(self) -> None:
        self.error: JSON = None
        self.request_id: JSON = None
        self.whole = False
        self._content: list[Block] = []
        self._raw_inputs: list[tuple[Block, str]] = []
        self._open: _Open | None = None
        self._seen = 0
        self._shown = 0
        self._usage: dict[str, int] = {}
        self._apart: list[dict[str, int]] = []
        self._stop_reason: str | None = None
        self._stop_details: Block | None = None

    def take(self, name: bytes, data: bytes) -> Iterator[Chunk]:
        """The chunks of one event; nothing once the message is whole or has failed. Raises `BrokenStream`."""
        if name == b"ping" or self.whole or self.error is not None:
            return
        event = _decode(data)
        kind = event.get("type") or name.decode(errors="replace")
        match kind:
            case "content_block_delta":
                yield from self._delta(event)
            case "content_block_start":
                yield from self._start(event)
            case "content_block_stop":
                yield from self._stop(event)
            case "message_start":
                self._count(_mapping(event, "message").get("usage"))
                yield Progress(self._spent())
            case "message_delta":
                self._count(event.get("usage"))
                delta = _mapping(event, "delta")
                stop_reason, details = delta.get("stop_reason"), delta.get("stop_details")
                if isinstance(stop_reason, str) and stop_reason:
                    self._stop_reason = clean(stop_reason)
                if isinstance(details, dict):
                    self._stop_details = _storable(details)
                yield Progress(self._spent())
            case "message_stop":
                if self._open is not None:
                    yield from self._close(self._open)
                self.whole = True
            case "error":
                self.error = event.get("error") or {}
                self.request_id = event.get("request_id")
            case _:
                pass  # a ping by its type, or an event of the future: neither is a part of the answer

    def reply(self, model: str) -> Reply:
        """The reply of a whole message. Raises `BrokenStream` where it is none."""
        if not self.whole:
            raise BrokenStream("the stream ended before the message did")
        if self._stop_reason is None:
            raise BrokenStream("the message has no stop reason")
        return Reply(
            content=self._content,
            stop_reason=self._stop_reason,
            stop_details=self._stop_details,
            usage=self._spent(),
            model=model,
            broken_inputs=self._read_inputs(),
        )

    def _spent(self) -> Usage:
        """The tokens so far. What a compaction took is counted apart by the provider."""
        return sum(map(_usage, self._apart), _usage(self._usage))

    def _start(self, event: Block) -> Iterator[Chunk]:
        if self._open is not None or event.get("index") != self._seen:
            raise BrokenStream("a block started out of order")
        block = _storable(_mapping(event, "content_block"))
        kind = block.get("type")
        if kind == "tool_use" and not all(isinstance(block.get(key), str) and block[key] for key in ("id", "name")):
            raise BrokenStream("a tool call has no id or no name")
        begun = _Open(index=self._seen, block=block, shown=self._shown if kind in SHOWN else None)
        self._open = begun
        self._seen += 1
        if begun.shown is None:
            yield Progress()
            return
        self._shown += 1
        yield BlockStarted(begun.shown, cast("Literal['text', 'thinking', 'tool_use']", kind))
        if kind in ("text", "thinking"):
            yield from self._say(begun, kind, block.get(kind))

    def _delta(self, event: Block) -> Iterator[Chunk]:
        begun = self._open
        if begun is None or event.get("index") != begun.index:
            raise BrokenStream("a delta is for a block that is not open")
        delta = _mapping(event, "delta")
        match delta.get("type"), begun.block.get("type"):
            case "text_delta", "text":
                yield from self._say(begun, "text", delta.get("text"))
            case "thinking_delta", "thinking":
                yield from self._say(begun, "thinking", delta.get("thinking"))
            case "input_json_delta", _:
                begun.parts.append(_string(delta, "partial_json"))
                yield Progress()
            case "compaction_delta", "compaction":
                begun.block |= _storable({key: delta[key] for key in ("content", "encrypted_content") if key in delta})
                yield Progress()
            case "signature_delta", ("thinking" | "compaction"):
                begun.block["signature"] = _string(delta, "signature")
                yield Progress()
            case "citations_delta", "text":
                before = begun.block.get("citations")
                citation = _storable(delta.get("citation"))
                begun.block["citations"] = [*before, citation] if isinstance(before, list) else [citation]
                yield Progress()
            case _:
                begun.whole = False
                yield Progress()

    def _say(self, begun: _Open, kind: str, piece: JSON) -> Iterator[Chunk]:
        if not isinstance(piece, str):
            raise BrokenStream(f"a piece of {kind} is no text")
        begun.parts.append(piece)
        if text := begun.joiner.feed(piece):
            yield TextChunk(text) if kind == "text" else ThinkingChunk(text)
        else:
            yield Progress()

    def _stop(self, event: Block) -> Iterator[Chunk]:
        if self._open is None:
            return
        if event.get("index") != self._open.index:
            raise BrokenStream("a block stopped that was not open")
        yield from self._close(self._open)

    def _close(self, begun: _Open) -> Iterator[Chunk]:
        self._open = None
        block, kind = begun.block, begun.block.get("type")
        raw = "".join(begun.parts)
        if kind in ("text", "thinking"):
            if rest := begun.joiner.flush():
                yield TextChunk(rest) if kind == "text" else ThinkingChunk(rest)
            block[kind] = clean(raw)
        elif begun.parts or kind == "tool_use":
            self._raw_inputs.append((block, clean(raw)))
        if _is_as_signed(raw, block) if kind in SIGNED else begun.whole or kind in SHOWN:
            self._content.append(block)
        yield Progress() if begun.shown is None else BlockStopped(begun.shown)

    def _read_inputs(self) -> dict[str, str]:
        """Parse the inputs, now that it is known how the message ended; what was wrong with those that are broken."""
        broken: dict[str, str] = {}
        limit = LIMITS.get(self._stop_reason or "")
        for block, raw in self._raw_inputs:
            cut = limit if limit and self._content and block is self._content[-1] else None
            given = block.get("input")
            value, why = _input(raw, given if isinstance(given, dict) else {}, cut)
            block["input"] = value
            if why is not None and block["type"] == "tool_use":
                broken[block["id"]] = why
        return broken

    def _count(self, usage: JSON) -> None:
        """Counts are totals so far, so a later one replaces an earlier one; null says nothing."""
        if isinstance(usage, dict):
            self._usage |= _counts(usage)
            parts = usage.get("iterations")
            if isinstance(parts, list):
                compactions = [part for part in parts if isinstance(part, dict) and part.get("type") == "compaction"]
                self._apart = [_counts(part) for part in compactions]


def _counts(usage: Block) -> dict[str, int]:
    by_time = usage.get("cache_creation")
    parts = (usage, by_time if isinstance(by_time, dict) else {})
    return {key: count for part in parts for key, count in part.items() if type(count) is int and count >= 0}


def _usage(counts: dict[str, int]) -> Usage:
    hits, writes = counts.get("cache_read_input_tokens", 0), counts.get("cache_creation_input_tokens", 0)
    return Usage(
        input_tokens=counts.get("input_tokens", 0) + writes + hits,
        output_tokens=counts.get("output_tokens", 0),
        cache_hit_tokens=hits,
        cache_write_tokens=writes,
        cache_write_1h_tokens=min(counts.get("ephemeral_1h_input_tokens", 0), writes),
    )


def _decode(data: bytes) -> Block:
    """One event. Half of a surrogate pair may stand in it, as an escape, where text was cut between the halves."""
    try:
        event = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            event = json.loads(data, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError):
            raise BrokenStream("an event is not JSON") from None
    if not isinstance(event, dict):
        raise BrokenStream("an event is not a JSON object")
    return event


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


def _mapping(event: Block, key: str) -> Block:
    value = event.get(key)
    if not isinstance(value, dict):
        raise BrokenStream(f"an event has no {key}")
    return value


def _string(delta: Block, key: str) -> str:
    value = delta.get(key)
    if not isinstance(value, str):
        raise BrokenStream(f"a delta has no {key}")
    return value


def _storable(value: JSON) -> JSON:
    """The value with every string in it valid Unicode. Raises `BrokenStream` for one that no encoder would take."""
    if too_deep(value):
        raise BrokenStream(f"a block is nested deeper than {DEPTH} levels")
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.decode(clean(json.dumps(value, ensure_ascii=False)))
    return value


def _is_as_signed(raw: str, block: Block) -> bool:
    """Whether a thinking block can go back: it has its signature, and nothing in it had to be replaced."""
    signature = block.get("data" if block["type"] == "redacted_thinking" else "signature")
    if not isinstance(signature, str) or not signature:
        return False
    return all(clean(text).count(REPLACEMENT) == text.count(REPLACEMENT) for text in (raw, signature))


def _input(raw: str, given: dict[str, JSON], cut: str | None) -> tuple[dict[str, JSON], str | None]:
    """A call's input, and why it cannot be used, told to the model."""
    if not raw:
        if cut and not given:
            return {}, f"Not run: {cut} before the input of this call was written. Call again."
        return given, None
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        if cut:
            return {}, f"Not run: {cut} within the input of this call. Call again, with a shorter input."
        return {}, f"Not run: the input of this call is not valid JSON ({error}). Call again with a valid input."
    if not isinstance(value, dict):
        return {}, "Not run: the input of this call is not a JSON object. Call again with an object of its parameters."
    if too_deep(value):
        return {}, f"Not run: the input of this call is nested deeper than {DEPTH} levels. Call again, flatter."
    return value, None
