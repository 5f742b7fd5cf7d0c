"""The smallest headers that are pictures, and blocks around them."""

from __future__ import annotations

import base64
import struct
from typing import Any


def png(width: int = 1, height: int = 1) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0" + b"\0" * 4


def gif(width: int = 1, height: int = 1) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def jpeg(width: int = 1, height: int = 1) -> bytes:
    app = b"\xff\xe0" + struct.pack(">H", 6) + b"JFIF"
    frame = b"\xff\xff\xc2" + struct.pack(">HBHH", 8, 8, height, width) + b"\x01"
    return b"\xff\xd8" + app + frame + b"\xff\xd9"


def webp(width: int = 1, height: int = 1, kind: bytes = b"VP8X") -> bytes:
    match kind:
        case b"VP8X":
            body = b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        case b"VP8L":
            body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
        case _:
            body = b"\0" * 3 + b"\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def image(data: bytes | None = None, media_type: str = "image/png") -> dict[str, Any]:
    text = base64.b64encode(png() if data is None else data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": text}}


def document(data: bytes = b"%PDF-1.7\n", media_type: str = "application/pdf") -> dict[str, Any]:
    return {**image(data, media_type), "type": "document"}


def url(address: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "url", "url": address}}
