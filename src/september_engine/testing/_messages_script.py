"""What a scripted Messages API can say: parts, the answers made of them, and their bytes. Pure but for the gates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeAlias

import attrs

from .._context.text import clean
from ..messages import JSON, Block

__all__ = [
    "Answer",
    "Frame",
    "Gate",
    "Part",
    "block",
    "compaction",
    "event",
    "failure",
    "frames",
    "hang",
    "hold",
    "overloaded",
    "ping",
    "rate_limited",
    "raw",
    "redacted",
    "refuse",
    "reply",
    "respond",
    "signed_blocks",
    "silence",
    "text",
    "thinking",
    "tool_use",
]


class Gate(Protocol):
    """What a stream may wait on; `anyio.Event` and `asyncio.Event` are some."""

    async def wait(self) -> object: ...


class _Never:
    """A gate that nobody opens: only the client ends the wait, by leaving."""

    async def wait(self) -> object:
        return await asyncio.get_running_loop().create_future()


Frame: TypeAlias = bytes | Gate
"""Bytes that are sent at once, or something to wait for."""


@attrs.frozen(kw_only=True)
class Part:
    """One part of a reply: a block with its deltas, or frames that are sent as they are."""

    start: Block | None = None
    deltas: tuple[Block, ...] = ()
    frames: tuple[Frame, ...] = ()


def text(*pieces: str, citations: Iterable[Block] = ()) -> Part:
    """A text block, a delta for each piece. Halves of a surrogate pair are sent as escapes."""
    cited = [{"type": "citations_delta", "citation": citation} for citation in citations]
    said = [{"type": "text_delta", "text": piece} for piece in pieces]
    return Part(start={"type": "text", "text": ""}, deltas=(*said, *cited))


def thinking(*pieces: str, signature: str | None = None) -> Part:
    """A thinking block; without a signature it gets one of its own."""
    said = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    signed = {"type": "signature_delta", "signature": signature}
    return Part(start={"type": "thinking", "thinking": "", "signature": ""}, deltas=(*said, signed))


def redacted(data: str) -> Part:
    """A redacted thinking block."""
    return block({"type": "redacted_thinking", "data": data})


def tool_use(
    name: str, input: Block | None = None, /, *, id: str | None = None, raw: Iterable[str] | None = None
) -> Part:
    """A tool call; without an id it gets one of its own. `raw` is its input as fragments of JSON, right or wrong."""
    whole = _json({} if input is None else input).decode()
    fragments = ("", whole[:3], whole[3:]) if raw is None else tuple(raw)
    return Part(
        start={"type": "tool_use", "id": id, "name": name, "input": {}},
        deltas=tuple({"type": "input_json_delta", "partial_json": fragment} for fragment in fragments),
    )


def block(content: Block, *deltas: Block) -> Part:
    """Any block, with any deltas: one of a kind that nobody knows yet, for instance."""
    return Part(start=content, deltas=deltas)


def compaction(content: str, signature: str = "signed/compaction==") -> Part:
    """A summary of what came before: the one block of an answer to a request for a compaction."""
    start = {"type": "compaction", "content": None, "signature": signature}
    return Part(start=start, deltas=({"type": "compaction_delta", "content": content, "encrypted_content": None},))


def ping() -> Part:
    """A ping, as the API sends them between events."""
    return event("ping", {"type": "ping"})


def event(name: str, data: JSON) -> Part:
    """Any event."""
    return Part(frames=(_frame(name, data),))


def failure(kind: str = "overloaded_error", message: str = "Overloaded") -> Part:
    """An `error` event within the stream."""
    return event("error", {"type": "error", "error": {"type": kind, "message": message}})


def raw(data: bytes) -> Part:
    """Any bytes."""
    return Part(frames=(data,))


def hang() -> Part:
    """Send nothing more and wait until the client leaves."""
    return Part(frames=(_Never(),))


def hold(gate: Gate) -> Part:
    """Wait here until the event is set."""
    return Part(frames=(gate,))


@attrs.frozen(kw_only=True)
class Answer:
    """What one request is answered; made by `reply`, `refuse` and the like."""

    parts: tuple[Part, ...] = ()
    stop_reason: str | None = None
    usage: Mapping[str, int | None] | None = None
    final_usage: Mapping[str, int | None] = attrs.field(factory=dict)
    model: str | None = None
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    cut_events: int | None = None
    cut_bytes: int | None = None
    abrupt: bool = True
    piece: int | None = None
    gate: Gate | None = None

    def cut(self, *, events: int | None = None, bytes: int | None = None, abrupt: bool = True) -> Answer:
        """End the stream after so many events or bytes: by closing the connection, or politely as if it were whole."""
        return attrs.evolve(self, cut_events=events, cut_bytes=bytes, abrupt=abrupt)

    def in_pieces(self, size: int) -> Answer:
        """Send the body in pieces of so many bytes, through characters and lines alike."""
        return attrs.evolve(self, piece=size)

    def after(self, gate: Gate) -> Answer:
        """Answer nothing, not even a status, until the event is set."""
        return attrs.evolve(self, gate=gate)


def reply(
    *parts: Part,
    stop_reason: str | None = None,
    usage: Mapping[str, int | None] | None = None,
    output_tokens: int | None = 10,
    final_usage: Mapping[str, int | None] | None = None,
    model: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """A message. Unless given, its stop reason is what the parts imply, and its usage what a prompt cache would say.

    `usage` is told by the first event, `output_tokens` by the last one, with the totals so far in `final_usage`.
    """
    calls = any(part.start is not None and part.start.get("type") == "tool_use" for part in parts)
    return Answer(
        parts=parts,
        stop_reason=stop_reason or ("tool_use" if calls else "end_turn"),
        usage=usage,
        final_usage={"output_tokens": output_tokens, **(final_usage or {})},
        model=model,
        headers=headers or {},
    )


def refuse(
    status: int, kind: str, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error by status, in the API's shape; `code` is its `details.error_code`."""
    error: Block = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return respond(status, _json({"type": "error", "error": error}), headers=headers)


