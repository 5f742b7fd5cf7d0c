"""stored: images and documents in the log. Pure.

A block there holds a reference in place of its content: what it is, how large it is, and the SHA-256 under which the
content is a blob of the task. A request holds the content again.

    {"type": "image", "source": {"type": "stored", "media_type": "image/png", "sha256": "…", "bytes": 5120,
                                 "width": 640, "height": 480}}

A PDF has `pages` in place of a size, where they can be counted. A text document has the type `text/plain`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..messages import JSON, Block, Prompt
from .media import TEXT, image_size, pages_in

__all__ = ["LOST", "is_media", "put_back", "references", "take_out", "wanted"]

STORED = "stored"
MEDIA = ("image", "document")
HOLDERS = frozenset((*MEDIA, "tool_result"))
LOST = "[An attachment stood here. Its content was damaged or lost, so it could not be sent.]"


def is_media(block: JSON) -> bool:
    """Whether this is an image or a document."""
    return isinstance(block, dict) and block.get("type") in MEDIA


def take_out(content: Sequence[Block]) -> tuple[list[Block], dict[str, bytes]]:
    """The blocks with references in place of their contents, and the contents by their SHA-256.

    Only what has passed `media_problem` should come here; URLs and references stay as they are.
    """
    kept: list[Block] = []
    contents: dict[str, bytes] = {}
    for block in content:
        source = block.get("source") if is_media(block) else None
        if not isinstance(source, dict) or source.get("type") not in ("base64", "text"):
            kept.append(block)
            continue
        data = source["data"].encode() if source["type"] == "text" else base64.b64decode(source["data"])
        digest = hashlib.sha256(data).hexdigest()
        contents[digest] = data
        kept.append({**block, "source": _reference(source["media_type"], digest, data)})
    return kept, contents


def _reference(media_type: str, digest: str, data: bytes) -> Block:
    reference: Block = {"type": STORED, "media_type": media_type, "sha256": digest, "bytes": len(data)}
    if (size := image_size(data, media_type)) is not None:
        reference["width"], reference["height"] = size
    if media_type == "application/pdf" and (pages := pages_in(data)):
        reference["pages"] = pages
    return reference


def references(content: Sequence[Block]) -> Iterator[Block]:
    """The sources of these blocks, or of the messages, that refer to a stored content, at any depth."""
    for block in content:
        if is_media(block) and _refers(block):
            yield block["source"]
        elif isinstance(block.get("content"), list):
            yield from references([inner for inner in block["content"] if isinstance(inner, dict)])


def wanted(prompt: Prompt) -> set[str]:
    """The contents that a request needs, by SHA-256."""
    # in one go: each request of a long thread is looked through, most of them for nothing
    contents = [message["content"] for message in prompt.messages if isinstance(message["content"], list)]
    holders = [block for content in contents for block in content if block["type"] in HOLDERS]
    return {source["sha256"] for source in references(holders)}


def put_back(prompt: Prompt, found: Mapping[str, str]) -> Prompt:
    """The prompt with contents in place of references. `found` has them in base64, by SHA-256.

    One that is not there was lost: the model is told so, and the thread goes on.
    """
    return msgspec.structs.replace(prompt, messages=_restored(prompt.messages, found))


def _restored(content: Sequence[JSON], found: Mapping[str, str]) -> list[Block]:
    return [_with_content(block, found) if isinstance(block, dict) else block for block in content]


def _with_content(block: Block, found: Mapping[str, str]) -> Block:
    if not is_media(block) or not _refers(block):
        inner = block.get("content")
        return {**block, "content": _restored(inner, found)} if isinstance(inner, list) else block
    source = block["source"]
    if source["sha256"] not in found:
        return {"type": "text", "text": LOST}
    kind, data = "base64", found[source["sha256"]]
    if source["media_type"] == TEXT:
        kind, data = "text", base64.b64decode(data).decode()
    return {**block, "source": {"type": kind, "media_type": source["media_type"], "data": data}}


def _refers(block: Block) -> bool:
    return isinstance(block.get("source"), dict) and block["source"].get("type") == STORED
