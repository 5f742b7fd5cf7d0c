"""Notebook: what a cell shows of a turn, and of what waits for a person. Plain HTML, no script, all of it escaped."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from ._context.stored import is_media
from ._context.text import visible
from ._turn.facts import AssistantReplied, Fact, ToolFinished, TurnFailed, TurnStarted
from .events import HitlRequest
from .messages import Block, Usage

__all__ = ["Card", "Requests", "show", "summary_card", "turn_card"]

Card: TypeAlias = Callable[[], str]
"""Makes a card when a cell wants one."""

CARD_CHARS = 2 * 2**20
"""Of base64, in one card: a notebook keeps what its cells have shown. What is larger is named."""

SHOWN_AS_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


class Requests(list[HitlRequest]):
    """The requests that wait for a person, oldest first. A notebook shows each with the call that answers it."""

    def _repr_html_(self) -> str:
        if not self:
            return "<p>Nothing waits for a person.</p>"
        return "".join(map(_card, self))


def _card(request: HitlRequest) -> str:
    rows = [
        f"<tr><th>{_shown(name)}</th><td><pre>{_shown(_text(value))}</pre></td></tr>"
        for name, value in (request.input or {}).items()
    ]
    rows += [f"<tr><th>always</th><td>{_shown(rule)}</td></tr>" for rule in request.remember or ()]
    answer, other = ('"yes"', '  # or "no", feedback="…"') if request.kind == "permission" else ('"…"', "")
    code = f"engine.respond({request.task_id!r}, {answer}, request_id={request.request_id!r}){other}"
    return (
        f"<p><b>{_shown(request.question)}</b><br><small>task {_shown(request.task_id)}, "
        f"since {_shown(request.created_at)}</small></p>"
        f"<table>{''.join(rows)}</table><pre>{_shown(code)}</pre>"
    )


def turn_card(facts: Sequence[Fact], content: Callable[[str], str | None]) -> str:
    """A turn as far as it has come: what the person sent, what tools showed, what was answered.

    `content` has images in base64 by their SHA-256, where they are at hand. Those that fit are in the card itself.
    """
    parts: list[str] = []
    room = CARD_CHARS
    for fact in facts:
        for block in _shown_blocks(fact):
            text = content(str(block["source"].get("sha256"))) if is_media(block) else None
            if text is not None and len(text) <= room:
                room -= len(text)
            else:
                text = None
            parts.append(_block(block, text))
    return "".join(parts) or "<p>The turn has not begun.</p>"


def summary_card(card: Card | None, text: str, *, stop_reason: str, usage: Usage, cost_usd: float | None) -> str:
    """A turn that has ended: its card, or its answer where that is all there is, and what it came to."""
    cost = "cost unknown" if cost_usd is None else f"{cost_usd:.6f} USD"
    end = f"{stop_reason}, {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out, {cost}"
    whole = _block({"type": "text", "text": text}, None) if card is None else card()
    return f"{whole}<p><small>{_shown(end)}</small></p>"


def _shown_blocks(fact: Fact) -> list[Block]:
    match fact:
        case TurnStarted(content=content) | AssistantReplied(content=content):
            blocks = content
        case ToolFinished(output=list() as output):
            blocks = [block for block in output if is_media(block)]
        case TurnFailed(message=message):
            blocks = [{"type": "text", "text": message}]
        case _:
            blocks = []
    return [block for block in blocks if block.get("type") == "text" or isinstance(block.get("source"), dict)]


def _block(block: Block, data: str | None) -> str:
    """Text as text; an image as itself where its content is given, and anything else by what it is."""
    if block["type"] == "text":
        return f'<p style="white-space: pre-wrap">{_shown(block["text"])}</p>'
    source = block["source"]
    words = [source.get("url") or source.get("media_type") or block["type"]]
    if "width" in source:
        words.append(f"{source['width']} × {source['height']}")
    if "bytes" in source:
        words.append(f"{source['bytes']:,} bytes")
    caption = _shown(", ".join(map(str, words)))
    if data is None or source.get("media_type") not in SHOWN_AS_IMAGES:
        return f"<p><small>{caption}</small></p>"
    address = html.escape(f"data:{source['media_type']};base64,{data}")
    return f'<p><img src="{address}" alt="{caption}" style="max-width: 100%; max-height: 24em"></p>'


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _shown(text: str) -> str:
    return html.escape(visible(text))


def show(value: object) -> bool:
    """Show a value in the cell that runs, where this is a notebook's kernel; False anywhere else."""
    return False
