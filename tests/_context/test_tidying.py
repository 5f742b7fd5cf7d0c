from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._context.media import TEXT_BYTES, Unusable, media_problem, text_in, type_of, weigh
from september_engine._context.stored import put_back, take_out, wanted
from september_engine._context.tidying import tidied
from september_engine._context.tokens import tokens_of
from september_engine.messages import Block, Prompt

from ..strategies import json_values
from .pictures import png

DATA = base64.b64encode(png(40, 30)).decode()
URL_SAFE = base64.b64encode(b"%PDF-1.7\n\xfb\xff\xfe").decode()


def image(media_type: str, data: str) -> Block:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def document(**source: str) -> Block:
    return {"type": "document", "source": source}


GOOD = image("image/png", DATA)


@pytest.mark.parametrize(
    "block",
    [
        image("image/png", "\r\n".join(DATA[start : start + 76] for start in range(0, len(DATA), 76)) + "\n"),
        image("IMAGE/PNG", f" {DATA} "),
        image("image/x-png", DATA),
        image("image/png; charset=utf-8", DATA.rstrip("=")),
        image("image/png", f"data:image/png;base64,{DATA}"),
        {"type": "image", "source": {"type": "url", "url": f"data:image/png;base64,{DATA}"}},
        {"type": "image", "source": {"type": "url", "url": f"DATA:Image/X-PNG;BASE64,{DATA.replace('+', '%2B')}"}},
    ],
)
def test_one_picture_written_in_several_ways(block: Block) -> None:
    assert tidied(block) == GOOD
    assert media_problem(tidied(block)) is None


def test_other_names_and_alphabets() -> None:
    assert tidied(image("image/jpg", "x"))["source"]["media_type"] == "image/jpeg"
    safe = URL_SAFE.replace("+", "-").replace("/", "_")
    assert safe != URL_SAFE
    pdf = document(type="base64", media_type="application/x-pdf", data=safe)
    assert tidied(pdf) == document(type="base64", media_type="application/pdf", data=URL_SAFE)


@pytest.mark.parametrize(
    "block",
    [
        document(type="text", media_type="text/plain", data="a,b\n1,é\n"),
        document(type="text", media_type="text/csv; charset=utf-8", data="\ufeffa,b\n1,é\n"),
        document(type="text", data="a,b\n1,é\n"),
        document(type="base64", media_type="text/csv", data=base64.b64encode("a,b\n1,é\n".encode()).decode()),
        document(type="base64", media_type="text/csv", data=base64.b64encode("a,b\n1,é\n".encode("utf-16")).decode()),
        document(type="url", url="data:text/csv,a%2Cb%0A1%2C%C3%A9%0A"),
    ],
)
def test_one_text_written_in_several_ways(block: Block) -> None:
    plain = document(type="text", media_type="text/plain", data="a,b\n1,é\n")
    assert tidied(block) == plain
    assert media_problem(plain) is None
    kept, contents = take_out([plain])
    assert list(contents.values()) == ["a,b\n1,é\n".encode()]
    assert kept[0]["source"]["media_type"] == "text/plain"
    prompt = Prompt(system="", tools=[], messages=[{"role": "user", "content": kept}])
    found = {sha256: base64.b64encode(data).decode() for sha256, data in contents.items()}
    assert wanted(prompt) == set(found)
    assert put_back(prompt, found).messages[0]["content"] == [plain]
    assert tokens_of(kept[0]) == tokens_of(plain) == 3
    assert weigh(kept[0]) == weigh(plain)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (document(type="text", media_type="text/plain", data=" \n"), "source.data is empty"),
        (document(type="text", media_type="text/plain", data="a\0b"), "source.data holds NUL"),
        (document(type="text", media_type="image/png", data="a"), "source.media_type must be text/plain"),
        (document(type="text", media_type="text/plain", data="x" * (TEXT_BYTES + 1)), "at most 4,194,304 are taken"),
        (document(type="text", media_type="text/plain", data="a", more="b"), "and nothing else"),
        (document(type="base64", media_type="text/plain", data=base64.b64encode(b"\xe9t\xe9").decode()), "UTF-8"),
        ({"type": "image", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}, "base64 or url"),
        (image("image/png", f"data:image/gif;base64,{DATA}"), "is not base64"),
    ],
)
def test_what_is_no_text_or_can_be_meant_in_two_ways_is_refused(block: Block, problem: str) -> None:
    assert problem in (media_problem(tidied(block)) or "")


@given(json_values, st.sampled_from(["image", "document", "text"]))
def test_any_source_is_tidied_once_and_for_all(source: Any, kind: str) -> None:
    once = tidied({"type": kind, "source": source})
    assert tidied(once) == once


def test_the_type_is_told_by_all_of_the_content() -> None:
    assert type_of(b"About %PDF- and GIF89a.\n") == "text/plain"
    assert type_of(b"%PDF-1.7\n") == "application/pdf"
    assert text_in("\ufeffä".encode("utf-32")) == "\ufeffä" or text_in("ä".encode("utf-8-sig")) == "ä"
    for data in (b"", b"\0\1", b"caf\xe9", "ä".encode("utf-16-le") + b"\0"):
        with pytest.raises(Unusable):
            type_of(data)
