"""Portable: all memories as one JSON document, and back without a loss.

Vectors are not in it: they can be made again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .._plain import plain_bytes, plain_text
from ..errors import InvalidRequest
from .records import Memory
from .rules import checked, is_erased, says

__all__ = ["FORMAT", "bundle_of", "memories_of", "merged"]

FORMAT = "september-memory/1"


class _Bundle(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    memories: list[Memory]


def bundle_of(memories: Sequence[Memory]) -> bytes:
    """The document."""
    return msgspec.json.encode(_Bundle(format=FORMAT, memories=list(memories)))


def memories_of(bundle: bytes | str) -> list[Memory]:
    """What a document holds. Raises `InvalidRequest`, and says where, for one that is not ours or is damaged."""
    given = plain_text(bundle, "bundle").encode() if isinstance(bundle, str) else plain_bytes(bundle, "bundle")
    try:
        read = msgspec.json.decode(given.removeprefix(b"\xef\xbb\xbf"), type=_Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"This is not an export of memories: {error}.") from error
    if read.format != FORMAT:
        raise InvalidRequest(f"The export has the format {read.format!r}; this release reads {FORMAT!r}.")
    if nameless := sum(not memory.id for memory in read.memories):
        raise InvalidRequest(f"{nameless} memories of this export have no id.")
    seen: set[str] = set()
    for memory in read.memories:
        if memory.id in seen:
            raise InvalidRequest(f"This export has the memory {memory.id!r} twice.")
        seen.add(memory.id)
        _must_be_ours(memory)
    return read.memories


def _must_be_ours(memory: Memory) -> None:
    """What could not have been remembered was not exported: somebody wrote it in."""
    try:
        if checked(memory) == memory:
            return
        problem = f"What came from a {memory.source.origin} cannot have the trust {memory.source.trust!r}."
    except InvalidRequest as refused:
        problem = refused.message
    raise InvalidRequest(f"This export has a memory {memory.id!r} that was never remembered. {problem}")


def merged(stored: Memory | None, imported: Memory) -> Memory | None:
    """What to write for an imported memory; None where the stored one stays. A trail only grows.

    Raises `InvalidRequest` for one that says something else under the same id: then one of the two would be lost. What
    is erased, here or there, says nothing else.
    """
    if stored is None:
        return imported
    if not is_erased(stored) and not is_erased(imported) and says(stored) != says(imported):
        raise InvalidRequest(
            f"There is another memory {imported.id!r} here already. What is remembered is not rewritten."
        )
    return imported if stored.retired_at is None and imported.retired_at is not None else None
