from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from september_engine._context.media import Unusable
from september_engine._media.preparation import preparation
from september_engine.errors import ConfigurationError
from september_engine.messages import Block
from september_engine.settings import Settings

from .._context.pictures import document, image, png, url
from .files import opened, pdf, picture


def prepare(**switches: Any) -> Callable[[Block], Block]:
    made = preparation(Settings(**switches))
    assert made is not None
    return made


def test_without_switches_nothing_is_done() -> None:
    assert preparation(Settings()) is None


def test_a_large_image_is_made_smaller_and_its_block_stays() -> None:
    block = {**image(picture(9000, 90)), "cache_control": {"type": "ephemeral"}}
    made = prepare(media_image_resize_enabled=True)(block)
    assert made == {**block, "source": made["source"]}
    assert opened(base64.b64decode(made["source"]["data"])).size == (2000, 20)


def test_what_fits_is_the_very_same_block() -> None:
    for block in (image(picture()), document(pdf()), url("https://example.org/a.png")):
        assert prepare(media_image_resize_enabled=True, media_presend_validation_enabled=True)(block) is block


def test_what_cannot_be_used_anyway_is_left_to_the_check() -> None:
    odd: list[Any] = [image(b"no"), image(picture(), "image/gif"), {"type": "image"}, {"type": "image", "source": 5}]
    for block in odd:
        assert prepare(media_image_resize_enabled=True)(block) is block


@pytest.mark.parametrize("block", [image(png(5, 5)), document(b"%PDF-1.7\n"), document(pdf(password="secret"))])
def test_looking_in_full_finds_what_headers_do_not_tell(block: Block) -> None:
    with pytest.raises(Unusable):
        prepare(media_presend_validation_enabled=True)(block)


def test_documents_are_not_looked_into_where_only_images_are_made_smaller() -> None:
    assert prepare(media_image_resize_enabled=True)(document(b"%PDF-1.7\n"))


@pytest.mark.parametrize(
    ("missing", "switch"),
    [
        ("PIL", "media_image_resize_enabled"),
        ("PIL", "media_presend_validation_enabled"),
        ("pypdf", "media_presend_validation_enabled"),
    ],
)
def test_without_its_packages_a_switch_says_what_to_install(
    missing: str, switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(ConfigurationError, match=rf"{switch.upper()} is true.*pip install 'september-engine\[media\]'"):
        prepare(**{switch: True})
