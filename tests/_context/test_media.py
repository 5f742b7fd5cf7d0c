from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine._context.media import (
    DOCUMENT_CHARS,
    IMAGE_CHARS,
    IMAGE_TYPES,
    Weight,
    crowding,
    image_size,
    media_problem,
    weigh,
)

from .pictures import document, gif, image, jpeg, png, url, webp

PICTURES = {
    "image/png": png(300, 200),
    "image/gif": gif(300, 200),
    "image/jpeg": jpeg(300, 200),
    "image/webp": webp(300, 200),
}


@pytest.mark.parametrize("media_type", PICTURES)
def test_each_kind_of_picture_is_usable_and_tells_its_size(media_type: str) -> None:
    assert media_problem(image(PICTURES[media_type], media_type)) is None
    assert image_size(PICTURES[media_type], media_type) == (300, 200)


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L", b"VP8 "])
def test_the_three_kinds_of_webp_tell_their_size(kind: bytes) -> None:
    assert image_size(webp(300, 200, kind), "image/webp") == (300, 200)


def test_documents_and_addresses_are_usable() -> None:
    assert media_problem(document()) is None
    assert media_problem(document(b"\r\n%PDF-1.4")) is None
    assert media_problem(url("https://example.org:8443/a.png?x=1")) is None
    assert media_problem({**document(), "title": "A", "cache_control": {"type": "ephemeral"}}) is None
    assert media_problem({**document(), "title": None, "context": "B", "citations": {"enabled": True}}) is None


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (5, "must be an image or document block"),
        ({"type": "video"}, "must be an image or document block"),
        ({"type": []}, "must be an image or document block"),
        ({**image(), "caption": "x"}, "has unknown keys: caption"),
        ({**document(), "title": 5}, "title must be text, and not empty"),
        ({**document(), "title": ""}, "title must be text, and not empty"),
        ({**document(), "context": [1]}, "context must be text, and not empty"),
        ({**document(), "citations": "x"}, "citations must have enabled, true or false, and nothing else"),
        ({**document(), "citations": {"enabled": 1}}, "citations must have enabled, true or false, and nothing else"),
        (
            {**image(), "cache_control": {"type": "for ever"}},
            'cache_control must be one of [{"type":"ephemeral"},{"type":"ephemeral","ttl":"5m"},',
        ),
        ({"type": "image", "source": "x"}, "source must be an object"),
        ({"type": "image", "source": {"type": "file"}}, "source.type must be base64 or url"),
        ({"type": "image", "source": {"type": "base64", "data": "x"}}, "source must have type, media_type and data"),
        (image(b"<svg/>", "image/svg+xml"), "source.media_type must be image/gif or image/jpeg or image/png or"),
        (document(b"x", "text/plain"), "source.data is text: its source must have the type text"),
        (document(b"x", "text/html"), "source.media_type must be application/pdf or text/plain"),
        (document(b"no"), "source.data is not a PDF"),
        (image(gif()), "source.data is not image/png"),
        (image(b"RIFF\0\0\0\0AVI LIST", "image/webp"), "source.data is not image/webp"),
        (image(b"RIFF\0\0\0\0WEBPVP9 ", "image/webp"), "cut off or damaged"),
        (image(webp()[:28], "image/webp"), "cut off or damaged"),
        (image(png()[:20]), "cut off or damaged"),
        (image(png().replace(b"IHDR", b"IDAT")), "cut off or damaged"),
        (image(b"\xff\xd8\xff\xda\0\0", "image/jpeg"), "cut off or damaged"),
        (image(b"\xff\xd8\xff\xe0\0\x02x\0\0", "image/jpeg"), "cut off or damaged"),
        (image(png(0, 5)), "cut off or damaged"),
        (image(png(8001, 1)), "source.data is 8001 x 1 pixels; at most 8000 x 8000 are taken"),
        (image(webp(1, 16384, b"VP8L"), "image/webp"), "source.data is 1 x 16384 pixels"),
        ({"type": "image", "source": {"type": "url"}}, "source must have type and url, and nothing else"),
        (url("http://example.org/a.png"), "source.url must be an https URL"),
        (url("https:///a.png"), "source.url must be an https URL"),
        (url("https://example.org/a b.png"), "source.url must be an https URL"),
        (url("https://[::1"), "source.url is not a URL"),
        (url("https://u:p@example.org/"), "source.url must not hold credentials"),
        (url("https://localhost/a"), "source.url must point to the public internet"),
        (url("https://localhost./a"), "source.url must point to the public internet"),
        (url("https://db.internal./a"), "source.url must point to the public internet"),
        (url("https://127\u30020\u30020\u30021/a"), "source.url must point to the public internet"),
        (url("https://localhost%00/a"), "source.url is not a URL"),
        (url("https://example.org/" + "a" * 8192), "source.url is 8212 characters; at most 8192 are taken"),
        (url("https://db.internal/a"), "source.url must point to the public internet"),
        (url("https://169.254.169.254/latest"), "source.url must point to the public internet"),
        (url("https://[::1]/a"), "source.url must point to the public internet"),
        (url("https://127.1/a"), "source.url must point to the public internet"),
        (url("https://0x7f000001/a"), "source.url must point to the public internet"),
    ],
)
def test_what_cannot_be_used_is_told(block: Any, says: str) -> None:
    problem = media_problem(block)
    assert problem is not None
    assert says in problem


