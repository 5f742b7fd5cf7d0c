"""documents: what is inside of a PDF, as far as the provider's limits ask. Needs pypdf. Blocks; use a thread."""

from __future__ import annotations

import io

from .._context.media import PAGES, Unusable

__all__ = ["look_into"]


def look_into(data: bytes) -> None:
    """Raises `Unusable` for a PDF that is damaged, locked, empty, or longer than any model takes."""
    import pypdf

    try:
        document = pypdf.PdfReader(io.BytesIO(data))
        pages = 0 if document.is_encrypted else len(document.pages)
        locked = document.is_encrypted
    except Exception as error:  # a parser of foreign data: it raises its own errors, and others
        raise Unusable(f"is damaged or cut off ({type(error).__name__})") from error
    if locked:
        raise Unusable("is locked with a password; save it without one")
    if pages == 0:
        raise Unusable("has no pages")
    if pages > PAGES:
        raise Unusable(f"has {pages} pages; at most {PAGES} are taken")
