from __future__ import annotations

import base64
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine._context.media import media_problem
from september_engine.permissions import Read, Unknown
from september_engine.tools import ToolInputError
from september_engine.tools.read_file import LINE_BYTES, MEDIA_BYTES, PAGE_BYTES, PAGE_LINES, read_file_tool
from september_engine.tools.workspace import Workspace
from tests._context.pictures import png

from .conftest import Call, calling, refused


@pytest.fixture
def read(workspace: Workspace) -> Call:
    return calling(read_file_tool(workspace))


def test_a_small_file_is_its_text(root: Path, read: Call) -> None:
    (root / "a.txt").write_text("to be\n\tor not\n\nnaïve", encoding="utf-8")
    assert read(path="a.txt") == "to be\n\tor not\n\nnaïve"


def test_a_page_says_what_is_left_and_how_to_go_on(root: Path, read: Call) -> None:
    (root / "a.txt").write_text("".join(f"line {number}\n" for number in range(1, 11)))
    assert read(path="a.txt", limit=2) == "line 1\nline 2\n[lines 1 to 2; 57 bytes are left: go on with offset=3]"
    assert read(path="a.txt", offset=3, limit=1) == "line 3\n[lines 3 to 3; 50 bytes are left: go on with offset=4]"
    assert read(path="a.txt", offset=10) == "line 10\n[lines 10 to 10, the end]"
    error = refused(read, path="a.txt", offset=11)
    assert (error.reason, error.message) == ("out_of_range", "a.txt has 10 lines; there is no line 11.")


