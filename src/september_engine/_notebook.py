"""Notebook: what a cell shows of a turn, and of what waits for a person: HTML and Markdown, no script, all escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from ._context.markdown import harmless
from ._context.stored import is_media
from ._context.text import visible
from ._turn.facts import AssistantCut, AssistantReplied, Fact, ToolFinished, TurnFailed, TurnStarted
from ._turn.limits import is_blocks
from .events import HitlRequest
from .messages import JSON, Block, Usage, text_of, tool_uses

__all__ = ["Card", "Peek", "Requests", "summary_card", "turn_card", "turn_markdown"]

Peek: TypeAlias = Callable[[str], str | None]
"""The content of an image in base64 by its SHA-256, where it is at hand."""

Card: TypeAlias = Callable[[], str]
"""Makes a card when a cell wants one."""

CARD_CHARS = 2 * 2**20
"""Of base64, in one card: a notebook keeps what its cells have shown. What is larger is named."""

MOST_SHOWN = 300
"""Characters of an argument or a result that are shown with a call."""

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


def turn_card(facts: Sequence[Fact], content: Peek) -> str:
    """A turn as far as it has come, as HTML: what the person sent, what tools did and showed, what was answered.

    `content` has images in base64 by their SHA-256, where they are at hand. Those that fit are in the card itself.
    """
    parts = [_block(part, data) if isinstance(part, dict) else part for part, data in _parts(facts, content)]
    return "".join(parts) or "<p>The turn has not begun.</p>"


def turn_markdown(facts: Sequence[Fact], shown: str, requests: Sequence[HitlRequest], content: Peek) -> str:
    """The same as Markdown, for a notebook that renders it: with what is being said now, and who must answer what.

    What a model, a tool or a person wrote is made `harmless`; the HTML in between is ours, and each piece is one line.
    """
    parts: list[str] = []
    for part, data in _parts(facts, content):
        if not isinstance(part, dict) or part["type"] != "text":
            parts.append(_one_line(part if isinstance(part, str) else _block(part, data)))
        elif isinstance(part, _Said):
            parts.append("\n".join(f"> {line}" for line in harmless(part["text"]).split("\n")))
        else:
            parts.append(harmless(part["text"]))
    parts += [harmless(shown)] if shown else []
    parts += [_one_line(_card(request)) for request in requests]
    return "\n\n".join(parts) or "The turn has not begun."


def _parts(facts: Sequence[Fact], content: Peek) -> Iterator[tuple[Block | str, str | None]]:
    """Blocks with their content in base64, and tool calls as HTML, in the order that they are read in."""
    room = CARD_CHARS
    results: dict[str, ToolFinished] = {}
    for fact in facts:
        if isinstance(fact, ToolFinished):
            results.setdefault(fact.tool_call_id, fact)
    for fact in facts:
        for block in _shown_blocks(fact):
            data = content(str(block["source"].get("sha256"))) if is_media(block) else None
            if data is not None and len(data) > room:
                data = None
            room -= len(data or "")
            yield block, data
        if isinstance(fact, AssistantReplied):
            yield from ((_call(use, results.get(use["id"])), None) for use in tool_uses(fact.content))


def _call(use: Block, result: ToolFinished | None) -> str:
    """One tool call with what came of it, as HTML."""
    arguments = ", ".join(f"{name}={_cut(_text(value))}" for name, value in (use.get("input") or {}).items())
    if result is None:
        outcome = "…"
    elif result.error is not None:
        outcome = f"✗ {_shown(_cut(result.error.message))}"
    elif is_blocks(result.output):
        outcome = "→ " + (_shown(_cut(text_of(result.output))) or "shown below")
    else:
        outcome = f"→ {_shown(_cut(_text(result.output)))}"
    return f"<p>● <code>{_shown(use['name'])}({_shown(arguments)})</code> {outcome}</p>"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _one_line(markup: str) -> str:
    """HTML that Markdown takes as one piece: a blank line would end it, and no renderer reads Markdown in it."""
    return _MEANS_SOMETHING.sub(lambda found: f"&#{ord(found[0])};", markup)


_MEANS_SOMETHING = re.compile(r"[\n\[\]!`*_$~\\]")
"""To Markdown, and nothing in the tags that are written here."""


def summary_card(card: Card | None, text: str, *, stop_reason: str, usage: Usage, cost_usd: float | None) -> str:
    """A turn that has ended: its card, or its answer where that is all there is, and what it came to."""
    cost = "cost unknown" if cost_usd is None else f"{cost_usd:.6f} USD"
    end = f"{stop_reason}, {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out, {cost}"
    whole = _block({"type": "text", "text": text}, None) if card is None else card()
    return f"{whole}<p><small>{_shown(end)}</small></p>"


def _shown_blocks(fact: Fact) -> list[Block]:
    match fact:
        case TurnStarted(content=content):
            blocks: list[Block] = [_Said(block) for block in content]
        case AssistantReplied(content=content):
            blocks = content
        case AssistantCut(text=text):
            blocks = [{"type": "text", "text": text}]
        case ToolFinished(output=list() as output):
            blocks = [block for block in output if is_media(block)]
        case TurnFailed(message=message):
            blocks = [{"type": "text", "text": message}]
        case _:
            blocks = []
    return [block for block in blocks if block.get("type") == "text" or isinstance(block.get("source"), dict)]


class _Said(dict[str, JSON]):
    """A block of what the person said."""


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
