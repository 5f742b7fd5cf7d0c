"""How many tokens something is, as a guess. Pure.

A provider counts exactly, and only afterwards: its `usage` is what counts, and this is for what came since. A guess
errs on the high side, so that what is thought to fit does fit: three bytes of UTF-8 a token, where English text has
about four, code three, and Chinese one character of three bytes. Only of a PDF nobody can tell: see `PER_PAGE`.
"""

from __future__ import annotations

import base64

import msgspec

from ..messages import JSON, Block, Prompt
from .media import IMAGE_CHARS, TEXT, pages_in, weigh

__all__ = ["BYTES_PER_TOKEN", "prompt_tokens", "tokens_of"]

BYTES_PER_TOKEN = 3

MOST_PER_IMAGE = 4_800
"""Tokens of an image as large as a provider looks at; a larger one is scaled down first."""

PIXELS_PER_TOKEN = 750

PER_PAGE = 1_900
"""Tokens of a PDF's page. Full ones have more than twice as many; but what the provider takes, a hundred pages in a
window of 200,000, must not be refused on a guess: should it be too much, the provider says so, and is believed.
"""

BYTES_PER_PAGE = 100_000
"""Of a PDF whose pages cannot be counted, because they are packed."""


def prompt_tokens(prompt: Prompt) -> int:
    """A guess at the whole of a prompt."""
    return tokens_of(prompt.system) + tokens_of(prompt.tools) + tokens_of(prompt.messages)


def tokens_of(value: JSON) -> int:
    """A guess at a text, a block, a message, or a list of them; 0 for nothing. Total."""
    if value in (None, "", []):
        return 0
    if isinstance(value, str):
        return _per_bytes(len(value.encode(errors="replace")))
    if isinstance(value, list):
        return sum(tokens_of(item) for item in value)
    if isinstance(value, dict):
        return _of_object(value)
    return _per_bytes(len(msgspec.json.encode(value)))


def _of_object(value: Block) -> int:
    if value.get("type") in ("image", "document") and isinstance(value.get("source"), dict):
        return _of_media(value)
    inner = value.get("content")
    if isinstance(inner, list):
        return tokens_of(inner) + tokens_of({key: item for key, item in value.items() if key != "content"})
    return _per_bytes(len(msgspec.json.encode(value)))


def _of_media(block: Block) -> int:
    weight = weigh(block)
    if weight.side is not None:
        size = weight.side**2 // PIXELS_PER_TOKEN
        return min(size, MOST_PER_IMAGE) if weight.side else MOST_PER_IMAGE
    if block["source"].get("media_type") == TEXT:
        return _per_bytes(weight.chars)
    return _pages(block["source"]) * PER_PAGE


def _pages(source: Block) -> int:
    """Behind a URL nobody knows: one page is not too little for what the engine has not seen."""
    if source.get("type") == "stored":
        pages, size = (int(source.get(key, 0)) for key in ("pages", "bytes"))
        return max(1, pages, size // BYTES_PER_PAGE)
    data = source.get("data")
    if not isinstance(data, str):
        return 1
    try:
        raw = base64.b64decode(data[: 4 * IMAGE_CHARS])
    except ValueError:
        return 1
    return max(1, pages_in(raw), len(data) * 3 // 4 // BYTES_PER_PAGE)


def _per_bytes(count: int) -> int:
    return -(-count // BYTES_PER_TOKEN)