@pytest.mark.parametrize("over", [0, 1])
def test_a_page_is_full_at_its_limit_of_bytes(root: Path, read: Call, over: int) -> None:
    line = "x" * 999 + "\n"
    (root / "a.txt").write_text(line * (PAGE_BYTES // 1000 - 1) + "y" * (999 + over))
    shown = read(path="a.txt")
    assert ("go on with offset=50" in shown) is bool(over)
    assert len(shown.encode()) < PAGE_BYTES + 200


@pytest.mark.parametrize("over", [0, 1])
def test_a_page_is_full_at_its_limit_of_lines(root: Path, read: Call, over: int) -> None:
    (root / "a.txt").write_text("x\n" * (PAGE_LINES + over))
    assert ("go on with offset=2001" in read(path="a.txt")) is bool(over)


def test_a_long_line_is_cut_and_said_to_be(root: Path, read: Call) -> None:
    (root / "a.txt").write_bytes(b"x" * LINE_BYTES + b"\r\n" + b"y" * (LINE_BYTES + 7) + b"\nend\n")
    first, second, third, note = read(path="a.txt").split("\n")
    assert first == "x" * LINE_BYTES
    assert second == "y" * LINE_BYTES + "[… line cut, 8 bytes more …]"
    assert (third, note) == ("end", "[lines end in CRLF]")


def test_a_cut_goes_through_no_character(root: Path, read: Call) -> None:
    (root / "a.txt").write_text("é" * LINE_BYTES, encoding="utf-8")
    assert read(path="a.txt") == "é" * (LINE_BYTES // 2) + "[… line cut, 5,000 bytes more …]"
    (root / "b.txt").write_text("a" + "é" * LINE_BYTES, encoding="utf-8")
    assert read(path="b.txt").startswith("a" + "é" * (LINE_BYTES // 2 - 1) + "[…")


def test_what_a_log_would_obey_is_shown_by_symbols(root: Path, read: Call) -> None:
    (root / "a.txt").write_bytes(b"\xef\xbb\xbf\x1b[31mred\x1b[0m\rcaf\xe9\n")
    assert read(path="a.txt") == "␛[31mred␛[0m␍caf\ufffd\n[\ufffd stands for what is not UTF-8 or cannot be shown]"


def test_an_empty_file_is_said_to_be(root: Path, read: Call) -> None:
    (root / "a.txt").touch()
    assert read(path="a.txt") == "[the file is empty]"
    assert refused(read, path="a.txt", offset=2).reason == "out_of_range"


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\x7fELF\0", "a program"), (b"text\0", "binary data"), ("text".encode("utf-16"), "text in UTF-16")],
)
def test_what_is_not_text_is_refused_with_its_kind_and_size(root: Path, read: Call, data: bytes, kind: str) -> None:
    (root / "a").write_bytes(data)
    error = refused(read, path="a")
    assert (error.reason, error.message) == ("not_text", f"a is not text but {kind}, {len(data)} bytes.")


def test_a_picture_is_shown(root: Path, read: Call) -> None:
    data = png(3, 4)
    (root / "a.bin").write_bytes(data)  # what it is called does not matter
    note, picture = read(path="a.bin")
    assert note == {"type": "text", "text": f"a.bin: image/png, {len(data)} bytes"}
    assert picture["source"]["data"] == base64.b64encode(data).decode()
    assert media_problem(picture) is None


def test_a_pdf_is_shown(root: Path, read: Call) -> None:
    (root / "a.pdf").write_bytes(b"%PDF-1.7\n%\0\xff")
    _, document = read(path="a.pdf")
    assert (document["type"], media_problem(document)) == ("document", None)


def test_a_picture_that_cannot_be_used_is_refused(root: Path, read: Call) -> None:
    (root / "cut.png").write_bytes(png(3, 4)[:14])
    error = refused(read, path="cut.png")
    assert error.reason == "not_text"
    assert error.message.startswith("cut.png is image/png that cannot be looked at: source.data is cut off")
    with (root / "large.png").open("wb") as file:
        file.write(png(3, 4))
        file.truncate(MEDIA_BYTES + 1)
    error = refused(read, path="large.png")
    assert error.message == "large.png is image/png, 25,165,825 bytes; at most 25,165,824 can be looked at."
    assert error.reason == "too_large"


def test_text_that_begins_like_a_picture_is_text(root: Path, read: Call) -> None:
    (root / "a.txt").write_text("GIF89a is a format.")
    assert read(path="a.txt") == "GIF89a is a format."


@pytest.mark.parametrize("input", [{"offset": 0}, {"limit": 0}, {"limit": PAGE_LINES + 1}, {"offset": 1.5}])
def test_numbers_that_make_no_sense_are_invalid_input(read: Call, input: dict[str, float]) -> None:
    with pytest.raises(ToolInputError):
        read(path="a", **input)


def test_a_huge_file_is_paged_with_little_memory(root: Path, read: Call) -> None:
    text = "word " * 200 + "\n"
    with (root / "huge").open("w") as file:
        file.write(text * 10)
        file.truncate(1 << 30)
        file.seek(1 << 30)
        file.write("\nthe last line\n")
    tracemalloc.start()
    begin = time.perf_counter()
    first = read(path="huge", limit=10)
    last = read(path="huge", offset=11)
    seconds, (_, peak) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first.endswith(f"[lines 1 to 10; {(1 << 30) + 15 - 10010:,} bytes are left: go on with offset=11]")
    assert "␀[… line cut, 1,073,726,815 bytes more …]\nthe last line\n" in last
    assert peak < 2_000_000
    assert seconds < 10


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=st.lists(st.text(st.sampled_from("ab é🦊\t\u2028"), max_size=8), min_size=1, max_size=30))
def test_pages_together_are_the_file(root: Path, read: Call, lines: list[str]) -> None:
    (root / "a.txt").write_text("\n".join([*lines, "."]), encoding="utf-8")
    seen: list[str] = []
    while "." not in seen:
        page = read(path="a.txt", offset=len(seen) + 1, limit=7).split("\n")
        if page[-1].startswith("[lines"):
            page.pop()
        seen += page
    assert seen == [*lines, "."]


def test_what_a_call_would_do(workspace: Workspace) -> None:
    tool = read_file_tool(workspace)
    assert tool.safe_to_repeat
    assert tool.actions is not None
    assert tool.actions({"path": "a/../b"}) == (Read(path=f"{workspace.root}/b"),)
    assert tool.actions({"path": "../x"}) == (Read(path=str(Path(workspace.root).parent / "x")),)
    assert tool.actions({"path": 1}) == (Unknown(why="its path is not text"),)
