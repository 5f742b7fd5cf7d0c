"""preparation: what the switches of media ask for, done to one block. Blocks; call it in a thread."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from threading import Semaphore

from .._context.media import IMAGE_TYPES, media_problem
from .._extras import load
from ..messages import Block
from ..settings import Settings
from .documents import look_into
from .pictures import fitted, look_at

__all__ = ["preparation"]

AT_ONCE = 2
"""How many are decoded at once in one engine: each may take some 250 MB meanwhile."""


def preparation(settings: Settings) -> Callable[[Block], Block] | None:
    """What is to be done to each image and document before it is stored, or None for nothing. It raises `Unusable`.

    Raises `MissingExtra` where a package is missing that this needs.
    """
    shrinks, looks = settings.media_image_resize_enabled, settings.media_presend_validation_enabled
    needed = {
        "MEDIA_IMAGE_RESIZE_ENABLED": ("PIL",) if shrinks else (),
        "MEDIA_PRESEND_VALIDATION_ENABLED": ("PIL", "pypdf") if looks else (),
    }
    for variable, packages in needed.items():
        load("media", f"{variable} is true, which", packages)
    if not shrinks and not looks:
        return None
    return partial(_prepared, shrinks=shrinks, looks=looks, places=Semaphore(AT_ONCE))


def _prepared(block: Block, *, shrinks: bool, looks: bool, places: Semaphore) -> Block:
    """A block that cannot be used anyway, or whose content is elsewhere, is left as it is."""
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") != "base64" or media_problem(block, shrinks=shrinks):
        return block
    data, media_type = base64.b64decode(source["data"]), source["media_type"]
    if media_type not in IMAGE_TYPES:
        if looks:
            look_into(data)
        return block
    with places:
        if not shrinks:
            look_at(data, media_type)
            return block
        made, made_type = fitted(data, media_type)
    if made is data:
        return block
    return {**block, "source": {**source, "media_type": made_type, "data": base64.b64encode(made).decode()}}
