"""An image or document block as it was meant, where it can only be meant in one way. Pure.

Clients write the same content in several ways: base64 with line breaks, a data URL, `image/jpg`. The API takes one.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

from ..messages import JSON, Block
from .media import TEXT, Unusable, text_in

__all__ = ["tidied"]

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-webp": "image/webp",
    "application/x-pdf": "application/pdf",
}
_TEXT_TYPES = frozenset(f"application/{name}" for name in ("csv", "json", "toml", "xml", "yaml", "x-ndjson", "x-yaml"))
_DATA_URL = re.compile(r"data:(?P<type>[^,;]*)(?P<parameters>(?:;[^,;]*)*),(?P<data>.*)", re.DOTALL | re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\r\n\f\v]+")


def tidied(block: Block) -> Block:
    """The block as the API wants it, where it can only be meant in one way; otherwise as it is. Total.

    A media type may be in upper case, have parameters, or be known by another name (`image/jpg`). Base64 may have
    blanks and line breaks, the alphabet of URLs, and no padding. A data URL is its content. A text document may have
    any type of text (`text/csv`), be in base64, and begin with a mark.
    """
    source = block.get("source")
    if block.get("type") not in ("image", "document") or not isinstance(source, dict):
        return block
    tidy = _tidied_source(_out_of_url(source), is_document=block["type"] == "document")
    return block if tidy == source else {**block, "source": tidy}


def _out_of_url(source: Block) -> Block:
    """The source that a data URL stands for, be it in `url` or, as browsers' code often has it, in `data`."""
    kind = source.get("type")
    given = source.get("url") if kind == "url" else source.get("data") if kind == "base64" else None
    match = _DATA_URL.fullmatch(given.strip()) if isinstance(given, str) else None
    if match is None or source.keys() - {"type", "url", "media_type", "data"}:
        return source
    media_type = match["type"].strip() or TEXT
    if "media_type" in source and _plain_type(source["media_type"]) != _plain_type(media_type):
        return source
    if match["parameters"].lower().endswith(";base64"):
        data = unquote_to_bytes(match["data"]).decode("ascii", "replace")
    else:
        data = base64.b64encode(unquote_to_bytes(match["data"])).decode()
    return {"type": "base64", "media_type": media_type, "data": data}


def _tidied_source(source: Block, *, is_document: bool) -> Block:
    kind, data = source.get("type"), source.get("data")
    if kind not in ("base64", "text") or not isinstance(data, str):
        return source
    media_type = _plain_type(source.get("media_type", TEXT if kind == "text" else None))
    if kind == "text":
        return {**source, "media_type": media_type, "data": data.removeprefix("\ufeff")}
    data = _plain_base64(data)
    if is_document and media_type == TEXT and source.keys() == {"type", "media_type", "data"}:
        try:
            return {"type": "text", "media_type": TEXT, "data": text_in(base64.b64decode(data, validate=True))}
        except (Unusable, ValueError):  # what is wrong with it is said where it is checked
            pass
    return {**source, "media_type": media_type, "data": data} if "media_type" in source else {**source, "data": data}


def _plain_type(media_type: JSON) -> JSON:
    if not isinstance(media_type, str):
        return media_type
    name = media_type.partition(";")[0].strip().lower()
    return TEXT if name.startswith("text/") or name in _TEXT_TYPES else _ALIASES.get(name, name)


def _plain_base64(data: str) -> str:
    data = _BLANKS.sub("", data)
    if not ("+" in data or "/" in data):
        data = data.replace("-", "+").replace("_", "/")
    missing = -len(data) % 4
    return data + "=" * missing if missing in (1, 2) and not data.endswith("=") else data
