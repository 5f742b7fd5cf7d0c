"""Text of files as it is shown: readable, and without what a terminal or a log would obey.

Control characters are shown by the pictures that Unicode has for them, so `ESC` is `␛` and `NUL` is `␀`: the model and
a person see that something is there, and what.
"""

from __future__ import annotations

from .._context.text import clean

__all__ = ["SNIFF_BYTES", "binary_kind", "decoded", "named", "printable"]

SNIFF_BYTES = 8192
"""So much of a file tells whether it is text."""

_LINE_CONTROLS = "\t\n"
_PICTURES = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in _LINE_CONTROLS},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),  # among them the one-byte forms of ESC [
}
_NAME_PICTURES = {
    **_PICTURES,
    0x09: "\u2409",
    0x0A: "\u240a",
    # what breaks a line or turns the direction of what follows, and so could show another name
    **dict.fromkeys((0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)), "\ufffd"),
}

_KINDS = (
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)


def printable(text: str) -> str:
    """The text without control characters; tabs and line feeds stay."""
    return clean(text).translate(_PICTURES)


def named(name: str) -> str:
    """A file's name or path on one line, bytes that are not UTF-8 replaced."""
    return clean(name).translate(_NAME_PICTURES)


def decoded(data: bytes) -> str:
    """Bytes of a text as they are shown."""
    return printable(data.decode(errors="replace"))


def binary_kind(head: bytes) -> str | None:
    """What a file that begins like this is, where it is no text; else None."""
    if b"\0" not in head:
        return None
    return next((kind for magic, kind in _KINDS if head.startswith(magic)), "binary data")