@pytest.mark.parametrize("data", ["a", "aGk", "aGk=\n", "ä", "a-_=", "aGk=="])
def test_base64_must_be_strict(data: str) -> None:
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    assert media_problem(block) in ("source.data is not base64", "source.data is not image/png")
    if data != "aGk==":
        assert media_problem(block) == "source.data is not base64"


def test_size_counts_the_base64_text() -> None:
    largest = png() + b"\0" * (IMAGE_CHARS // 4 * 3 - len(png()))
    assert media_problem(image(largest)) is None
    assert "at most 5242880 are taken" in str(media_problem(image(largest + b"\0")))
    block = document()
    block["source"]["data"] = base64.b64encode(b"%PDF-").decode() + "A" * DOCUMENT_CHARS
    assert "at most 33554432 are taken" in str(media_problem(block))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(IMAGE_TYPES)), st.binary(max_size=60), st.integers(0, 60))
def test_a_damaged_header_is_never_an_exception(media_type: str, noise: bytes, keep: int) -> None:
    size = image_size(PICTURES[media_type][:keep] + noise, media_type)
    assert size is None or len(size) == 2
    assert image_size(noise, "image/bmp") is None


def long_jpeg(width: int, height: int) -> bytes:
    """A picture whose size stands behind 180 kB of other segments, as cameras write them."""
    return b"\xff\xd8" + (b"\xff\xe1\xea\x60" + b"\0" * (60_000 - 2)) * 3 + jpeg(width, height)[2:]


def test_a_block_weighs_its_base64_and_its_longer_side() -> None:
    assert weigh(image(png(300, 200))) == Weight(side=300, chars=len(image(png())["source"]["data"]))
    assert weigh(image(long_jpeg(30, 4000), "image/jpeg")).side == 4000
    assert weigh(document()) == Weight(side=None, chars=len(document()["source"]["data"]))
    assert weigh(document(b"%PDF-1.4 " + b"<< /Type /Page >> " * 3)).pages == 3
    assert weigh({"type": "document", "source": {"type": "base64", "data": "a"}}).pages == 0
    assert weigh(url("https://example.org/a.png")) == Weight(side=0, chars=0)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image"},
        {"type": "image", "source": "x"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": 5}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "ü"}},
    ],
)
def test_what_is_no_media_at_all_weighs_something_all_the_same(block: Any) -> None:
    assert weigh(block).side == 0


SMALL = Weight(side=10, chars=10)
LARGE = Weight(side=2001, chars=10)
PAPER = Weight(side=None, chars=16 * 2**20)
BOOK = Weight(side=None, chars=10, pages=300)


@pytest.mark.parametrize(
    ("media", "says"),
    [
        ([], None),
        ([LARGE] * 20, None),
        ([SMALL] * 100, None),
        ([*[LARGE] * 20, PAPER], None),
        ([PAPER] * 2, None),
        ([BOOK] * 2, None),
        ([BOOK, BOOK, Weight(side=None, chars=10, pages=1)], "there are 601 pages of PDF; at most 600 are taken"),
        ([*[SMALL] * 20, LARGE], "with more than 20 images, each must be within 2000 pixels a side"),
        ([SMALL] * 101, "there are 101 images; at most 100 are taken"),
        ([PAPER, PAPER, SMALL], "there are 33554442 characters of base64; at most 33554432 are taken"),
    ],
)
def test_what_is_too_much_for_one_prompt_is_told(media: list[Weight], says: str | None) -> None:
    assert crowding(media) == says
