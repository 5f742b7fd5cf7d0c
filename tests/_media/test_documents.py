from __future__ import annotations

import pytest

from september_engine._context.media import Unusable
from september_engine._media import documents
from september_engine._media.documents import look_into

from .files import pdf


def test_a_document_with_pages_is_taken() -> None:
    look_into(pdf(3))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (pdf(password="secret"), "is locked with a password"),
        (pdf(0), "has no pages"),
        (b"%PDF-1.7\n", "is damaged or cut off"),
        (pdf(3)[:200], "is damaged or cut off"),
    ],
    ids=["locked", "empty", "a header", "cut off"],
)
def test_what_the_provider_would_refuse_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        look_into(data)


def test_there_may_be_so_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PAGES", 2)
    look_into(pdf(2))
    with pytest.raises(Unusable, match="has 3 pages; at most 2 are taken"):
        look_into(pdf(3))
