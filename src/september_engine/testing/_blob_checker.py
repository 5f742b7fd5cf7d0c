"""What must hold between the facts of a task and its blobs; and prompts that can be checked without contents."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator, Sequence

import msgspec

from .._context.stored import is_media, references
from ..messages import Block, Prompt
from ..store.base import FactRow, Store

__all__ = ["blob_problems", "with_stand_ins"]

PDF = base64.b64encode(b"%PDF-1.7\n").decode()


async def blob_problems(store: Store, task_id: str, facts: Sequence[FactRow]) -> list[str]:
    """Every content that a fact refers to is there, and is that content."""
    found: list[str] = []
    for row in facts:
        for source in _referred_to(msgspec.json.decode(row.body)):
            data = await store.blob(task_id, source["sha256"])
            if data is None:
                found.append(f"fact {row.seq}: refers to a content that is not there, {source['sha256']}")
            elif hashlib.sha256(data).hexdigest() != source["sha256"] or len(data) != source["bytes"]:
                found.append(f"fact {row.seq}: refers to {source['sha256']}, and something else is stored there")
    return found


def _referred_to(fact: Block) -> Iterator[Block]:
    """Of media, and of a large result."""
    yield from references(_blocks_in(fact))
    if isinstance(fact.get("stored"), dict):
        yield fact["stored"]


def _blocks_in(fact: Block) -> list[Block]:
    lists = [value for value in fact.values() if isinstance(value, list)]
    return [block for each in lists for block in each if isinstance(block, dict)]


def with_stand_ins(prompt: Prompt) -> Prompt:
    """The prompt with headers of the same size in place of references: the contents passed when they were stored."""
    return msgspec.structs.replace(prompt, messages=[_stand_in(message) for message in prompt.messages])


def _stand_in(block: Block) -> Block:
    source = next(references([block]), None) if is_media(block) else None
    if source is None:
        inner = block.get("content")
        return {**block, "content": [_stand_in(each) for each in inner]} if isinstance(inner, list) else block
    if block["type"] == "document":
        return {**block, "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", source["width"], source["height"])
    data = base64.b64encode(header).decode()
    return {**block, "source": {"type": "base64", "media_type": "image/png", "data": data}}
