"""Real images and documents, made here: small enough to read, whole enough to be decoded."""

from __future__ import annotations

import io
from random import Random
from typing import Any

import PIL.Image
import pypdf

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}


def picture(
    width: int = 40, height: int = 30, media_type: str = "image/png", *, mode: str = "RGB", **options: Any
) -> bytes:
    """Red on the left, blue on the right."""
    image = PIL.Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return saved(image.convert(mode), media_type, **options)


def noise(width: int, height: int, media_type: str = "image/png") -> bytes:
    """What no format can make small."""
    return saved(PIL.Image.frombytes("RGB", (width, height), Random(0).randbytes(3 * width * height)), media_type)


def saved(image: PIL.Image.Image, media_type: str, **options: Any) -> bytes:
    into = io.BytesIO()
    image.save(into, FORMATS[media_type], **options)
    return into.getvalue()


def opened(data: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(data))
    image.load()
    return image


def pdf(pages: int = 1, *, password: str | None = None) -> bytes:
    writer = pypdf.PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(72, 72)
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    into = io.BytesIO()
    writer.write(into)
    return into.getvalue()
