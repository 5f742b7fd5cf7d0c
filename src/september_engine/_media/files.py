"""files: an image or document that a caller names by its path, or hands over as bytes. Blocks; call it in a thread."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

from .._context.media import DOCUMENT_CHARS, TEXT, Unusable, text_in, type_of
from .._context.text import clean
from ..messages import Block

__all__ = ["read_media"]

MOST_BYTES = DOCUMENT_CHARS // 4 * 3


def read_media(one: bytes | os.PathLike[str]) -> Block:
    """The block for a content, or for that of a regular file. Its type is told by what is in it, not by its name.

    A document has its file's name as its title. Raises `Unusable`.
    """
    data = one if isinstance(one, bytes) else _content(one)
    media_type = type_of(data)
    if media_type == TEXT:
        source = {"type": "text", "media_type": TEXT, "data": text_in(data)}
    else:
        source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
        if media_type != "application/pdf":
            return {"type": "image", "source": source}
    block: Block = {"type": "document", "source": source}
    if not isinstance(one, bytes):
        block["title"] = clean(os.fsencode(Path(one).name).decode(errors="replace"))
    return block


def _content(path: os.PathLike[str]) -> bytes:
    """The content of a regular file, read no further than what could be sent. Raises `Unusable`."""
    try:
        # what is no file must not hold up the thread: opening a named pipe would wait for its other end
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unusable("is not a file")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in it
        raise Unusable(f"is not a path: {error}") from error
    if len(data) > MOST_BYTES:
        raise Unusable(f"has more than {MOST_BYTES:,} bytes, the most that can be sent")
    return data
