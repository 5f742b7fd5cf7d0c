"""What makes an image or document usable: source, type, base64, magic bytes, size, pixels, text. Pure.

Only headers are read; no picture is ever decoded, so a decompression bomb is a number here and nothing more. Limits are
those of the Messages API. Its 5 MB for an image counts the base64 text, not the bytes behind it.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import unicodedata
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from ..messages import JSON, Block

__all__ = [
    "DOCUMENT_CHARS",
    "IMAGES",
    "IMAGE_CHARS",
    "IMAGE_SIDE",
    "IMAGE_TYPES",
    "MANY_IMAGES",
    "MANY_IMAGES_SIDE",
    "MEDIA_CHARS",
    "PAGES",
    "PIXELS",
    "TEXT",
    "TEXT_BYTES",
    "Unusable",
    "Weight",
    "content_problem",
    "crowding",
    "image_size",
    "kind_of",
    "media_problem",
    "pages_in",
    "text_in",
    "type_of",
    "weigh",
]

IMAGE_TYPES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}
IMAGE_CHARS = 5 * 2**20
"""Most characters of base64 in one image."""

DOCUMENT_CHARS = 32 * 2**20
"""Most characters of base64 in one document: a whole request may not be larger."""

IMAGE_SIDE = 8000
"""Most pixels in width or height."""

IMAGES = 100
"""Most images in one prompt."""

MANY_IMAGES = 20
MANY_IMAGES_SIDE = 2000
"""With more than `MANY_IMAGES` images in a prompt, each may have only this many pixels in width or height."""

MEDIA_CHARS = 32 * 2**20
"""Most characters of base64 in one prompt: a whole request may not be larger."""

PAGES = 600
"""Most pages of all PDFs in one prompt; models with a context of 200,000 tokens take 100."""

TEXT = "text/plain"
"""The media type of every text document: the API knows no other."""

TEXT_BYTES = 4 * 2**20
"""Most bytes of UTF-8 in one text document: some million tokens, the largest window there is."""

PIXELS = IMAGE_SIDE**2
"""Most pixels of an image that is decoded: it costs four bytes for each."""

URL_CHARS = 8192

_HEADER_CHARS = 16 * 1024
"""This much base64 is enough to tell the size of nearly every image."""

_PAGE = re.compile(rb"/Type\s*/Page\b")

_KEYS = {
    "image": {"type", "source", "cache_control"},
    "document": {"type", "source", "cache_control", "title", "context", "citations"},
}
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"),
          (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))  # fmt: skip
"""The marks that a text may begin with; UTF-32's begins with UTF-16's."""

_CACHE_CONTROL = ({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "5m"}, {"type": "ephemeral", "ttl": "1h"})


class Unusable(Exception):
    """An image or document cannot be used; the text says why, as `content_problem` does."""


def kind_of(data: bytes) -> str | None:
    """The media type that the first bytes tell, or None for what no model takes."""
    for media_type, magic in IMAGE_TYPES.items():
        if data.startswith(magic) and (media_type != "image/webp" or data[8:12] == b"WEBP"):
            return media_type
    return "application/pdf" if b"%PDF-" in data[:1024] else None


def text_in(data: bytes) -> str:
    """The text of a file, without the mark it may begin with: UTF-8, or what its mark says. Raises `Unusable`."""
    mark, encoding = next((each for each in _MARKS if data.startswith(each[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        raise Unusable("is not text in UTF-8, or in UTF-16 with its mark; save it as UTF-8") from None
    if (problem := _text_problem(text)) is not None:
        raise Unusable(problem)
    return text


def _text_problem(text: str) -> str | None:
    if not text.strip():
        return "is empty"
    if "\0" in text:
        return "holds NUL, so it is not text; if it is UTF-16, save it as UTF-8"
    size = len(text.encode(errors="replace"))
    return f"is {size:,} bytes of text; at most {TEXT_BYTES:,} are taken" if size > TEXT_BYTES else None


def type_of(data: bytes) -> str:
    """The media type of a content: text where all of it is, else what its first bytes tell. Raises `Unusable`."""
    kind = kind_of(data)
    if kind == "application/pdf" and data.removeprefix(_MARKS[0][0]).startswith(b"%PDF-"):  # which may be all ASCII
        return kind
    try:
        text_in(data)
    except Unusable as error:
        if kind is not None:
            return kind
        raise Unusable(f"is not a PNG, JPEG, GIF, WebP or PDF, and {error}") from None
    return TEXT


def media_problem(block: JSON, *, shrinks: bool = False) -> str | None:
    """Why this image or document block cannot be used, or None.

    With `shrinks`, images that are too large pass: they are made smaller before they are looked at again.
    """
    if not isinstance(block, dict) or block.get("type") not in tuple(_KEYS):
        return "must be an image or document block"
    kind: str = block["type"]
    if strange := sorted(map(str, block.keys() - _KEYS[kind])):
        return f"has unknown keys: {', '.join(strange)}"
    for key in ("title", "context"):
        if block.get(key) is not None and not (isinstance(block[key], str) and block[key]):
            return f"{key} must be text, and not empty"
    if block.get("citations") is not None and not _is_switch(block["citations"]):
        return "citations must have enabled, true or false, and nothing else"
    if block.get("cache_control") is not None and block["cache_control"] not in _CACHE_CONTROL:
        return f"cache_control must be one of {msgspec.json.encode(_CACHE_CONTROL).decode()}"
    source = block.get("source")
    if not isinstance(source, dict):
        return "source must be an object"
    match source.get("type"):
        case "url":
            return _url_problem(source)
        case "base64":
            return _base64_problem(kind, source, shrinks)
        case "text" if kind == "document":
            return _text_source_problem(source)
        case _:
            return f"source.type must be base64{', text' if kind == 'document' else ''} or url"


def _is_switch(value: JSON) -> bool:
    return isinstance(value, dict) and value.keys() == {"enabled"} and isinstance(value["enabled"], bool)


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """What one image or document adds to a prompt: characters, an image's longer side in pixels, pages.

    `side` is None for a document, and 0 where it is not known, as behind a URL; `pages` is 0 where they are not known.
    """

    side: int | None
    chars: int
    pages: int = 0


def weigh(block: Block) -> Weight:
    """Of an image or document block; total, though only what has passed `media_problem` should come here."""
    given = block.get("source")
    source: Block = given if isinstance(given, dict) else {}
    if source.get("type") == "stored":
        side = None if block.get("type") == "document" else max(source.get("width", 0), source.get("height", 0))
        size = source.get("bytes", 0)
        chars = size if source.get("media_type") == TEXT else _in_base64(size)
        return Weight(side=side, chars=chars, pages=source.get("pages", 0))
    data = source.get("data")
    text = data if isinstance(data, str) else ""
    if source.get("type") == "text":
        return Weight(side=None, chars=len(text.encode(errors="replace")))
    if block.get("type") == "document":
        return Weight(side=None, chars=len(text), pages=_pages_of(text))
    size = _size_of(text[:_HEADER_CHARS], source) or _size_of(text, source) or (0, 0)
    return Weight(side=max(size), chars=len(text))


def _size_of(text: str, source: Block) -> tuple[int, int] | None:
    try:
        return image_size(base64.b64decode(text), source.get("media_type", ""))
    except ValueError:  # not base64, of which binascii.Error is one
        return None


def _pages_of(text: str) -> int:
    try:
        return pages_in(base64.b64decode(text))
    except ValueError:
        return 0


def crowding(media: Sequence[Weight]) -> str | None:
    """Why one prompt cannot hold all of these, or None."""
    sides = [one.side for one in media if one.side is not None]
    if len(sides) > IMAGES:
        return f"there are {len(sides)} images; at most {IMAGES} are taken"
    if len(sides) > MANY_IMAGES and max(sides) > MANY_IMAGES_SIDE:
        return f"with more than {MANY_IMAGES} images, each must be within {MANY_IMAGES_SIDE} pixels a side"
    pages = sum(one.pages for one in media)
    if pages > PAGES:
        return f"there are {pages} pages of PDF; at most {PAGES} are taken"
    chars = sum(one.chars for one in media)
    if chars > MEDIA_CHARS:
        return f"there are {chars} characters of base64; at most {MEDIA_CHARS} are taken"
    return None


def image_size(data: bytes, media_type: str) -> tuple[int, int] | None:
    """Width and height in pixels from the header, or None where the header is not whole."""
    try:
        match media_type:
            case "image/png":
                return _pair(">II", data, 16) if data[12:16] == b"IHDR" else None
            case "image/gif":
                return _pair("<HH", data, 6)
            case "image/webp":
                return _webp_size(data)
            case "image/jpeg":
                return _jpeg_size(data)
            case _:
                return None
    except (struct.error, IndexError):
        return None


def pages_in(data: bytes) -> int:
    """The pages of a PDF that can be counted; 0 where they are packed."""
    return len(_PAGE.findall(data))


def _url_problem(source: dict[str, JSON]) -> str | None:
    url = source.get("url")
    if source.keys() != {"type", "url"} or not isinstance(url, str):
        return "source must have type and url, and nothing else"
    if len(url) > URL_CHARS:
        return f"source.url is {len(url)} characters; at most {URL_CHARS} are taken"
    try:
        parts = urlsplit(url)
        # as it will be looked up: other full stops count as one, and one at the end as none
        host, port = unicodedata.normalize("NFKC", parts.hostname or "").replace("\u3002", ".").rstrip("."), parts.port
    except ValueError:
        return "source.url is not a URL"
    if parts.scheme != "https" or not host or port == 0 or any(char.isspace() or char < " " for char in url):
        return "source.url must be an https URL"
    if parts.username is not None or parts.password is not None:
        return "source.url must not hold credentials"
    if "%" in host and ":" not in host:
        return "source.url is not a URL"
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or _is_private(host):
        return "source.url must point to the public internet"
    return None


def _is_private(host: str) -> bool:
    import ipaddress  # few have pictures at URLs

    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        # 127.1 and 0x7f000001 are addresses to a browser, and no public name ends in a number
        last = host.rpartition(".")[2]
        return last.isdigit() or last.startswith("0x")


def _text_source_problem(source: dict[str, JSON]) -> str | None:
    text = source.get("data")
    if source.keys() != {"type", "media_type", "data"} or not isinstance(text, str):
        return "source must have type, media_type and data, and nothing else"
    if source["media_type"] != TEXT:
        return f"source.media_type must be {TEXT}"
    problem = _text_problem(text)
    return None if problem is None else f"source.data {problem}"


def _base64_problem(kind: str, source: dict[str, JSON], shrinks: bool) -> str | None:
    media_type, text = source.get("media_type"), source.get("data")
    if source.keys() != {"type", "media_type", "data"} or not isinstance(media_type, str) or not isinstance(text, str):
        return "source must have type, media_type and data, and nothing else"
    allowed = sorted(IMAGE_TYPES) if kind == "image" else ["application/pdf", TEXT]
    if media_type not in allowed:
        return f"source.media_type must be {' or '.join(allowed)}"
    if (problem := _too_long(len(text), media_type, shrinks)) is not None:
        return f"source.data {problem}"
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return "source.data is not base64"
    problem = content_problem(data, media_type, shrinks=shrinks)
    return None if problem is None else f"source.data {problem}"


def content_problem(data: bytes, media_type: str, *, shrinks: bool = False) -> str | None:
    """Why these bytes are no image or document of this type that can be used, as in "is not a PDF", or None."""
    if media_type == TEXT:
        try:
            text_in(data)
        except Unusable as error:
            return str(error)
        return "is text: its source must have the type text"
    if media_type == "application/pdf":
        # the mark may stand anywhere in the first 1024 bytes
        problem = None if b"%PDF-" in data[:1024] else "is not a PDF"
    elif kind_of(data) != media_type:
        problem = f"is not {media_type}"
    else:
        problem = _size_problem(image_size(data, media_type), shrinks)
    return problem or _too_long(_in_base64(len(data)), media_type, shrinks)


def _size_problem(size: tuple[int, int] | None, shrinks: bool) -> str | None:
    if size is None or min(size) < 1:
        return "is cut off or damaged: it has no readable size"
    width, height = size
    if shrinks and width * height > PIXELS:
        return f"is {width} x {height} pixels; at most {PIXELS:,} in all are made smaller"
    if not shrinks and max(size) > IMAGE_SIDE:
        return f"is {width} x {height} pixels; at most {IMAGE_SIDE} x {IMAGE_SIDE} are taken"
    return None


def _too_long(chars: int, media_type: str, shrinks: bool) -> str | None:
    limit = DOCUMENT_CHARS if shrinks or media_type not in IMAGE_TYPES else IMAGE_CHARS
    return f"is {chars} characters of base64; at most {limit} are taken" if chars > limit else None


def _in_base64(size: int) -> int:
    """How many characters of base64 this many bytes are."""
    return -(-size // 3) * 4


def _pair(layout: str, data: bytes, offset: int) -> tuple[int, int]:
    width, height = struct.unpack_from(layout, data, offset)
    return width, height


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X":
            if len(data) < 30:
                return None
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        case b"VP8 ":
            width, height = _pair("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk the segments to the frame header (SOF), which is the first that tells the size."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _pair(">HH", data, at + 5)
            return width, height
        if marker in (0xD9, 0xDA):  # the end, or the picture itself, before any frame header
            return None
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    return None
