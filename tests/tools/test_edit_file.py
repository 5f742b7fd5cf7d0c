from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from september_engine.permissions import Write
from september_engine.tools import ToolError
from september_engine.tools.edit_file import DIFF_LINES, edit_file_tool, replaced, short_diff
from september_engine.tools.workspace import Workspace

from .conftest import Call, calling, refused


@pytest.fixture
def edit(workspace: Workspace) -> Call:
    return calling(edit_file_tool(workspace))


def test_one_place_is_replaced_and_shown(root: Path, edit: Call) -> None:
    (root / "a.py").write_text("".join(f"line {number}\n" for number in range(1, 21)))
    assert edit(path="a.py", old_text="line 10\nline 11", new_text="line ten\nand a half\nline 11") == (
        "Changed a.py:\n@@ -7,7 +7,8 @@\n line 7\n line 8\n line 9\n-line 10\n+line ten\n+and a half\n line 11\n"
        " line 12\n line 13"
    )
    assert (root / "a.py").read_text().splitlines()[8:12] == ["line 9", "line ten", "and a half", "line 11"]


def test_more_than_one_place_takes_replace_all(root: Path, edit: Call) -> None:
    (root / "a").write_text("x = 1\ny\nx = 2\nx = 3\n")
    error = refused(edit, path="a", old_text="x = ", new_text="z = ")
    assert error.reason == "many_matches"
    assert error.message == (
        "old_text occurs 3 times in a, on lines 1, 3, 4. Give more of the text around the place that is meant, or "
        "replace_all=true for all of them."
    )
    edit(path="a", old_text="x = ", new_text="z = ", replace_all=True)
    assert (root / "a").read_text() == "z = 1\ny\nz = 2\nz = 3\n"


def test_places_that_overlap_are_more_than_one(root: Path, edit: Call) -> None:
    (root / "a").write_text("aaa")
    assert "occurs 2 times in a, on lines 1, 1." in refused(edit, path="a", old_text="aa", new_text="b").message
    edit(path="a", old_text="aa", new_text="b", replace_all=True)
    assert (root / "a").read_text() == "ba"


def test_no_place_is_told_with_what_is_like_it(root: Path, edit: Call) -> None:
    (root / "a").write_text("def f():\n    return 1\n")
    error = refused(edit, path="a", old_text="\treturn 1", new_text="")
    assert error.reason == "no_match"
    assert error.message == (
        "old_text does not occur in a; it must be there exactly, with its white space. "
        "Its first line is like line 2: read there again."
    )
    assert refused(edit, path="a", old_text="zzz", new_text="").message.endswith("Read the file again.")


@pytest.mark.parametrize(("old", "new", "reason"), [("", "x", "no_match"), ("x", "x", "no_change")])
def test_what_changes_nothing_is_refused(root: Path, edit: Call, old: str, new: str, reason: str) -> None:
    (root / "a").write_text("x")
    assert refused(edit, path="a", old_text=old, new_text=new).reason == reason