def overloaded() -> Answer:
    """529: the API has no capacity now."""
    return refuse(529, "overloaded_error", "Overloaded")


def rate_limited(retry_after: str | None = None) -> Answer:
    """429, with what the header shall say."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return refuse(429, "rate_limit_error", "This request would exceed your rate limit.", headers=headers)


def respond(
    status: int, body: bytes, *, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> Answer:
    """Any answer that is not a stream."""
    return Answer(status=status, body=body, headers={"content-type": content_type, **(headers or {})})


def silence() -> Answer:
    """Take the request and never answer."""
    return Answer(gate=_Never())


def frames(answer: Answer, *, number: int, usage: Mapping[str, int | None], model: str) -> list[Frame]:
    """The stream of this answer to request `number`, an event a frame, as far as it is not cut."""
    sent: list[Frame] = [_message_start(answer, number, usage, model)]
    index = 0
    for part in answer.parts:
        sent.extend(part.frames)
        if part.start is not None:
            named = _named(part, number, index)
            sent.append(_frame("content_block_start", {"index": index, "content_block": named.start}))
            sent.extend(_frame("content_block_delta", {"index": index, "delta": delta}) for delta in named.deltas)
            sent.append(_frame("content_block_stop", {"index": index}))
            index += 1
    delta = {"stop_reason": answer.stop_reason, "stop_sequence": None}
    sent.append(_frame("message_delta", {"delta": delta, "usage": dict(answer.final_usage)}))
    sent.append(_frame("message_stop", {}))
    return list(_in_pieces(_cut(sent, answer), answer.piece))


def signed_blocks(answer: Answer, number: int) -> Iterator[Block]:
    """The thinking of this answer to request `number`, as it must come back."""
    starts = [part for part in answer.parts if part.start is not None]
    for index, part in enumerate(starts):
        named = _named(part, number, index)
        assert named.start is not None
        if named.start.get("type") == "redacted_thinking":
            yield named.start
        elif named.start.get("type") == "thinking":
            said = "".join(delta["thinking"] for delta in named.deltas if delta["type"] == "thinking_delta")
            signatures = [delta["signature"] for delta in named.deltas if delta["type"] == "signature_delta"]
            if signatures:  # else it was cut, and cannot come back
                yield {"type": "thinking", "thinking": clean(said), "signature": signatures[-1]}


def _named(part: Part, number: int, index: int) -> Part:
    """The part with the id or signature that it was made without."""
    start, deltas = part.start, part.deltas
    if start is not None and start.get("type") == "tool_use" and start.get("id") is None:
        start = {**start, "id": f"toolu_{number}_{index}"}
    deltas = tuple(
        {**delta, "signature": f"signed/{number}/{index}=="} if delta.get("signature", "") is None else delta
        for delta in deltas
    )
    return attrs.evolve(part, start=start, deltas=deltas)


def _message_start(answer: Answer, number: int, usage: Mapping[str, int | None], model: str) -> bytes:
    message: Block = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": answer.model or model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    return _frame("message_start", {"message": message})


def _cut(sent: list[Frame], answer: Answer) -> Iterator[Frame]:
    events, size = answer.cut_events, answer.cut_bytes
    for frame in sent:
        if isinstance(frame, bytes):
            if events == 0 or size == 0:
                return
            if size is not None:
                frame = frame[:size]
                size -= len(frame)
            events = None if events is None else events - 1
        yield frame


def _in_pieces(sent: Iterable[Frame], size: int | None) -> Iterator[Frame]:
    if size is None:
        yield from sent
        return
    rest = b""
    for frame in sent:
        if isinstance(frame, bytes):
            rest += frame
            while len(rest) >= size:
                yield rest[:size]
                rest = rest[size:]
        else:
            yield from filter(None, (rest,))
            rest = b""
            yield frame
    yield from filter(None, (rest,))


def _frame(name: str, data: JSON) -> bytes:
    body = {"type": name, **data} if isinstance(data, dict) else data
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _json(body))


def _json(value: JSON) -> bytes:
    """JSON in UTF-8; half of a surrogate pair, which UTF-8 cannot hold, makes everything beyond ASCII an escape."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
