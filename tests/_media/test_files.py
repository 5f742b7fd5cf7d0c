from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from september_engine._context.media import Unusable
from september_engine._media import files
from september_engine._media.files import read_media

from .._context.pictures import gif, jpeg, png, webp


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (png(), "image/png"),
        (jpeg(), "image/jpeg"),
        (gif(), "image/gif"),
        (webp(), "image/webp"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\xef\xbb\xbf%PDF-1.7\n", "application/pdf"),
    ],
)
def test_the_type_is_told_by_the_content_and_not_by_the_name(tmp_path: Path, data: bytes, media_type: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    for given in (data, path):
        block = read_media(given)
        assert block["source"] == {
            "type": "base64",
            "media_type": media_type,
            "data": base64.b64encode(data).decode(),
        }
        assert block["type"] == ("document" if media_type == "application/pdf" else "image")


def test_a_document_has_the_name_of_its_file_as_its_title(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"report \xff.pdf")
    path.write_bytes(b"%PDF-1.7\n")
    assert read_media(path)["title"] == "report \N{REPLACEMENT CHARACTER}.pdf"
    assert "title" not in read_media(b"%PDF-1.7\n")


@pytest.mark.parametrize("data", [b"", b"\xe9t\xe9", b" ", b"RIFF\0\0\0\0AVI ", b"\x89PNG", b"BM\0"])
def test_what_no_model_takes_is_refused(data: bytes) -> None:
    with pytest.raises(Unusable, match="is not a PNG, JPEG, GIF, WebP or PDF"):
        read_media(data)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none.png", "cannot be read: No such file"),
        (tmp_path, "is not a file|Is a directory"),
        (Path("a\0b"), "is not a path"),
    ):
        with pytest.raises(Unusable, match=why):
            read_media(path)


def test_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Unusable, match="is not a file"):
        read_media(tmp_path / "pipe.png")


def test_what_is_too_large_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.write(png())
        file.truncate(1 << 40)  # a hole: nobody could read it in time
    with pytest.raises(Unusable, match="has more than 1,000 bytes"):
        read_media(path)