def test_crlf_and_a_byte_order_mark_stay(root: Path, edit: Call) -> None:
    (root / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\nthree\r\n")
    assert edit(path="a", old_text="one\ntwo", new_text="1\n2\n2b").startswith("Changed a:\n@@ -1,3 +1,4 @@\n")
    assert (root / "a").read_bytes() == b"\xef\xbb\xbf1\r\n2\r\n2b\r\nthree\r\n"
    edit(path="a", old_text="three", new_text="3\n4")
    assert (root / "a").read_bytes() == b"\xef\xbb\xbf1\r\n2\r\n2b\r\n3\r\n4\r\n"


def test_mixed_line_breaks_are_taken_as_they_are_typed_if_they_can(root: Path, edit: Call) -> None:
    (root / "a").write_bytes(b"a\r\nb\nc\nd\r\ne\n")
    edit(path="a", old_text="b\nc", new_text="B\nC")
    edit(path="a", old_text="d\ne", new_text="D\nE")
    assert (root / "a").read_bytes() == b"a\r\nB\nC\nD\r\nE\n"


def test_what_is_not_utf_8_is_left_as_it_is(root: Path, edit: Call) -> None:
    (root / "a").write_bytes(b"x caf\xe9")
    error = refused(edit, path="a", old_text="x", new_text="y")
    assert error.message == ("a is not UTF-8 text (byte 5); editing it would damage it, so it was left as it is.")
    assert (root / "a").read_bytes() == b"x caf\xe9"


def test_a_file_that_is_not_there_is_not_made(root: Path, edit: Call) -> None:
    assert refused(edit, path="new/file", old_text="x", new_text="y").reason == "not_found"
    assert list(root.iterdir()) == []


def test_edits_at_the_same_time_all_count(root: Path, edit: Call) -> None:
    (root / "a").write_text("".join(f"<{number}>\n" for number in range(20)))
    threads = [
        threading.Thread(target=edit, kwargs={"path": "a", "old_text": f"<{n}>", "new_text": f"({n})"})
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (root / "a").read_text() == "".join(f"({number})\n" for number in range(20))


texts = st.text(st.sampled_from("ab \n\t\r\ufeffé🦊"), max_size=30)
parts = st.text(st.sampled_from("ab \n\té"), min_size=1, max_size=4)


@given(text=texts, old=parts, new=parts)
def test_an_edit_is_what_str_replace_says(text: str, old: str, new: str) -> None:
    assume("\r\n" not in text)
    try:
        after = replaced(text, old, new, shown="a", everywhere=False)
    except ToolError as error:
        count = sum(text.startswith(old, at) for at in range(len(text)))
        assert (error.reason, count > 1) in (("no_match", False), ("many_matches", True))
        assert count != 1
    else:
        assert after == text.replace(old, new)
        assert after == replaced(text, old, new, shown="a", everywhere=True)


@given(lines=st.lists(st.text(st.sampled_from("abé"), max_size=3), min_size=2), old=parts, new=parts)
def test_a_file_of_crlf_is_edited_as_if_it_were_of_lf(lines: list[str], old: str, new: str) -> None:
    text = "\n".join(lines)
    try:
        expected = replaced(text, old, new, shown="a", everywhere=False)
    except ToolError as error:
        with pytest.raises(ToolError) as caught:
            replaced("\r\n".join(lines), old, new, shown="a", everywhere=False)
        assert caught.value.reason == error.reason
    else:
        after = replaced("\r\n".join(lines), old, new, shown="a", everywhere=False)
        assert after == expected.replace("\n", "\r\n")


lines_of = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=25).map("\n".join)


@given(before=lines_of, after=lines_of)
def test_a_diff_turns_the_one_into_the_other(before: str, after: str) -> None:
    assume(before != after)
    diff = short_diff(before, after)
    assert len(diff.split("\n")) <= DIFF_LINES + 1
    assert applied(before, diff) == after


def applied(before: str, diff: str) -> str:
    """The text with the diff applied, its context checked."""
    lines, done, at = before.split("\n"), list[str](), 0
    for line in diff.split("\n"):
        if line.startswith("@@"):
            first, _, count = line.split()[1].lstrip("-").partition(",")
            start = int(first) - (count != "0")
            done += lines[at:start]
            at = start
        elif line.startswith("+"):
            done.append(line[1:])
        else:
            assert lines[at] == line[1:]
            at += 1
            done += [line[1:]] if line.startswith(" ") else []
    return "\n".join(done + lines[at:])


def test_a_large_change_is_only_told() -> None:
    before = "\n".join(map(str, range(1000)))
    assert short_diff(before, before.replace("5", "five")) == "lines 6 to 996, too many to show"
    assert short_diff("a\n" * 100, "b\n" * 100).endswith("[… 141 lines more …]")


def test_what_a_call_would_do(workspace: Workspace) -> None:
    tool = edit_file_tool(workspace)
    assert tool.actions is not None
    assert tool.actions({"path": "a"}) == (Write(path=f"{workspace.root}/a"),)
